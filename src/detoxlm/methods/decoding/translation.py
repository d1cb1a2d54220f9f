"""How a row of the target's tokens becomes a row of the readers' tokens: the contract, and the trivial case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Line:
    """A row of target tokens and the reader's tokens for its text."""

    ids: list[int]  # the target's
    tokens: list[int]  # the reader's
    fixed: int = 0  # so many of `ids` are behind a place that later tokens cannot change,
    fixed_tokens: list[int] = field(default_factory=list)  # and these are their `tokens`


class Translator(Protocol):
    """Turns target token ids into a reader's token ids."""

    def line(self, ids: list[int], before: Line | None = None) -> Line:
        """Translate a row; `before` is a shorter row that it may continue."""


class SameTokens:
    """The translator between two models with one tokenizer."""

    def line(self, ids: list[int], before: Line | None = None) -> Line:
        """Return the row as it is."""
        return Line(ids, ids)
