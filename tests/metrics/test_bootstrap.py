"""Bootstrap intervals: closed forms, coverage, another implementation, and loops over every resample."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from detoxlm.metrics import bootstrap as module
from detoxlm.metrics.bootstrap import bootstrap, paired_bootstrap
from detoxlm.results import Estimate

Units = tuple[np.ndarray, np.ndarray]


def mean_units(values: np.ndarray) -> Units:
    return np.asarray(values, dtype=np.float64), np.ones(len(values))


def width(estimate: Estimate) -> float:
    assert estimate.low is not None and estimate.high is not None
    return estimate.high - estimate.low


def exact_percentiles(units: Units, exponential: bool = False) -> tuple[float, float]:
    """The percentiles over all N^N equally likely resamples."""
    values = [
        ratio(units, chosen, exponential) for chosen in itertools.product(range(len(units[0])), repeat=len(units[0]))
    ]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def ratio(units: Units, chosen: tuple[int, ...], exponential: bool) -> float:
    top, bottom = sum(units[0][i] for i in chosen), sum(units[1][i] for i in chosen)
    if not bottom:
        return math.nan
    return math.exp(top / bottom) if exponential else top / bottom


# --- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.37, -2.0])
@pytest.mark.parametrize("exponential", [False, True])
def test_constant_data_have_no_width(value: float, exponential: bool) -> None:
    got = bootstrap(*mean_units(np.full(50, value)), exponential=exponential)
    expected = math.exp(value) if exponential else value
    assert (got.value, got.low, got.high) == pytest.approx((expected, expected, expected))
    assert got.n == 50


def test_the_interval_of_a_mean_is_two_standard_errors_wide() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    got = bootstrap(*mean_units(values))
    assert got.value == pytest.approx(values.mean())
    assert width(got) == pytest.approx(2 * 1.96 * values.std() / math.sqrt(2000), rel=0.06)
    assert got.low is not None and got.high is not None
    assert (got.low + got.high) / 2 == pytest.approx(got.value, abs=0.1 * width(got))


def test_units_weigh_by_their_denominators() -> None:
    """A unit of 9 tokens and one of 1: the value is the ratio of the sums, not the mean of the ratios."""
    got = bootstrap(np.array([9.0, 0.0]), np.array([9.0, 1.0]))
    assert got.value == pytest.approx(0.9)
    assert (got.low, got.high) == (0.0, 1.0)  # resamples of one unit twice
    perplexity = bootstrap(np.array([9.0, 0.0]), np.array([9.0, 1.0]), exponential=True)
    assert (perplexity.value, perplexity.low, perplexity.high) == pytest.approx((math.exp(0.9), 1.0, math.e))


@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_tiny_data_agree_with_all_resamples(exponential: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    units = random.normal(size=5), random.integers(1, 9, size=5).astype(float)
    got = bootstrap(*units, exponential=exponential)
    low, high = exact_percentiles(units, exponential)
    # 2,000 of 3,125 resamples: percentiles to within some of the distribution's grains
    assert got.low == pytest.approx(low, abs=0.06 * (high - low))
    assert got.high == pytest.approx(high, abs=0.06 * (high - low))


def test_exp_of_the_ratio_is_a_perplexity_and_its_interval_is_the_exp_of_the_ratios_interval() -> None:
    random = np.random.default_rng(1)
    top, bottom = random.gamma(3, size=40) * 10, np.full(40, 10.0)
    plain, exponential = bootstrap(top, bottom), bootstrap(top, bottom, exponential=True)
    for name in ("value", "low", "high"):
        assert getattr(exponential, name) == pytest.approx(math.exp(getattr(plain, name)), rel=1e-3)


def test_one_unit_has_a_value_but_no_interval() -> None:
    units = np.array([3.0]), np.array([4.0])
    assert bootstrap(*units) == Estimate(value=0.75, n=1)
    assert paired_bootstrap(units, (units[0] + 1, units[1])) == Estimate(value=0.25, n=1)


@pytest.mark.parametrize("n", [2, 10, 300])
@pytest.mark.parametrize("samples", [1, 25])
@pytest.mark.parametrize("share", [0, 1])
def test_shares_of_none_and_all_get_the_exact_binomial_bound(n: int, samples: int, share: int) -> None:
    got = bootstrap(np.full(n, float(share * samples)), np.full(n, float(samples)), proportion=True)
    bound = stats.binomtest(0, n).proportion_ci(0.95, method="exact").high  # Clopper-Pearson
    expected = (0.0, bound) if share == 0 else (1 - bound, 1.0)
    assert (got.value, got.low, got.high) == pytest.approx((float(share), *expected))


def test_other_shares_keep_their_bootstrap_interval_and_other_metrics_have_no_bound() -> None:
    some = np.array([1.0] + [0.0] * 19)
    assert bootstrap(*mean_units(some), proportion=True) == bootstrap(*mean_units(some))
    assert width(bootstrap(*mean_units(np.zeros(20)))) == 0


def with_nothing(units: Units, more: int) -> Units:
    """The same units between `more` that have nothing of what is measured."""
    top, bottom = (np.concatenate([np.zeros(more // 2), one, np.zeros(more - more // 2)]) for one in units)
    return top, bottom


@pytest.mark.parametrize("proportion", [False, True])
@pytest.mark.parametrize("hits", [0, 2, 4])
def test_units_without_a_denominator_are_no_evidence(hits: int, proportion: bool) -> None:
    """Four answers have a rule and 300 have none: the interval is that of four, the exact bound too."""
    units = mean_units(np.array([1.0] * hits + [0.0] * (4 - hits)))
    assert bootstrap(*with_nothing(units, 300), proportion=proportion) == bootstrap(*units, proportion=proportion)
    other = mean_units(np.array([0.0, 1.0, 0.0, 0.0]))
    pair = paired_bootstrap(with_nothing(units, 300), with_nothing(other, 300))
    assert pair == paired_bootstrap(units, other) and pair.n == 4


def test_one_unit_with_a_denominator_has_no_interval_however_many_others_there_are() -> None:
    one, other = (np.array([30.0]), np.array([10.0])), (np.array([20.0]), np.array([10.0]))
    got = bootstrap(*with_nothing(one, 40), exponential=True)
    assert got == Estimate(value=float(np.exp(3.0)), n=1)
    assert paired_bootstrap(with_nothing(one, 40), with_nothing(other, 40)) == Estimate(value=-1.0, n=1)


def test_a_pair_needs_two_units_on_each_side_and_draws_those_of_either() -> None:
    """The detoxified model falls silent after all prompts but the first ones."""
    values, there = np.array([3.0, 1.0, 2.0, 5.0, 4.0]), np.ones(5)
    for left, bounded in ((1, False), (2, True)):
        kept = np.arange(5) < left
        got = paired_bootstrap((values, there), (values * kept, there * kept))
        assert got.value == pytest.approx(values[:left].mean() - 3) and got.n == 5
        assert (got.low is not None) is bounded
    # a resample may miss both units of one side: it says nothing, and the others are all resamples that have one
    chosen = [draw for draw in itertools.product(range(5), repeat=5) if min(draw) < 2]
    exact = [values[[i for i in draw if i < 2]].mean() - values[list(draw)].mean() for draw in chosen]
    low, high = np.percentile(exact, [2.5, 97.5])
    assert (got.low, got.high) == (pytest.approx(low, abs=0.1), pytest.approx(high, abs=0.1))


def test_a_ratio_whose_exp_is_infinite_stays_finite() -> None:
    units = np.array([1e5, 9e5, 2e5]), np.full(3, 100.0)
    got = bootstrap(*units, exponential=True)
    assert all(value is not None and 1e100 < value < math.inf for value in (got.value, got.low, got.high))
    same = paired_bootstrap(units, units, exponential=True)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)  # not inf - inf


# --- simulation and another implementation --------------------------------------------------------------------------


def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ratios of sums of dependent, skewed units with truth 0.3 / 0.7 * mean(weights) / mean(weights)."""
    monkeypatch.setattr(module, "RESAMPLES", 400)
    random = np.random.default_rng(7)
    runs, hits = 400, 0
    for run in range(runs):
        bottom = random.integers(1, 20, size=80).astype(float)
        top = random.binomial(bottom.astype(int), 0.3).astype(float)
        got = bootstrap(top, bottom, seed=run)
        assert got.low is not None and got.high is not None
        hits += got.low <= 0.3 <= got.high
    # 95% less what the percentile bootstrap loses at n = 80; three standard deviations of 400 runs are 3.3%
    assert 0.91 <= hits / runs <= 0.98


@pytest.mark.parametrize("exponential", [False, True])
def test_intervals_agree_with_scipy(exponential: bool) -> None:
    random = np.random.default_rng(2)
    bottom = random.integers(5, 30, size=60).astype(float)
    top = bottom * random.gamma(2, 0.3, size=60)

    def statistic(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        value = a.sum(axis) / b.sum(axis)
        return np.exp(value) if exponential else value

    theirs = stats.bootstrap(
        (top, bottom), statistic, paired=True, method="percentile", n_resamples=20_000, rng=np.random.default_rng(3)
    ).confidence_interval
    mine = bootstrap(top, bottom, exponential=exponential)
    assert mine.low == pytest.approx(theirs.low, abs=0.06 * (theirs.high - theirs.low))
    assert mine.high == pytest.approx(theirs.high, abs=0.06 * (theirs.high - theirs.low))


def test_the_seed_decides_the_interval_and_not_the_value() -> None:
    units = mean_units(np.random.default_rng(0).normal(size=30))
    assert bootstrap(*units, seed=1) == bootstrap(*units, seed=1)
    assert bootstrap(*units, seed=1) != bootstrap(*units, seed=2)
    assert bootstrap(*units, seed=1).value == bootstrap(*units, seed=2).value


# --- paired ---------------------------------------------------------------------------------------------------------


def test_a_paired_interval_is_narrower_where_the_two_go_together() -> None:
    random = np.random.default_rng(0)
    before = random.normal(size=200)
    after = before - 0.1 + 0.1 * random.normal(size=200)
    pair = paired_bootstrap(mean_units(before), mean_units(after))
    unpaired = math.hypot(width(bootstrap(*mean_units(before))), width(bootstrap(*mean_units(after), seed=1)))
    assert pair.value == pytest.approx(after.mean() - before.mean())
    assert width(pair) < 0.2 * unpaired
    assert pair.high is not None and pair.high < 0  # the pairing is what shows the improvement
    shuffled = paired_bootstrap(mean_units(before), mean_units(random.permutation(after)))
    assert width(shuffled) > 5 * width(pair)


def test_a_paired_mean_is_the_bootstrap_of_the_differences() -> None:
    random = np.random.default_rng(4)
    before, after = random.normal(size=(2, 30))
    pair = paired_bootstrap(mean_units(before), mean_units(after), seed=9)
    plain = bootstrap(*mean_units(after - before), seed=9)
    assert (pair.value, pair.low, pair.high) == pytest.approx((plain.value, plain.low, plain.high))


@pytest.mark.parametrize("exponential", [False, True])
def test_tiny_pairs_agree_with_a_loop_over_all_resamples(exponential: bool) -> None:
    random = np.random.default_rng(6)
    base, now = ((random.normal(size=5), random.integers(1, 9, size=5).astype(float)) for _ in range(2))
    differences = [
        ratio(now, chosen, exponential) - ratio(base, chosen, exponential)
        for chosen in itertools.product(range(5), repeat=5)
    ]
    low, high = np.percentile(differences, [2.5, 97.5])
    got = paired_bootstrap(base, now, exponential=exponential)
    everything = tuple(range(5))
    assert got.value == pytest.approx(ratio(now, everything, exponential) - ratio(base, everything, exponential))
    assert got.low == pytest.approx(low, abs=0.06 * (high - low))
    assert got.high == pytest.approx(high, abs=0.06 * (high - low))


def test_a_model_against_itself_differs_by_exactly_nothing() -> None:
    units = mean_units(np.random.default_rng(0).normal(size=30))
    got = paired_bootstrap(units, units, exponential=True)
    assert (got.value, got.low, got.high, got.n) == (0.0, 0.0, 0.0, 30)


def test_the_two_of_a_pair_change_sign_when_they_change_places() -> None:
    random = np.random.default_rng(5)
    a, b = mean_units(random.normal(size=40)), mean_units(random.normal(size=40))
    there, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert there.low is not None and there.high is not None
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_unlike_lengths_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="3 units against 4"):
        paired_bootstrap(mean_units(np.ones(3)), mean_units(np.ones(4)))
