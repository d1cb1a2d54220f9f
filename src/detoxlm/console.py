"""What the commands print: tables, trees, results, scores and validity. Heavy imports wait until it is printed."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

#: The width to which the names of rows may be folded: no word of a metric's label is longer.
NAMES = 13

if TYPE_CHECKING:
    from detoxlm.bulk.work import Done
    from detoxlm.labelling.agreement import Agreement
    from detoxlm.metrics import Metric
    from detoxlm.report.facts import Study
    from detoxlm.results import Estimate, Results
    from detoxlm.validity import SetValidity
    from detoxlm.validity import Study as ValidityStudy


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
    for library in ("torchao", "torch.utils._pytree"):  # of kernels for other machines, whenever they are imported
        logging.getLogger(library).setLevel(logging.ERROR)
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


def read_turn() -> str | None:
    """Return a line that the user types, after a mark where there is a terminal; None: the end of input."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def write_piece(text: str) -> None:
    """Write a piece of a text, at once."""
    print(text, end="", flush=True)


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


def print_results(results: Sequence[Results]) -> None:
    """Print a column for each results object, the change from the untouched model if there is one, and the scorers.

    Args:
        results: of one recipe, prompts and main scorer, or of the same runs in both forms; at least one.
    """
    from detoxlm.report.facts import arrange

    study = arrange(results)
    for one in [study, *([study.beside] if study.beside else [])]:
        if study.beside:
            print("In plain text:" if one is study else "\nIn chat:")
        _print_study([found for found in results if any(found is its for its in one.measured)])


def _print_study(results: Sequence[Results]) -> None:
    """Print what was measured in one form."""
    from detoxlm.report.facts import arrange, speed_text
    from detoxlm.report.opinions import second_opinion_of
    from detoxlm.report.paying import who_pays_said
    from detoxlm.report.reading import readers_said
    from detoxlm.report.words import headline

    header = [r.label for r in results]
    if len(results) == 1 and results[0].comparison is not None:
        header.append("change from untouched")
    _print_estimates(header, _estimates(results))
    first = results[0]
    different = len({row.prompt for row in first.rows})
    of = ", each metric over those of its kind" if any(row.kind for row in first.rows) else ""
    print(
        f"95% bootstrap intervals over {different} prompts{of}. Scorer {first.scorer.name} {first.scorer.version}, "
        f"recipe {first.recipe}, seed {first.settings['seed']}."
    )
    for note in dict.fromkeys(note for r in results for note in r.notes):
        print(f"Note: {note}")
    for r in results:
        if r.speed is not None:
            print(f"Speed: {r.label} has {speed_text(r.speed)}: {r.speed.n} pairs side by side.")
    study = arrange(results)
    _print_breakdowns(study)
    run = headline(study).run
    if said := readers_said(study, run):
        print(f"Readers{f' of {run.label}' if len(study.detoxified) > 1 else ''}: {said}")
    if said := who_pays_said(run):
        print(f"Who pays{f' for {run.label}' if len(study.detoxified) > 1 else ''}: {said}")
    if said := second_opinion_of(results):
        print(f"Second opinions: {said}")


def _print_breakdowns(study: Study) -> None:
    """Print what was measured of each group of prompts, and of each task of capability."""
    from detoxlm.report.breakdown import by_groups, by_tasks, left_out

    capability = by_tasks(study)
    for table in [*by_groups(study), *([capability] if capability else [])]:
        print(f"\n{table.title}: {table.metric.label.lower()}")
        rows = [
            [name, *(table.metric.show(found) if (found := run.metrics.get(table.metric.name)) else "" for run in runs)]
            for name, _, runs in table.rows
        ]
        print_rows(["", *(run.label for run in study.runs)], rows, as_json=False)
    for line in left_out(study):
        print(line)


def _estimates(results: Sequence[Results]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the rows of `print_results`: a name, and (value, interval) for each column."""
    from detoxlm.metrics import CORRECTED, METRICS

    comparison = results[0].comparison if len(results) == 1 else None
    opinions = dict.fromkeys(label for r in results for label in r.opinions)
    rows = []

    def add(label: str, metric: Metric, seen: Sequence[dict[str, Estimate]], change: dict[str, Estimate]) -> None:
        cells = [metric.parts(found[metric.name]) if metric.name in found else ("", "") for found in seen]
        if comparison is not None:
            cells.append(metric.difference_parts(change[metric.name]) if metric.name in change else ("", ""))
        rows.append((label, cells))

    for name, metric in METRICS.items():
        if any(name in r.metrics for r in results):
            add(metric.label, metric, [r.metrics for r in results], comparison.difference if comparison else {})
        if name in ("toxic_fraction", CORRECTED.name):
            for label in opinions:
                seen = [r.opinions[label].metrics if label in r.opinions else {} for r in results]
                if metric is CORRECTED and not any(name in found for found in seen):
                    continue
                judged = comparison.opinions.get(label) if comparison else None
                add(f"{metric.label} by {label}", metric, seen, judged.difference if judged else {})
    blank = [("", "")] * (comparison is not None)
    if len(results) == 1:  # side by side they would be compared, and were not timed side by side
        rows.append(("Tokens/s", [(f"{results[0].cost.tokens_per_second:.0f}", ""), *blank]))
    peaks = [r.cost.peak_memory_mb for r in results]
    rows.append(("Peak memory, MB", [("" if peak is None else f"{peak:,.0f}", "") for peak in peaks] + blank))
    return rows


def _print_estimates(header: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
    """Print values with their intervals so that no interval is broken: beside them, or where that is too wide, below.

    What does not fit even so goes on in a table beneath, with as many columns as fit.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def table(columns: range, below: bool) -> Table:
        # nothing but a space between columns: four of them, the default of most methods, fit 80
        look: dict[str, Any] = {"box": box.SIMPLE_HEAD, "padding": 0, "show_edge": False} if below else {}
        made = Table(**look)
        made.add_column("", max_width=NAMES if below else None)
        for i in columns:
            # the method above its strength
            made.add_column(Text(header[i].replace(" ", "\n", 1) if below else header[i]), no_wrap=True)
        for label, cells in rows:
            parts = [[part.replace(", ", ",") if below else part for part in cells[i] if part] for i in columns]
            made.add_row(Text(label, overflow="fold"), *(Text(("\n" if below else " ").join(part)) for part in parts))
        return made

    console, every, start = Console(), range(len(header)), 0

    def fits(columns: range, below: bool) -> bool:
        found = table(columns, below)
        found.columns[0].max_width = NAMES  # names may be folded, numbers not
        return console.measure(found, options=console.options.update(max_width=10_000)).maximum <= console.width

    if fits(every, below=False):
        console.print(table(every, below=False))
        return
    while start < len(header):
        end = next((end for end in reversed(every) if end > start and fits(range(start, end + 1), below=True)), start)
        console.print(table(range(start, end + 1), below=True))
        start = end + 1


def print_left(out: Path, strength: float | None, served: bool) -> None:
    """Print what a run has left in its folder; `strength` is the recommended one, None: nothing is recommended.

    A run through an address (`served`) leaves neither detoxifier nor checkpoint.
    """
    if strength is None:
        print("So results.json is of the untouched model" + ("." if served else ", and no checkpoint is written."))
    elif served:
        print(
            f"Requests that name no strength take it once `detoxlm serve` is started with --strength {strength:g}, or "
            f"vLLM with DETOXLM_STRENGTH={strength:g}."
        )
    else:
        print("It is the detoxifier's own now: what names no strength takes it.")
    print(f"Report:     {out / 'report.html'}")
    if not served:
        print(f"Detoxifier: {out / 'detoxifier'}")
    print(f"Results:    {out / 'results.json'}")
    if not served and (out / "model").is_dir():
        print(f"Model:      {out / 'model'} (a plain checkpoint: loads anywhere)")


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


def print_done(done: Done, what: str, word: str, as_json: bool) -> None:
    """Print what a run over a file has written: `what` in words, and the key under which JSON says what it is from."""
    if as_json:
        said = {word: done.by, "columns": done.columns, "rows": done.rows, "skipped": done.skipped}
        print_json({"output": str(done.output), **said})
        return
    print(f"{what}: {done.output}, {done.rows:,} rows, by {', '.join(done.by)} in {', '.join(done.columns)}")


def print_agreement(found: Agreement) -> None:
    """Print how two readers' labels agree, and the texts on which they differ."""
    from detoxlm.labelling.shown import plain
    from detoxlm.labels.files import VERDICTS

    first, second = found.readers
    beside = ", ".join(f"{n:,} by {name} alone" for n, name in zip(found.only, found.readers, strict=True) if n)
    print(f"{found.both:,} texts are labelled by both{f' ({beside})' if beside else ''}.")
    print(f"Same label: {found.same}")
    for name, kappa in (("Cohen's kappa", found.kappa), ("of those clear to both", found.clear_kappa)):
        print(f"{name}: {'undefined, a reader gave all texts one label' if kappa is None else kappa}")
    print(f"95% bootstrap intervals over {found.same.n:,} prompts. {first} in rows, {second} in columns:")
    rows = [[verdict, *map(str, row)] for verdict, row in zip(VERDICTS, found.table, strict=True)]
    print_rows(["", *VERDICTS], rows, as_json=False)
    if not found.differences:
        return
    print(f"They differ on {len(found.differences):,} texts:")
    for one in found.differences:
        text = f"text {one.key[0][:12]}" if one.text is None else " ".join(plain(one.text.text).split())
        print(f"{one.said[0]} | {one.said[1]}  {text}")
    if all(one.text is None for one in found.differences):
        print("Name the file of texts to see them: detoxlm label FILE --agreement A B")


def print_validity(study: ValidityStudy) -> None:
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
