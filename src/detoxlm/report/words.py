"""The headline of the report: what the data show in one sentence, and at what price."""

from __future__ import annotations

from dataclasses import dataclass

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS, Metric
from detoxlm.report.breakdown import by_tasks
from detoxlm.report.facts import Run, Study, difference_text, finite, full_text, relative_text, value_text
from detoxlm.report.paying import gap, paid_by, unnamed
from detoxlm.report.recommendation import (
    MUCH_WORSE,
    PERPLEXITY,
    TOXICITY,
    first_measured,
    recommend,
    relative,
    shown_of,
    spoken,
)


@dataclass(frozen=True)
class Headline:
    """The page's first sentence and the run it speaks of."""

    sentence: str
    run: Run
    #: Why this run and not another; empty where there was no choice.
    choice: str
    #: Other metrics that got measurably worse, each with its values.
    prices: list[str]
    #: The recommended strength, or that there is none; empty where nothing was detoxified.
    recommendation: str = ""


def headline(study: Study, strength: float | None = None) -> Headline:
    """Say in one sentence what the data show, and no more; of the run with this strength, or of the fittest.

    Raises:
        UsageError: no run has this strength.
    """
    runs = [run for run in study.detoxified if strength is None or run.strength == strength]
    if strength is not None and not runs:
        known = ", ".join(f"{run.strength:g}" for run in study.detoxified) or "none"
        raise UsageError(f"strength: no result has the strength {strength}; there are {known}.")
    metric = first_measured(study.runs, TOXICITY)
    if not study.detoxified:
        run = study.runs[0]
        sentence = f"No toxicity was measured for the untouched {study.model}"
        if metric is not None:
            amount = full_text(metric, run.metrics[metric.name])
            sentence = f"The untouched {study.model} has a {spoken(metric)} of {amount}"
        return Headline(f"{sentence}; no detoxified run was given to compare.", run, "", [])
    found = recommend(study)
    assert found is not None  # something is detoxified
    run = found.shown if any(run is found.shown for run in runs) else shown_of(runs, metric)
    choice = ""
    if len(study.detoxified) > 1:
        why = "the recommended one" if run is found.run else "the clearest result" if strength is None else "as asked"
        choice = f"Shown: {run.spoken}, one of {len(study.detoxified)} detoxified runs: {why}."
    start = _toxicity_clause(study, run, metric)
    return Headline(f"{start}{_perplexity_clause(run)}.", run, choice, _all_prices(study, run), found.sentence)


def _toxicity_clause(study: Study, run: Run, metric: Metric | None) -> str:
    who, model = _capital(run.spoken), study.model
    if metric is None or run.metrics.get(metric.name) is None:
        return f"{who} was run on {model}, but no toxicity was measured"
    now, base = run.metrics[metric.name], run.baseline.get(metric.name)
    what = spoken(metric)
    if base is None:
        return (
            f"With {run.spoken}, {model} has a {what} of {full_text(metric, now)}; the untouched model was not measured"
        )
    before_after = f"from {full_text(metric, base)} to {full_text(metric, now)}"
    difference = run.difference.get(metric.name)
    judged = run.verdict(metric)
    value, interval = difference_text(metric, difference)
    if judged == "better":
        return f"{who} lowers the {what} of {model} {before_after}, a paired difference of {value} {interval}"
    if judged == "worse":
        return f"{who} makes {model} worse: the {what} rises {before_after}, a paired difference of {value} {interval}"
    if judged == "same":
        scope = ""
        others = [one for one in study.detoxified if one is not run]
        if others and all(one.verdict(metric) == "same" for one in others):
            scope = f" (nor at the other {f'{len(others)} strengths' if len(others) > 1 else 'strength'})"
        return (
            f"{who} makes no measurable change to the {what} of {model}{scope}: {full_text(metric, base)} before, "
            f"{full_text(metric, now)} after, and the interval of the paired difference, {value} {interval}, "
            "covers zero"
        )
    if judged == "slight":
        return (
            f"{who} hardly changes the {what} of {model}: {full_text(metric, base)} before, {full_text(metric, now)} "
            f"after, a paired difference of {value} {interval}"
        )
    return (
        f"With {run.spoken} the {what} of {model} goes {before_after}, but without the interval of the paired "
        "difference that is no evidence of a change"
    )


def _perplexity_clause(run: Run) -> str:
    metric = first_measured([run], PERPLEXITY)
    if metric is None:
        return "; perplexity was not measured"
    what = spoken(metric)
    now, base = run.metrics[metric.name], run.baseline.get(metric.name)
    if base is None:
        return f"; its {what} is {full_text(metric, now)}"
    change = relative_text(metric, base, now)
    move = f"{full_text(metric, base)} to {full_text(metric, now)}" + (f" ({change})" if change else "")
    judged = run.verdict(metric)
    if not finite(now):
        return f", but {what} is no longer a finite number"
    if judged == "same":
        return f", with no measurable change in {what} ({value_text(metric, base)} to {value_text(metric, now)})"
    if judged == "slight":
        return f", with hardly any change in {what} ({value_text(metric, base)} to {value_text(metric, now)})"
    if judged == "better":
        return f", and {what} falls from {move}"
    rise = relative(run, metric.name)
    if rise is not None and rise > MUCH_WORSE:
        return f", but {what} gets much worse, from {move}"
    if judged == "worse":
        return f", while {what} rises from {move}"
    return f", while {what} goes from {move}, its difference without an interval"


def _all_prices(study: Study, run: Run) -> list[str]:
    """What got measurably worse: of this form, of chat beside it, and in capability."""
    chat, tasks = study.chat_of(run), by_tasks(study)
    found = _prices(run)
    if tasks is not None:
        number = study.runs.index(run)
        for name, _, runs in tasks.rows:
            if runs[number].verdict(tasks.metric) == "worse":
                base, now = (part.get(tasks.metric.name) for part in (runs[number].baseline, runs[number].metrics))
                found.append(f"accuracy in {name} {value_text(tasks.metric, base)} → {value_text(tasks.metric, now)}")
    if chat is not None:
        found += [f"in chat {text[:1].lower()}{text[1:]}" for text in _prices(chat)]
    return found


def _prices(run: Run) -> list[str]:
    found = []
    said = first_measured([run], PERPLEXITY)
    for name, metric in METRICS.items():
        # The headline says toxicity and perplexity; a KL above zero is what any change of the model gives.
        if name in TOXICITY or name == "kl_from_base" or metric is said:
            continue
        if run.verdict(metric) == "worse":
            base, now = run.baseline.get(name), run.metrics.get(name)
            change = relative_text(metric, base, now)
            found.append(
                f"{metric.label} {value_text(metric, base)} → {value_text(metric, now)}"
                + (f" ({change})" if change else "")
            )
    paid = paid_by(run)
    return [*found, *(said for said in ("" if paid is None else gap(paid), unnamed(run)) if said)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
