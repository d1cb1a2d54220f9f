"""The intervals of a scorer's validity, against resamples that are drawn again text by text, and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scored import FUNCTIONS, sample

from detoxlm.results import Estimate
from detoxlm.validity import LabelledSet, differences, measure, measure_set


def test_every_resample_is_the_metric_of_whole_documents_drawn_with_replacement() -> None:
    """The draws are done again here, text by text, with the plain functions and scipy."""
    score, target = sample(60)
    documents = [f"document {i % 9}" for i in range(60)]
    one = measure_set(LabelledSet("s", [f"t {i}" for i in range(60)], target, documents), score, seed=7, resamples=40)
    drawn = np.random.default_rng(7).integers(9, size=(40, 9))
    for i in range(40):
        rows = np.concatenate([np.flatnonzero(np.arange(60) % 9 == document) for document in drawn[i]])
        for name, function in FUNCTIONS.items():
            assert one.draws[name][i] == pytest.approx(function(score[rows], target[rows]), nan_ok=True), name
        assert one.draws["spearman"][i] == pytest.approx(stats.spearmanr(score[rows], target[rows])[0])
    for name, estimate in one.metrics.items():
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.nanpercentile(one.draws[name], [2.5, 97.5])))


def test_the_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Normal scores of two classes one standard deviation apart: AUC is Phi(1 / sqrt 2)."""
    random, truth, hits = np.random.default_rng(1), stats.norm.cdf(1 / math.sqrt(2)), 0
    for trial in range(200):
        target = np.repeat([0.0, 1.0], 100)
        score = stats.norm.cdf(random.normal(target, 1))  # monotone, so that ranks stay
        estimate = measure(score, target, seed=trial, resamples=300)["auc"]
        assert estimate.low is not None and estimate.high is not None
        hits += estimate.low <= truth <= estimate.high
    assert 0.90 <= hits / 200 <= 0.99


def test_copies_of_a_document_do_not_narrow_the_interval() -> None:
    score, target = sample(50)
    once = measure(score, target, np.arange(50), seed=3)
    copied = measure(np.tile(score, 5), np.tile(target, 5), np.tile(np.arange(50), 5), seed=3)
    careless = measure(np.tile(score, 5), np.tile(target, 5), seed=3)
    for name, estimate in once.items():
        assert (estimate.low, estimate.high) == pytest.approx((copied[name].low, copied[name].high)), name

    def width(estimate: Estimate) -> float:
        assert estimate.low is not None and estimate.high is not None
        return estimate.high - estimate.low

    assert width(careless["auc"]) < 0.6 * width(copied["auc"])


def test_equal_texts_are_one_document_where_none_is_named() -> None:
    score, target = sample(30)
    texts = [f"text {i}" for i in range(30)]
    one = measure_set(LabelledSet("s", texts, target), score, seed=3)
    twice = measure_set(LabelledSet("s", texts * 2, np.tile(target, 2)), np.tile(score, 2), seed=3)
    assert (one.metrics["auc"].low, one.metrics["auc"].high) == pytest.approx(
        (twice.metrics["auc"].low, twice.metrics["auc"].high)
    )


def test_a_rate_of_nought_has_the_exact_bound_over_documents() -> None:
    score, target = np.full(40, 0.2), np.repeat([0.0, 1.0], 20)
    rate = measure(score, target)["false_positive_rate"]
    assert (rate.value, rate.low) == (0, 0)
    assert rate.high == pytest.approx(stats.beta.ppf(0.975, 1, 20))  # Clopper-Pearson with no hit in 20
    missed = measure(score, target, np.arange(40) // 2)["false_negative_rate"]
    assert (missed.value, missed.high) == (1, 1)
    assert missed.low == pytest.approx(stats.beta.ppf(0.025, 10, 1))  # 10 documents


def test_one_document_has_no_interval() -> None:
    score, target = sample(20)
    assert all(e.low is None and e.high is None for e in measure(score, target, ["a"] * 20).values() if 0 < e.value < 1)


def test_texts_of_one_document_have_no_interval_among_those_of_others() -> None:
    texts = [*(f"a gay text {i}" for i in range(40)), *(f"text {i}" for i in range(60))]
    score = np.where(np.arange(100) % 4 == 0, 0.9, 0.1)
    documents = ["one thread"] * 40 + [f"thread {i}" for i in range(60)]
    one = measure_set(LabelledSet("s", texts, np.zeros(100), documents), score, resamples=200)
    (gay,) = one.groups
    assert (gay.n, gay.rate.value) == (40, 0.25)
    assert gay.rate.low is None
    assert gay.difference.low is None
    assert one.metrics["false_positive_rate"].low is not None


def test_one_document_has_no_interval_of_differences_either() -> None:
    score, target = sample(40)
    texts = [f"text {i}" for i in range(40)]
    whole = LabelledSet("s", texts, target, ["a"] * 40)
    first, other = (measure_set(whole, values, resamples=50) for values in (score, 1 - score))
    assert all(found.low is None for found in differences(first, other).values())
