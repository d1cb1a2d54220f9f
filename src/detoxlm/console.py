"""What the commands print: tables, trees, results, scores and validity. Heavy imports wait until it is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detoxlm.metrics import Metric
    from detoxlm.results import Results
    from detoxlm.validity import SetValidity, Study


def prepare() -> None:
    """Let no console cost a result: what it cannot show is escaped, and one that is closed is nowhere.

    Where nobody sees them, the bars of other libraries are switched off; ours write lines instead.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # else the next file that is opened gets its number, and what C libraries complain about
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not sys.stderr.isatty():
        for library in ("HF_HUB", "HF_DATASETS"):
            os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")


def as_typed(argument: str) -> str:
    """Return an argument as the text that was typed, also where the locale (`LC_ALL=C`) could not read it."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", "replace")
    return argument


def say(text: str) -> None:
    """Print a step of a long command to standard error, so that standard output stays what was asked for."""
    from rich.console import Console

    from detoxlm.progress import standard_error

    stream: Any = standard_error()
    Console(file=stream).print(text, style="bold", markup=False)


def summary(results: Results) -> dict[str, Any]:
    """Return a results object without its rows and windows: what a machine wants on standard output."""
    return results.model_dump(mode="json", exclude={"rows", "windows"})


def print_json(value: Any) -> None:
    """Print JSON values; characters that the console lacks as JSON escapes them, so that it stays JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=1)
    print(text)


def print_rows(
    header: Sequence[str], rows: Sequence[Sequence[str]], as_json: bool, problems: Mapping[str, str] | None = None
) -> None:
    """Print a table, as wide as the terminal; or JSON, an object for each row with the header as keys.

    `problems` are what is wrong by name: lines under the table, or objects with the name and the key `problem`.
    """
    problems = problems or {}
    if as_json:
        found = [{header[0]: name, "problem": problem} for name, problem in problems.items()]
        print_json([dict(zip(header, row, strict=True)) for row in rows] + found)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header)
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))  # Text: brackets in help texts are not markup
    Console().print(table)
    for name, problem in problems.items():
        print(f"{name}: {problem}")


def print_tree(values: dict[str, Any], indent: str = "") -> None:
    """Print names and values, a line each, with two more spaces before those of an inner dictionary."""
    for key, value in values.items():
        if isinstance(value, dict):
            print(f"{indent}{key.replace('_', ' ')}:")
            print_tree(value, indent + "  ")
        else:
            print(f"{indent}{key.replace('_', ' ')}: {f'{value:.4g}' if isinstance(value, float) else value}")


def print_results(results: Sequence[Results], strength: float | None = None) -> None:
    """Print a column for each results object, the change from the untouched model if there is one, and the scorers.

    Args:
        results: of one recipe, prompts and main scorer; at least one.
        strength: the one whose gain the second opinions judge; None: the report's headline chooses.
    """
    from detoxlm.metrics import METRICS
    from detoxlm.report.opinions import second_opinion_of

    header = ["", *(r.label for r in results)]
    comparison = results[0].comparison if len(results) == 1 else None
    if comparison is not None:
        header.append("change from untouched")
    opinions = dict.fromkeys(label for r in results for label in r.opinions)
    rows = []
    for name, metric in METRICS.items():
        if any(name in r.metrics for r in results):
            cells = [metric.show(r.metrics[name]) if name in r.metrics else "" for r in results]
            if comparison is not None:
                change = comparison.difference.get(name)
                cells.append(metric.show(change) if change is not None else "")
            rows.append([metric.label, *cells])
        if name == "toxic_fraction":
            rows += [[f"{metric.label} by {label}", *_opinion_cells(results, label, metric)] for label in opinions]
    blank = [""] * (comparison is not None)
    rows.append(["Tokens/s", *(f"{r.cost.tokens_per_second:.0f}" for r in results), *blank])
    rows.append(["Peak memory, MB", *(f"{r.cost.peak_memory_mb:,.0f}" for r in results), *blank])
    print_rows(header, rows, as_json=False)
    first = results[0]
    different = len({row.prompt for row in first.rows})
    print(
        f"95% bootstrap intervals over {different} prompts. Scorer {first.scorer.name} {first.scorer.version}, "
        f"recipe {first.recipe}, seed {first.settings['seed']}."
    )
    for note in dict.fromkeys(note for r in results for note in r.notes):
        print(f"Note: {note}")
    if said := second_opinion_of(results, strength):
        print(f"Second opinions: {said}")


def _opinion_cells(results: Sequence[Results], label: str, metric: Metric) -> list[str]:
    """A further scorer's row of `print_results`."""
    seen = [r.opinions[label].metrics if label in r.opinions else {} for r in results]
    comparison = results[0].comparison if len(results) == 1 else None
    if comparison is not None:
        seen.append(comparison.opinions[label].difference if label in comparison.opinions else {})
    return [metric.show(found[metric.name]) if metric.name in found else "" for found in seen]


def print_scores(texts: Sequence[str], said: dict[str, dict[str, list[float]]], dimensions: bool) -> None:
    """Print a line for each text: its scores, then the text.

    Args:
        texts: what was scored.
        said: scorer -> dimension -> a score in [0, 1] for each text.
        dimensions: whether all dimensions were asked for, so that several scorers' columns are named after theirs too.
    """
    columns = {
        name if len(said) == 1 else label if not dimensions else f"{label}:{name}": scores
        for label, every in said.items()
        for name, scores in every.items()
    }
    if len(columns) > 1:
        print("  ".join([*(f"{title:>5}" for title in columns), "text"]))
    for i, text in enumerate(texts):
        shown = (f"{scores[i]:>{max(5, len(title))}.3f}" for title, scores in columns.items())
        print(f"{'  '.join(shown)}  {' '.join(text.split())}")


def print_validity(study: Study) -> None:
    """Print what was measured of scorers, for each set of labelled texts."""
    from detoxlm.validity import MEASURES

    for one in study.first.sets.values():
        sets = {label: validity.sets[one.name] for label, validity in study.scorers.items()}
        shown = {name: measure for name, measure in MEASURES.items() if name in one.metrics}
        rows = [[label, *(m.show(got.metrics.get(name)) for name, m in shown.items())] for label, got in sets.items()]
        for label, found in study.differences.items():
            changes = [m.show(found[one.name].get(name), sign=True) for name, m in shown.items()]
            rows.append([f"{label} − {next(iter(sets))}", *changes])
        kind = "labels" if one.binary else "scores"
        print(f"\n{one.name}: {one.n:,} texts, {one.toxic / one.n:.1%} toxic, targets are {kind}")
        print_rows(["", *(measure.label for measure in shown.values())], rows, as_json=False)
        _print_dimensions(sets)
        _print_groups(sets)
        for label, got in sets.items():
            for what, failures in (("false positives", got.false_positives), ("false negatives", got.false_negatives)):
                if failures:
                    print(f"{label}, most confident {what}:")
                for failure in failures[:3]:  # the files have the rest
                    print(f"  {failure.score:.2f}  {' '.join(failure.text.split())[:100]}")
    print("\n95% bootstrap intervals over source documents. What each number says: docs/scorers.md.")


def _print_dimensions(sets: dict[str, SetValidity]) -> None:
    """Print how well each scorer's further dimensions follow theirs, where the set knows them."""
    from detoxlm.validity import DIMENSION_MEASURES, MEASURES, dimension_rows

    if rows := dimension_rows(sets):
        header = ["further dimension", "scorer", "0.5 or more", *(MEASURES[key].label for key in DIMENSION_MEASURES)]
        print_rows(header, rows, as_json=False)


def _print_groups(sets: dict[str, SetValidity]) -> None:
    """Print the identity terms whose benign texts each scorer flags most above average."""
    from detoxlm.validity import FEWEST_MENTIONS, MEASURES

    measure = MEASURES["false_positive_rate"]
    rows = [
        [label, term.name, f"{term.n:,}", measure.show(term.rate), measure.show(term.difference, sign=True)]
        for label, got in sets.items()
        for term in got.furthest_terms[:3]
    ]
    if rows:
        print(f"False positives: furthest above average of the terms in at least {FEWEST_MENTIONS} benign texts")
        print_rows(["scorer", "term", "texts", "rate", "above average"], rows, as_json=False)
    else:
        print(f"False positives by identity: no term is in at least {FEWEST_MENTIONS} benign texts.")
