"""The page of `detoxlm scorers validate`: gathers what it shows and fills the template; jinja2 escapes all text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from detoxlm.report.html import TEMPLATES as REPORT
from detoxlm.report.html import environment
from detoxlm.report.samples import TEXT_SHOWN
from detoxlm.validity import plots
from detoxlm.validity.measures import DIMENSION_MEASURES, MEASURES
from detoxlm.validity.results import FEWEST_MENTIONS, Failure, Group, SetValidity, Study, dimension_rows

TEMPLATES = Path(__file__).parent / "templates"
#: Groups in a plot; the table beneath has them all.
GROUPS_SHOWN = 24
_RATE = MEASURES["false_positive_rate"]


@dataclass(frozen=True)
class _Row:
    """One line of a comparison: a scorer, or its difference from the first one."""

    label: str
    cells: list[tuple[str, str]]
    difference: bool


@dataclass(frozen=True)
class _Scorer:
    """What is shown of one scorer on one set."""

    label: str
    histogram: Markup
    groups: Markup
    #: (heading, rows of name, texts, rate, difference).
    tables: list[tuple[str, list[tuple[str, str, str, str]]]]
    #: (heading, failures), texts shortened.
    failures: list[tuple[str, list[Failure]]]
    overall: str


@dataclass(frozen=True)
class _Section:
    """What is shown of one set."""

    data: SetValidity
    rows: list[_Row]
    measures: list[tuple[str, str, str]]
    calibration: Markup
    roc: Markup
    scorers: list[_Scorer]
    #: Further dimensions: (dimension, scorer, share of texts at 0.5 or more, cells as in `_Row`).
    dimensions: list[tuple[str, str, str, list[tuple[str, str]]]]
    identity: list[str]


def render(study: Study) -> str:
    """Return the page as one string; see `detoxlm.validity.study.write_validity`."""
    script = (REPORT / "report.js").read_text(encoding="utf-8")
    sections = [_section(study, name, number) for number, name in enumerate(study.first.sets)]
    return (
        environment(TEMPLATES)
        .get_template("validity.html.j2")
        .render(
            title=", ".join(study.scorers),
            study=study,
            sentence=_sentence(study),
            sections=sections,
            fewest=FEWEST_MENTIONS,
            dimension_measures=[MEASURES[key].label for key in DIMENSION_MEASURES],
            style=Markup((REPORT / "report.css").read_text(encoding="utf-8")),
            script=Markup(script),
            # Only this very script may run: should an escape ever fail, injected code still does nothing.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _sentence(study: Study) -> str:
    """What a reader in a hurry should take away: the first scorer on the first set."""
    label, one = next(iter(study.scorers)), next(iter(study.first.sets.values()))
    found = one.metrics
    told = []
    if "auc" in found:
        told.append(f"ranks toxic texts above benign ones with an AUC of {MEASURES['auc'].show(found['auc'])}")
    if "false_positive_rate" in found:
        told.append(f"calls {_RATE.show(found['false_positive_rate'])} of benign texts toxic")
    if "false_negative_rate" in found:
        told.append(f"misses {_RATE.show(found['false_negative_rate'])} of toxic ones")
    said = ", ".join(told[:-1]) + " and " + told[-1] if len(told) > 1 else told[0]
    return f"On {one.n:,} texts of {one.name}, {label} {said}."


def _section(study: Study, name: str, number: int) -> _Section:
    sets = [(label, validity.sets[name]) for label, validity in study.scorers.items()]
    data = sets[0][1]
    measures = [key for key in MEASURES if key in data.metrics]
    rows = [
        _Row(label, [_split(MEASURES[key].show(one.metrics.get(key))) for key in measures], False)
        for label, one in sets
    ]
    for label, differences in study.differences.items():
        cells = [_split(MEASURES[key].show(differences[name].get(key), sign=True)) for key in measures]
        rows.append(_Row(f"{label} − {sets[0][0]}", cells, True))
    return _Section(
        data=data,
        rows=rows,
        measures=[(MEASURES[key].label, MEASURES[key].meaning, MEASURES[key].better) for key in measures],
        calibration=Markup(plots.calibration(sets, f"calibration-{number}")),
        roc=Markup(plots.roc(sets, f"roc-{number}")),
        scorers=[_scorer(label, one, place, f"{number}-{place}") for place, (label, one) in enumerate(sets)],
        dimensions=[
            (name, scorer, share, [_split(cell) for cell in cells])
            for name, scorer, share, *cells in dimension_rows(dict(sets))
        ],
        identity=[_identity(label, one) for label, one in sets],
    )


def _scorer(label: str, one: SetValidity, place: int, key: str) -> _Scorer:
    overall = one.metrics.get("false_positive_rate")
    known = [group for group in one.groups if group.n >= FEWEST_MENTIONS][:GROUPS_SHOWN]
    shown = sorted(known, key=lambda group: -group.rate.value)
    return _Scorer(
        label=label,
        histogram=Markup(plots.histogram(one, f"histogram-{key}")),
        groups=Markup(plots.groups(shown, overall.value, place, f"groups-{key}")) if overall else Markup(),
        tables=[
            (heading, [_group_row(group) for group in found])
            for heading, found in (("By group", one.groups), ("By term", one.terms))
            if found
        ],
        failures=[
            (heading, [_shortened(failure) for failure in found])
            for heading, found in (
                ("Benign texts called toxic", one.false_positives),
                ("Toxic texts missed", one.false_negatives),
            )
        ],
        overall=_RATE.show(overall) if overall else "",
    )


def _identity(label: str, one: SetValidity) -> str:
    terms: Sequence[Group] = one.furthest_terms
    if not terms:
        return f"{label}: no identity term is in at least {FEWEST_MENTIONS} benign texts here, so nothing is concluded."
    worst = terms[0]
    return (
        f"{label}: of {len(terms)} identity term{'s' if len(terms) > 1 else ''} in at least {FEWEST_MENTIONS} benign "
        f"texts, “{worst.name}” is furthest above average: {_RATE.show(worst.rate)} of {worst.n:,}, "
        f"{_RATE.show(worst.difference, sign=True)}."
    )


def _group_row(group: Group) -> tuple[str, str, str, str]:
    # The head of the column names the unit, so that the table fits half a page.
    difference = _RATE.show(group.difference, sign=True).replace(" points", "")
    return group.name, f"{group.n:,}", _RATE.show(group.rate), difference


def _split(shown: str) -> tuple[str, str]:
    """`0.943 [0.938, 0.948]` -> (`0.943`, `[0.938, 0.948]`)."""
    value, _, interval = shown.partition(" [")
    return value, f"[{interval}" if interval else ""


def _shortened(failure: Failure) -> Failure:
    text = failure.text.strip()
    if len(text) > TEXT_SHOWN:
        text = f"{text[:TEXT_SHOWN]} … ({len(text) - TEXT_SHOWN:,} more characters)"
    return Failure(text, failure.score, failure.target)
