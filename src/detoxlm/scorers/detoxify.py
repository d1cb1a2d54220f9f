"""The Detoxify classifiers, through the package `detoxify` when the user has installed it.

Detoxify loads pickled checkpoints with torch.hub: loading one runs whatever code the file holds. It is therefore an
opt-in extra, never a default, and its downloads are Detoxify's own.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

import numpy as np

from detoxlm.errors import DetoxError, UsageError, first_line, unknown_name
from detoxlm.scorers.base import Scorer

VARIANTS = ("original", "unbiased", "multilingual", "original-small", "unbiased-small")


class DetoxifyScorer(Scorer):
    """Detoxify's `toxicity` output: a probability in [0, 1] that the text is toxic by the Jigsaw labels."""

    batch_size = 32
    summary: ClassVar[str] = "the Detoxify classifiers; needs `pip install 'detoxlm[detoxify]'`"

    def __init__(self, variant: str = "original", device: str | None = None) -> None:
        """Load (and download, the first time) one of `VARIANTS` on `device` (None: a GPU when there is one).

        Raises:
            UsageError: the variant is unknown or the package is not installed.
            DetoxError: the checkpoint could not be downloaded or loaded.
        """
        if variant not in VARIANTS:
            raise unknown_name("scorer detoxify", variant, list(VARIANTS))
        try:
            package: Any = importlib.import_module("detoxify")
        except ImportError as error:
            raise UsageError(
                f"scorer: detoxify cannot be imported ({error}). Run: pip install 'detoxlm[detoxify]'"
            ) from None
        try:
            if device is None:
                import torch

                device = "cuda" if torch.cuda.is_available() else "cpu"
            self._model = package.Detoxify(variant, device=device)
        except Exception as error:
            raise DetoxError(
                f"scorer detoxify: {variant} could not be loaded: {first_line(error)}. Check the network and retry."
            ) from error
        self.name = f"detoxify:{variant}"
        try:
            self.version = version("detoxify")
        except PackageNotFoundError:  # run from a checkout
            self.version = "unknown"
        # The checkpoint's file name carries a hash of its content: toxic_original-c1212f89.ckpt.
        urls = getattr(importlib.import_module("detoxify.detoxify"), "MODEL_URLS", {})
        self.revision = str(urls.get(variant, "unknown")).rsplit("/", 1)[-1]

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self._model.predict(texts)["toxicity"], dtype=np.float64)


def create(argument: str, device: str | None) -> Scorer:
    """Return the Detoxify scorer of the specification `detoxify[:variant]`."""
    return DetoxifyScorer(argument or "original", device)
