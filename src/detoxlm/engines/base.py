"""What a measurement asks of whatever runs the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from detoxlm.generation import Generation, Sampling
from detoxlm.mentions import Mention
from detoxlm.reading import Reading
from detoxlm.results import DetoxifierInfo, ModelInfo, Row, Window
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import BatchSize


@dataclass(frozen=True)
class Written:
    """The continuations of one batch of prompts, and what they cost."""

    generations: list[Generation]
    #: Tokens of each continuation, of each prompt; a prompt's list is empty where they are not known.
    lengths: list[list[int]]
    seconds: float
    #: Most memory meanwhile, MB (10^6 bytes); None: it is another machine's.
    peak_mb: float | None

    @property
    def tokens(self) -> int:
        """Generated tokens, end tokens not counted, as far as they are known."""
        return sum(sum(row) for row in self.lengths)


class Engine(ABC):
    """A model, detoxified or not, as a measurement sees it."""

    @property
    @abstractmethod
    def info(self) -> ModelInfo:
        """What results record about the model."""

    @property
    @abstractmethod
    def acting(self) -> DetoxifierInfo | None:
        """The detoxifier that acts; None: the model is untouched, as far as is known."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the texts besides prompts and sampling, as JSON; users' unfinished files are known by it."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What results record of how the model was run, besides `info`."""

    @property
    @abstractmethod
    def template_sha256(self) -> str | None:
        """The hash of the chat template by which conversations are asked; None: it is not known."""

    @property
    @abstractmethod
    def left_out(self) -> list[str]:
        """What cannot be measured through it, a sentence each."""

    def noted(self, rows: Sequence[Row]) -> list[str]:
        """Return what a reader must know of all that was written, a sentence each."""
        return []

    @abstractmethod
    def described(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        """Return what a reader must know of how it reads prompts, a sentence each.

        Raises:
            UsageError: it cannot read them.
        """

    @abstractmethod
    def windows(self, text: str, tokens: int, share: float) -> list[tuple[list[int], int]]:
        """Return the windows of a fluency text, as `fluency_windows` does; [] where there can be none."""

    @abstractmethod
    def measured(self, ids: list[int], scored: int) -> Window:
        """Measure one of `windows`."""

    def mention_tokens(self, mentions: Sequence[Mention]) -> list[list[int]]:
        """Return the tokens of each text of who pays; [] where texts cannot be measured through it."""
        return []

    def texts(self, ids: Sequence[list[int]]) -> list[Window]:
        """Measure some of `mention_tokens`, of one length, as `measure_texts` does."""
        raise NotImplementedError("an engine that returns tokens of texts measures them")

    @abstractmethod
    def write(self, prompts: Sequence[str], sampling: Sampling, batch_size: BatchSize, skip: int) -> Iterator[Written]:
        """Yield the continuations of `prompts`, a batch at a time, always in the same order.

        Args:
            prompts: all of them.
            sampling: how to draw, the seed included.
            batch_size: sequences (prompts x samples) at once; `auto`: as many as prove fast.
            skip: prompts, in their order, that an earlier run has finished.

        Raises:
            DetoxError: it failed.
        """

    @abstractmethod
    def read(self, generations: Sequence[Generation], scorers: Sequence[Scorer], answers: bool) -> Reading:
        """Return how what it has just written is read: as answers, or as continuations.

        Raises:
            DetoxError: a scorer failed.
        """
