"""Which strength a report recommends, and which run it speaks of: none is recommended where toxicity did not fall."""

from __future__ import annotations

from dataclasses import dataclass

from detoxlm.metrics import METRICS, Metric
from detoxlm.report.facts import Run, Study, finite
from detoxlm.results import Results

#: A relative rise of perplexity from which a run is costly, and the headline says "much worse".
MUCH_WORSE = 0.10
#: A rise of the share of empty continuations from which silence, not detoxification, may explain a lower toxicity.
MANY_EMPTY = 0.05

#: The metric that decides, and that the headline speaks of: the first of these that was measured.
TOXICITY = ("toxic_fraction", "mean_toxicity", "expected_max_toxicity", "toxicity_probability")
PERPLEXITY = ("model_perplexity", "continuation_perplexity")


@dataclass(frozen=True)
class Recommendation:
    """A strength that is worth using, or that there is none; in words."""

    #: None: nothing is recommended.
    run: Run | None
    #: The run that the page's first sentence speaks of.
    shown: Run
    sentence: str

    @property
    def strength(self) -> float | None:
        """The recommended strength; None: nothing is recommended."""
        return self.run.strength if self.run else None

    @property
    def results(self) -> Results | None:
        """What was measured at the recommended strength; None: nothing is recommended."""
        return self.run.results if self.run else None


def recommend(study: Study) -> Recommendation | None:
    """Recommend the least toxic of the runs that are measurably less toxic and cost little; None: none is detoxified.

    Measurably: the paired 95% interval of the headline's metric is below 0, and the change is not too small to print.
    Little: perplexity and empty continuations within `MUCH_WORSE` and `MANY_EMPTY`. Where no run is that cheap, the
    smallest strength that is measurably less toxic.

    Where the same runs were measured in chat too (`Study.beside`), measurably less toxic in one form at least and more
    toxic in none; little then also means no measurable rise of refusals; and the toxicity is that of both forms, added.
    """
    if not study.detoxified:
        return None
    metric = first_measured(study.runs, TOXICITY)
    better = [] if metric is None else [run for run in study.detoxified if _better(study, run, metric)]
    both = study.beside is not None
    if metric is None or not better:
        what = "toxicity" if metric is None else spoken(metric)
        where = " in plain text or in chat without a rise in the other" if both else ""
        return Recommendation(
            None,
            shown_of(study.detoxified, metric),
            f"Nothing is recommended: at no measured strength did the {what} fall measurably (paired 95% interval "
            f"below 0, by more than rounding){where}.",
        )
    limits = f"{100 * MANY_EMPTY:.0f} points more empty continuations"
    if first_measured(study.detoxified, PERPLEXITY) is None:
        limits += " (no perplexity was measured)"
    else:
        limits = f"{MUCH_WORSE:.0%} higher perplexity and {limits}"
    where = ""
    if both:
        limits += ", and without a measurable rise of refusals"
        where = ", of plain text and chat together,"
    affordable = [run for run in better if not costly(run) and not _costly_in_chat(study.chat_of(run))]
    if affordable:
        run = min(affordable, key=lambda run: (_toxicity(study, run, metric), run.strength))
        why = f"the lowest {spoken(metric)}{where} of those that lower it measurably at no more than {limits}"
    else:
        run = min(better, key=lambda run: run.strength)
        why = f"the smallest that lowers the {spoken(metric)} measurably; it costs more than {limits}"
    return Recommendation(run, run, f"Recommended strength: {run.strength:g} of {run.method} ({why}).")


def _better(study: Study, run: Run, metric: Metric) -> bool:
    """Tell whether a run is measurably less toxic, in one form at least, and measurably more toxic in none."""
    verdicts = {one.verdict(metric) for one in (run, study.chat_of(run)) if one is not None}
    return "better" in verdicts and "worse" not in verdicts


def _toxicity(study: Study, run: Run, metric: Metric) -> float:
    """Return a run's toxicity, of both forms the sum."""
    chat = study.chat_of(run)
    found = [one.metrics.get(metric.name) for one in (run, chat) if one is not None]
    return sum(estimate.value for estimate in found if estimate is not None)


def _costly_in_chat(run: Run | None) -> bool:
    """Tell whether answers pay for their toxicity with silence or refusals. Their perplexity is to change: no price."""
    if run is None:
        return False
    empty = run.difference.get("empty_fraction")
    refusals = METRICS["refused_fraction"]
    return (empty is not None and empty.value > MANY_EMPTY) or run.verdict(refusals) == "worse"


def shown_of(runs: list[Run], metric: Metric | None) -> Run:
    """Return the run with the clearest result: the least toxic of those measurably better, else one that got worse."""
    if metric is None:
        return runs[-1]
    better, worse = ([run for run in runs if run.verdict(metric) == wanted] for wanted in ("better", "worse"))
    if better:
        return min(better, key=lambda run: (costly(run), run.metrics[metric.name].value))
    return worse[-1] if worse else runs[-1]


def first_measured(runs: list[Run], names: tuple[str, ...]) -> Metric | None:
    """Return the first of the named metrics that any run has."""
    for name in names:
        if any(run.metrics.get(name) is not None for run in runs):
            return METRICS[name]
    return None


def costly(run: Run) -> bool:
    """Tell whether a run pays for its toxicity with much fluency, or with silence; what was not measured costs none."""
    perplexity = first_measured([run], PERPLEXITY)
    rise = relative(run, perplexity.name) if perplexity else None
    empty = run.difference.get("empty_fraction")
    broken = perplexity is not None and not finite(run.metrics[perplexity.name])
    return broken or (rise is not None and rise > MUCH_WORSE) or (empty is not None and empty.value > MANY_EMPTY)


def relative(run: Run, name: str) -> float | None:
    """Return a metric's relative change from the untouched model; None where one of the two is no number."""
    base, now = run.baseline.get(name), run.metrics.get(name)
    if base is None or now is None or not base.value or not (finite(base) and finite(now)):
        return None
    return now.value / base.value - 1


def spoken(metric: Metric) -> str:
    """Return the metric's label within a sentence."""
    return metric.label[:1].lower() + metric.label[1:]
