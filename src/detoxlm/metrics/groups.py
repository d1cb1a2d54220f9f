"""Toxicity by group: of each group's prompts, how it differs from the rest, and how it changes between two models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detoxlm.metrics.base import Ratio, clusters
from detoxlm.metrics.bootstrap import interval, ratio, resampled, several
from detoxlm.metrics.toxicity import EMPTY, FRACTION, MAXIMUM, MEAN, PROBABILITY
from detoxlm.results import ByGroup, Estimate, GroupEstimates, Row

#: What is measured of each group; with one sample a prompt the maximum is the mean, and the probability the fraction.
OF_GROUPS: tuple[Ratio, ...] = (FRACTION, MEAN, MAXIMUM, PROBABILITY, EMPTY)
_SEVERAL = (MAXIMUM, PROBABILITY)


def measured_of_groups(rows: Sequence[Row]) -> list[Ratio]:
    """Return the metrics of groups, the main one first: the expected maximum where prompts have several samples."""
    several = max((len(row.scores) for row in rows), default=0) > 1
    found = [metric for metric in OF_GROUPS if several or metric not in _SEVERAL]
    return sorted(found, key=lambda metric: metric is not (MAXIMUM if several else FRACTION))


def by_group(rows: Sequence[Row]) -> ByGroup:
    """Return what was measured of each group: what the groups are of -> group -> estimates. {}: rows have no groups.

    A group's `gap` is the main metric of its prompts less that of all others of the same kind, with an interval from a
    bootstrap over all prompts; a group of one prompt, or beside one, has a gap without an interval. (The largest gap
    of many groups is partly luck: read it with its interval.)
    """

    def estimates(of: str, name: str) -> GroupEstimates:
        members = [row for row in rows if row.groups.get(of) == name]
        values = {metric.name: metric.estimate(members, []) for metric in measured_of_groups(rows)}
        gap = gaps[of].get(name)
        return GroupEstimates(
            prompts=len({row.prompt for row in members}),
            metrics={metric: estimate for metric, estimate in values.items() if estimate is not None},
            gap=gap,
        )

    gaps = {of: _gaps(rows, of) for of in _kinds(rows)}
    return _each(rows, estimates)


def group_differences(base: Sequence[Row], now: Sequence[Row]) -> ByGroup:
    """Return how each group's metrics changed from `base` to `now`, paired by prompt; rows correspond one to one."""

    def changes(of: str, name: str) -> GroupEstimates:
        before, after = ([row for row in rows if row.groups.get(of) == name] for rows in (base, now))
        values = {metric.name: metric.difference((before, []), (after, [])) for metric in measured_of_groups(now)}
        return GroupEstimates(
            prompts=len({row.prompt for row in after}),
            metrics={metric: change for metric, change in values.items() if change is not None},
        )

    return _each(now, changes)


def _kinds(rows: Sequence[Row]) -> list[str]:
    """What the groups are of: domain, stance."""
    return list(dict.fromkeys(of for row in rows for of in row.groups))


def _names(rows: Sequence[Row], of: str) -> list[str]:
    return sorted({row.groups[of] for row in rows if of in row.groups})


def _each(rows: Sequence[Row], make: Callable[[str, str], GroupEstimates]) -> ByGroup:
    return {of: {name: make(of, name) for name in _names(rows, of)} for of in _kinds(rows)}


def _gaps(rows: Sequence[Row], of: str, seed: int = 0) -> dict[str, Estimate]:
    """Return the main metric of each group less that of the rest; of one group alone there is none."""
    metric = measured_of_groups(rows)[0]
    rows = [row for row in metric.counted(rows) if of in row.groups]
    names, number = _names(rows, of), clusters(rows)
    if len(names) < 2:
        return {}
    top, bottom = metric.units(rows, [])
    members = [np.asarray([row.groups[of] == name for row in rows]) for name in names]
    columns = [  # of each group: numerator and denominator of its prompts, then of the rest's
        np.bincount(number, weights=values * chosen)
        for member in members
        for chosen in (member, ~member)
        for values in (top, bottom)
    ]
    bottoms = np.stack(columns).reshape(len(names), 2, 2, -1)[:, :, 1]  # [groups, group or rest, prompts]
    drawn = resampled(tuple(columns), seed).reshape(len(names), 2, 2, -1)
    whole = np.asarray([column.sum() for column in columns]).reshape(len(names), 2, 2)
    found = {}
    for i, name in enumerate(names):
        value = whole[i, 0, 0] / whole[i, 0, 1] - whole[i, 1, 0] / whole[i, 1, 1]
        found[name] = Estimate(value=float(value), n=len(columns[0]))
        if several(*bottoms[i]):
            mine, rest = (ratio(drawn[i, side, 0], drawn[i, side, 1]) for side in (0, 1))
            found[name].low, found[name].high = interval(mine - rest)
    return found
