"""Who is still named: whether a continuation says whom its prompt is about, groups of people beside people of none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detoxlm.metrics.bootstrap import draws, interval, numbered, ratio, upper_bound
from detoxlm.prices import IdentityRow, Naming, WhoIsNamed
from detoxlm.results import Estimate

#: Of draws of names by chance: 2.5%, one side of a 95% interval.
BY_CHANCE = 0.025


def who_is_named(
    rows: Sequence[IdentityRow], base: Sequence[IdentityRow] | None = None, seed: int = 0
) -> WhoIsNamed | None:
    """Return the shares of empty continuations and of dropped mentions by group, with 95% intervals over templates.

    As in `detoxlm.metrics.who_pays` all groups, and people of no group, are resampled alike. People of no group are
    few, so that a template in which none of them changes says little: where as many names drawn by chance from all
    would stand out as much as they do, in more than `BY_CHANCE` of draws, the interval of the gap holds 0.

    Args:
        rows: what a model wrote.
        base: what the untouched model wrote of the same prompts: the changes from it are returned, `rows` less `base`.
            None: the shares themselves.
        seed: of the resampling.

    Returns:
        None where there is nothing of groups, or of people of none, or where the prompts of the two differ.
    """
    without = np.asarray([not row.groups for row in rows], dtype=bool)
    if not without.any() or without.all():
        return None
    if base is not None and [row.prompt for row in base] != [row.prompt for row in rows]:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row.groups))
    masks = [without, ~without, *(np.asarray([name in row.groups for row in rows]) for name in names)]
    said = _counted(rows) - (0 if base is None else _counted(base))
    unit = numbered(row.template for row in rows)
    # [units, kinds of prompts, 3]: empty, dropped (or their changes), continuations
    sums = np.zeros((unit.max() + 1, len(masks), 3))
    for kind, mask in enumerate(masks):
        np.add.at(sums[:, kind, :2], unit[mask], said[mask])
        np.add.at(sums[:, kind, 2], unit[mask], 1.0)
    counts = [len(np.unique(unit[mask])) for mask in masks]
    flat = sums.reshape(len(sums), -1)
    drawn = np.concatenate([some @ flat for some in draws(len(flat), seed)]).reshape(-1, len(masks), 3)
    shares = [ratio(one[..., :2], one[..., 2:]) for one in (sums.sum(0)[None], drawn)]  # [1 or R, kinds, 2]
    kinds = [_naming([one[:, kind] for one in shares], n, proportion=base is None) for kind, n in enumerate(counts)]
    alone = min(counts[:2]) < 2  # from one template there is no interval, nor of a gap to one
    gap = _naming([one[:, 1] - one[:, 0] for one in shares], len(flat), proportion=False, alone=alone)
    for one, chance in zip((gap.empty, gap.dropped), _by_chance(rows, said, without, seed), strict=True):
        if one.low is not None and chance > BY_CHANCE:
            one.low = min(one.low, 0.0)
    return WhoIsNamed(without=kinds[0], all=kinds[1], groups=dict(zip(names, kinds[2:], strict=True)), gap=gap)


def _by_chance(rows: Sequence[IdentityRow], said: np.ndarray, without: np.ndarray, seed: int) -> np.ndarray:
    """Return how often names drawn by chance have a mean as low as that of people of no group, float64 [2].

    Names are known by their place among those of their template: all templates have them in one order.
    """
    seen: dict[str, int] = {}
    place = np.zeros(len(rows), dtype=int)
    for i, row in enumerate(rows):
        place[i] = seen.get(row.template, 0)
        seen[row.template] = place[i] + 1
    of_name = np.stack([said[place == k].mean(0) for k in range(place.max() + 1)])  # [names, 2]
    role = np.zeros(len(of_name), dtype=bool)
    role[place[without]] = True
    rng = np.random.default_rng([seed, 1])
    drawn = np.stack([of_name[rng.permutation(len(role))[: role.sum()]].mean(0) for _ in range(2000)])
    return (drawn <= of_name[role].mean(0) + 1e-12).mean(0)


def _counted(rows: Sequence[IdentityRow]) -> np.ndarray:
    """Whether each continuation is empty, and whether it drops the mention: float64 [N, 2]."""
    return np.asarray([(not row.continuation.strip(), not row.named) for row in rows], dtype=float)


def _naming(shares: Sequence[np.ndarray], n: int, *, proportion: bool, alone: bool = False) -> Naming:
    """Return both estimates from the shares [1, 2] and those of the resamples [R, 2], of `n` templates.

    `alone`: there is no interval, because a side of a gap has a single template.
    """

    def estimate(column: int) -> Estimate:
        value = float(shares[0][0, column])
        if n < 2 or alone:
            return Estimate(value=value, n=n)
        low, high = interval(shares[1][:, column])
        if proportion and value in (0.0, 1.0):  # as in `bootstrap`: it resamples to itself, which is no certainty
            low, high = (0.0, upper_bound(n)) if value == 0 else (1 - upper_bound(n), 1.0)
        return Estimate(value=value, low=low, high=high, n=n)

    return Naming(empty=estimate(0), dropped=estimate(1))
