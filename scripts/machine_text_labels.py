"""Puts readers' labels to the machine text that they read: `data/machine_text`, which the project keeps.

    python scripts/machine_text_labels.py items.jsonl meta.jsonl --reader a labels_a*.jsonl --reader b labels_b*.jsonl

`items.jsonl` and `meta.jsonl` are of `machine_text.py draw`; a line of labels has `id`, `label` and `kind`. Written are
`texts.jsonl`, a text a line with what it is and the label that the readers agree on (else `unsure`), and a file of each
reader's labels as `detoxlm label` keeps them. Prompts of other people are named by file, row and hash; only our own are
written out. Texts that were written twice count once. What the folder has already stays, with the time of its labels: a
later draw adds its texts, and a later reading of a text its label. Copies of other people's words are left out by
`draw`, not here: an `items.jsonl` of a draw that did not leave them out yet would bring them back.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from detoxlm.files import write_atomically
from detoxlm.labels.files import VERDICTS, Label, read_labels
from detoxlm.labels.texts import Key, Readable

#: What is told of a text beside itself and its labels.
KEPT = ("prompt_file", "prompt_row", "prompt_sha256", "model", "method", "strength", "decoding", "tokens", "split")
#: Whose prompts are written out.
OWN = ("scripts/", "src/")


def read(path: Path) -> list[dict[str, Any]]:
    # not `splitlines`: a text may hold other line ends, such as U+2028
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def readings(paths: list[Path], known: set[str]) -> dict[str, dict[str, Any]]:
    """Return a reader's lines by id.

    Raises:
        ValueError: a line is of no text, labels one a second time, or has no such label.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        for row in read(path):
            if row["id"] not in known or row["id"] in found or row["label"] not in VERDICTS:
                raise ValueError(f"{path}: {row}")
            found[row["id"]] = row
    return found


def labels_in(folder: Path) -> dict[str, dict[Key, Label]]:
    """Return the labels of a folder by reader and text."""
    paths = sorted(folder.glob("reader-*.jsonl"))
    return {path.stem.removeprefix("reader-"): {label.key: label for label in read_labels(path)} for path in paths}


def new_row(item: dict[str, Any], facts: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return what is told of a text; its label comes from its readers."""
    own = facts["prompt_file"].startswith(OWN)
    return {
        "id": item["id"],
        "text": item["text"],
        **({"prompt": item["prompt"]} if own else {}),
        "prompt_kind": item["kind"],
        **{name: facts[name] for name in KEPT},
        "label": "unsure",
        "readers": 0,
        "kind": kind,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("meta", type=Path)
    parser.add_argument("--reader", nargs="+", action="append", required=True, metavar=("NAME", "FILE"))
    parser.add_argument("-o", "--output", type=Path, default=Path("data/machine_text"))
    options = parser.parse_args()
    meta = {row["id"]: row for row in read(options.meta)}
    readers = {name: readings([Path(file) for file in files], set(meta)) for name, *files in options.reader}
    texts = options.output / "texts.jsonl"
    rows = {row["id"]: row for row in (read(texts) if texts.exists() else [])}
    seen, labels = {row["text"] for row in rows.values()}, labels_in(options.output)
    for item in read(options.items):
        said = {name: found[item["id"]] for name, found in readers.items() if item["id"] in found}
        if not said or (item["id"] not in rows and item["text"] in seen):
            continue
        seen.add(item["text"])
        row = rows.setdefault(item["id"], new_row(item, meta[item["id"]], next(iter(said.values()))["kind"]))
        key = Readable(row["text"], row.get("prompt")).key
        for name, one in said.items():
            label = labels.setdefault(name, {}).setdefault(key, Label.now(key, one["label"], name))
            if label.verdict != one["label"]:
                raise ValueError(f"{item['id']}: reader {name} has called it {label.verdict} before: {one}")
        verdicts = [found[key].verdict for found in labels.values() if key in found]
        row |= {"label": verdicts[0] if len(set(verdicts)) == 1 else "unsure", "readers": len(verdicts)}
    options.output.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())
    write_atomically(texts, lines.encode())
    for name, found in labels.items():
        write_atomically(options.output / f"reader-{name}.jsonl", b"".join(one.line() for one in found.values()))
    print(len(rows), "texts:", dict(Counter(row["label"] for row in rows.values())))


if __name__ == "__main__":
    main()
