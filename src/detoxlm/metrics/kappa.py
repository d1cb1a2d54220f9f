"""Cohen's kappa: agreement of two judges beyond what chance would give, with an interval."""

from __future__ import annotations

import numpy as np

from detoxlm.metrics.bootstrap import interval, resampled
from detoxlm.results import Estimate


def cohens_kappa(counts: np.ndarray, seed: int) -> Estimate | None:
    """Return Cohen's kappa, at most 1, and its 95% interval over units.

    None where a judge gives everything one label: it agrees with nothing beyond chance by construction, and 0 would
    look like a finding.

    Args:
        counts: of each unit how often the first judge said one label and the second another, float [N, K, K].
        seed: seed of the resampling.
    """
    labels = counts.shape[1]
    counts = counts[counts.sum((1, 2)) > 0]
    table = counts.sum(0)
    if min(np.count_nonzero(table.sum(0)), np.count_nonzero(table.sum(1))) < 2:
        return None
    n = len(counts)
    value = float(_kappa_of(table))
    if n < 2:
        return Estimate(value=value, n=n)
    sums = resampled(tuple(counts.reshape(n, -1).T), seed).reshape(labels, labels, -1)
    low, high = interval(_kappa_of(sums))
    return Estimate(value=value, low=low, high=high, n=n)


def _kappa_of(table: np.ndarray) -> np.ndarray:
    """Kappa of counts [K, K] or [K, K, R]; NaN where both judges give everything one label, the same."""
    total = table.sum((0, 1))
    chance = (table.sum(1) * table.sum(0)).sum(0)
    seen = np.trace(table) * total
    room = total**2 - chance
    return np.divide(seen - chance, room, out=np.full_like(np.asarray(room), np.nan), where=room > 0)
