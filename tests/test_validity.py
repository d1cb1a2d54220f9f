"""A scorer's validity: closed forms, brute force over every pair and resample, scipy, and groups matched as words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from detoxlm.errors import UsageError
from detoxlm.identity import IDENTITY_GROUPS, mentioned_groups, mentioned_terms
from detoxlm.report.nested import validity_blocks
from detoxlm.results import Estimate
from detoxlm.scorers.base import Scorer
from detoxlm.validity import (
    FEWEST_MENTIONS,
    MEASURES,
    LabelledSet,
    accuracy,
    auc,
    calibration_error,
    differences,
    false_negative_rate,
    false_positive_rate,
    is_binary,
    measure,
    measure_set,
    spearman,
    validate,
)

FUNCTIONS = {
    "auc": auc,
    "spearman": spearman,
    "calibration_error": calibration_error,
    "accuracy": accuracy,
    "false_positive_rate": false_positive_rate,
    "false_negative_rate": false_negative_rate,
}


def sample(n: int, seed: int = 0, *, binary: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets on a coarse grid, so that there are many ties."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 11, n) / 10
    score = np.clip(np.round(target + random.normal(0, 0.3, n), 1), 0, 1)
    return score, (target >= 0.5).astype(float) if binary else target


class Echo(Scorer):
    """Scores a text by the number that it ends with, and counts the texts it was asked for."""

    name, version, revision = "echo", "1", "test"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([float(text.split()[-1]) for text in texts])


# --- the numbers ----------------------------------------------------------------------------------------------------


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
    assert found["false_negative_rate"].n == (target >= 0.5).sum()


def test_with_one_class_only_what_exists_is_measured() -> None:
    found = measure(np.array([0.1, 0.7, 0.2]), np.array([0.0, 0.2, 0.1]), resamples=20)
    assert set(found) == {"spearman", "calibration_error", "accuracy", "false_positive_rate"}


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


# --- intervals ------------------------------------------------------------------------------------------------------


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


# --- sets -----------------------------------------------------------------------------------------------------------


def test_bins_curves_and_histograms_hold_every_text_once() -> None:
    score, target = sample(300)
    one = measure_set(LabelledSet("s", [str(i) for i in range(300)], target), score, resamples=20)
    assert sum(b.n for b in one.calibration) == sum(map(sum, one.histogram)) == 300
    assert sum(one.histogram[1]) == one.toxic == (target >= 0.5).sum()
    for b in one.calibration:
        # on this grid every score lies on the lower edge of its bin, but 1.0, which is in the last
        inside = (score >= b.low - 1e-9) & ((score < b.high - 1e-9) | (b.high == 1))
        assert (b.n, b.mean_score) == (inside.sum(), pytest.approx(score[inside].mean()))
        assert b.mean_target.value == pytest.approx(target[inside].mean())
    gaps = sum(b.n * abs(b.mean_score - b.mean_target.value) for b in one.calibration) / 300
    assert gaps == pytest.approx(one.metrics["calibration_error"].value)


@pytest.mark.parametrize("n", [50, 5000])
def test_the_roc_curve_encloses_the_auc(n: int) -> None:
    random = np.random.default_rng(0)
    target = (random.random(n) < 0.2).astype(float)
    score = np.clip(random.normal(0.3 + 0.3 * target, 0.2), 0, 1)
    one = measure_set(LabelledSet("s", [str(i) for i in range(n)], target), score, resamples=5)
    x, y = np.array(one.roc).T
    assert one.roc[0] == (0, 0) and one.roc[-1] == (1, 1) and len(one.roc) <= 203
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(one.metrics["auc"].value, abs=0.002)
    possible = {((score[target == 0] >= t).mean(), (score[target == 1] >= t).mean()) for t in (*score, 2.0)}
    assert all(min(abs(x - a) + abs(y - b) for a, b in possible) < 1e-12 for x, y in one.roc[::20])


def test_failures_are_the_widest_gaps_each_text_once() -> None:
    texts = ["a", "b", "b", "c", "d", "e", "f"]
    target = np.array([0.0, 0.1, 0.1, 0.4, 1.0, 0.6, 0.9])
    score = np.array([0.6, 0.9, 0.9, 0.95, 0.2, 0.1, 0.8])
    one = measure_set(LabelledSet("s", texts, target), score, failures=2, resamples=5)
    assert [failure.text for failure in one.false_positives] == ["b", "a"]
    assert [(failure.text, failure.score, failure.target) for failure in one.false_negatives] == [
        ("d", 0.2, 1.0),
        ("e", 0.1, 0.6),
    ]
    none = measure_set(LabelledSet("s", texts, target), score, failures=0, resamples=5)
    assert none.false_positives == none.false_negatives == []


def test_each_distinct_text_is_scored_once_however_many_sets_hold_it() -> None:
    scorer, advanced = Echo(), []
    texts = ["x 0.1", "y 0.9", "x 0.1"]
    sets = [LabelledSet("all", texts, np.array([0.0, 1.0, 0.0])), LabelledSet("end", texts[1:], np.array([1.0, 0.0]))]
    found = validate(scorer, sets, resamples=10, progress=advanced.append)
    assert scorer.asked == ["x 0.1", "y 0.9"]
    assert sum(advanced) == 2
    assert [one.n for one in found.sets.values()] == [3, 2]
    assert found.sets["all"].metrics["auc"].value == 1
    with pytest.raises(UsageError, match=r"sets: all, all; give at least one set, and each a name"):
        validate(scorer, [sets[0], sets[0]])
    with pytest.raises(UsageError, match="sets: none"):
        validate(scorer, [])


class Double(Echo):
    """Echo's score, and half of it as `threat`."""

    dimensions = ("toxicity", "threat")

    def _score_dimensions_batch(self, texts: list[str]) -> np.ndarray:
        score = self._score_batch(texts)
        return np.stack([score, score / 2], 1)


def test_dimensions_that_both_have_are_measured_on_the_texts_of_which_something_is_known() -> None:
    score, target = sample(60)
    texts, documents = [f"{i} {s}" for i, s in enumerate(score)], [str(i // 2) for i in range(60)]
    said = np.where(np.arange(60) % 3 == 0, np.nan, target)
    data = LabelledSet(
        "s", texts, target, documents, dimensions={"threat": said, "insult": target, "identity_attack": target}
    )
    silent = LabelledSet("t", texts, target, dimensions={"threat": np.full(60, np.nan)})
    found = validate(Double(), [data, silent], seed=3, resamples=50)
    (name,) = found.sets["s"].dimensions
    one, known = found.sets["s"].dimensions[name], ~np.isnan(said)
    assert (name, one.n, one.positive) == ("threat", 40, int((target[known] >= 0.5).sum()))
    own = measure(score[known] / 2, target[known], np.array(documents)[known], seed=3, resamples=50)
    assert one.metrics == own
    assert found.sets["s"].metrics == validate(Echo(), [data], seed=3, resamples=50).sets["s"].metrics
    kept = found.as_dict()["dimensions"]
    assert kept.keys() == {"s"} and kept["s"]["threat"]["auc"]["value"] == round(own["auc"].value, 4)
    assert not validate(Echo(), [data], resamples=5).sets["s"].dimensions


def test_differences_are_paired() -> None:
    score, target = sample(100)
    data = LabelledSet("s", [str(i) for i in range(100)], target)
    better = np.clip(score + 0.02 * np.sign(target - score), 0, 1)
    first, other = (measure_set(data, one, seed=5, resamples=200) for one in (score, better))
    same = differences(first, first)
    assert all((e.value, e.low, e.high) == (0, 0, 0) for e in same.values())
    found = differences(first, other)
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(other.metrics[name].value - first.metrics[name].value)
        drawn = other.draws[name] - first.draws[name]
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.nanpercentile(drawn, [2.5, 97.5])))
    fewer = measure_set(data, score, seed=5, resamples=50)
    other_texts = measure_set(replace(data, name="t"), score, seed=5, resamples=200)
    for wrong in (fewer, other_texts):
        with pytest.raises(UsageError, match="not the same texts"):
            differences(first, wrong)


def test_the_dictionary_can_be_a_scorers_validity_and_can_leave_the_texts_out() -> None:
    score, target = sample(60)
    texts = [f"gay text {i} {s}" for i, s in enumerate(score)]
    sets = [LabelledSet("s", texts, target), LabelledSet("t", texts[:50], target[:50])]
    found = validate(Echo(), sets, resamples=20)
    shown, folded = validity_blocks(found.as_dict())
    (table,) = shown
    assert table.rows[0][0] == "s"
    assert f"{found.sets['s'].metrics['auc'].value:.3f}" in table.rows[0][1][table.columns.index("auc")]
    assert table.rows[0][1][-1] == "60"
    assert {"identity false positives", "calibration curve", "failures"} <= {name for name, _ in folded}
    assert "gay text" in str(found.as_dict()) and "gay text" not in str(found.as_dict(texts=False))


def test_estimates_are_shown_with_unit_and_sign() -> None:
    estimate = Estimate(value=-0.0312, low=-0.05, high=0.011, n=9)
    assert MEASURES["auc"].show(estimate, sign=True) == "−0.031 [−0.050, +0.011]"
    assert MEASURES["accuracy"].show(estimate, sign=True) == "−3.1 points [−5.0, +1.1]"
    assert MEASURES["accuracy"].show(Estimate(value=0.75, n=9)) == "75.0%"
    assert MEASURES["spearman"].show(None) == "–"


def test_labels_are_told_from_scores() -> None:
    assert is_binary(np.array([0.0, 1.0])) and not is_binary(np.array([0.0, 0.5, 1.0]))


# --- identity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Women and GAY men", {"woman", "gay", "man"}),
        ("the mankind of Manchester, whitelisted, a germane blackboard", set()),
        ("an African-American writer", {"african", "african american", "american"}),
        ("that woman's non-binary friend", {"woman", "nonbinary"}),
        ("Jews, Muslims; Christians.", {"jew", "muslim", "christian"}),
        ("blindly, deafening, olden, youngest", set()),
        ("", set()),
    ],
)
def test_terms_are_words_and_never_inside_one(text: str, terms: set[str]) -> None:
    assert mentioned_terms([text]) == [terms]


def test_groups_gather_their_terms_and_no_form_belongs_to_two() -> None:
    assert mentioned_groups(["homosexuals, a lesbian and her refugees", "nobody"]) == [
        {"gay", "lesbian", "refugees"},
        set(),
    ]
    forms = [form for terms in IDENTITY_GROUPS.values() for form in terms.replace("/", " ").split()]
    assert len(forms) == len(set(forms))


def test_rates_by_group_are_of_benign_texts_and_their_differences_paired() -> None:
    random = np.random.default_rng(0)
    kinds = random.choice(["a gay text", "a muslim text", "a text", "a gay muslim text"], 400)
    texts = [f"{kind} {i}" for i, kind in enumerate(kinds)]
    target = (random.random(400) < 0.3).astype(float)
    gay = np.array(["gay" in text for text in texts])
    score = np.where(random.random(400) < 0.1 + 0.3 * gay, 0.8, 0.2)
    one = measure_set(LabelledSet("s", texts, target), score, seed=2, resamples=300)
    benign = target == 0
    overall = (score[benign] >= 0.5).mean()
    found = {group.name: group for group in one.groups}
    assert set(found) == {"gay", "muslim"}
    group = found["gay"]
    assert group.n == (benign & gay).sum()
    assert group.rate.value == pytest.approx((score[benign & gay] >= 0.5).mean())
    assert group.difference.value == pytest.approx(group.rate.value - overall)
    drawn = np.random.default_rng(2).integers(400, size=(300, 400))
    spread = []
    for rows in drawn:
        inside = rows[benign[rows]]
        spread.append((score[inside[gay[inside]]] >= 0.5).mean() - (score[inside] >= 0.5).mean())
    low, high = np.percentile(spread, [2.5, 97.5])
    assert (group.difference.low, group.difference.high) == pytest.approx((low, high))
    assert low > 0
    assert [term.name for term in one.furthest_terms] == ["gay", "muslim"]


def test_a_group_that_is_never_flagged_is_not_certainly_below_average() -> None:
    texts = ["a deaf text 1", "a deaf text 2", *(f"text {i}" for i in range(98))]
    score = np.where(np.arange(100) < 12, 0.2, np.where(np.arange(100) < 22, 0.9, 0.2))
    one = measure_set(LabelledSet("s", texts, np.zeros(100)), score, resamples=200)
    (deaf,) = one.groups
    assert (deaf.n, deaf.rate.value) == (2, 0)
    assert deaf.rate.high == pytest.approx(1 - 0.025 ** (1 / 2))
    assert deaf.difference.value == pytest.approx(-0.1)
    assert deaf.difference.high == pytest.approx(1 - 0.025 ** (1 / 2) - 0.1)
    assert deaf.n < FEWEST_MENTIONS and one.furthest_terms == []


def test_groups_of_the_file_come_before_those_in_the_text() -> None:
    texts = [f"a gay text {i}" for i in range(10)]
    groups = [frozenset({"lefthanded"} if i % 2 else set()) for i in range(10)]
    one = measure_set(LabelledSet("s", texts, np.zeros(10), groups=groups), np.full(10, 0.1), resamples=10)
    assert [(group.name, group.n) for group in one.groups] == [("lefthanded", 5)]
    assert [(term.name, term.n) for term in one.terms] == [("gay", 10)]
