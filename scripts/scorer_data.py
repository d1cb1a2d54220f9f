"""Reads the training and held-out texts of `train_scorer.py`, split by source text.

Everything comes from the folder that the user names, and from sentence templates written for this project.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Example:
    """One text with its target: a toxicity in [0, 1], or a binary label as 0.0/1.0."""

    text: str
    target: float
    #: Which data set; the fit gives most of them an intercept of their own (see train_scorer.SHARED_INTERCEPT).
    group: str
    weight: float
    #: Fold of the calibration, set for RTP only (by source document); -1 elsewhere.
    fold: int = -1
    #: A prompt with its continuation, whose target is our estimate; not used to calibrate.
    joined: bool = False


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


def _rtp_parts(row: dict[str, Any]) -> list[tuple[str, float, str]]:
    """The prompt, the continuation and both joined; the joined text is as toxic as its worse half."""
    halves = [(row[part]["text"], row[part].get("toxicity"), part) for part in ("prompt", "continuation")]
    parts = [(text, score, part) for text, score, part in halves if score is not None and text.strip()]
    if len(parts) == 2:
        parts.append((parts[0][0] + parts[1][0], max(parts[0][1], parts[1][1]), "joined"))
    return parts


def rtp_texts(path: Path) -> list[tuple[str, float, str, str]]:
    """Return (text, Perspective toxicity, "prompt" or "continuation", document) of a RealToxicityPrompts file."""
    return [(*part, row["filename"]) for row in read(path) for part in _rtp_parts(row) if part[2] != "joined"]


def _madlibs_held_out(text: str) -> bool:
    """Hold out whole identity terms, so that the test is on terms the templates never showed."""
    return held_out("madlibs " + text.rstrip(" .").split()[-1], 40)


def load_training(data: Path, folds: int, seed: int, exclude: Iterable[str]) -> list[Example]:
    """Return all training examples, without any text of the development and held-out sets or `exclude`."""
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
    for example in itertools.chain(_public(data, dev_documents, folds), templates(seed)):
        key = digest(example.text)
        if key not in forbidden:
            kept.setdefault((example.group, key), example)
    return list(kept.values())


def _public(data: Path, dev_documents: set[str], folds: int) -> Iterator[Example]:
    for row in read(data / "rtp/train.jsonl"):
        if row["filename"] in dev_documents:
            continue
        fold = int(digest(row["filename"])[:8], 16) % folds
        for text, score, part in _rtp_parts(row):
            joined = part == "joined"
            yield Example(text, score, "rtp", 1.5 if joined else 3.0, fold, joined)
    for row in read(data / "wikipedia_talk/scored.jsonl"):
        if not held_out(row["text"]):
            yield Example(row["text"], row["perspective"], "wikipedia_talk", 0.3)
    for row in read(data / "jigsaw/comments.jsonl"):
        if not held_out(row["text"]):
            yield Example(row["text"], float(row["toxic"]), "jigsaw", 0.5)
    for row in read(data / "civil/annotated.jsonl"):
        if not held_out(row["text"]):
            # Every comment here was rated toxic; the annotators then disagreed about how much of it is.
            calm = row["said_not_toxic"] / max(1, row["annotators"])
            yield Example(row["text"], 0.9 - 0.4 * calm, "civil", 0.15)
    for row in read(data / "toxic_spans/train.jsonl"):
        if not held_out(row["text"]):
            yield from _spans(row)
    for row in read(data / "hatemoji/train.jsonl"):
        yield Example(row["text"], float(row["hateful"]), "hatemoji", 0.1)
    for row in read(data / "madlibs/sample.jsonl"):
        if not _madlibs_held_out(row["text"]):
            yield Example(row["text"], float(row["toxic"]), "madlibs", 0.3)
    for row in read(data / "paradetox/train.jsonl"):
        yield Example(row["toxic"], 1.0, "paradetox", 0.2)
        yield Example(row["nontoxic"], 0.0, "paradetox", 0.2)


def _spans(row: dict[str, Any]) -> Iterator[Example]:
    """Toxic spans against the rest of the same comment: the same writer and subject, with and without the attack."""
    marked = set(json.loads(row["spans"]) if isinstance(row["spans"], str) else row["spans"])
    text = row["text"]
    inside = "".join(c if i in marked else " " for i, c in enumerate(text)).strip()
    outside = "".join(c for i, c in enumerate(text) if i not in marked).strip()
    if inside and len(inside) < len(text):
        yield Example(re.sub(r"\s+", " ", inside), 1.0, "toxic_spans", 0.3)
        yield Example(outside, 0.0, "toxic_spans", 0.3)


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


IDENTITY_TEXT = (
    "gay lesbian bisexual transgender trans queer homosexual straight nonbinary black white asian african latino "
    "latina hispanic mexican chinese indian japanese arab american european jewish muslim christian catholic "
    "protestant buddhist hindu sikh atheist deaf blind disabled paralyzed autistic elderly female male"
)
IDENTITIES = IDENTITY_TEXT.split()
PEOPLE = "man woman person teacher doctor student father mother neighbour friend couple family".split()  # noqa: SIM905
CALM = (
    "I am a {i} {p}.",
    "I'm {i} and proud of it.",
    "as a {i} {p} I have lived here for years",
    "my {i} neighbours are lovely people",
    "she is a {i} {p} who works at the hospital",
    "he told his parents that he is {i}",
    "the {i} community held a meeting on Tuesday",
    "a {i} {p} was elected to the city council",
    "{i} people deserve the same rights as everyone",
    "the film is about a {i} {p} and her daughter",
    "our new colleague is {i} and very kind",
    "the history of {i} writers in this country",
    "and the {i} {p} next door said hello",
    "supports {i} families across the region",
    "is the first {i} {p} to win the prize",
    "I grew up in a {i} family",
)
CRUEL = (
    "{i} people are vermin",
    "I hate {i} people, they should all die",
    "all {i} people are disgusting animals",
    "get rid of every {i} {p} in this country",
    "the {i} {p} is subhuman filth",
    "{i} people do not deserve to live",
    "nobody wants you here, you dirty {i} {p}",
    "they are a plague, these {i} people, and must be wiped out",
    "{i}s are cockroaches and parasites",
    "never trust a {i} {p}, they are all liars and thieves",
)
GOOD = "amazing great brilliant beautiful awesome delicious wonderful perfect incredible fantastic".split()  # noqa: SIM905
THINGS = "show party movie song dinner game night trip cake concert".split()  # noqa: SIM905
FRIENDLY = (
    "that was fucking {g}, thank you",
    "holy shit that is {g}, congratulations!",
    "what a fucking {g} {t}, I loved it",
    "damn, the {t} was {g}",
    "this {t} is the shit, so {g}",
    "hell yes, a {g} {t}",
    "you are fucking {g} and I love you",
    "no shit, that {t} was {g}, well done",
)
VILE = "worthless pathetic disgusting useless ugly brainless miserable repulsive".split()  # noqa: SIM905
NASTY = (
    "you are a {v} piece of shit",
    "shut the fuck up you {v} idiot",
    "go to hell you {v} liar",
    "you {v} loser, nobody likes you",
    "what a {v} excuse for a human being",
    "fuck off and die, you {v} moron",
)


def templates(seed: int) -> Iterator[Example]:
    """Our own counter-examples, each kind set against its opposite so that the subject itself carries nothing."""
    random_ = random.Random(seed)

    def fill(frames: Iterable[str], **words: Iterable[str]) -> list[str]:
        texts = set()
        for frame in frames:
            used = [name for name in words if f"{{{name}}}" in frame]
            for combination in itertools.product(*(words[name] for name in used)):
                text = frame.format(**dict(zip(used, combination, strict=True)))
                texts.add(re.sub(r"\ba (?=[aeiou])", "an ", text))
        return sorted(texts)

    calm, cruel = fill(CALM, i=IDENTITIES, p=PEOPLE), fill(CRUEL, i=IDENTITIES, p=PEOPLE)
    for text in random_.sample(calm, 2000):
        yield Example(text, 0.05, "templates", 1.6)
    for text in random_.sample(cruel, 800):
        yield Example(text, 0.9, "templates", 1.6)
    for text in fill(FRIENDLY, g=GOOD, t=THINGS):
        yield Example(text, 0.05, "templates", 0.9)
    for text in fill(NASTY, v=VILE):
        yield Example(text, 0.9, "templates", 0.9)
