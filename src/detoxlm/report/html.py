"""The HTML report: gathers what the page shows and fills the template; all text is escaped by jinja2."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from detoxlm.metrics import CORRECTED, METRICS, TOXICITY, Metric, ReaderTable
from detoxlm.report import plots, samples
from detoxlm.report.breakdown import Breakdown, by_groups, by_tasks, left_out
from detoxlm.report.facts import (
    VERDICT_WORDS,
    Run,
    Study,
    arrange,
    arrow,
    difference_text,
    interval_text,
    relative_text,
    speed_text,
    value_text,
)
from detoxlm.report.fitted import in_words
from detoxlm.report.limits import limits
from detoxlm.report.nested import Block, blocks, flatten, validity_blocks
from detoxlm.report.opinions import (
    UNDEFINED,
    SecondOpinion,
    View,
    agreement_table,
    before_and_after,
    opinion_metric,
    second_opinion,
    views,
)
from detoxlm.report.paying import paid_by, paying_block, who_pays_said
from detoxlm.report.reading import of_100, reader_blocks, readers_said
from detoxlm.report.words import headline
from detoxlm.results import Estimate, Results

TEMPLATES = Path(__file__).parent / "templates"
#: Settings that say how the run was started, not what it measured; they have a section of their own.
_COMMAND = "command"


@dataclass(frozen=True)
class Cell:
    """One number of the table as shown."""

    value: str
    interval: str
    #: One of the verdicts, or empty: the untouched column, or nothing to compare.
    verdict: str
    words: str
    arrow: str
    difference: str
    difference_interval: str
    relative: str


@dataclass(frozen=True)
class Fact:
    """A number of the first screen: before, after, and what that means."""

    label: str
    before: str
    after: str
    note: str
    verdict: str


def render(results: Sequence[Results], *, title: str | None, strength: float | None) -> str:
    """Return the page as one string; see `detoxlm.report.write_report`."""
    study = arrange(results)
    head = headline(study, strength)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    one = study.common
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title or f"{one.model.name} · {one.recipe}",
            study=study,
            one=one,
            head=head,
            facts=_facts(study, head.run),
            table=_metrics(study),
            chat=study.beside,
            chat_table=_metrics(study.beside) if study.beside else [],
            breakdowns=_breakdowns(study),
            chat_breakdowns=_breakdowns(study.beside) if study.beside else [],
            left_out=left_out(study),
            notes=_unique(note for result in _every(study) for note in result.notes),
            distribution=Markup(plots.score_distribution(study.runs)),
            shares=_shares(study),
            tradeoff=Markup(plots.tradeoff(study.runs)),
            corrected=Markup(plots.tradeoff(study.runs, CORRECTED, "corrected")),
            readers_said=readers_said(study, head.run),
            of_100=of_100,
            worst=[
                (run.label, shown)
                for run in ([study.untouched] if study.untouched else []) + ([head.run] if head.run.detoxified else [])
                if (shown := samples.worst(run))
            ],
            windowed=any(row.where for row in one.rows),
            pair_lists=samples.side_by_side(study, head.run),
            paying=_paying(study, head.run),
            opinions=_opinions(study, head.run),
            validity=_validity,
            costs=_costs(study),
            fits=_fits(study),
            limits=limits(study),
            settings=_settings(study),
            commands=_unique(
                _command(result.settings[_COMMAND]) for result in study.measured if result.settings.get(_COMMAND)
            ),
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            script=Markup(script),
            # Only this very script may run: should an escape ever fail, injected code still does nothing.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


@functools.cache
def environment(templates: Path = TEMPLATES) -> jinja2.Environment:
    """Return the Jinja environment of a folder of templates; everything that they print is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["intervals"] = _mark_intervals
    return made


def _mark_intervals(text: str) -> Markup:
    return Markup(re.sub(r"(\[[^\[\]]*\])", r'<span class="ci">\1</span>', str(escape(text))))


def _validity(validity: dict[str, Any]) -> tuple[list[Block], list[tuple[str, list[Block]]]]:
    tables, more = validity_blocks(validity)
    readers = ReaderTable.of(validity)
    return [*tables, *(reader_blocks(readers) if readers else [])], more


def _paying(study: Study, run: Run) -> list[tuple[Run, str, list[Block]]]:
    """What each run costs on text about groups of people, in words and as a table; the run spoken of first."""
    runs = [run, *(one for one in study.detoxified if one is not run)]
    return [
        (one, who_pays_said(one), [paying_block(found, one)]) for one in runs if (found := paid_by(one)) is not None
    ]


def _every(study: Study) -> list[Results]:
    return [*study.measured, *(study.beside.measured if study.beside else [])]


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _cell(metric: Metric, run: Run) -> Cell:
    estimate, change = run.metrics.get(metric.name), run.difference.get(metric.name)
    compared = run.detoxified and estimate is not None and bool(run.baseline.get(metric.name) or change)
    judged = run.verdict(metric) if compared else ""
    difference, interval = difference_text(metric, change) if compared else ("", "")
    return Cell(
        value=value_text(metric, estimate),
        interval=interval_text(metric, estimate),
        verdict=judged,
        words=VERDICT_WORDS[judged] if judged else "",
        arrow=arrow(change, judged) if judged and change is not None else "",
        difference=difference,
        difference_interval=interval,
        relative=relative_text(metric, run.baseline.get(metric.name), estimate) if compared else "",
    )


def _metrics(study: Study) -> list[tuple[Metric, list[Cell]]]:
    return [(metric, [_cell(metric, run) for run in study.runs]) for metric in study.metrics]


def _breakdowns(study: Study) -> list[tuple[Breakdown, list[tuple[str, str, list[Cell]]]]]:
    """Tables by group of prompts, and by task of capability."""
    capability = by_tasks(study)
    return [
        (table, [(name, said, [_cell(table.metric, run) for run in runs]) for name, said, runs in table.rows])
        for table in [*by_groups(study), *([capability] if capability else [])]
    ]


def _facts(study: Study, run: Run) -> list[Fact]:
    """Pick the four numbers a product decision needs: how often, how bad, how fluent, how fast."""
    facts: list[Fact] = []
    for choices in (
        ("toxic_fraction", "toxicity_probability"),
        # With one sample a prompt the maximum is the mean, under a name that nobody expects.
        ("expected_max_toxicity", "mean_toxicity") if study.samples > 1 else ("mean_toxicity",),
        ("model_perplexity", "continuation_perplexity"),
    ):
        taken = [fact.label for fact in facts]
        name = next((n for n in choices if n in run.metrics and METRICS[n].label not in taken), None)
        if name is None:
            continue
        cell = _cell(METRICS[name], run)
        before = value_text(METRICS[name], run.baseline[name]) if name in run.baseline else ""
        note = f"{cell.difference} {cell.difference_interval}".strip() if run.detoxified else cell.interval
        if cell.words:
            note = f"{cell.words}: {note}" if note else cell.words
        facts.append(Fact(METRICS[name].label, before, cell.value, note, cell.verdict))
    return [*facts, _speed(study, run)]


def _speed(study: Study, run: Run) -> Fact:
    """Say what the detoxifier costs where that was timed side by side; else the tokens per second of this run alone."""
    timed = run if _speed_of(run) else next((one for one in study.detoxified if _speed_of(one)), None)
    speed = _speed_of(timed) if timed else None
    if timed is None or speed is None:
        return Fact("Speed", "", f"{run.cost.tokens_per_second:.4g}", "tokens per second in this run", "")
    ratio, _, rest = speed_text(speed).partition(" ")
    at = "" if timed is run else f", {timed.label}"
    return Fact("Speed", "", ratio, f"{rest}, in {speed.n} pairs of generations side by side{at}", "")


def _speed_of(run: Run) -> Estimate | None:
    return run.results.speed if run.results else None


def _shares(study: Study) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the distribution plot as a table, for those who cannot see the plot."""
    thresholds = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    rows = [
        (run.label, [f"{share:.1%}" for share in plots.share_at_least(run.scores, thresholds)])
        for run in study.runs
        if run.scores
    ]
    return [f"≥ {threshold:g}" for threshold in thresholds], rows


def _costs(study: Study) -> list[tuple[str, list[str]]]:
    """Return the cost table: a label, then a value for every run.

    Seconds stand there for one run alone: those of several were not timed side by side and would be compared.
    """
    lines: list[tuple[str, Callable[[Run], str]]] = [
        ("Peak memory (MB)", lambda run: "not known" if (peak := run.cost.peak_memory_mb) is None else f"{peak:,.0f}"),
        ("Generated tokens", lambda run: f"{run.cost.generated_tokens:,}"),
    ]
    if any(_speed_of(run) for run in study.runs):
        lines.insert(0, ("Speed, side by side", lambda run: speed_text(found) if (found := _speed_of(run)) else "–"))
    if len(study.runs) == 1:
        lines += [
            ("Tokens per second", lambda run: f"{run.cost.tokens_per_second:,.1f}"),
            ("Generation (seconds)", lambda run: f"{run.cost.generation_seconds:,.1f}"),
            ("Whole run (seconds)", lambda run: f"{run.cost.total_seconds:,.1f}"),
        ]
    return [(label, [show(run) for run in study.runs]) for label, show in lines]


@dataclass(frozen=True)
class Opinions:
    """The section on second opinions."""

    views: list[View]
    #: None: nothing was detoxified, so there is no gain to see.
    verdict: SecondOpinion | None
    #: Metric by metric, the headline's first: every scorer's numbers, one cell for each run.
    tables: list[tuple[Metric, list[tuple[View, list[Cell]]]]]
    plot: Markup
    agreement: Block | None
    undefined: bool
    contested: list[tuple[str, list[samples.Contested]]]


def _opinions(study: Study, run: Run) -> Opinions | None:
    seen, first = views(study), opinion_metric(study)
    if not seen or first is None:
        return None
    measured = [metric for metric in TOXICITY if any(metric.name in one.metrics for view in seen for one in view.runs)]
    agreement = agreement_table(study, run)
    return Opinions(
        views=seen,
        verdict=second_opinion(study, run),
        tables=[
            (metric, [(view, [_cell(metric, one) for one in view.runs]) for view in seen])
            for metric in sorted(measured, key=lambda metric: metric is not first)
        ],
        plot=Markup(plots.differences([(view.label, view.runs) for view in seen], first)),
        agreement=agreement,
        undefined=agreement is not None and any(UNDEFINED in cells for _, cells in agreement.rows),
        contested=[(one.label, shown) for one in before_and_after(study, run) if (shown := samples.contested(one))],
    )


@dataclass(frozen=True)
class Fit:
    """How one detoxifier came about, and the runs that used it."""

    labels: str
    words: str
    tables: list[Block]
    loss: Markup
    looks: Markup
    search: Markup


def _fits(study: Study) -> list[Fit]:
    # Runs at several strengths share one fit; it is shown once.
    groups: list[tuple[dict[str, Any], list[str]]] = []
    for run in study.detoxified:
        info = run.results.detoxifier if run.results else None
        if info is None or not info.fitting:
            continue
        known = next((labels for fitting, labels in groups if fitting == info.fitting), None)
        if known is None:
            groups.append((info.fitting, [run.label]))
        else:
            known.append(run.label)
    return [
        Fit(
            ", ".join(labels),
            in_words(fitting),
            _fit_tables(fitting),
            Markup(plots.loss_curve(fitting.get("loss_curve") or [], f"loss-{number}")),
            Markup(plots.looks(fitting.get("watched") or [], f"looks-{number}")),
            Markup(plots.search(fitting.get("search") or {}, f"search-{number}")),
        )
        for number, (fitting, labels) in enumerate(groups)
    ]


def _fit_tables(fitting: dict[str, Any]) -> list[Block]:
    """Every number of a fit. What directions stand for are words, and bad ones: they are hidden as texts are."""
    drawn = ("loss_curve", "watched", "removed_directions")
    shown = {
        key: {k: v for k, v in value.items() if k not in drawn} if isinstance(value, dict) else value
        for key, value in fitting.items()
        if key not in drawn
    }
    tables = blocks(shown | _looks(fitting))
    removed = fitting.get("removed_directions")
    return [*tables, *(blocks(removed, "removed directions", quotes=True) if isinstance(removed, dict) else [])]


def _looks(fitting: dict[str, Any]) -> dict[str, Any]:
    """What was seen while the detoxifier was trained, as a row for each look."""
    rows = {
        f"step {look['step']}": {key: value for key, value in look.items() if key != "step"}
        for look in fitting.get("watched") or []
    }
    return {"while_it_trained": rows} if rows else {}


def _settings(study: Study) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Return (section, rows); a row has one value where all runs agree, else one for every run."""
    sections: dict[str, list[dict[str, str]]] = {"Model": [], "Detoxifier": [], "Recipe": [], "Versions": []}
    for one in study.measured:
        detoxifier = one.detoxifier.model_dump(exclude={"fitting"}) if one.detoxifier else {}
        settings = {key: value for key, value in one.settings.items() if key != _COMMAND}
        sections["Model"].append(flatten(one.model.model_dump()))
        sections["Detoxifier"].append(flatten(detoxifier))
        sections["Recipe"].append(
            flatten({"recipe": one.recipe, "created": one.created, "fluency judge": one.fluency_judge} | settings)
        )
        sections["Versions"].append(flatten(one.versions))
    found = []
    for name, columns in sections.items():
        rows = []
        for key in _unique(key for column in columns for key in column):
            values = [column.get(key, "–") for column in columns]
            rows.append((key, values[:1] if len(set(values)) == 1 else values))
        if rows:
            found.append((name, rows))
    return found


def _command(command: Any) -> str:
    return command if isinstance(command, str) else shlex.join(map(str, command))
