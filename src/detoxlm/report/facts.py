"""What the report and the model card both say, taken from the results: the runs in order, and each metric's verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS, Metric
from detoxlm.metrics.readers import labels_of
from detoxlm.metrics.toxicity import FRACTION
from detoxlm.results import PRINTS, Cost, Estimate, Results

Verdict = Literal["better", "worse", "same", "slight", "changed", "unknown"]

#: How a verdict is written: an arrow for the number's direction is added beside it, so that no meaning is colour alone.
VERDICT_WORDS: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "same": "no measurable change",
    "slight": "hardly any change",
    "changed": "changed",
    "unknown": "no interval",
}


@dataclass(frozen=True)
class Run:
    """One column of the report: the untouched model, or a detoxifier at one strength."""

    label: str
    detoxified: bool
    strength: float
    metrics: dict[str, Estimate]
    cost: Cost
    difference: dict[str, Estimate] = field(default_factory=dict)
    baseline: dict[str, Estimate] = field(default_factory=dict)
    baseline_cost: Cost | None = None
    #: None: this is the untouched model, known only through another run's comparison (so it has no texts).
    results: Results | None = None

    @property
    def method(self) -> str:
        """The detoxifier's method; empty for the untouched model."""
        return self.results.detoxifier.method if self.results and self.results.detoxifier else ""

    @property
    def spoken(self) -> str:
        """The label in a sentence: `fusion at strength 0.3`."""
        _, mark, twin = self.label.rpartition(" #")
        return f"{self.method} at strength {self.strength:g}{mark}{twin if mark else ''}" if self.method else self.label

    def verdict(self, metric: Metric) -> Verdict:
        """Judge the run's paired difference from the untouched model."""
        return verdict(metric, self.difference.get(metric.name), self.baseline.get(metric.name))

    @property
    def scores(self) -> list[float]:
        """The toxicity of every continuation that the toxic fraction is of; empty where only the metrics are known."""
        rows = FRACTION.counted(self.results.rows) if self.results else []
        return [score for row in rows for score in row.scores]


@dataclass(frozen=True)
class Study:
    """All runs of one page: the same recipe, model, prompts and scorer; the untouched model first."""

    runs: list[Run]
    #: The results the common facts (recipe, model, scorer) are read from.
    common: Results
    #: The same runs in chat, where these are of plain text and both were measured.
    beside: Study | None = None

    def chat_of(self, run: Run) -> Run | None:
        """Return the same detoxifier at the same strength in chat; None: that was not measured."""
        others = self.beside.detoxified if self.beside else []
        return next((one for one in others if (one.method, one.strength) == (run.method, run.strength)), None)

    @property
    def untouched(self) -> Run | None:
        """The untouched model's column, if it was measured."""
        return None if self.runs[0].detoxified else self.runs[0]

    @property
    def detoxified(self) -> list[Run]:
        """The detoxified columns, by method and strength."""
        return [run for run in self.runs if run.detoxified]

    @property
    def measured(self) -> list[Results]:
        """The results objects behind the columns."""
        return [run.results for run in self.runs if run.results is not None]

    @property
    def model(self) -> str:
        """The model's name in a sentence: without owner or folder."""
        return self.common.model.name.rstrip("/").rsplit("/", 1)[-1]

    @property
    def prompts(self) -> int:
        """How many prompts every run answered."""
        return len(self.common.rows)

    @property
    def samples(self) -> int:
        """How many continuations a prompt has (the most, if rows differ)."""
        return max((len(row.continuations) for row in self.common.rows), default=0)

    @property
    def metrics(self) -> list[Metric]:
        """The metrics that any run has, in the order of `METRICS`."""
        return [metric for name, metric in METRICS.items() if any(name in run.metrics for run in self.runs)]

    @property
    def unknown_metrics(self) -> list[str]:
        """Names of measured metrics that this version cannot print, such as those of a newer one."""
        return sorted({name for run in self.runs for name in run.metrics} - set(METRICS))


def arrange(results: Sequence[Results]) -> Study:
    """Put the results in columns; results of the same runs in plain text and in chat become two studies, side by side.

    Raises:
        UsageError: no results, or results whose numbers must not stand side by side; the message says what differs.
    """
    if not results:
        raise UsageError("report: no results were given. Pass at least one results.json.")
    forms = {form: [one for one in results if _form(one) == form] for form in ("plain", "chat")}
    if sorted(one.label for one in forms["plain"]) == sorted(one.label for one in forms["chat"]):
        return replace(_arranged(forms["plain"]), beside=_beside(forms["plain"], forms["chat"]))
    return _arranged(results)


def _form(one: Results) -> str:
    return str(one.settings.get("form", "plain"))


def _beside(plain: Sequence[Results], chat: Sequence[Results]) -> Study:
    """Put the results in chat in columns; refuse those of another model or scorer than the ones in plain text."""
    told = [dict(_identity(results[0])) for results in (plain, chat)]
    differing = [
        f"{what} ({told[0][what]} / {told[1][what]})" for what in ("model", "scorer") if told[0][what] != told[1][what]
    ]
    if differing:
        raise _mixed(plain[0], chat[0], differing)
    return _arranged(chat)


def _arranged(results: Sequence[Results]) -> Study:
    _refuse_mixed(results)
    untouched = [one for one in results if one.detoxifier is None]
    if len(untouched) > 1:
        raise UsageError(
            f"report: {len(untouched)} of the results are of the untouched model; there must be one at most. "
            "Leave the others out."
        )
    touched = sorted(
        (one for one in results if one.detoxifier is not None),
        key=lambda one: (one.detoxifier.method if one.detoxifier else "", one.strength),
    )
    runs = [
        Run(label, one.detoxifier is not None, one.strength, one.metrics, one.cost, results=one)
        if one.comparison is None
        else Run(
            label,
            one.detoxifier is not None,
            one.strength,
            one.metrics,
            one.cost,
            one.comparison.difference,
            one.comparison.baseline,
            one.comparison.baseline_cost,
            one,
        )
        for label, one in zip(_labels(untouched + touched), untouched + touched, strict=True)
    ]
    if not untouched:
        known = next((run for run in runs if run.baseline_cost is not None), None)
        if known is not None and known.baseline_cost is not None:
            runs.insert(0, Run("untouched", False, 0.0, known.baseline, known.baseline_cost))
    return Study(_with_baseline(runs), (untouched + touched)[0])


def _labels(results: Sequence[Results]) -> list[str]:
    # Two fits of one method at one strength would otherwise share a name; the settings table tells them apart.
    labels: list[str] = []
    for one in results:
        twins = sum(label == one.label or label.startswith(f"{one.label} #") for label in labels)
        labels.append(f"{one.label} #{twins + 1}" if twins else one.label)
    return labels


def _with_baseline(runs: list[Run]) -> list[Run]:
    """Give runs that carry no comparison the untouched column to stand against; their differences stay unknown."""
    first = runs[0]
    if first.detoxified:
        return runs
    return [
        run if not run.detoxified or run.baseline else replace(run, baseline=first.metrics, baseline_cost=first.cost)
        for run in runs
    ]


def _refuse_mixed(results: Sequence[Results]) -> None:
    first = results[0]
    _refuse_others_of_a_name(results)
    for other in results[1:]:
        differing = [
            f"{what} ({ours} / {theirs})"
            for (what, ours), (_, theirs) in zip(_identity(first), _identity(other), strict=True)
            if ours != theirs
        ]
        if not differing and [row.prompt for row in first.rows] != [row.prompt for row in other.rows]:
            differing = [f"prompts ({len(first.rows)} / {len(other.rows)} of them, not the same list)"]
        if differing:
            raise _mixed(first, other, differing)


def _refuse_others_of_a_name(results: Sequence[Results]) -> None:
    """Refuse two results that mean different things by one name; what one has, any other may lack."""
    seen: dict[str, tuple[Results, str]] = {}
    for one in results:
        said = {f"second opinion {label}": " ".join(found.scorer.identity) for label, found in one.opinions.items()}
        for what, info in {"": one.scorer, **{f" of {k}": found.scorer for k, found in one.opinions.items()}}.items():
            if (labels := labels_of(info.validity)) is not None:
                said[f"readers' labels{what}"] = labels[:16]
        for what, key in PRINTS:
            if key in one.settings:
                said[what] = str(one.settings[key])[:16]
        for what, value in said.items():
            before, ours = seen.setdefault(what, (one, value))
            if ours != value:
                raise _mixed(before, one, [f"{what} ({ours} / {value})"])


def _mixed(one: Results, other: Results, differing: Sequence[str]) -> UsageError:
    return UsageError(
        f"report: {one.label!r} and {other.label!r} cannot share a page, they differ in {'; '.join(differing)}. Such "
        "numbers must not be compared: write one report for each, or evaluate again alike."
    )


def _identity(one: Results) -> list[tuple[str, str]]:
    counts = sorted({len(row.continuations) for row in one.rows})
    return [
        ("recipe", one.recipe),
        ("form", _form(one)),
        ("model", f"{one.model.name}@{one.model.revision}"),
        ("scorer", " ".join(one.scorer.identity)),
        ("fluency judge", one.fluency_judge),
        ("samples per prompt", ", ".join(map(str, counts))),
    ]


def finite(estimate: Estimate | None) -> bool:
    """Tell whether there is a number to print."""
    return estimate is not None and math.isfinite(estimate.value)


def bounded(estimate: Estimate | None) -> bool:
    """Tell whether there is a number with a usable interval."""
    return (
        estimate is not None
        and math.isfinite(estimate.value)
        and estimate.low is not None
        and estimate.high is not None
        and math.isfinite(estimate.low)
        and math.isfinite(estimate.high)
    )


def verdict(metric: Metric, difference: Estimate | None, base: Estimate | None = None) -> Verdict:
    """Judge a paired difference: an interval that covers 0 is no measurable change.

    One that does not, of a change that prints as 0 or as ±0% of the untouched model's `base`, is `slight`: with enough
    text the smallest change is measurable, and nobody would call it better or worse.
    """
    if difference is None or difference.low is None or difference.high is None or not bounded(difference):
        return "unknown"
    if difference.low <= 0 <= difference.high:
        return "same"
    if metric.prints_as_nothing(difference, base if finite(base) else None):
        return "slight"
    if metric.better == "neither":
        return "changed"
    return "better" if (difference.value < 0) == (metric.better == "lower") else "worse"


def arrow(difference: Estimate, judged: Verdict) -> str:
    """Return the direction in which the number moved."""
    if judged in ("same", "slight") or difference.value == 0:
        return "≈"
    return "↓" if difference.value < 0 else "↑"


def value_text(metric: Metric, estimate: Estimate | None) -> str:
    """Print a value without its interval; a number that is none (NaN, infinite) is said to be so."""
    if estimate is None:
        return "not measured"
    if not finite(estimate):
        return "not finite"
    return metric.parts(estimate)[0] if bounded(estimate) else metric.text(estimate.value)


def interval_text(metric: Metric, estimate: Estimate | None) -> str:
    """Print the interval alone: `[12.1, 21.3]`; empty where there is none."""
    return metric.parts(estimate)[1] if estimate is not None and bounded(estimate) else ""


def full_text(metric: Metric, estimate: Estimate | None) -> str:
    """Print a value with its interval: `16.7% [12.1, 21.3]`."""
    return f"{value_text(metric, estimate)} {interval_text(metric, estimate)}".rstrip()


def difference_text(metric: Metric, difference: Estimate | None) -> tuple[str, str]:
    """Print a difference and its interval with signs, percentages as points: `−7.1 points`, `[−9.0, −5.2]`."""
    if difference is None or not finite(difference):
        return "", ""
    if not bounded(difference):
        difference = difference.model_copy(update={"low": None, "high": None})
    value, interval = (part.replace("-", "−") for part in metric.difference_parts(difference))
    return value.replace(" ", "\N{NO-BREAK SPACE}"), interval


def relative_text(metric: Metric, base: Estimate | None, now: Estimate | None) -> str:
    """Print the relative change: `−42%`; empty where there is no base to divide by."""
    if base is None or now is None or not (finite(base) and finite(now)):
        return ""
    return metric.show_change(base, now).replace("-", "−")


def speed_text(speed: Estimate) -> str:
    """Print what `Results.speed` holds: `0.92x the untouched model's speed [0.88, 0.95]`."""
    spread = "" if speed.low is None or speed.high is None else f" [{speed.low:.2f}, {speed.high:.2f}]"
    return f"{speed.value:.2f}x the untouched model's speed{spread}"
