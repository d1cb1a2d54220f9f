"""The scorers of a run, and the columns that they fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from detoxlm.errors import DetoxError
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.several import load_scorers


@dataclass(frozen=True)
class Judges:
    """Scorers, the main one first. The columns of one are its dimensions; those of the others have its label before."""

    scorers: dict[str, Scorer]
    #: Whether each fills a column for each of its dimensions, and not for toxicity alone.
    dimensions: bool

    @classmethod
    def load(cls, specs: Sequence[str], dimensions: bool) -> Judges:
        """Load the scorers that `specs` name.

        Without the cache of scores: what is on disk already would decide on who is scored together, and so on the last
        digits; and a run that is killed needs no cache.

        Raises:
            UsageError, DetoxError: as `load_scorers`.
        """
        return cls(load_scorers(specs, cache=False), dimensions)

    def columns(self, prefix: str) -> list[str]:
        """Return the names of the columns, in their order, with `prefix` before each."""
        return [
            f"{prefix}{'' if number == 0 else f'{label}:'}{name}"
            for number, (label, scorer) in enumerate(self.scorers.items())
            for name in self._said_by(scorer)
        ]

    def described(self) -> list[str]:
        """Return name, version and revision of each scorer."""
        return [f"{scorer.name} {scorer.version} ({scorer.revision})" for scorer in self.scorers.values()]

    def score(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return what all say of texts that are scored together, float64 [texts, columns] in [0, 1].

        The scorers get the texts by length, so that a batch is of texts of like length: less padding.

        Args:
            texts: of one chunk.
            progress: called with the number of texts that a scorer has just read, after every batch.

        Raises:
            DetoxError: a scorer failed.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        sorted_texts = [texts[i] for i in order]
        columns: list[np.ndarray] = []
        for scorer in self.scorers.values():
            if self.dimensions:
                columns += scorer.score_dimensions(sorted_texts, progress).values()
            else:
                columns.append(scorer.score(sorted_texts, progress))
        table = np.empty((len(texts), len(columns)))
        table[order] = np.stack(columns, axis=1)
        return table

    def _said_by(self, scorer: Scorer) -> tuple[str, ...]:
        return scorer.dimensions if self.dimensions else ("toxicity",)


class Scoring:
    """Judges as a worker in another process: texts of a chunk in, scores out."""

    def __init__(self, specs: Sequence[str], dimensions: bool, described: Sequence[str]) -> None:
        """Load the scorers.

        Raises:
            DetoxError: they cannot be loaded, or are not those that are `described`.
        """
        self._judges = Judges.load(specs, dimensions)
        if (found := self._judges.described()) != list(described):
            raise DetoxError(f"a worker has other scorers: {', '.join(found)}")

    def __call__(self, texts: Sequence[str]) -> bytes:
        """Return what all say of the texts of a chunk, float64 [texts, columns]."""
        return self._judges.score(texts).tobytes()
