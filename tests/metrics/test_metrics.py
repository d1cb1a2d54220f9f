"""The metrics on rows small enough to work out by hand."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detoxlm.metrics import CORRECTED, METRICS, PAYING
from detoxlm.metrics.answers import ANSWERS
from detoxlm.metrics.diversity import distinct
from detoxlm.results import Estimate, Row, Window

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import intervals

_NUMBER = itertools.count()


def row(texts: Sequence[str], scores: Sequence[float], **changes: Any) -> Row:
    """A row of a prompt of its own."""
    fields: dict[str, Any] = {
        "prompt": f"prompt {next(_NUMBER)}",
        "continuations": list(texts),
        "scores": list(scores),
        "tokens": [len(text.split()) for text in texts],
        "nll": [2.0 * len(text.split()) if text.strip() else None for text in texts],
        "nll_tokens": [len(text.split()) for text in texts],
    }
    return Row(**{**fields, **changes})


ROWS = [
    row([" the cat sat", " the cat ran", " the the the"], [0.5, 0.2, 0.9]),
    row([" a b", "", " a b"], [0.1, 0.0, 0.49]),
]
WINDOWS = [Window(nll=30.0, tokens=10, kl=2.0), Window(nll=10.0, tokens=30, kl=0.4)]
BY_HAND = {
    "mean_toxicity": (0.5 + 0.2 + 0.9 + 0.1 + 0.0 + 0.49) / 6,
    "toxic_fraction": 2 / 6,  # 0.5 counts, 0.49 does not
    "expected_max_toxicity": (0.9 + 0.49) / 2,
    "toxicity_probability": 1 / 2,
    "model_perplexity": math.exp(40 / 40),  # pooled over tokens, not over windows
    "continuation_perplexity": math.exp((3 * 6 + 2 * 4) / (9 + 4)),
    "kl_from_base": 2.4 / 40,
    "distinct_1": (4 / 9 + 2 / 4) / 2,  # the cat sat ran; a b
    "distinct_2": (4 / 6 + 1 / 2) / 2,  # the-cat cat-sat cat-ran the-the; a-b
    "distinct_3": 3 / 3,  # the second prompt has no trigram and does not count
    "empty_fraction": 1 / 6,
    "mean_length": 13 / 6,
}


def value_of(name: str, rows: Sequence[Row], windows: Sequence[Window] = ()) -> float | None:
    estimate = METRICS[name].estimate(rows, windows)
    return None if estimate is None else estimate.value


@pytest.mark.parametrize("name", BY_HAND)
def test_each_metric_has_its_value_by_hand(name: str) -> None:
    estimate = METRICS[name].estimate(ROWS, WINDOWS)
    assert estimate is not None
    assert estimate.value == pytest.approx(BY_HAND[name])
    if name == "distinct_3":  # of one prompt
        assert (estimate.n, estimate.low, estimate.high) == (1, None, None)
        return
    assert estimate.n == 2
    assert estimate.low is not None and estimate.high is not None
    assert estimate.low <= estimate.value <= estimate.high


def test_every_metric_was_worked_out_by_hand() -> None:
    # test_corrected.py, test_answers.py, test_who_pays.py
    others = {CORRECTED.name, *(metric.name for metric in (*ANSWERS, *PAYING))}
    assert [name for name in METRICS if name not in others] == list(BY_HAND)
    assert all(metric.name == name for name, metric in METRICS.items())


@pytest.mark.parametrize("score", [0.5, 0.7, 1.0])
def test_a_score_at_the_threshold_is_toxic(score: float) -> None:
    assert value_of("toxic_fraction", [row(["x"], [score])]) == 1
    assert value_of("toxicity_probability", [row(["x", "y"], [0.0, score])]) == 1


@pytest.mark.parametrize("name", ["mean_toxicity", "toxic_fraction", "empty_fraction", "mean_length"])
def test_continuations_weigh_alike_where_prompts_have_unlike_numbers_of_them(name: str) -> None:
    many, few = row([" a b"] * 9, [0.9] * 9), row([""], [0.0])
    expected = {"mean_toxicity": 0.81, "toxic_fraction": 0.9, "empty_fraction": 0.1, "mean_length": 1.8}
    assert value_of(name, [many, few]) == pytest.approx(expected[name])


def test_intervals_resample_prompts_and_not_their_continuations() -> None:
    """Twenty prompts whose 25 samples are alike say as much as twenty samples, not as five hundred."""
    rows = [row(["a b"] * 25, [float(i % 2)] * 25) for i in range(20)]
    for name in ("mean_toxicity", "toxic_fraction"):
        found = METRICS[name].estimate(rows, [])
        assert found is not None and found.low is not None and found.high is not None
        assert found.n == 20
        assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(20), rel=0.15)


@pytest.mark.parametrize("copies", [3, 10])
@pytest.mark.parametrize("name", BY_HAND)
def test_the_same_prompts_again_are_no_new_evidence(name: str, copies: int) -> None:
    milder = [one.model_copy(update={"scores": [score / 2 for score in one.scores]}) for one in ROWS]
    metric = METRICS[name]
    for once, again in (
        (metric.estimate(ROWS, WINDOWS), metric.estimate(ROWS * copies, WINDOWS)),
        (
            metric.difference((ROWS, WINDOWS), (milder, WINDOWS)),
            metric.difference((ROWS * copies, WINDOWS), (milder * copies, WINDOWS)),
        ),
    ):
        assert once is not None and again is not None
        assert again.model_dump() == pytest.approx(once.model_dump())


def test_a_prompt_that_is_there_more_often_weighs_more_and_is_drawn_as_one() -> None:
    high, low = row(["a"], [1.0]), row(["b"], [0.0])
    found = METRICS["mean_toxicity"].estimate([high, high, high, low], [])
    assert found is not None
    assert (found.value, found.n, found.low, found.high) == (0.75, 2, 0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("copies", intervals.COPIES)
def test_intervals_hold_the_truth_as_often_as_they_say(copies: int) -> None:
    for name, share in intervals.covered(copies, simulations=2000).items():
        assert share == pytest.approx(0.95, abs=0.015), name


def test_prompts_weigh_alike_in_the_metrics_of_their_worst_continuation() -> None:
    many, few = row([" a"] * 9, [0.9] * 9), row([" a"], [0.1])
    assert value_of("expected_max_toxicity", [many, few]) == pytest.approx(0.5)
    assert value_of("toxicity_probability", [many, few]) == pytest.approx(0.5)


def test_empty_continuations_are_counted_and_not_judged_for_fluency() -> None:
    rows = [row(["", " \n", " a b"], [0.0, 0.0, 0.3]), row(["", "", ""], [0.0] * 3)]
    assert value_of("empty_fraction", rows) == pytest.approx(5 / 6)
    assert value_of("continuation_perplexity", rows) == pytest.approx(math.exp(2))
    assert value_of("mean_toxicity", rows) == pytest.approx(0.05)
    assert value_of("distinct_1", rows) == 1.0
    assert value_of("distinct_2", rows) == 1.0
    assert value_of("distinct_3", rows) is None


def test_what_was_not_measured_has_no_estimate() -> None:
    silent = [row(["", ""], [0.0, 0.0])]
    for name in ("continuation_perplexity", "distinct_1", "distinct_2", "distinct_3"):
        assert METRICS[name].estimate(silent, []) is None
    for name in ("model_perplexity", "kl_from_base"):
        assert METRICS[name].estimate(ROWS, []) is None
    unmeasured = [Window(nll=1.0, tokens=2)]
    assert value_of("kl_from_base", ROWS, unmeasured) is None
    assert value_of("model_perplexity", ROWS, unmeasured) == pytest.approx(math.exp(0.5))
    assert METRICS["kl_from_base"].difference((ROWS, unmeasured), (ROWS, WINDOWS)) is None


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a a a a"], 1, 1 / 4),
        (["a a a a"], 2, 1 / 3),
        (["a b a b"], 2, 2 / 3),
        (["a b", "b a"], 2, 1.0),  # no bigram runs from one text into the next
        (["a b c", "a b d"], 3, 1.0),
        (["A a"], 1, 1.0),
        ([" a\n b\t"], 2, 1.0),
        (["a b"], 3, None),
        (["", " "], 1, None),
        ([], 1, None),
    ],
)
def test_distinct_n(texts: list[str], n: int, expected: float | None) -> None:
    assert distinct(texts, n) == pytest.approx(expected)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_difference_is_now_minus_before(name: str) -> None:
    milder = [one.model_copy(update={"scores": [score / 2 for score in one.scores]}) for one in ROWS]
    lower = [Window(nll=w.nll / 2, tokens=w.tokens, kl=(w.kl or 0) / 2) for w in WINDOWS]
    got = METRICS[name].difference((ROWS, WINDOWS), (milder, lower))
    assert got is not None
    after = value_of(name, milder, lower)
    assert after is not None
    assert got.value == pytest.approx(after - BY_HAND[name])
    if name == "distinct_3":  # of one prompt
        assert (got.n, got.low, got.high) == (1, None, None)
        return
    assert got.low is not None and got.high is not None
    assert got.low <= got.value <= got.high


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("mean_toxicity", 0.16666, "16.7"),
        ("toxic_fraction", 0.16666, "16.7%"),
        ("expected_max_toxicity", 0.16666, "0.167"),
        ("toxicity_probability", 1.0, "100.0%"),
        ("model_perplexity", 23.456, "23.46"),
        ("continuation_perplexity", 1234.5, "1234.50"),
        ("kl_from_base", 0.00123456, "0.0012"),
        ("distinct_1", 0.98765, "0.988"),
        ("distinct_2", 1.0, "1.000"),
        ("distinct_3", 0.0, "0.000"),
        ("empty_fraction", 0.0, "0.0%"),
        ("mean_length", 19.96, "20.0"),
    ],
)
def test_values_are_printed_in_the_metrics_unit(name: str, value: float, shown: str) -> None:
    metric = METRICS[name]
    assert metric.text(value) == shown
    assert metric.show(Estimate(value=value, n=1)) == shown
    percent = "%" if metric.unit == "%" else ""
    bare = shown.removesuffix("%")
    assert metric.show(Estimate(value=value, low=value, high=value, n=9)) == f"{bare}{percent} [{bare}, {bare}]"


def test_the_perplexity_of_a_broken_model_fits_on_a_line() -> None:
    assert METRICS["model_perplexity"].text(1.014e304) == "1.0e+304"
    assert METRICS["model_perplexity"].text(999_999.4) == "999999.40"
    assert len(METRICS["model_perplexity"].show(Estimate(value=1e304, low=1e300, high=1e304, n=9))) < 40


@pytest.mark.parametrize(
    ("before", "now", "shown"), [(0.5, 0.29, "-42%"), (0.5, 0.5, "+0%"), (0.2, 0.5, "+150%"), (0.0, 0.5, "")]
)
def test_relative_changes(before: float, now: float, shown: str) -> None:
    change = METRICS["mean_toxicity"].show_change(Estimate(value=before, n=1), Estimate(value=now, n=1))
    assert change == shown


@pytest.mark.parametrize("name", BY_HAND)
def test_each_metric_explains_itself(name: str) -> None:
    metric = METRICS[name]
    assert metric.label[0].isupper() and metric.meaning and "\n" not in metric.label + metric.meaning
    better = {"mean_length": "neither", "distinct_1": "higher", "distinct_2": "higher", "distinct_3": "higher"}
    assert metric.better == better.get(name, "lower")
    assert getattr(metric, "exponential", False) == name.endswith("perplexity")
