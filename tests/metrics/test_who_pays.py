"""The price by group, on texts small enough to work out by hand, and against resamples drawn one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detoxlm.metrics import METRICS, who_pays
from detoxlm.metrics.bootstrap import RESAMPLES, draws
from detoxlm.results import WhoPays, Window


def text(
    groups: list[str], template: str | None, tokens: int, base: float, more: float, kl: float | None = 0.1
) -> Window:
    """A text whose `tokens` cost `base` nats untouched, and `more` when detoxified."""
    base_nll = None if kl is None else base
    return Window(nll=base + more, tokens=tokens, kl=kl, base_nll=base_nll, groups=groups, template=template)


FLUENCY = Window(nll=1000.0, tokens=10, kl=50.0)
TEXTS = [
    text([], "one", 10, 30.0, 1.0, 0.2),
    text([], "two", 20, 50.0, 2.0, 0.4),
    text(["women"], "one", 10, 31.0, 2.0, 0.5),
    text(["women"], "two", 20, 52.0, 7.0, 1.0),
    text(["deaf", "women"], "two", 10, 40.0, 6.0, 2.5),
]


def test_prices_are_perplexities_pooled_over_tokens() -> None:
    found = who_pays([FLUENCY, *TEXTS])
    assert found is not None
    assert found.without.rise.value == pytest.approx(math.exp(3 / 30))
    assert found.without.ratio.value == 1
    assert found.without.kl.value == pytest.approx(0.6 / 30)
    assert found.groups["women"].rise.value == pytest.approx(math.exp(15 / 40))  # all three: a text may mention two
    assert found.groups["women"].ratio.value == pytest.approx(math.exp(15 / 40 - 3 / 30))
    assert found.groups["women"].kl.value == pytest.approx(4 / 40)
    assert found.groups["deaf"].ratio.value == pytest.approx(math.exp(6 / 10 - 3 / 30))
    assert found.all == found.groups["women"]  # all texts about groups are about women here
    assert list(found.groups) == ["women", "deaf"]


def test_intervals_resample_templates_and_all_groups_alike() -> None:
    rng = np.random.default_rng(1)
    n = 12
    more = rng.gamma(2.0, 0.5, (n, 2))  # of the text without a group, and of the group's
    texts = [
        text(groups, f"template {i}", 8 + i, 30.0, more[i, kind])
        for i in range(n)
        for kind, groups in enumerate(([], ["gay"]))
    ]
    found = who_pays(texts, seed=3)
    assert found is not None
    values = []
    for counts in np.concatenate(list(draws(n, 3))):
        tokens = sum(counts[i] * (8 + i) for i in range(n))
        values.append(math.exp(sum(counts[i] * (more[i, 1] - more[i, 0]) for i in range(n)) / tokens))
    assert len(values) == RESAMPLES
    low, high = np.percentile(values, [2.5, 97.5])
    ratio = found.groups["gay"].ratio
    assert (ratio.low, ratio.high, ratio.n) == (pytest.approx(low), pytest.approx(high), n)


def test_what_a_template_costs_by_itself_cancels_out_of_the_ratio() -> None:
    """Templates differ wildly in price and the mention adds the same to each: the ratio is known exactly."""
    texts = [
        text(groups, f"{i}", 10, 30.0, 5.0 * i + (0.4 if groups else 0.0))
        for i in range(10)
        for groups in ([], ["deaf"])
    ]
    found = who_pays(texts)
    assert found is not None
    assert found.without.rise.low is not None
    assert found.without.rise.high is not None
    assert found.without.rise.high > 2 * found.without.rise.low
    ratio = found.groups["deaf"].ratio
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((math.exp(0.04),) * 3)


def test_texts_without_a_template_stand_for_themselves() -> None:
    found = who_pays([text([], None, 5, 9.0, 1.0), text([], None, 5, 9.0, 1.0), text(["old"], None, 5, 9.0, 1.0)])
    assert found is not None
    assert (found.without.rise.n, found.groups["old"].rise.n) == (2, 1)
    assert found.groups["old"].rise.low is None  # one text has no interval


def test_a_ratio_to_a_single_text_has_no_interval() -> None:
    found = who_pays([text([], "a", 5, 9.0, 1.0), *(text(["old"], f"{i}", 5, 9.0, float(i)) for i in range(9))])
    assert found is not None
    assert found.all.rise.low is not None and (found.all.ratio.low, found.all.ratio.n) == (None, 9)


def test_a_price_whose_exp_is_infinite_stays_a_number_that_results_can_hold() -> None:
    """JSON has no infinity: a results.json with one could not be read again."""
    found = who_pays([text(groups, f"{i}", 2, 9.0, 2000.0 * i) for i in range(4) for groups in ([], ["old"])])
    assert found is not None
    for price in (found.without, found.all, found.groups["old"]):
        for estimate in (price.rise, price.ratio):
            assert all(value is not None and math.isfinite(value) for value in (estimate.value, estimate.high))
    assert found.all.rise.value > 1e100
    assert WhoPays.model_validate_json(found.model_dump_json()) == found


def test_the_untouched_model_has_no_price_but_perplexities() -> None:
    texts = [text(one.groups or [], one.template, one.tokens, one.nll, 0.0, None) for one in TEXTS]
    assert who_pays(texts) is None
    assert who_pays([FLUENCY]) is None
    assert who_pays(TEXTS[:2]) is None  # nothing to compare
    assert who_pays(TEXTS[2:]) is None
    plain, about = (
        METRICS[name].estimate([], [FLUENCY, *texts]) for name in ("comment_perplexity", "identity_perplexity")
    )
    assert plain is not None
    assert about is not None
    assert plain.value == pytest.approx(math.exp(83 / 30))
    assert about.value == pytest.approx(math.exp((33 + 59 + 46) / 40))
    assert (plain.n, about.n) == (2, 2)  # templates
    fluency = METRICS["model_perplexity"].estimate([], [FLUENCY, *texts])
    assert fluency is not None
    assert fluency.value == pytest.approx(math.exp(100))  # these texts are no part of it
    assert METRICS["comment_perplexity"].estimate([], [FLUENCY]) is None
