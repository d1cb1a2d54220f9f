"""Tables beside the main one, for report and card: by group of prompts, and by task of capability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from detoxlm.metrics import ACCURACY, AVERAGE, Metric, measured_of_groups
from detoxlm.report.facts import Run, Study
from detoxlm.report.nested import Block
from detoxlm.results import Capability, Estimate, GroupEstimates


@dataclass(frozen=True)
class Breakdown:
    """One metric in a row for each part of what was measured, a column for each run."""

    title: str
    metric: Metric
    #: The part's name, what is said below it, and the runs as this part has them.
    rows: list[tuple[str, str, list[Run]]]
    #: How far each group is from the rest; None: that is not asked.
    gaps: Block | None = None


def by_groups(study: Study) -> list[Breakdown]:
    """Return a table for each kind of groups, such as stance; [] where the prompts have none."""
    kinds = dict.fromkeys(of for one in study.measured for of in one.groups)
    return [_of_kind(study, of) for of in kinds]


def _of_kind(study: Study, of: str) -> Breakdown:
    metric = measured_of_groups(study.common.rows)[0]
    found = {run.label: run.results.groups.get(of, {}) if run.results else {} for run in study.runs}
    base = found.get(study.untouched.label, {}) if study.untouched else {}
    names = list(dict.fromkeys(name for groups in found.values() for name in groups))
    rows, gaps = [], []
    for name in names:
        runs = []
        for run in study.runs:
            comparison = run.results.comparison if run.results else None
            changes = comparison.groups.get(of, {}) if comparison else {}
            runs.append(_part(run, _of(found[run.label], name), _of(base, name), _of(changes, name)))
        count = next(groups[name].prompts for groups in found.values() if name in groups)
        rows.append((_plain(name), f"{count:,} prompt{'' if count == 1 else 's'}", runs))
        said = [_gap(metric, found[run.label].get(name)) for run in study.runs]
        if any(text != "–" for text in said):
            gaps.append((_plain(name), said))
    caption = f"Gaps: {metric.label.lower()} of a group less that of all others"
    block = Block(caption, [run.label for run in study.runs], gaps) if gaps else None
    return Breakdown(f"By {of}", metric, rows, block)


def _of(groups: Mapping[str, GroupEstimates], name: str) -> Mapping[str, Estimate]:
    return groups[name].metrics if name in groups else {}


def _part(run: Run, now: Mapping[str, Estimate], base: Mapping[str, Estimate], change: Mapping[str, Estimate]) -> Run:
    """Return a run with the numbers of one part of it."""
    return replace(
        run, metrics=dict(now), baseline=dict(base) if run.detoxified else {}, difference=dict(change), results=None
    )


def _gap(metric: Metric, found: GroupEstimates | None) -> str:
    return "–" if found is None or found.gap is None else metric.show_difference(found.gap).replace("-", "−")


def _plain(name: str) -> str:
    return name.replace("_", " ")


def by_tasks(study: Study) -> Breakdown | None:
    """Return what the runs get right in lm-eval's tasks, the mean of all last; None: it was not measured.

    A run that was asked otherwise than the untouched model (other tasks, another number of items) has nothing here: a
    folder that was measured again may hold such ones.
    """
    measured = _asked_alike(study)
    tasks = dict.fromkeys(name for found in measured.values() for name in _accuracies(found))
    if not tasks:
        return None
    base = _accuracies(measured.get(study.untouched.label)) if study.untouched else {}
    rows = []
    for name in sorted(tasks, key=lambda name: name == AVERAGE):
        parts = []
        for run in study.runs:
            now = _accuracies(measured.get(run.label))
            comparison = run.results.comparison if run.results and now else None
            changes = comparison.capability if comparison else {}
            parts.append(_part(run, _as_metric(now, name), _as_metric(base, name), _as_metric(changes, name)))
        rows.append((name, _said_of_task(next(iter(measured.values())), name), parts))
    return Breakdown("Capability", ACCURACY, rows)


def _asked_alike(study: Study) -> dict[str, Capability]:
    """Return by label what the runs get right, of those that were asked as the first one was: the untouched model."""
    found = {run.label: run.results.capability for run in study.runs if run.results and run.results.capability}
    asked = next((one.settings for one in found.values()), None)
    return {label: one for label, one in found.items() if one.settings == asked}


def _accuracies(found: Capability | None) -> dict[str, Estimate]:
    if found is None or not found.tasks:
        return {}
    average = {} if found.average is None else {AVERAGE: found.average}
    return {name: task.accuracy for name, task in found.tasks.items()} | average


def _as_metric(found: Mapping[str, Estimate], name: str) -> dict[str, Estimate]:
    return {ACCURACY.name: found[name]} if name in found else {}


def _said_of_task(capability: Capability, name: str) -> str:
    if name == AVERAGE:
        return "mean of the tasks, each weighing the same"
    task = capability.tasks[name]
    return f"{task.accuracy.n:,} items, {task.metric}"


def left_out(study: Study) -> list[str]:
    """Say of each task of capability that was left out why, a sentence each."""
    found = {name: why for one in _asked_alike(study).values() for name, why in one.left_out.items()}
    return [f"{name} is left out: {why}" for name, why in found.items()]
