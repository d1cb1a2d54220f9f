"""Scores and targets to measure, and the plain functions that measure them."""

from __future__ import annotations

import numpy as np

from detoxlm.validity import (
    accuracy,
    auc,
    calibration_error,
    false_negative_rate,
    false_positive_rate,
    precision,
    recall,
    spearman,
)

FUNCTIONS = {
    "auc": auc,
    "spearman": spearman,
    "calibration_error": calibration_error,
    "accuracy": accuracy,
    "false_positive_rate": false_positive_rate,
    "false_negative_rate": false_negative_rate,
    "precision": precision,
    "recall": recall,
}


def sample(n: int, seed: int = 0, *, binary: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets on a coarse grid, so that there are many ties."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 11, n) / 10
    score = np.clip(np.round(target + random.normal(0, 0.3, n), 1), 0, 1)
    return score, (target >= 0.5).astype(float) if binary else target
