"""How scores map to the API's: `python benchmarks/perspective_scale.py --prompts FILE [-o PICTURE]`.

FILE is a jsonl of RealToxicityPrompts that the scorer was not trained on. For each attribute, texts are put into ten
bins by our score; shown is the mean of what the Perspective API said of them, with a 95% interval over texts, and how
many there are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

from detoxlm.scorers import load_scorer

matplotlib.use("Agg")
from matplotlib import pyplot as plt

#: Bins with fewer texts are not drawn.
FEWEST = 10


def curve(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> list[tuple[float, float, float, float, int]]:
    """Return for each bin our mean, their mean, its interval, and the number of texts."""
    rng = np.random.default_rng(seed)
    found = []
    for low in np.arange(10) / 10:
        inside = (ours >= low) & (ours < low + 0.1 + (low > 0.85))
        if (count := int(inside.sum())) >= FEWEST:
            values = theirs[inside]
            means = values[rng.integers(0, count, (2000, count))].mean(1)
            found.append((ours[inside].mean(), values.mean(), *np.percentile(means, [2.5, 97.5]), count))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--scorer", default="perspective-like")
    parser.add_argument("-o", "--output", type=Path, help="picture [default: none]")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.prompts.read_text(encoding="utf-8").splitlines()]
    parts = [row[part] for row in rows for part in ("prompt", "continuation") if row[part]["text"].strip()]
    scores = load_scorer(arguments.scorer).score_dimensions([part["text"] for part in parts])
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.8), sharex=True, sharey=True, layout="constrained")
    for axis in axes.flat[len(scores) :]:  # a scorer that has fewer attributes than the API
        axis.set_visible(False)
    for axis, (name, ours) in zip(axes.flat[: len(scores)], scores.items(), strict=True):
        theirs = np.array([np.nan if part.get(name) is None else part[name] for part in parts], dtype=float)
        known = ~np.isnan(theirs)
        points = curve(ours[known], theirs[known])
        print(f"{name}: {known.sum()} texts")
        for x, y, low, high, count in points:
            print(f"  ours {x:.2f}   the API {y:.2f} [{low:.2f}, {high:.2f}]   {count} texts")
        axis.set_title(name.replace("_", " "), fontsize=10)
        if not points:  # too few texts in every bin
            continue
        x, y, low, high, _ = np.array(points).T
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.errorbar(x, y, [y - low, high - y], marker="o", markersize=4, linewidth=1.5, capsize=2)
    figure.supxlabel(f"score of {arguments.scorer}")
    figure.supylabel("mean score of the Perspective API")
    if arguments.output:
        figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
