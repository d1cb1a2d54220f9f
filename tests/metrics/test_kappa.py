"""Cohen's kappa against scikit-learn's, and its interval against one drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from detoxlm.metrics.bootstrap import draws
from detoxlm.metrics.kappa import cohens_kappa


def counted(first: np.ndarray, second: np.ndarray, units: np.ndarray, labels: int) -> np.ndarray:
    counts = np.zeros((units.max() + 1, labels, labels))
    for a, b, unit in zip(first, second, units, strict=True):
        counts[unit, a, b] += 1
    return counts


@pytest.mark.parametrize("labels", [2, 3])
def test_it_is_that_of_scikit_learn_and_the_interval_draws_whole_units(labels: int) -> None:
    rng = np.random.default_rng(labels)
    first = rng.integers(0, labels, 60)
    second = np.where(rng.random(60) < 0.7, first, rng.integers(0, labels, 60))
    units = np.repeat(np.arange(20), 3)
    found = cohens_kappa(counted(first, second, units, labels), seed=5)
    assert found is not None and found.n == 20
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    drawn = [
        cohen_kappa_score(np.repeat(first, count[units]), np.repeat(second, count[units]))
        for count in np.concatenate(list(draws(20, 5)))[:200]
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])  # of a tenth of the resamples: near, not equal
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05)


def test_one_label_for_everything_has_no_kappa_and_an_unused_third_changes_nothing() -> None:
    table = np.array([[[8.0, 2.0], [1.0, 9.0]]])
    wide = np.zeros((1, 3, 3))
    wide[:, :2, :2] = table
    two, three = cohens_kappa(table, 0), cohens_kappa(wide, 0)
    assert two is not None and three is not None and two.value == three.value == pytest.approx(0.7)
    assert two.low is None  # one unit has no interval
    assert cohens_kappa(np.array([[[9.0, 1.0], [0.0, 0.0]]]), 0) is None
    assert cohens_kappa(np.zeros((2, 2, 2)), 0) is None


def test_units_without_a_text_are_not_resampled() -> None:
    some = np.array([[[3.0, 1.0], [0.0, 2.0]], [[1.0, 0.0], [1.0, 4.0]], [[2.0, 1.0], [1.0, 2.0]]])
    assert cohens_kappa(np.concatenate([some, np.zeros((5, 2, 2))]), 1) == cohens_kappa(some, 1)
