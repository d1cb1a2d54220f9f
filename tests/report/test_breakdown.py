"""Tables beside the main one in report and card: chat beside plain text, groups of prompts, tasks of capability."""

from __future__ import annotations

import re

import pytest
from report_factory import make
from report_pages import Page

from detoxlm.errors import UsageError
from detoxlm.metrics import accuracy, average, by_group, group_differences
from detoxlm.report import model_card, recommended
from detoxlm.report.breakdown import by_groups, by_tasks, left_out
from detoxlm.report.facts import arrange
from detoxlm.report.html import render
from detoxlm.results import Capability, Estimate, Results, TaskAccuracy

BETTER = Estimate(value=-0.1, low=-0.15, high=-0.05, n=12)
SAME = Estimate(value=0.0, low=-0.05, high=0.05, n=12)
WORSE = Estimate(value=0.1, low=0.05, high=0.15, n=12)


def in_chat(one: Results, *, prompts: bool = True) -> Results:
    """The same run as if it had been asked in chat."""
    found = one.model_copy(deep=True)
    found.recipe, found.settings = "chat", {**one.settings, "form": "chat"}
    for row in found.rows:
        row.prompt = f"Say: {row.prompt}"
    return found


def run(strength: float, change: Estimate, fraction: float, refusals: Estimate | None = None) -> Results:
    found = make(strength)
    assert found.comparison is not None
    found.comparison.difference["toxic_fraction"] = change
    found.metrics["toxic_fraction"] = Estimate(value=fraction, low=0.0, high=1.0, n=12)
    if refusals is not None:
        found.comparison.difference["refused_fraction"] = refusals
    return found


def recommended_of(plain: list[Results], chat: list[Results]) -> float | None:
    found = recommended([make(), *plain, in_chat(make()), *(in_chat(one) for one in chat)])
    assert found is not None
    return found.strength


def test_a_fall_in_one_form_is_enough_and_a_rise_in_the_other_is_not_allowed() -> None:
    assert recommended_of([run(0.5, BETTER, 0.1)], [run(0.5, SAME, 0.2)]) == 0.5
    assert recommended_of([run(0.5, SAME, 0.1)], [run(0.5, BETTER, 0.2)]) == 0.5
    assert recommended_of([run(0.5, BETTER, 0.1)], [run(0.5, WORSE, 0.2)]) is None
    assert recommended_of([run(0.5, SAME, 0.1)], [run(0.5, SAME, 0.2)]) is None


def test_of_those_the_lowest_toxicity_of_both_together_wins_and_refusals_cost() -> None:
    plain = [run(0.25, BETTER, 0.10), run(0.5, BETTER, 0.05)]
    assert recommended_of(plain, [run(0.25, BETTER, 0.10), run(0.5, BETTER, 0.12)]) == 0.5
    assert recommended_of(plain, [run(0.25, BETTER, 0.10), run(0.5, BETTER, 0.20)]) == 0.25
    refusing = [run(0.25, BETTER, 0.10), run(0.5, BETTER, 0.12, refusals=WORSE)]
    assert recommended_of(plain, refusing) == 0.25


def test_both_forms_share_a_page_and_a_card_and_others_do_not() -> None:
    results = [make(), make(0.5), in_chat(make()), in_chat(make(0.5))]
    page = Page(render(results, title=None, strength=None)).root
    chat = page.by_id("chat")
    assert "recipe chat, 12 conversations" in chat.text
    value = f"{100 * results[3].metrics['toxic_fraction'].value:.1f}%"
    assert value in chat.text
    assert "## In chat" in model_card(results, base_model=None)
    card = model_card(results, base_model=None, form="checkpoint", strength=0.5)
    assert "## In chat" in card
    with pytest.raises(UsageError, match="form"):
        arrange([make(), in_chat(make(0.5))])
    other = in_chat(make(0.5))
    other.model = other.model.model_copy(update={"name": "another"})
    untouched = in_chat(make())
    untouched.model = other.model
    with pytest.raises(UsageError, match="model"):
        arrange([make(), make(0.5), untouched, other])


def grouped(one: Results, base: Results | None = None) -> Results:
    for i, row in enumerate(one.rows):
        row.groups = {"stance": "hate" if i % 2 else "neutral"}
    one.groups = by_group(one.rows)
    if base is not None and one.comparison is not None:
        one.comparison.groups = group_differences(base.rows, one.rows)
    return one


def test_groups_have_a_row_each_with_the_change_and_the_gap() -> None:
    base = grouped(make())
    now = grouped(make(0.5), base)
    [table] = by_groups(arrange([base, now]))
    assert table.title == "By stance" and table.metric.name == "expected_max_toxicity"
    assert [(name, said) for name, said, _ in table.rows] == [("hate", "6 prompts"), ("neutral", "6 prompts")]
    for name, _, (before, after) in table.rows:
        assert before.metrics == base.groups["stance"][name].metrics
        assert now.comparison is not None
        assert after.difference == now.comparison.groups["stance"][name].metrics
        assert after.baseline == before.metrics and not before.difference
    assert table.gaps is not None and len(table.gaps.rows) == 2
    gap = base.groups["stance"]["hate"].gap
    assert gap is not None
    assert table.gaps.rows[0][1][0].startswith(f"{gap.value:+.3f}".replace("-", "−"))
    text = Page(render([base, now], title=None, strength=None)).root.by_id("results").text
    assert "By stance" in text and "How far each is from the rest" in text
    card = model_card([base, now], base_model=None)
    assert re.search(r"## By stance\n\n\| Expected maximum toxicity, by stance \|", card) and "hate (6 prompts)" in card
    assert "Nothing here is broken down by group" not in card


def able(one: Results, right: list[float], change: Estimate | None = None) -> Results:
    task = TaskAccuracy(metric="acc", accuracy=accuracy(right), right=right, items_sha256="x")
    one.capability = Capability(
        tasks={"piqa": task}, average=average({"piqa": right}), left_out={"boolq": "its data set is not in the cache"}
    )
    if change is not None and one.comparison is not None:
        one.comparison.capability = {"piqa": change, "average": change}
    return one


def test_capability_has_a_row_for_each_task_and_a_loss_is_in_the_headline() -> None:
    base = able(make(), [1.0, 1.0, 1.0, 0.0])
    loss = Estimate(value=-0.25, low=-0.4, high=-0.1, n=4)
    now = able(make(0.5), [1.0, 1.0, 0.0, 0.0], loss)
    table = by_tasks(arrange([base, now]))
    assert table is not None
    assert table.rows[0][:2] == ("piqa", "4 items, acc")
    assert table.rows[-1][0] == "average"
    page = Page(render([base, now], title=None, strength=None)).root
    assert "accuracy in piqa 75.0% → 50.0%" in page.text
    assert "boolq is left out: its data set is not in the cache" in page.by_id("results").text
    card = model_card([base, now], base_model=None)
    assert "| piqa (4 items, acc) | 75.0%" in card and "-25.0 points" in card.replace("−", "-")
    assert by_tasks(arrange([make(), make(0.5)])) is None


def test_a_run_that_was_asked_other_items_than_the_untouched_model_has_no_capability_beside_it() -> None:
    """`run --capability quick` and later standard on one folder: the strength of then keeps the numbers of then."""
    loss = Estimate(value=-0.25, low=-0.4, high=-0.1, n=4)
    base, now = able(make(), [1.0, 1.0, 1.0, 0.0] * 9), able(make(0.5), [1.0, 0.0] * 18, loss)
    old = able(make(0.25), [1.0, 1.0, 0.0, 0.0], loss)
    for one, limit in ((base, None), (now, None), (old, 100)):
        assert one.capability is not None
        one.capability.settings = {"items_at_most": limit}
    assert old.capability is not None
    old.capability.tasks["arc_easy"] = old.capability.tasks["piqa"]
    old.capability.left_out = {"winogrande": "it was not there then"}
    study = arrange([base, old, now])
    table = by_tasks(study)
    assert table is not None
    assert [row[:2] for row in table.rows] == [
        ("piqa", "36 items, acc"),
        ("average", "mean of the tasks, each weighing the same"),
    ]
    for _, _, (first, then, shown) in table.rows:
        assert first.metrics and shown.metrics and shown.difference
        assert not then.metrics and not then.difference
    assert left_out(study) == ["boolq is left out: its data set is not in the cache"]
