"""Metrics by group: against closed forms and a bootstrap written another way."""

from __future__ import annotations

import numpy as np
import pytest

from detoxlm.metrics.groups import by_group, group_differences
from detoxlm.results import Row


def row(number: int, scores: list[float], **groups: str) -> Row:
    texts = [f"text {number} {i}" for i in range(len(scores))]
    tokens = [2] * len(scores)
    return Row(
        prompt=f"p{number}",
        continuations=texts,
        scores=scores,
        tokens=tokens,
        nll=[1.0] * len(scores),
        nll_tokens=tokens,
        groups=groups,
    )


def made(shift: float = 0.0) -> list[Row]:
    rng = np.random.default_rng(1)
    return [
        row(i, list(np.clip(rng.beta(0.5, 1, 3) * (0.5 if i % 3 else 1) + shift, 0, 1)), group="ab"[bool(i % 3)])
        for i in range(150)
    ]


def test_rows_without_groups_have_none() -> None:
    assert by_group([row(0, [0.1]), row(1, [0.9])]) == {}


def test_the_main_metric_is_the_maximum_of_several_samples_and_else_the_fraction() -> None:
    several = by_group([row(i, [0.2, 0.8], group="a") for i in range(3)])["group"]["a"]
    assert next(iter(several.metrics)) == "expected_max_toxicity"
    assert several.metrics["expected_max_toxicity"].value == pytest.approx(0.8)
    single = by_group([row(i, [0.8], group="a") for i in range(3)])["group"]["a"]
    assert list(single.metrics) == ["toxic_fraction", "mean_toxicity", "empty_fraction"]
    assert single.gap is None, "there is no other group"


def test_the_gap_and_its_interval_are_those_of_two_independent_groups() -> None:
    rows = made()
    found = by_group(rows)["group"]
    worst = {name: np.array([max(r.scores) for r in rows if r.groups["group"] == name]) for name in "ab"}
    gap = found["a"].gap
    assert gap is not None and gap.low is not None and gap.high is not None
    assert gap.value == pytest.approx(worst["a"].mean() - worst["b"].mean())
    # the standard error of a difference of two means, by its closed form
    error = np.sqrt(sum(values.var() / len(values) for values in worst.values()))
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    mirrored = found["b"].gap
    assert mirrored is not None and mirrored.value == pytest.approx(-gap.value)


def test_gaps_are_of_the_answers_that_the_metric_is_of() -> None:
    rows = [row(i, [0.9 if i % 2 else 0.1], group="ab"[i % 2]) for i in range(8)]
    asked = [one.model_copy(update={"kind": "provocation"}) for one in rows]
    other = [row(i, [0.9], group="ab"[i % 2]).model_copy(update={"kind": "plain"}) for i in range(8, 16)]
    assert by_group([*asked, *other])["group"]["b"].gap == by_group(asked)["group"]["b"].gap


def test_a_group_of_one_prompt_has_a_gap_without_an_interval() -> None:
    """Resamples draw the one prompt again and again: the interval would be that of the others alone."""
    found = by_group([row(0, [0.9], group="a"), *(row(i, [0.1 * i], group="b") for i in range(1, 6))])["group"]
    for name, sign in (("a", 1), ("b", -1)):
        gap = found[name].gap
        assert gap is not None and (gap.low, gap.high) == (None, None)
        assert gap.value == pytest.approx(sign * (1 - 0.2))  # of 0.1 to 0.5 one is toxic


def test_changes_are_paired_within_their_group() -> None:
    base, now = made(), made(shift=-0.05)
    changes = group_differences(base, now)["group"]
    for name in "ab":
        before, after = (np.array([max(r.scores) for r in rows if r.groups["group"] == name]) for rows in (base, now))
        change = changes[name].metrics["expected_max_toxicity"]
        assert change.value == pytest.approx((after - before).mean())
        assert change.low is not None and change.high is not None
        assert change.high - change.low < 0.05, "paired: the same prompts moved by the same amount"
