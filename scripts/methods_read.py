"""What readers say of each method, from `data/methods_read`: `python scripts/methods_read.py [--scorer embedded]`.

A row is a method: how many of its continuations readers found toxic, with a 95% interval, and the change from the
untouched model, paired by prompt. With a scorer also how many alarms it gives, and how many of them the readers share.
A last table has the change from each method to each other one after the built-in prompts: only where its interval
excludes 0 do readers tell the two apart.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from detoxlm.metrics import METRICS
from detoxlm.metrics.bootstrap import bootstrap, paired_bootstrap
from detoxlm.results import Estimate
from detoxlm.scorers import load_scorer

TEXTS = Path(__file__).parents[1] / "data" / "methods_read" / "texts.jsonl"
#: How a share and its change are printed.
SHARE = METRICS["toxic_fraction"]
Row = dict[str, Any]


def read(path: Path = TEXTS) -> list[Row]:
    """Return the rows of the file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_prompt(rows: Sequence[Row], prompts: Sequence[str], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return of each prompt how many of its texts have one of the labels, and how many it has, float64 [N] both."""
    found = Counter(row["prompt_sha256"] for row in rows if row["label"] in labels)
    whole = Counter(row["prompt_sha256"] for row in rows)
    return np.array([found[one] for one in prompts], float), np.array([whole[one] for one in prompts], float)


def line(method: str, rows: Sequence[Row], untouched: Sequence[Row], scores: dict[str, float]) -> str:
    """Return a row of the table, in Markdown."""
    prompts = sorted({row["prompt_sha256"] for row in [*rows, *untouched]})
    toxic, whole = by_prompt(rows, prompts, ["toxic"])
    unsure, _ = by_prompt(rows, prompts, ["toxic", "unsure"])
    share = SHARE.show(bootstrap(toxic, whole, proportion=True))
    change = "–"
    if method != "untouched":
        change = SHARE.show_difference(paired_bootstrap(by_prompt(untouched, prompts, ["toxic"]), (toxic, whole)))
    cells = [method, f"{len(rows)}", f"{toxic.sum():.0f} ({share})", change, f"{unsure.sum():.0f}"]
    if scores:
        alarms = [row for row in rows if scores[row["text"]] >= 0.5]
        cells += [f"{len(alarms)}", f"{sum(row['label'] == 'toxic' for row in alarms)}"]
    return f"| {' | '.join(cells)} |"


def table(rows: Sequence[Row], scores: dict[str, float]) -> str:
    """Return the table of texts that follow one kind of prompt; the file's order of methods, untouched first."""
    heads = ["", "texts", "toxic to a reader", "change", "toxic or unsure"]
    heads += ["alarms", "of them toxic to a reader"] if scores else []
    found = by_method(rows)
    lines = [line(name, some, found["untouched"], scores) for name, some in found.items()]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines])


def by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each method by its name and strength, in the file's order of methods."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        name = row["method"] if row["method"] == "untouched" else f"{row['method']} {row['strength']:g}"
        found.setdefault(name, []).append(row)
    return found


def pairs(rows: Sequence[Row]) -> str:
    """Return the table of the changes from one method to another, of each pair of those that are not untouched."""
    found = {name: some for name, some in by_method(rows).items() if name != "untouched"}
    prompts = sorted({row["prompt_sha256"] for row in rows})
    toxic = {name: by_prompt(some, prompts, ["toxic"]) for name, some in found.items()}
    (each,) = {int(count) for _, whole in toxic.values() for count in whole}  # as many of each prompt by each method
    lines = ["| from | to | change |", "|---|---|---|"]
    for one, other in combinations(found, 2):
        lines.append(f"| {one} | {other} | {SHARE.show_difference(between(toxic[one][0], toxic[other][0], each))} |")
    return "\n".join(lines)


def between(before: np.ndarray, after: np.ndarray, each: int) -> Estimate:
    """Return the change of a share and the 95% interval that `paired_bootstrap` tends to with ever more resamples.

    Not its 2,000 resamples: an end that lies next to 0 would be in or out by how they fall.

    Args:
        before: of each prompt how many of its `each` texts count, [N].
        after: the same of another method.
        each: texts of a prompt, the same of all, so that a resample's change is a sum of N draws.
    """
    n = len(before)
    drawn = np.bincount((after - before).astype(int) + each, minlength=2 * each + 1) / n
    summed = np.ones(1)
    for _ in range(n):
        summed = np.convolve(summed, drawn)
    low, high = (int(np.searchsorted(summed.cumsum(), level)) - n * each for level in (0.025, 0.975))
    value = float((after - before).sum())
    return Estimate(value=value / (n * each), low=low / (n * each), high=high / (n * each), n=n)


def main() -> None:
    """Print a table for each kind of prompt, and that of the pairs of methods."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", help="judge the same texts by it")
    options = parser.parse_args()
    rows = read()
    texts = list(dict.fromkeys(row["text"] for row in rows)) if options.scorer else []
    scores = dict(zip(texts, load_scorer(options.scorer).score(texts).tolist(), strict=True)) if texts else {}
    for kind in dict.fromkeys(row["prompt_kind"] for row in rows):
        print(f"\n{kind}\n\n{table([row for row in rows if row['prompt_kind'] == kind], scores)}")
    builtin = [row for row in rows if row["prompt_kind"] == "built-in"]
    print(f"\nbuilt-in, from one method to another\n\n{pairs(builtin)}")


if __name__ == "__main__":
    main()
