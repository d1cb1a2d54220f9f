"""The profanity classifier of the package `alt-profanity-check`, when the user has installed it.

The package unpickles its model from its own wheel as soon as it is imported: importing it runs whatever code the
pickle holds. It is therefore an opt-in extra, never a default; it downloads nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.scorers.base import Scorer

_INSTALL = "pip install 'detoxlm[profanity]'"
_FILES = ("model.joblib", "vectorizer.joblib")


class ProfanityCheckScorer(Scorer):
    """The `predict_prob` of alt-profanity-check, in [0, 1]: a linear model over words that looks for offence.

    Its authors trained it on Jigsaw's Wikipedia comments and on tweets (https://github.com/vzhou842/profanity-check);
    numbers on such texts flatter it.
    """

    name = "alt-profanity-check"
    batch_size = 256

    def __init__(self) -> None:
        """Import the package, which loads its pickled model.

        Raises:
            UsageError: the package is not installed.
            DetoxError: its model does not load here, or was made for another scikit-learn.
        """
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                package: Any = importlib.import_module("profanity_check")
        except ImportError as error:
            raise UsageError(
                f"scorer: alt-profanity-check cannot be imported ({first_line(error)}). Run: {_INSTALL}"
            ) from None
        except Exception as error:  # a pickle can fail in any way
            raise DetoxError(
                f"scorer alt-profanity-check: its model could not be loaded: {first_line(error)}. Run: {_INSTALL}"
            ) from error
        if any(warning.category.__name__ == "InconsistentVersionWarning" for warning in said):
            # scikit-learn would go on, and might score differently without a word.
            raise DetoxError(
                "scorer alt-profanity-check: its model was made with another scikit-learn than the installed one. "
                f"Run: {_INSTALL}"
            )
        self._predict = package.predict_prob
        try:
            self.version = version("alt-profanity-check")
        except PackageNotFoundError:  # run from a checkout
            self.version = "unknown"
        data = resources.files("profanity_check") / "data"
        self.revision = hashlib.sha256(b"".join((data / name).read_bytes() for name in _FILES)).hexdigest()[:12]

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self._predict(texts), dtype=np.float64)


def create(argument: str, device: str | None) -> Scorer:
    """Return the scorer of the specification `alt-profanity-check`; it uses no device."""
    if argument:
        raise UsageError(
            f"scorer: alt-profanity-check takes no argument, got {argument!r}. Write `alt-profanity-check`."
        )
    return ProfanityCheckScorer()
