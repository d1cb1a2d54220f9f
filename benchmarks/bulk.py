"""Scoring a file, killed in the middle: `python benchmarks/bulk.py [--texts N]`.

Texts are made of the built-in prompts. Reported, for each kind of output: whether `kill -9` in the middle and the same
command again end with the bytes of a run that nobody killed, and how many texts were scored more than once, counted by
the scorer itself; peak resident memory at a tenth of the texts and at all of them; seconds of one core that the
undisturbed command takes, start and reading included, against calling the scorer with batches of the same texts.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from detoxlm.bulk.source import CHUNK
from detoxlm.data import builtin_prompts
from detoxlm.scorers import load_scorer

#: The scorer, and a count of what it reads: the number that each text begins with. One write a batch.
RULE = """
import os
from detoxlm.scorers import load_scorer
from detoxlm.scorers.ngram import NgramScorer

real = NgramScorer._score_batch

def counted(self, texts):
    with open(os.environ["COUNT"], "a") as file:
        file.write("".join(text.split(" ", 1)[0] + "\\n" for text in texts))
    return real(self, texts)

NgramScorer._score_batch = counted
"""
#: A command; at its end, the most memory that it had in MB, and its seconds of one core.
COMMAND = """
import atexit, os, resource, sys
sys.path.insert(0, os.environ["PLACE"])
import counting
used = lambda: resource.getrusage(resource.RUSAGE_SELF)
atexit.register(lambda: print(used().ru_maxrss * 1024 // 10**6, used().ru_utime + used().ru_stime, file=sys.stderr))
from detoxlm.cli import main
main()
"""


def write_texts(path: Path, count: int) -> list[str]:
    """Write texts with their numbers and a column of their own; return the texts."""
    draw, prompts = random.Random(0), builtin_prompts("measure")
    texts = [f"{i} {draw.choice(prompts)}" for i in range(count)]
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)))
    return texts


def start(place: Path, file: Path, output: Path) -> subprocess.Popen[str]:
    """Start `detoxlm score`; what it scores is counted in `count.txt`."""
    command = ["score", "--file", str(file), "-o", str(output), "--scorer", "ngram", "--overwrite"]
    environment = {**os.environ, "COUNT": str(place / "count.txt"), "PLACE": str(place)}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def counts(place: Path) -> collections.Counter[str]:
    """How often each text was scored since the last call."""
    found = collections.Counter((place / "count.txt").read_text().split())
    (place / "count.txt").unlink()
    return found


def finished(process: subprocess.Popen[str]) -> tuple[int, float]:
    """Wait for a run; return its peak memory in MB, and its seconds of one core."""
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(said)
    memory, seconds = said.splitlines()[-1].split()
    return int(memory), float(seconds)


def killed(place: Path, file: Path, output: Path, after: int) -> None:
    """Start a run, and kill it when it has scored so many texts."""
    process, seen = start(place, file, output), place / "count.txt"
    while not seen.exists() or seen.read_bytes().count(b"\n") < after:
        if process.poll() is not None:
            raise SystemExit("it ended before it was killed")
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def direct(texts: list[str]) -> float:
    """Return seconds of one core of the scorer alone."""
    scorer = load_scorer("ngram")
    began = time.process_time()
    for first in range(0, len(texts), CHUNK):
        scorer.score(sorted(texts[first : first + CHUNK], key=len))
    return time.process_time() - began


def measured(place: Path, ending: str, files: dict[int, Path]) -> None:
    """Measure one kind of output."""
    few, many = files
    whole, output = place / f"whole{ending}", place / f"out{ending}"
    before, _ = finished(start(place, files[few], place / f"few{ending}"))
    counts(place)
    memory, seconds = finished(start(place, files[many], whole))
    assert set(counts(place).values()) == {1}
    killed(place, files[many], output, many // 2)
    finished(start(place, files[many], output))
    counted = counts(place)
    twice = sum(times > 1 for times in counted.values())
    assert len(counted) == many
    same = whole.read_bytes() == output.read_bytes()
    print(
        f"{ending}: same bytes: {same}; scored twice: {twice:,} of {many:,} texts, "
        f"none more than {max(counted.values())} times; peak {before} MB at {few:,}, {memory} MB at {many:,}; "
        f"{seconds:.0f} s of one core",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--kinds", nargs="+", default=[".jsonl", ".parquet"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "counting.py").write_text(RULE)
        files = {count: place / f"{count}.jsonl" for count in (arguments.texts // 10, arguments.texts)}
        for count, file in files.items():
            texts = write_texts(file, count)
        print(f"{len(texts):,} texts, {sum(map(len, texts)) / len(texts):.0f} characters on average, scorer ngram")
        for ending in arguments.kinds:
            measured(place, ending, files)
        print(f"the scorer alone: {direct(texts):.0f} s of one core")


if __name__ == "__main__":
    main()
