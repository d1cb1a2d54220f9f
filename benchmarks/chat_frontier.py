"""What each method does to answers in chat: `python benchmarks/chat_frontier.py FOLDER… [options]`.

A row is the name of a method, which is fitted here without data, or a folder of `detoxlm fit` (`./fusion`: one of a
method's name); `@0.5` behind either gives a strength [default: its own]. The untouched model is measured first, all on
the conversations of the recipe `chat` that are kept for measuring (or those of --recipe and --prompts). Of each row:
toxic answers to provocations, harmless requests refused, instructions kept, and the perplexity of harmless answers
under the untouched model.

Each row's results are kept in a folder beside --output, answer by answer: a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rows import refuse_other_scorers

from detoxlm.files import write_atomically
from detoxlm.fitting import fit_to
from detoxlm.methods import METHODS, Detoxifier, FitData, get_method
from detoxlm.metrics import METRICS, Metric
from detoxlm.metrics.base import Ratio
from detoxlm.metrics.bootstrap import interval, ratio, resampled
from detoxlm.models import Target, load_target
from detoxlm.recipes import Task, measure
from detoxlm.results import Estimate, Results
from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import Scorer
from detoxlm.settings import EvaluateSettings
from detoxlm.workflows import task_of

#: Of the answers to harmless requests; the recipe's own `continuation_perplexity` is of plain instructions.
HARMLESS = replace(METRICS["continuation_perplexity"], name="harmless_perplexity", of="harmless")
#: What the table has: (metric, heading, whether its change is shown as a factor and not as a difference).
COLUMNS: list[tuple[Metric, str, bool]] = [
    (METRICS["toxic_fraction"], "toxic answers", True),
    (METRICS["refused_fraction"], "harmless refused", False),
    (METRICS["refused_by_list"], "refused, by the list of 12", False),
    (METRICS["instructions_kept"], "instructions kept", False),
    (HARMLESS, "perplexity of harmless answers", True),
    (METRICS["empty_fraction"], "empty", False),
]


def factor(metric: Metric, base: Results, now: Results, seed: int = 0) -> Estimate | None:
    """Return now / base with a 95% interval, the same prompts drawn for both; None: of one there is nothing."""
    assert isinstance(metric, Ratio)
    before, after = (metric._resampled_units(one.rows, []) for one in (base, now))
    sums = np.stack([*after, *before])  # numerator and denominator of both models, by prompt [4, N]
    if not sums.size or not sums[1].sum() or not sums[2].sum() or not sums[3].sum():
        return None
    value = float(_quotient(sums.sum(1)[:, None], metric.exponential)[0])
    if not sums[0].sum():  # none is left: every resample says so too, which would claim certainty
        return Estimate(value=value, n=sums.shape[1])
    drawn = _quotient(resampled(tuple(sums), seed), metric.exponential)
    drawn[~np.isfinite(drawn)] = np.nan  # a resample may miss all toxic answers
    low, high = interval(drawn)
    return Estimate(value=value, low=low, high=high, n=sums.shape[1])


def _quotient(sums: np.ndarray, exponential: bool) -> np.ndarray:
    """Return now / base of sums [4, R]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return ratio(sums[0], sums[1], exponential) / ratio(sums[2], sums[3], exponential)


def detoxifier_of(row: str, target: Target, scorer: Scorer, kept: Path, seed: int) -> tuple[Detoxifier, float | None]:
    """Return the detoxifier and the strength that a row names; what is fitted here is kept."""
    what, _, strength = row.partition("@")
    chosen = float(strength) if strength else None
    if what not in METHODS and Path(what).is_dir():
        return Detoxifier.from_pretrained(what), chosen
    method = get_method(what)
    settings = method.detoxifier_type.settings_type()
    data = FitData(scorer=scorer, seed=seed, workdir=kept / f"{what}.work")
    return fit_to(target, method, settings, data, kept / what), chosen


def file_of(row: str, strength: float) -> str:
    """Return the file that a row's results are kept in; a folder of a method's name has one of its own."""
    what = row.partition("@")[0]
    name = re.sub(r"\W+", "-", f"{what}-{strength:g}").strip("-")
    return f"{name}.json" if what in METHODS else f"folder-{name}.json"


def line(name: str, base: Results, now: Results) -> dict[str, Any]:
    """Return one row of the table: of each metric its value, and its change from the untouched model."""
    found: dict[str, Any] = {"row": name, "label": now.label, "prompts": len(now.rows)}
    for metric, heading, by_factor in COLUMNS:
        value = metric.estimate(now.rows, [])
        if value is None:
            continue
        if by_factor:
            change, shown = factor(metric, base, now), "factor"
        else:
            change, shown = metric.difference((base.rows, []), (now.rows, [])), "difference"
        found[metric.name] = {"heading": heading, "value": value.model_dump()}
        if now.detoxifier is not None and change is not None:
            found[metric.name][shown] = change.model_dump()
    return found


def printed(table: list[dict[str, Any]]) -> str:
    """Lay the rows out in Markdown."""

    def cell(row: dict[str, Any], metric: Metric) -> str:
        found = row.get(metric.name)
        if found is None:
            return "–"
        said = metric.show(Estimate(**found["value"]))
        if "factor" in found:
            value, *ends = (f"{x:.2f}" for x in list(found["factor"].values())[:3] if x is not None)
            said += f"; × {value}" + (f" [{', '.join(ends)}]" if ends else "")
        elif "difference" in found:
            said += f"; {metric.show_difference(Estimate(**found['difference']))}"
        return said

    lines = [f"| | {' | '.join(heading for _, heading, _ in COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in table:
        cells = " | ".join(cell(row, metric) for metric, *_ in COLUMNS)
        lines.append(f"| {row['row']} ({row['label']}) | {cells} |")
    return "\n".join(lines)


def what_is_asked(options: argparse.Namespace) -> Task:
    """The measurement that all rows share."""
    settings = EvaluateSettings(
        recipe=options.recipe,
        prompts=options.prompts,
        chat=True,
        limit=options.limit,
        fluency_text=Path("none"),
        who_pays="none",
        seed=options.seed,
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
    )
    return task_of(settings, None)


def main() -> None:
    """Measure every row that is not measured, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", metavar="METHOD|FOLDER[@STRENGTH]")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--scorer", default="embedded", help="who judges, and fits")
    parser.add_argument("--recipe", default="chat", help="any recipe; its prompts are asked as turns")
    parser.add_argument("--prompts", help="[default: the recipe's built-in ones]")
    parser.add_argument("--limit", type=int, help="conversations [default: all 328]")
    parser.add_argument("--max-new-tokens", type=int, help="of an answer [default: the recipe's]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("-o", "--output", default="out/chat-frontier.json")
    options = parser.parse_args()
    output = Path(options.output)
    folder = output.with_suffix("")
    target, task, scorer = load_target(options.model), what_is_asked(options), load_scorer(options.scorer)
    refuse_other_scorers(folder, scorer)
    base = measure(target, task, scorer, output=folder / "untouched.json")
    table = [line("untouched", base, base)]
    for row in options.rows:
        detoxifier, strength = detoxifier_of(row, target, scorer, folder / "detoxifiers", options.seed)
        strength = detoxifier.check_strength(strength)
        path = folder / file_of(row, strength)
        now = measure(target, task, scorer, detoxifier=detoxifier, strength=strength, baseline=base, output=path)
        table.append(line(row, base, now))
        write_atomically(output, (json.dumps({"settings": vars(options), "rows": table}, indent=1) + "\n").encode())
        print(f"{now.label}: done", flush=True)
    print(printed(table))


if __name__ == "__main__":
    main()
