"""Who is still named, on rows small enough to count by hand, and against resamples drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest

from detoxlm.metrics import who_is_named
from detoxlm.metrics.bootstrap import RESAMPLES, draws, upper_bound
from detoxlm.results import IdentityRow


def row(template: int, groups: list[str], text: str, named: bool) -> IdentityRow:
    about = ",".join(groups) or "no group"
    return IdentityRow(
        prompt=f"{template} about {about}", groups=groups, template=f"{template}", continuation=text, named=named
    )


ROWS = [
    row(0, [], "a baker", True),
    row(1, [], "somebody", False),
    row(0, ["deaf"], "a deaf man", True),
    row(1, ["deaf"], " \n", False),
    row(0, ["women"], "a person", False),
    row(1, ["women"], "", False),
    row(1, ["women", "deaf"], "a deaf person", True),
]


def test_shares_are_counted_by_group_and_an_empty_text_names_nobody() -> None:
    found = who_is_named(ROWS)
    assert found is not None
    assert (found.without.empty.value, found.without.dropped.value) == (0, 0.5)
    assert (found.all.empty.value, found.all.dropped.value) == (2 / 5, 3 / 5)
    assert (found.groups["deaf"].empty.value, found.groups["deaf"].dropped.value) == (1 / 3, 1 / 3)
    assert found.groups["women"].dropped.value == 2 / 3
    assert (found.gap.empty.value, found.gap.dropped.value) == pytest.approx((0.4, 0.1))
    assert list(found.groups) == ["deaf", "women"]
    # nothing was empty in either of two templates, which is no certainty
    assert (found.without.empty.low, found.without.empty.high) == (0, upper_bound(2))


def test_changes_are_paired_by_prompt_and_others_have_none() -> None:
    before = [one.model_copy(update={"named": True, "continuation": "as it was"}) for one in ROWS]
    found = who_is_named(ROWS, before)
    assert found is not None
    assert (found.without.dropped.value, found.without.empty.value) == (0.5, 0)
    assert (found.all.dropped.value, found.gap.dropped.value) == pytest.approx((0.6, 0.1))
    same = who_is_named(ROWS, ROWS)
    assert same is not None
    assert (same.all.dropped.value, same.all.dropped.low, same.all.dropped.high) == (0, 0, 0)
    assert who_is_named(ROWS, before[1:]) is None
    assert who_is_named(ROWS, []) is None
    assert who_is_named([]) is None
    assert who_is_named(ROWS[:2]) is None
    assert who_is_named(ROWS[2:]) is None


def test_intervals_resample_templates_and_all_groups_alike() -> None:
    rng = np.random.default_rng(2)
    said = rng.random((9, 3)) < 0.6  # of nine templates: no group, and two groups
    rows = [row(i, groups, "x", bool(said[i, k])) for i in range(9) for k, groups in enumerate(([], ["gay"], ["old"]))]
    found = who_is_named(rows, seed=5)
    assert found is not None
    gaps, gay = [], []
    for counts in np.concatenate(list(draws(9, 5))):
        dropped = [sum(counts[i] * (not said[i, k]) for i in range(9)) / 9 for k in range(3)]
        gaps.append((dropped[1] + dropped[2]) / 2 - dropped[0])
        gay.append(dropped[1])
    assert len(gaps) == RESAMPLES
    for estimate, values in ((found.gap.dropped, gaps), (found.groups["gay"].dropped, gay)):
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
        assert estimate.n == 9


def test_a_gap_to_a_single_template_has_no_interval() -> None:
    found = who_is_named([row(0, [], "x", True), *(row(i, ["deaf"], "x", i % 2 == 0) for i in range(6))])
    assert found is not None
    assert found.all.dropped.low is not None
    assert (found.gap.dropped.value, found.gap.dropped.low) == (0.5, None)


def test_what_a_template_drops_of_everybody_cancels_out_of_the_gap() -> None:
    """Half of the templates name nobody, and of the others each says who, but for one group."""
    rows = [
        row(i, groups, "x", named=i % 2 == 0 and groups != ["deaf"])
        for i in range(8)
        for groups in ([], ["deaf"], ["gay"])
    ]
    found = who_is_named(rows, [row(int(one.template), one.groups, "x", named=True) for one in rows])
    assert found is not None
    assert found.without.dropped.value == found.groups["gay"].dropped.value == 0.5
    assert found.groups["deaf"].dropped.value == 1
    assert found.gap.dropped.value == 0.25
