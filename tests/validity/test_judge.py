"""What a scorer does on sets of texts: curves, mistakes, further dimensions, pairs of scorers, identity groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scored import sample

from detoxlm.errors import UsageError
from detoxlm.report.nested import validity_blocks
from detoxlm.scorers.base import Scorer
from detoxlm.validity import FEWEST_MENTIONS, LabelledSet, differences, measure, measure_set, validate


class Echo(Scorer):
    """Scores a text by the number that it ends with, and counts the texts it was asked for."""

    name, version, revision = "echo", "1", "test"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([float(text.split()[-1]) for text in texts])


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
    # two readers label one text differently: its widest gap decides its place
    twice = LabelledSet("s", ["x", "y", "x"], np.array([0.0, 0.2, 0.4]))
    found = measure_set(twice, np.full(3, 0.9), failures=2, resamples=5).false_positives
    assert [(failure.text, failure.target) for failure in found] == [("x", 0.0), ("y", 0.2)]
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
    assert f"{found.sets['s'].metrics['auc'].value:.3f}" in table.rows[0][1][table.columns.index("AUC")]
    assert table.rows[0][1][-1] == "60"
    assert {"Harmless sentences that name a group of people", "calibration curve", "failures"} <= {
        name for name, _ in folded
    }
    assert "gay text" in str(found.as_dict()) and "gay text" not in str(found.as_dict(texts=False))


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
