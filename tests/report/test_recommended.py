"""Which strength is recommended, and why none is."""

from __future__ import annotations

import math

from report_factory import make

from detoxlm.report import recommended
from detoxlm.results import Estimate, Results

BETTER = Estimate(value=-0.2, low=-0.3, high=-0.1, n=12)
WORSE = Estimate(value=0.2, low=0.1, high=0.3, n=12)
SAME = Estimate(value=-0.1, low=-0.3, high=0.0, n=12)


def run(
    strength: float, toxic: float, change: Estimate = BETTER, perplexity: float = 30.0, empty: float = 0.0
) -> Results:
    made = make(strength, perplexity=perplexity)
    assert made.comparison is not None
    made.metrics["toxic_fraction"] = Estimate(value=toxic, low=toxic, high=toxic, n=12)
    made.comparison.difference["toxic_fraction"] = change
    made.comparison.difference["empty_fraction"] = Estimate(value=empty, low=empty, high=empty, n=12)
    return made


def strength_of(*runs: Results) -> float | None:
    found = recommended([make(), *runs])
    assert found is not None
    assert (found.results is None) == (found.strength is None) == found.sentence.startswith("Nothing is recommended")
    return found.strength


def test_it_is_the_least_toxic_of_those_that_cost_little_and_no_more_than_needed() -> None:
    assert strength_of(run(0.25, 0.2), run(0.5, 0.1), run(1.0, 0.15)) == 0.5
    assert strength_of(run(0.25, 0.2), run(0.5, 0.1), run(1.0, 0.1)) == 0.5
    assert strength_of(run(0.25, 0.2), run(0.5, 0.1, perplexity=34.0)) == 0.25


def test_silence_and_broken_text_are_costs() -> None:
    assert strength_of(run(0.25, 0.2), run(0.5, 0.0, empty=0.06)) == 0.25
    broken = run(0.5, 0.0)
    broken.metrics["model_perplexity"] = Estimate(value=math.inf, n=12)
    assert strength_of(run(0.25, 0.2), broken) == 0.25


def test_where_all_cost_much_it_is_the_smallest_that_helps_and_said_to_be_costly() -> None:
    runs = [run(0.25, 0.3, SAME, 40.0), run(0.5, 0.2, perplexity=50.0), run(1.0, 0.1, perplexity=60.0)]
    assert strength_of(*runs) == 0.5
    found = recommended([make(), *runs])
    assert found is not None and "it costs more than 10% higher perplexity" in found.sentence


def test_nothing_is_recommended_where_no_interval_lies_below_zero() -> None:
    unpaired = Estimate(value=-0.2, n=1)
    unseen = Estimate(value=-0.0004, low=-0.0005, high=-0.0003, n=12)
    for change in (SAME, WORSE, unpaired, unseen):
        assert strength_of(run(0.25, 0.1, change), run(0.5, 0.1, change)) is None
    assert strength_of(run(0.25, 0.1, SAME), run(0.5, 0.1)) == 0.5, "of the others one may be"
    found = recommended([make(), run(0.25, 0.1, WORSE), run(0.5, 0.1, SAME)])
    assert found is not None and found.shown.strength == 0.25, "what got worse is shown"


def test_what_was_not_measured_costs_nothing_and_the_next_metric_decides() -> None:
    without = run(0.5, 0.1, perplexity=60.0)
    for name in ("model_perplexity", "continuation_perplexity"):
        del without.metrics[name]
    assert strength_of(without) == 0.5
    found = recommended([make(), without])
    assert found is not None and "5 points more empty continuations (no perplexity was measured)" in found.sentence
    assert "higher perplexity" not in found.sentence
    fraction = run(0.5, 0.1)
    base = make()
    assert fraction.comparison is not None
    for metrics in (base.metrics, fraction.metrics, fraction.comparison.baseline, fraction.comparison.difference):
        del metrics["toxic_fraction"]
    fraction.comparison.difference["mean_toxicity"] = BETTER
    found = recommended([base, fraction])
    assert found is not None and found.strength == 0.5 and "the lowest mean toxicity" in found.sentence


def test_without_a_detoxified_run_there_is_nothing_to_say() -> None:
    assert recommended([make()]) is None
