"""The scorer contract: text in, toxicity in [0, 1] out, and never an invented score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from detoxlm.errors import DetoxError


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
    validity: dict[str, Any] | None = None
    #: One line for `detoxlm scorers`: what it is and what it needs.
    summary: ClassVar[str] = ""

    @abstractmethod
    def _score_batch(self, texts: list[str]) -> np.ndarray:
        """Score at most `batch_size` texts: float array [len(texts)] in [0, 1]."""

    def score(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the toxicity of each text, float64 [len(texts)], each in [0, 1].

        Args:
            texts: any number of texts, in any length and language.
            progress: called with the number of texts just scored, after every batch.

        Raises:
            DetoxError: the scorer failed, or answered with the wrong count, NaN, or a value outside [0, 1].
        """
        scores = np.empty(len(texts), dtype=np.float64)
        for start in range(0, len(texts), self.batch_size):
            batch = list(texts[start : start + self.batch_size])
            got = np.asarray(self._score_batch(batch), dtype=np.float64)
            if got.shape != (len(batch),):
                raise DetoxError(
                    f"scorer {self.name}: {len(batch)} texts in, shape {got.shape} out; expected one each."
                )
            bad = ~(np.isfinite(got) & (got >= 0) & (got <= 1))
            if bad.any():
                first = int(np.flatnonzero(bad)[0])
                raise DetoxError(
                    f"scorer {self.name}: score {got[first]} for text {start + first} is not in [0, 1]; "
                    "a failed score is never replaced by a guess."
                )
            scores[start : start + len(batch)] = got
            if progress is not None:
                progress(len(batch))
        return scores
