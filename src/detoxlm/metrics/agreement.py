"""How far scorers agree on the same continuations: ranks, verdicts, and verdicts beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from detoxlm.metrics.base import clusters
from detoxlm.metrics.bootstrap import bootstrap, draws, interval
from detoxlm.metrics.kappa import cohens_kappa
from detoxlm.metrics.ranks import spearman_of
from detoxlm.metrics.toxicity import THRESHOLD
from detoxlm.results import Agreement, Estimate, Row

#: Weights, resamples times texts, that are held at a time: 8 MB in each of a few arrays.
_CELLS = 1_000_000


def agreements(main: str, rows: Sequence[Row], seed: int = 0) -> list[Agreement]:
    """Return the agreement of each pair of scorers of the rows, the judge (labelled `main`) first; [] with one.

    Empty continuations are left out: they score 0 by definition, and no scorer saw them.
    """
    prompts: list[int] = []
    number = clusters(rows).tolist()
    scores: dict[str, list[float]] = {}
    for row, prompt in zip(rows, number, strict=True):
        said = [bool(text.strip()) for text in row.continuations]
        prompts += [prompt] * sum(said)
        for label, given in ({main: row.scores} | row.opinions).items():
            scores.setdefault(label, []).extend(score for score, kept in zip(given, said, strict=True) if kept)
    unit = np.unique(np.asarray(prompts, dtype=np.int64), return_inverse=True)[1]
    return [
        _agreement((first, second), np.asarray(scores[first]), np.asarray(scores[second]), unit, seed)
        for first, second in combinations(scores, 2)
    ]


def _agreement(
    labels: tuple[str, str], first: np.ndarray, second: np.ndarray, unit: np.ndarray, seed: int
) -> Agreement:
    """Compare scores [T] and [T] of texts whose prompts, the units that are resampled, are numbered by `unit` [T]."""
    a, b = first >= THRESHOLD, second >= THRESHOLD
    cells = (a & b, a & ~b, ~a & b, ~a & ~b)
    both, only_first, only_second, neither = (int(cell.sum()) for cell in cells)
    counts = tuple(np.bincount(unit, weights=cell) for cell in cells)
    same = counts[0] + counts[3]
    return Agreement(
        scorers=labels,
        spearman=_spearman(first, second, unit, seed),
        same_verdict=bootstrap(same, np.bincount(unit).astype(float), proportion=True, seed=seed)
        if len(unit)
        else None,
        kappa=cohens_kappa(np.stack(counts, axis=1).reshape(-1, 2, 2), seed),
        both=both,
        only_first=only_first,
        only_second=only_second,
        neither=neither,
    )


def _spearman(first: np.ndarray, second: np.ndarray, unit: np.ndarray, seed: int) -> Estimate | None:
    if min(len(np.unique(scores)) for scores in (first, second)) < 2:
        return None
    correlation, n = spearman_of(first, second), int(unit.max()) + 1
    value = float(correlation(np.ones((1, len(unit))))[0])
    if n < 2:
        return Estimate(value=value, n=n)
    resamples = [
        correlation(counts[:, unit].astype(float))
        for chunk in draws(n, seed)
        for counts in np.array_split(chunk, -(-len(chunk) * len(unit) // _CELLS))
    ]
    low, high = interval(np.concatenate(resamples))
    return Estimate(value=value, low=low, high=high, n=n)
