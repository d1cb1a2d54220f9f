"""Rank correlation under resampling."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the order that sorts the values [N], where each distinct value starts in it, and each value's level."""
    _, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    return order, np.flatnonzero(np.diff(level[order], prepend=-1)), level


def spearman_of(first: np.ndarray, second: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from weights [R, N] to Spearman's correlation of each of R resamples, [R] in [-1, 1].

    Item i counts `weights[r, i]` times, as if it had been drawn so often; ties have their mean rank. NaN where a
    resample holds one value only. Weights save building the resamples.
    """
    sides = [levels(values) for values in (first, second)]

    def correlation(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1, keepdims=True)
        centred = []
        for order, starts, level in sides:
            count = np.add.reduceat(weights[:, order], starts, axis=1)
            # The mean of the ranks that a level's copies take up, less the mean of all ranks.
            rank = np.cumsum(count, axis=1) - count / 2 - total / 2
            centred.append(rank[:, level])
        x, y = centred
        wx, wy = weights * x, weights * y
        norm = np.sqrt((wx * x).sum(axis=1) * (wy * y).sum(axis=1))
        found = np.divide((wx * y).sum(axis=1), norm, out=np.full(len(weights), np.nan), where=norm > 0)
        return np.clip(found, -1.0, 1.0)  # rounding can pass the ends

    return correlation


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's correlation of float [N] with float [N], in [-1, 1]; None where either is constant."""
    found = float(spearman_of(first, second)(np.ones((1, len(first))))[0])
    return None if math.isnan(found) else found
