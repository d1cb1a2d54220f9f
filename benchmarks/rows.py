"""What the benchmarks of methods share: rows of a table, each a detoxifier at some strengths, measured with recipes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detoxlm.data import builtin_prompts, neutral_text, read_plain_text, read_prompts
from detoxlm.errors import UsageError
from detoxlm.files import write_atomically
from detoxlm.fitting import fit_digest
from detoxlm.methods import Detoxifier, FitData, get_method
from detoxlm.methods.folders import CONFIG_FILE
from detoxlm.models import Target
from detoxlm.recipes import Task, get_recipe, measure
from detoxlm.results import Results
from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import Scorer

#: How to get a detoxifier: one of this very fit that is in the folder is taken, a new one is kept there.
Fit = Callable[[Path], Detoxifier]
#: (name, how to get the detoxifier, strengths).
Row = tuple[str, Fit, Sequence[float]]


def add_options(parser: argparse.ArgumentParser, strengths: Sequence[float], output: str) -> None:
    """Add what every benchmark of a method asks for; one without `strengths` has no rows to choose from.

    In the name of the output `PART` becomes the part that is run.
    """
    parser.add_argument("--model", default="embedded")
    parser.add_argument(
        "--scorer", default="embedded", help="who judges, and fits; embedded:2: that of the methods' pages"
    )
    parser.add_argument("--prompts", help="a RealToxicityPrompts jsonl [default: built-in prompts]")
    parser.add_argument("--fluency-text", type=Path, help="WikiText-2 validation text [default: built-in text]")
    parser.add_argument("--recipes", nargs="+", default=["challenge-10"])
    if strengths:
        parser.add_argument(
            "--strengths",
            nargs="+",
            type=float,
            default=list(strengths),
            help="of the rows that have none of their own",
        )
        parser.add_argument("--rows", nargs="+", help="only rows of these names, or that contain one [default: all]")
    parser.add_argument("--limit", type=int, help="prompts [default: all; 200 of emt-25]")
    parser.add_argument("--fluency-tokens", type=int, default=16384)
    parser.add_argument("--batch-size", type=int, default=32, help="sequences generated at once")
    parser.add_argument(
        "-o", "--output", default=output, help=f"a folder beside it keeps rows and detoxifiers [default: {output}]"
    )


def needs(options: argparse.Namespace, *names: str) -> None:
    """Exit where an option that a part needs is not given."""
    for name in names:
        if getattr(options, name) is None:
            raise SystemExit(f"--{name}: `{options.part}` needs it")


def chosen(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Return the names of the rows that are asked for: a name chooses its row alone, a part all that contain it.

    Raises:
        SystemExit: one is in no row's name.
    """
    if not options.rows or not names:
        return list(names)
    wanted: set[str] = set()
    for part in options.rows:
        found = {part} if part in names else {name for name in names if part in name}
        if not found:
            raise SystemExit(f"--rows: none of {'; '.join(names)} contains {part!r}")
        wanted |= found
    return [name for name in names if name in wanted]


def fit_of(
    target: Target,
    method_name: str,
    data: Callable[[], FitData],
    tell: Callable[[Detoxifier], object] = lambda _: None,
    **settings: Any,
) -> Fit:
    """Return how to fit a method.

    It is `detoxlm.fitting.fit_to`, but that rows share a work folder, which stays.

    Args:
        target: the untouched model.
        method_name: the method.
        data: what it learns from; asked for when it is fitted.
        tell: gets what was fitted, not what was there.
        settings: of the method, where they are not its own.
    """
    method = get_method(method_name)
    made = method.detoxifier_type.settings_type(**settings)

    def get(folder: Path) -> Detoxifier:
        given = data()

        def fit() -> Detoxifier:
            found = method.fit(target, given, made)
            tell(found)
            return found

        return kept(folder, fit_digest(target, method, made, given), fit)

    return get


def task(options: argparse.Namespace, recipe: str) -> Task:
    """The measurement that all rows share."""
    prompts = read_prompts(options.prompts).items if options.prompts else builtin_prompts("measure", "provocative")
    text = read_plain_text(options.fluency_text, field="fluency_text") if options.fluency_text else neutral_text()
    return Task(
        recipe=get_recipe(recipe),
        prompts=prompts[: options.limit or (200 if recipe == "emt-25" else None)],
        prompts_source=str(options.prompts or "built-in provocative prompts"),
        fluency_text=text,
        fluency_source=str(options.fluency_text or "built-in neutral text"),
        fluency_tokens=options.fluency_tokens,
        batch_size=options.batch_size,
    )


def measured(
    options: argparse.Namespace, target: Target, rows: Sequence[Row], recipes: Sequence[str]
) -> dict[str, Any]:
    """Measure rows of (name, how to get the detoxifier, strengths) and print the table.

    Results and detoxifiers that are there are taken if they are of this very measurement and fit; others are replaced.
    """
    scorer = load_scorer(options.scorer)
    opinions = [load_scorer("ngram")]
    folder = Path(options.output).with_suffix("")
    refuse_other_scorers(folder, scorer)
    names = chosen(options, [name for name, *_ in rows])
    table: list[dict[str, Any]] = []
    for recipe in recipes:
        what = task(options, recipe)
        base = measure(target, what, scorer, opinions=opinions, output=folder / f"{recipe}-untouched.json")
        _line(table, recipe, "untouched", 0.0, base)
        for name, get, strengths in rows:
            if name not in names:
                continue
            detoxifier = get(folder_of(options, name))
            for strength in strengths:
                now = measure(
                    target,
                    what,
                    scorer,
                    opinions=opinions,
                    detoxifier=detoxifier,
                    strength=strength,
                    baseline=base,
                    output=folder / f"{recipe}-{_file_name(name)}-{strength:g}.json",
                )
                _line(table, recipe, name, strength, now)
    return {"table": table}


def refuse_other_scorers(folder: Path, scorer: Scorer) -> None:
    """Exit where the folder has rows by another scorer, which would be replaced: they take long."""
    for path in sorted(folder.glob("*untouched.json")):
        there = Results.load(path).scorer
        if there.identity != (scorer.name, scorer.version, scorer.revision):
            by = f"{there.name} {there.version}, not {scorer.name} {scorer.version}"
            raise SystemExit(f"{path} is by {by}: choose another -o")


def folder_of(options: argparse.Namespace, row: str) -> Path:
    """Where the detoxifier of a row is kept."""
    return Path(options.output).with_suffix("") / "detoxifiers" / _file_name(row)


def _file_name(row: str) -> str:
    return row.replace(" ", "-").replace(",", "")


def kept(folder: Path, digest: str, make: Callable[[], Detoxifier]) -> Detoxifier:
    """Return what is in the folder if it is of this very fit, else a new one, which is kept there."""
    if (folder / CONFIG_FILE).exists():
        try:
            found = Detoxifier.from_pretrained(folder)
            if found.fitting.get("fit") == digest:
                return found
        except UsageError:
            pass  # damaged or of another version: about to be replaced
    started = time.perf_counter()
    made = make()
    print(f"fitted in {time.perf_counter() - started:.0f} s", flush=True)
    made.fitting |= {"fit": digest}
    made.save_pretrained(folder)
    return made


def _line(table: list[dict[str, Any]], recipe: str, name: str, strength: float, results: Results) -> None:
    metrics = {key: [e.value, e.low, e.high] for key, e in results.metrics.items()}
    row: dict[str, Any] = {"recipe": recipe, "row": name, "strength": strength, "metrics": metrics}
    line = f"{recipe:12s} {name:34s} {strength:4g} "
    if results.comparison is not None:
        row["difference"] = {key: [e.value, e.low, e.high] for key, e in results.comparison.difference.items()}
        base = results.comparison.baseline
        for key in ("toxic_fraction", "toxicity_probability", "model_perplexity", "continuation_perplexity"):
            now, before = metrics.get(key, [None])[0], base[key].value if key in base else None
            if now is not None and before:
                line += f" {key} {now:.4g} ({100 * (now / before - 1):+.1f}%)"
    else:
        line += " ".join(f"{key} {value[0]:.4g}" for key, value in metrics.items() if value[0] is not None)
    opinion = next(iter(results.opinions.values()), None) if isinstance(results.opinions, dict) else None
    if opinion is not None and "toxic_fraction" in opinion.metrics:
        line += f"  (ngram {opinion.metrics['toxic_fraction'].value})"
    table.append(row)
    print(line, flush=True)


def run_part(parts: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]], options: argparse.Namespace) -> None:
    """Carry out `options.part` and write what it returns, if anything, to `options.output`."""
    options.output = options.output.replace("PART", options.part)
    report = parts[options.part](options)
    if report:
        write_atomically(Path(options.output), (json.dumps(report, indent=1) + "\n").encode())
