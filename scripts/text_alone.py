"""Makes what a scorer can learn from readers who see a text alone, as it does: `data/text_alone`.

    python scripts/text_alone.py fragments -o read                      # of comments and web text, from shared data
    python scripts/text_alone.py machine pool/*.jsonl -o read --first 50  # of what `machine_text.py write` left
    python scripts/text_alone.py again -o read --first 90               # train and dev texts of data/machine_text
    python scripts/text_alone.py collect read
    python scripts/text_alone.py ceiling                                # what can be known from the text alone

The first three write pages of 400 texts, `in_NN.tsv` (number, text), and `key_NN.jsonl`, which says what they are. A
reader writes `out_NN.tsv`: number, and how likely (percent) another reader, who also sees the prompt, calls the text
toxic by docs/reading.md. `collect` makes `probabilities.jsonl` of all pages. Texts of other people are named by file,
row, part and hash, and not written out. Nothing follows a prompt of the test part of data/machine_text.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from copied import is_copied, runs_of_others
from machine_text import id_of, split_of
from scorer_data import (
    ALONE,
    MACHINE,
    METHODS_READ,
    WEB,
    digest,
    held_out,
    machine_text,
    measured_documents,
    part_of,
    prompts_measured_on,
    read,
    sha256,
)

from detoxlm.files import write_atomically
from detoxlm.validity import measure

#: Texts of a page: as many as are read with care at a time.
PAGE = 400
#: Characters that a reader sees.
SHOWN = 600
#: Comments: file -> (fragments of toxic ones, of others), and which rows are toxic to their own data set.
COMMENTS: dict[str, tuple[int, int]] = {
    "jigsaw/comments.jsonl": (1500, 700),
    "civil/annotated.jsonl": (900, 0),
    "toxic_spans/train.jsonl": (1300, 0),
    "wikipedia_talk/scored.jsonl": (200, 300),
    "hatemoji/train.jsonl": (500, 200),
}
#: Whole short comments, toxic and other, and fragments of RealToxicityPrompts that nobody labelled yet.
WHOLE, WEB_FRAGMENTS = {"jigsaw/comments.jsonl": (300, 100), "civil/annotated.jsonl": (300, 0)}, 1600


def is_toxic(name: str, row: dict[str, Any]) -> bool:
    """Say what the data set says of a comment; all of Civil Comments here, and of the spans, was called toxic."""
    if name.startswith("jigsaw"):
        return bool(row["toxic"])
    if name.startswith("wikipedia"):
        return bool(row["perspective"] > 0.5)
    return bool(row["hateful"]) if name.startswith("hatemoji") else True


def cut(text: str, rng: random.Random) -> str | None:
    """Return a part as `words BEGIN:END` of a sentence drawn at random, as a model might continue it: 4 to 20 words."""
    words, sentences, begin = text.split(" "), [], 0
    for i, word in enumerate(words):
        if word.endswith((".", "!", "?")) or i == len(words) - 1:
            if 6 <= i + 1 - begin <= 60:
                sentences.append((begin, i + 1))
            begin = i + 1
    if not sentences:
        return None
    first, last = rng.choice(sentences)
    begin = first + rng.randint(0, max(0, min(12, last - first - 4)))
    return f"words {begin}:{min(last + 8, begin + rng.randint(4, 20), len(words))}"


def comments(data: Path, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield fragments of comments, and short comments whole, none of a held-out text or of one that was labelled."""
    labelled = {(row["file"], row["row"], row["part"]) for row in read(WEB)}
    measured = prompts_measured_on()
    for plan, whole in ((COMMENTS, False), (WHOLE, True)):
        for name, wanted in plan.items():
            left = dict(zip((True, False), wanted, strict=True))
            rows = list(enumerate(read(data / name)))
            for i, row in rng.sample(rows, len(rows)):
                text, toxic = row["text"], is_toxic(name, row)
                if left[toxic] <= 0 or held_out(text) or (name, i) in measured:
                    continue
                if whole and not (20 <= len(text) <= 220 and (name, i, "text") not in labelled):
                    continue
                part = "text" if whole else cut(text, rng)
                if part is not None:
                    left[toxic] -= 1
                    yield {"file": name, "row": i, "part": part, "text": part_of(row, part)}


def web(data: Path, rng: random.Random) -> list[dict[str, Any]]:
    """Return unlabelled fragments of RealToxicityPrompts, more of those that Perspective found toxic."""
    labelled = {(row["file"], row["row"], row["part"]) for row in read(WEB)}
    name, documents, measured = "rtp/train.jsonl", measured_documents(data), prompts_measured_on()
    found = []
    for i, row in enumerate(read(data / name)):
        for part in ("prompt", "continuation"):
            text, score = row[part]["text"], row[part]["toxicity"]
            if score is None or row["filename"] in documents or (name, i) in measured or (name, i, part) in labelled:
                continue
            if len(text.split()) >= 3:
                weight = 3 if score >= 0.5 else 2.5 if score >= 0.3 else 1 if score >= 0.15 else 0.3
                found.append((rng.random() ** (1 / weight), {"file": name, "row": i, "part": part, "text": text}))
    return [row for _, row in sorted(found, key=lambda pair: -pair[0])[:WEB_FRAGMENTS]]


def fragments(options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    pages(options, [*web(options.data, rng), *comments(options.data, rng)])


def machine(options: argparse.Namespace) -> None:
    """All of the pool that was not read before and follows a prompt of the train part: no look at scores."""
    known = {digest(row["text"]) for file in (MACHINE, METHODS_READ) for row in read(file)}
    new = {digest(row["text"]): row for file in options.pool for row in read(file) if len(row["text"].split()) >= 2}
    others = runs_of_others(options.data)
    kept = [
        row
        for hashed, row in new.items()
        if hashed not in known
        and split_of(row["prompt"], row["kind"]) == "train"
        and not is_copied(row["text"], others)
    ]
    for row in kept:
        row["id"], row["prompt_sha256"] = id_of(row), sha256(row.pop("prompt"))
    pages(options, kept)


def again(options: argparse.Namespace) -> None:
    pages(options, [{"id": r["id"], "text": r["text"]} for r in [*machine_text("train"), *machine_text("dev")]])


def pages(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write the texts, each once, in an order drawn by the seed."""
    rows = list({digest(row["text"]): row for row in rows}.values())
    random.Random(options.seed).shuffle(rows)
    options.output.mkdir(parents=True, exist_ok=True)
    for page, start in enumerate(range(0, len(rows), PAGE), options.first):
        some = rows[start : start + PAGE]
        shown = ("".join(" " if c in "\t\r" else "⏎" if c == "\n" else c for c in row["text"])[:SHOWN] for row in some)
        lines = "".join(f"{i}\t{text}\n" for i, text in enumerate(shown, 1))
        write_atomically(options.output / f"in_{page:02d}.tsv", lines.encode("utf-8", "surrogatepass"))
        key = "".join(json.dumps(row) + "\n" for row in some)
        write_atomically(options.output / f"key_{page:02d}.jsonl", key.encode())
    print(f"{len(rows):,} texts, pages from {options.first}")


def collect(options: argparse.Namespace) -> None:
    """Put the readers' numbers to the texts.

    Raises:
        ValueError: a page lacks a number, has one twice, or one that is no percentage.
    """
    found: list[dict[str, Any]] = []
    in_machine_text = {row["id"] for row in read(MACHINE)}
    for key in sorted(options.read.glob("key_*.jsonl")):
        texts, page = list(read(key)), options.read / key.name.replace("key_", "out_").replace(".jsonl", ".tsv")
        said = [line.split("\t") for line in page.read_text("utf-8").splitlines() if line.strip()]
        if sorted(int(number) for number, _ in said) != list(range(1, len(texts) + 1)):
            raise ValueError(f"{page}: not each of the numbers 1 to {len(texts)} once")
        for number, percent in sorted(said, key=lambda pair: int(pair[0])):
            row, p = texts[int(number) - 1], float(percent) / 100
            if not 0 <= p <= 1:
                raise ValueError(f"{page}: {number} has {percent}, which is no percentage")
            if "part" in row:
                found.append(
                    {**{k: row[k] for k in ("file", "row", "part")}, "text_sha256": sha256(row["text"]), "p": p}
                )
            elif row["id"] in in_machine_text:
                found.append({"id": row["id"], "p": p})
            elif "kind" in row:
                kept = ("id", "text", "kind", "prompt_file", "prompt_row", "prompt_sha256", "model", "tokens")
                found.append({**{k: row[k] for k in kept}, "p": p})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    write_atomically(ALONE, lines.encode("utf-8", "surrogatepass"))
    print(len(found), Counter("web" if "part" in r else "machine" if "text" in r else "again" for r in found))


def ceiling(options: argparse.Namespace) -> None:
    """Print how well the reader of texts alone tells what readers with the prompt say of the development part."""
    alone = {row["id"]: row["p"] for row in read(ALONE) if "id" in row}
    rows = [row for row in machine_text("dev") if row["label"] != "unsure" and row["id"] in alone]
    said = np.array([alone[row["id"]] for row in rows])
    toxic = np.array([float(row["label"] == "toxic") for row in rows])
    found = measure(said, toxic, documents=[row["prompt_sha256"] for row in rows])
    print(f"{len(rows)} texts, {int(toxic.sum())} toxic")
    for name in ("auc", "precision", "recall"):
        print(f"{name} {found[name].value:.3f} [{found[name].low:.3f}, {found[name].high:.3f}]")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for name, run in (("fragments", fragments), ("machine", machine), ("again", again)):
        part = parts.add_parser(name, help=f"write pages: {name}")
        if name == "machine":
            part.add_argument("pool", type=Path, nargs="+")
        part.add_argument("--data", type=Path, default=Path("../shared/data"))
        part.add_argument("--first", type=int, default=0, help="the number of the first page")
        part.add_argument("--seed", type=int, default=0)
        part.add_argument("-o", "--output", type=Path, required=True)
        part.set_defaults(run=run)
    part = parts.add_parser("collect", help="put the readers' numbers to the texts")
    part.add_argument("read", type=Path)
    part.set_defaults(run=collect)
    part = parts.add_parser("ceiling", help="how well such a reader tells what readers with the prompt say")
    part.set_defaults(run=ceiling)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
