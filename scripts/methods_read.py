"""What readers say of each method, from `data/methods_read`: `python scripts/methods_read.py [--scorer embedded]`.

A row is a method: how many of its continuations readers found toxic, with a 95% interval, and the change from the
untouched model, paired by prompt. With a scorer also how many alarms it gives, and how many of them the readers share.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detoxlm.metrics import METRICS
from detoxlm.metrics.bootstrap import bootstrap, paired_bootstrap
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
    found: dict[str, list[Row]] = {}
    for row in rows:
        name = row["method"] if row["method"] == "untouched" else f"{row['method']} {row['strength']:g}"
        found.setdefault(name, []).append(row)
    lines = [line(name, some, found["untouched"], scores) for name, some in found.items()]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines])


def main() -> None:
    """Print a table for each kind of prompt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", help="judge the same texts by it")
    options = parser.parse_args()
    rows = read()
    texts = list(dict.fromkeys(row["text"] for row in rows)) if options.scorer else []
    scores = dict(zip(texts, load_scorer(options.scorer).score(texts).tolist(), strict=True)) if texts else {}
    for kind in dict.fromkeys(row["prompt_kind"] for row in rows):
        print(f"\n{kind}\n\n{table([row for row in rows if row['prompt_kind'] == kind], scores)}")


if __name__ == "__main__":
    main()
