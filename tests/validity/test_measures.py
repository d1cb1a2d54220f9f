"""The numbers of a scorer's validity: closed forms, brute force over every pair, scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scored import FUNCTIONS, sample

from detoxlm.errors import UsageError
from detoxlm.results import Estimate
from detoxlm.validity import (
    MEASURES,
    accuracy,
    auc,
    calibration_error,
    false_negative_rate,
    false_positive_rate,
    is_binary,
    measure,
    precision,
    recall,
    spearman,
)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_pairs_in_order_with_ties_half(seed: int) -> None:
    score, target = sample(60, seed)
    pairs = [(a, b) for a in score[target >= 0.5] for b in score[target < 0.5]]
    assert auc(score, target) == pytest.approx(np.mean([(a > b) + (a == b) / 2 for a, b in pairs]))


def test_auc_closed_forms() -> None:
    target = np.array([0.0, 0.0, 1.0, 1.0])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), target) == 1
    assert auc(np.array([0.4, 0.3, 0.2, 0.1]), target) == 0
    assert auc(np.full(4, 0.7), target) == 0.5
    assert math.isnan(auc(np.array([0.1, 0.2]), np.array([0.0, 0.2])))


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_scipys(seed: int) -> None:
    score, target = sample(80, seed)
    assert spearman(score, target) == pytest.approx(stats.spearmanr(score, target)[0], abs=1e-12)
    assert math.isnan(spearman(np.full(80, 0.3), target))


def test_calibration_error_by_hand() -> None:
    # [0, 0.1): mean score 0.05 against 0.5; [0.1, 0.2): 0.1 against 0; [0.9, 1]: 0.95 against 1
    score, target = np.array([0.04, 0.06, 0.1, 0.9, 1.0]), np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    assert calibration_error(score, target) == pytest.approx((2 * 0.45 + 1 * 0.1 + 2 * 0.05) / 5)
    assert calibration_error(target, target) == 0


def test_rates_at_the_threshold_by_hand() -> None:
    score, target = np.array([0.5, 0.49, 0.9, 0.2, 0.7]), np.array([0.5, 0.5, 0.1, 0.49, 1.0])
    assert accuracy(score, target) == pytest.approx(3 / 5)
    assert false_positive_rate(score, target) == pytest.approx(1 / 2)
    assert false_negative_rate(score, target) == pytest.approx(1 / 3)
    assert precision(score, target) == pytest.approx(2 / 3)  # 0.5, 0.9 and 0.7 are called toxic
    assert recall(score, target) == pytest.approx(2 / 3)
    assert math.isnan(precision(score / 3, target)) and math.isnan(recall(score, np.zeros(5)))
    assert math.isnan(false_positive_rate(score, np.ones(5)))
    assert math.isnan(false_negative_rate(score, np.zeros(5)))


@pytest.mark.parametrize("binary", [False, True])
def test_a_measurement_has_the_plain_values_and_counts(binary: bool) -> None:
    score, target = sample(200, binary=binary)
    found = measure(score, target, resamples=50)
    assert set(found) == set(MEASURES) - ({"spearman"} if binary else set())
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(FUNCTIONS[name](score, target))
    assert found["auc"].n == found["accuracy"].n == 200
    assert found["false_positive_rate"].n == (target < 0.5).sum()
    assert found["false_negative_rate"].n == found["recall"].n == (target >= 0.5).sum()
    assert found["precision"].n == (score >= 0.5).sum()


def test_with_one_class_only_what_exists_is_measured() -> None:
    found = measure(np.array([0.1, 0.7, 0.2]), np.array([0.0, 0.2, 0.1]), resamples=20)
    assert set(found) == {"spearman", "calibration_error", "accuracy", "false_positive_rate", "precision"}
    assert found["precision"].value == 0


@pytest.mark.parametrize(
    ("score", "target", "documents", "message"),
    [
        ([], [], None, "give one each"),
        ([0.1], [0.1, 0.2], None, "give one each"),
        ([0.1, math.nan], [0.1, 0.2], None, r"scores must be in \[0, 1\]"),
        ([0.1, 0.2], [0.1, 3.0], None, r"targets must be in \[0, 1\]; they go from 0.1 to 3.0"),
        ([0.1, 0.2], [0.1, 0.2], ["a"], "1 documents for 2 texts"),
    ],
)
def test_bad_numbers_are_refused(score: list[float], target: list[float], documents: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(np.array(score), np.array(target), documents)  # type: ignore[arg-type]


def test_estimates_are_shown_with_unit_and_sign() -> None:
    estimate = Estimate(value=-0.0312, low=-0.05, high=0.011, n=9)
    assert MEASURES["auc"].show(estimate, sign=True) == "−0.031 [−0.050, +0.011]"
    assert MEASURES["accuracy"].show(estimate, sign=True) == "−3.1 points [−5.0, +1.1]"
    assert MEASURES["accuracy"].show(Estimate(value=0.75, n=9)) == "75.0%"
    assert MEASURES["spearman"].show(None) == "–"


def test_labels_are_told_from_scores() -> None:
    assert is_binary(np.array([0.0, 1.0])) and not is_binary(np.array([0.0, 0.5, 1.0]))
