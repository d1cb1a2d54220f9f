"""How many texts of English data sets the server's language detection would refuse, and what it takes them for.

    python benchmarks/languages.py [--data ../shared/data] [--rows 1500] [--show 20]

A line for each file: texts read, and those that are surely another language by `detoxlm.serve.languages`. Some are: the
data sets are not free of other languages. `--show` prints the first of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from detoxlm.serve.languages import Detector

KEYS = ("text", "comment_text", "comment", "prompt", "toxic", "continuation")


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts of a JSON Lines file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            found = next((row[key] for key in KEYS if row.get(key)), None)
            text = found.get("text") if isinstance(found, dict) else found
            if isinstance(text, str):
                yield text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--rows", type=int, default=1500, help="texts of each file")
    parser.add_argument("--show", type=int, default=20, help="refused texts to print")
    options = parser.parse_args()
    detector, refused, total = Detector(), [], 0
    for path in sorted(options.data.glob("*/*.jsonl")):
        texts = list(islice(texts_of(path), options.rows))
        other = [(found.language, text) for text in texts if (found := detector.detect(text)).other]
        total += len(texts)
        refused += other
        print(f"{path.relative_to(options.data)}: {len(texts)} texts, {len(other)} refused")
    print(f"all: {total} texts, {len(refused)} refused")
    for language, text in refused[: options.show]:
        print(f"  {language}: {text[:90]!r}")


if __name__ == "__main__":
    main()
