"""Long texts read in windows, as answers are in the recipe `chat`, against the same texts read whole by the scorer.

    python benchmarks/windows.py --data ../shared/data

Comments of at least 80 words that the embedded scorer was not trained on: of Jigsaw 2018 (Wikipedia talk pages, labels
of people) and of Civil Comments (toxic where most readers said so of all of it). Whole is the scorer's own way with
long texts. AUC and ECE with 95% bootstrap intervals over comments; differences are paired.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from detoxlm.metrics.bootstrap import draws, interval
from detoxlm.results import Estimate
from detoxlm.scorers import load_scorer
from detoxlm.scorers.windows import score_windows
from detoxlm.validity import MEASURES
from detoxlm.validity.measures import auc, calibration_error, false_negative_rate, false_positive_rate

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from scorer_data import held_out

LONG = 80
STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc": auc,
    "calibration_error": calibration_error,
    "false_positive_rate": false_positive_rate,
    "false_negative_rate": false_negative_rate,
}


def comments(data: Path) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield (name, long held-out comments with their targets)."""
    for name, file in (("jigsaw", "jigsaw/comments.jsonl"), ("civil", "civil/annotated.jsonl")):
        rows = [json.loads(line) for line in (data / file).open(encoding="utf-8")]
        target = {id(r): r["toxic"] if "toxic" in r else r["said_all_toxic"] * 2 > r["annotators"] for r in rows}
        long = [r for r in rows if len(r["text"].split()) >= LONG and held_out(r["text"])]
        yield name, [(r["text"], float(target[id(r)])) for r in long]


def estimate(
    statistic: Callable[[np.ndarray, np.ndarray], float], scores: list[np.ndarray], target: np.ndarray
) -> Estimate:
    """Return a statistic of scores, or of two the second less the first, with its interval over comments."""

    def value(chosen: np.ndarray) -> float:
        found = [statistic(one[chosen], target[chosen]) for one in scores]
        return found[-1] - (found[0] if len(found) > 1 else 0.0)

    every = np.arange(len(target))
    resamples = [np.repeat(every, counts) for chunk in draws(len(target), 0) for counts in chunk]
    low, high = interval(np.array([value(chosen) for chosen in resamples]))
    return Estimate(value=value(every), low=low, high=high, n=len(target))


def main() -> None:
    """Print a row for each set and way of reading."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="so many comments of each set, drawn with a seed")
    options = parser.parse_args()
    scorer = load_scorer("embedded", cache=False)
    for name, rows in comments(options.data):
        random.Random(0).shuffle(rows)
        some = rows[: options.limit]
        texts, target = [text for text, _ in some], np.array([label for _, label in some])
        whole, windowed = scorer.score(texts), score_windows(scorer, texts)[0]
        words = np.mean([len(text.split()) for text in texts])
        print(f"{name}: {len(texts)} comments of {words:.0f} words on average, {target.mean():.0%} toxic")
        for way, scores in (("whole", [whole]), ("windows", [windowed]), ("windows − whole", [whole, windowed])):
            shown = [
                f"{key} {MEASURES[key].show(estimate(one, scores, target), sign=len(scores) > 1)}"
                for key, one in STATISTICS.items()
            ]
            print(f"  {way:16}", " · ".join(shown), flush=True)


if __name__ == "__main__":
    main()
