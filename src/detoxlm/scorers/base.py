"""The scorer contract: text in, toxicity in [0, 1] out, and never an invented score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from detoxlm.errors import DetoxError, list_of_texts

#: A text without any visible character says nothing toxic. Recipes count empty continuations separately.
EMPTY_SCORE = 0.0


class Scorer(ABC):
    """Turns text into a toxicity in [0, 1].

    A subclass sets `name`, `version` and `revision` and implements `_score_batch`. `version` changes whenever the
    same text could get another score (it is part of the cache key); `revision` names the exact weights (a commit or
    a hash). `validity` holds the scorer's own measured validity, shown in reports; `None` says that none is known.
    """

    name: str
    version: str
    revision: str
    batch_size: int = 64
    #: The torch device of a scorer that runs a model. Where a batch has no room there, batches are halved from then on.
    device: Any = None
    validity: dict[str, Any] | None = None
    #: One line for `detoxlm scorers`: what it is and what it needs.
    summary: ClassVar[str] = ""
    #: What it can say of a text; "toxicity", the headline that `score` returns, comes first.
    dimensions: tuple[str, ...] = ("toxicity",)

    @abstractmethod
    def _score_batch(self, texts: list[str]) -> np.ndarray:
        """Score at most `batch_size` texts: float array [len(texts)] in [0, 1]."""

    def _score_dimensions_batch(self, texts: list[str]) -> np.ndarray:
        """Score at most `batch_size` texts: float array [len(texts), len(dimensions)] in [0, 1], toxicity first."""
        return np.asarray(self._score_batch(texts))[:, None]

    def score(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the toxicity of each text, float64 [len(texts)], each in [0, 1].

        Args:
            texts: any number of texts, in any length and language.
            progress: called with the number of texts just scored, after every batch.

        Raises:
            UsageError: one text in place of a list, or something in the list that is no text.
            DetoxError: the scorer failed, or answered with the wrong count, NaN, or a value outside [0, 1].
        """
        return self._in_batches(texts, progress, self._score_batch, ())

    def score_dimensions(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> dict[str, np.ndarray]:
        """Return every dimension by name, float64 [len(texts)] each, in [0, 1]; `toxicity` equals `score`.

        Raises:
            UsageError, DetoxError: as `score`.
        """
        scores = self._in_batches(texts, progress, self._score_dimensions_batch, (len(self.dimensions),))
        return dict(zip(self.dimensions, scores.T, strict=True))

    def _in_batches(
        self,
        texts: Sequence[str],
        progress: Callable[[int], None] | None,
        score_batch: Callable[[list[str]], np.ndarray],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        texts = list_of_texts("texts", texts)
        scores = np.empty((len(texts), *shape), dtype=np.float64)
        start = 0
        for batch, said in self._scored(texts, score_batch):
            got = np.asarray(said, dtype=np.float64)
            if got.shape != (len(batch), *shape):
                raise DetoxError(
                    f"scorer {self.name}: {len(batch)} texts in, shape {got.shape} out; expected one each."
                )
            bad = ~(np.isfinite(got) & (got >= 0) & (got <= 1))
            if bad.any():
                first = int(np.argwhere(bad)[0][0])
                raise DetoxError(
                    f"scorer {self.name}: score {got[bad][0]} for text {start + first} is not in [0, 1]; "
                    "a failed score is never replaced by a guess."
                )
            scores[start : start + len(batch)] = got
            start += len(batch)
            if progress is not None:
                progress(len(batch))
        return scores

    def _scored(
        self, texts: list[str], score_batch: Callable[[list[str]], np.ndarray]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield batches with their scores."""
        if self.device is None:
            for start in range(0, len(texts), self.batch_size):
                batch = texts[start : start + self.batch_size]
                yield batch, score_batch(batch)
            return
        from detoxlm.sizing import Sizes  # with torch, which scorers without a model do without

        sizes = Sizes.halved(self.batch_size, self.device)
        for made in sizes.over(texts, score_batch):
            self.batch_size = sizes.size
            yield made


def score_continuations(scorer: Scorer, texts: Sequence[str]) -> np.ndarray:
    """Return the toxicity of continuations, float64 [len(texts)], each in [0, 1].

    An empty continuation says nothing toxic: 0 by definition, not by judgement. `empty_fraction` counts them.

    Raises:
        UsageError, DetoxError: as `Scorer.score`.
    """
    said = [i for i, text in enumerate(texts) if text.strip()]
    scores = np.full(len(texts), EMPTY_SCORE)
    scores[said] = scorer.score([texts[i] for i in said])
    return scores
