"""What a model gets right in tasks with answers that are right or wrong, and how that changes, paired by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detoxlm.metrics.base import Ratio, Units
from detoxlm.metrics.bootstrap import bootstrap, interval, paired_bootstrap, resampled
from detoxlm.results import Estimate, Row, Window

#: How the mean over all tasks is called among them.
AVERAGE = "average"


def _no_units(rows: Sequence[Row], windows: Sequence[Window]) -> Units:
    return np.zeros(0), np.zeros(0)  # it is measured of tasks, by `accuracy`


#: How accuracies are printed and judged.
ACCURACY = Ratio("accuracy", "Accuracy", "share of items that are answered right", "higher", "%", 1, _no_units)


def accuracy(right: Sequence[float], seed: int = 0) -> Estimate:
    """Return the share of items answered right, `right` [N] of 0 to 1, with its 95% bootstrap interval over items."""
    return bootstrap(np.asarray(right, dtype=float), np.ones(len(right)), proportion=True, seed=seed)


def accuracy_change(base: Sequence[float], now: Sequence[float], seed: int = 0) -> Estimate:
    """Return the accuracy of `now` less that of `base`, [N] each, item by item, with a paired 95% interval."""
    ones = np.ones(len(base))
    return paired_bootstrap((np.asarray(base, float), ones), (np.asarray(now, float), ones), seed=seed)


def average(tasks: Mapping[str, Sequence[float]], seed: int = 0) -> Estimate | None:
    """Return the mean of the tasks' means, each task weighing the same; None: there are no tasks.

    Items are drawn within their task, independently of the other tasks. Of changes give the differences of the items.
    """
    if not tasks:
        return None
    values = [np.asarray(items, dtype=float) for items in tasks.values()]
    value = float(np.mean([items.mean() for items in values]))
    count = sum(map(len, values))
    if min(map(len, values)) < 2:
        return Estimate(value=value, n=count)
    drawn = [resampled((items,), seed + i)[0] / len(items) for i, items in enumerate(values)]
    low, high = interval(np.mean(drawn, axis=0))
    return Estimate(value=value, low=low, high=high, n=count)
