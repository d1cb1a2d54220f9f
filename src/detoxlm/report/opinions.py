"""Second opinions: what every scorer of a page says of the same runs, and whether they agree that there is a gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detoxlm.metrics import TOXICITY as TOXICITY_METRICS
from detoxlm.metrics import Metric
from detoxlm.report.facts import Run, Study, arrange
from detoxlm.report.nested import Block
from detoxlm.report.recommendation import TOXICITY, first_measured, spoken
from detoxlm.report.words import headline
from detoxlm.results import Estimate, Results, ScorerInfo

_READ_FROM_SCORES = {metric.name for metric in TOXICITY_METRICS}
UNDEFINED = "undefined"


@dataclass(frozen=True)
class View:
    """The page's runs as one scorer sees them."""

    label: str
    scorer: ScorerInfo
    #: One for each run of the study, in its order; their toxicity metrics are this scorer's. They hold no texts.
    runs: list[Run]
    main: bool = False


@dataclass(frozen=True)
class SecondOpinion:
    """What the scorers together say of one run, in words."""

    sentence: str
    #: Whether a gain that one scorer sees is missed or contradicted by another.
    suspect: bool


def views(study: Study) -> list[View]:
    """Return how every scorer sees the runs, the main one first; [] where it was the only one."""
    found = {label: opinion.scorer for one in study.measured for label, opinion in one.opinions.items()}
    if not found:
        return []
    main = study.common.scorer
    return [
        View(main.name, main, study.runs, main=True),
        *(
            View(label, info, arrange([_seen_by(label, info, one) for one in study.measured]).runs)
            for label, info in found.items()
        ),
    ]


def _seen_by(label: str, info: ScorerInfo, one: Results) -> Results:
    """The results as if a further scorer had been the main one; without toxicity metrics where it scored nothing."""

    def swapped(judged: dict[str, Estimate], seen: dict[str, Estimate]) -> dict[str, Estimate]:
        return {name: estimate for name, estimate in judged.items() if name not in _READ_FROM_SCORES} | seen

    opinion, comparison = one.opinions.get(label), one.comparison
    if comparison is not None:
        change = comparison.opinions.get(label)
        comparison = comparison.model_copy(
            update={
                "baseline": swapped(comparison.baseline, change.baseline if change else {}),
                "difference": swapped(comparison.difference, change.difference if change else {}),
            }
        )
    metrics = swapped(one.metrics, opinion.metrics if opinion else {})
    return one.model_copy(update={"scorer": info, "metrics": metrics, "comparison": comparison, "rows": []})


def opinion_metric(study: Study) -> Metric | None:
    """Return the metric by which the scorers are compared: the one that the headline speaks of."""
    return first_measured(study.runs, TOXICITY)


def second_opinion(study: Study, run: Run) -> SecondOpinion | None:
    """Say whether all scorers see the run's gain; None without second opinions or without a detoxified run."""
    seen, metric = views(study), opinion_metric(study)
    if not seen or metric is None or not run.detoxified:
        return None
    number = study.runs.index(run)
    changes = {_name(view): view.runs[number].difference.get(metric.name) for view in seen}
    judged: dict[str, list[str]] = {}
    for view in seen:
        judged.setdefault(view.runs[number].verdict(metric), []).append(_name(view))
    gain, loss, covering, slight, unknown = (
        judged.get(kind, []) for kind in ("better", "worse", "same", "slight", "unknown")
    )
    same = covering + slight
    everyone = "Both scorers" if len(seen) == 2 else f"All {len(seen)} scorers"
    what = spoken(metric)
    suspect = bool(gain) and bool(same or loss)
    if len(gain) == len(seen):
        said = [f"{everyone} see the gain: by each of them the {what} falls measurably"]
    elif gain and not suspect:
        said = [f"By {_list(gain)} the {what} falls measurably"]
    elif gain and loss:
        said = [
            f"The scorers contradict each other: by {_list(gain)} the {what} falls measurably, by {_list(loss)} it "
            "rises measurably. Do not count on the gain"
        ]
    elif gain:
        said = [f"Only {_list(gain)} {_verb(gain, 'see')} the gain in {what}: treat it with suspicion"]
    elif len(loss) == len(seen):
        said = [f"{everyone} see a loss: by each of them the {what} rises measurably"]
    elif loss:
        said = [f"No scorer sees a gain, and {_list(loss)} {_verb(loss, 'see')} the {what} rise measurably"]
    elif same:
        said = [f"No scorer sees a measurable change of the {what}"]
    else:
        said = [f"Without paired intervals no scorer can say whether the {what} changed"]
    if bool(gain) != bool(loss):
        leaning = [name for name in covering if (change := changes[name]) and change.value * (-1 if gain else 1) > 0]
        still = [name for name in same if name not in leaning]
        if leaning:
            said.append(f"For {_list(leaning)} it leans the same way, but with an interval that covers zero")
        if still:
            said.append(f"For {_list(still)} there is no such change")
    if unknown and len(unknown) < len(seen):
        said.append(f"For {_list(unknown)} there is no paired interval, which says nothing either way")
    return SecondOpinion(". ".join(said) + ".", suspect)


def second_opinion_of(results: Sequence[Results], strength: float | None = None) -> str:
    """Return the words of `second_opinion` on the run that the headline of these results speaks of; "" without any.

    Raises:
        UsageError: as `arrange` and `headline`.
    """
    study = arrange(results)
    found = second_opinion(study, headline(study, strength).run)
    return found.sentence if found else ""


def before_and_after(study: Study, run: Run) -> list[Run]:
    """Return the runs whose texts are looked at: the page's first one and the headline's."""
    first = study.runs[0]
    return [first] if run is first else [first, run]


def agreement_table(study: Study, run: Run) -> Block | None:
    """Lay out how far each pair of scorers agrees on the texts of the untouched model and of `run`; None without."""
    rows = [
        (
            f"{' / '.join(pair.scorers)}, {one.label}",
            [
                _estimate(pair.spearman),
                _estimate(pair.same_verdict, percent=True),
                _estimate(pair.kappa),
                *(f"{count:,}" for count in (pair.both, pair.only_first, pair.only_second, pair.neither)),
            ],
        )
        for one in before_and_after(study, run)
        for pair in (one.results.agreement if one.results else [])
    ]
    columns = [
        "rank correlation",
        "same verdict",
        "kappa",
        "toxic for both",
        "first only",
        "second only",
        "neither",
    ]
    return Block("Pair of scorers, and whose texts", columns, rows) if rows else None


def _estimate(estimate: Estimate | None, percent: bool = False) -> str:
    if estimate is None:
        return UNDEFINED
    scale, digits, sign = (100, 1, "%") if percent else (1, 2, "")
    value = f"{estimate.value * scale:.{digits}f}{sign}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{estimate.low * scale:.{digits}f}, {estimate.high * scale:.{digits}f}]"


def _name(view: View) -> str:
    return f"{view.label} (the main scorer)" if view.main else view.label


def _list(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _verb(names: list[str], verb: str) -> str:
    return verb if len(names) > 1 else f"{verb}s"
