"""Puts the log-odds of either offline scorer on Perspective's scale."""

from __future__ import annotations

import numpy as np
import scipy.optimize


def calibrate(logit: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the logistic curve from logits to the target, by cross-entropy."""

    def loss(parameters: np.ndarray) -> float:
        z = parameters[0] * logit + parameters[1]
        return float((np.logaddexp(0, z) - target * z).mean())

    slope, offset = scipy.optimize.minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)
