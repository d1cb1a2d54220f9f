"""How a row of the target's tokens becomes a row of the readers' tokens: the contract, and the trivial case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Line:
    """What a translator knows of a row: its end alone, so that a step costs the same however long the row is."""

    begun: int = 0  # so many of the target's tokens are behind a place that later tokens cannot change,
    fixed: int = 0  # and so many of the reader's stand for them;
    tail: list[int] = field(default_factory=list)  # the target's tokens after that place

    def __len__(self) -> int:
        """Return how many of the target's tokens there are."""
        return self.begun + len(self.tail)

    def cut(self, length: int) -> Line:
        """Return the line of the first `length` tokens; an empty one where its end is not known here any more."""
        if length < self.begun:
            return Line()
        return self if length == len(self) else Line(self.begun, self.fixed, self.tail[: length - self.begun])


class Grown(NamedTuple):
    """A row with more tokens: the reader's tokens from `at` on are `tokens` now."""

    line: Line
    at: int
    tokens: list[int]


class Translator(Protocol):
    """Turns target token ids into a reader's token ids."""

    def grow(self, lines: Sequence[Line], new: Sequence[list[int]]) -> list[Grown]:
        """Translate rows that have grown by `new` target tokens; `Line()` is a row without any."""


class SameTokens:
    """The translator between two models with one tokenizer."""

    def grow(self, lines: Sequence[Line], new: Sequence[list[int]]) -> list[Grown]:
        """Return the new tokens as they are."""
        return [
            Grown(Line(line.begun + len(more), line.fixed + len(more)), line.fixed, more)
            for line, more in zip(lines, new, strict=True)
        ]
