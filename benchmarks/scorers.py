"""Speed, memory and start of the offline scorers: `python benchmarks/scorers.py [--prompts FILE]`.

Each scorer runs in a process of its own. Reported: texts a second at batch 64 over short texts (the continuations of
RealToxicityPrompts, or the built-in prompts), the median of five passes; seconds from the start of the process to its
first score; peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

CHILD = """
import json, resource, sys, time
from detoxlm.scorers import load_scorer
scorer = load_scorer(sys.argv[1], batch_size=64, cache=False)
scorer.score(["the first text"])
print("first", flush=True)
texts = json.load(sys.stdin)
rates = []
for _ in range(5):
    start = time.perf_counter()
    scorer.score(texts)
    rates.append(len(texts) / (time.perf_counter() - start))
print(json.dumps([rates, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6]))
"""


def read_texts(path: Path | None) -> list[str]:
    if path is None:
        from detoxlm.data import builtin_prompts

        return builtin_prompts("measure") * 5
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [row["continuation"]["text"] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, help="a RealToxicityPrompts jsonl [default: built-in prompts]")
    parser.add_argument("--scorers", nargs="+", default=["embedded", "ngram"])
    arguments = parser.parse_args()
    texts = read_texts(arguments.prompts)
    print(f"{len(texts)} texts, {statistics.mean(map(len, texts)):.0f} characters on average")
    for name in arguments.scorers:
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdin is not None and child.stdout is not None
            child.stdout.readline()
            first = time.perf_counter() - start
            json.dump(texts, child.stdin)
            child.stdin.close()
            rates, peak = json.loads(child.stdout.read())
        print(
            f"{name:10} {statistics.median(rates):7.0f} texts/s [{min(rates):.0f}, {max(rates):.0f}]  "
            f"first score after {first:.1f} s  peak {peak:.0f} MB"
        )


if __name__ == "__main__":
    main()
