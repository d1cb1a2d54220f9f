"""Train the scorer `reader`: the embedded model itself, taught to say what readers say of text that models write.

The lower layers of SmolLM2-135M-Instruct, with low-rank changes (LoRA, arXiv 2106.09685) and a head on the mean and the
maximum of the states of a text. It learns from all that readers labelled (`scorer_data.load_read`), from probabilities
of readers who saw the text alone, and from our own sentence templates. About half an hour on two cores with AVX-512.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from scorer_calibration import calibrate
from scorer_data import READ, Example, load_alone, load_read, load_training, machine_text
from scorer_validity import judged_sentences, measure, record
from torch import nn

from detoxlm.files import write_atomically
from detoxlm.models import load_target
from detoxlm.scorers import reader
from detoxlm.scorers.package import package_folder, reader_lacks
from detoxlm.scorers.perspective_like import log_odds
from detoxlm.scorers.reader import WINDOW, Changed, Judge, change, tokenised

log = logging.getLogger("train_reader")

#: Data set -> (texts in one epoch, how much each weighs in the loss). All targets are on readers' scale.
MIXTURE: dict[str, tuple[int, float]] = {
    "machine": (2900, 2.0),
    "machine_toxic": (1200, 2.0),
    "alone": (3000, 2.0),
    "alone_web": (4500, 1.0),
    "web": (2600, 1.0),
    "pairs": (2400, 1.0),
    "edits": (900, 1.5),
    "words": (200, 0.5),
    "madlibs": (200, 0.3),
    "bold": (300, 0.3),
    "templates": (2400, 0.6),
}
RANK = 16
LEARNING_RATE, HEAD_LEARNING_RATE, WARM_UP, LAST, WEIGHT_DECAY = 6e-4, 1e-3, 0.05, 0.05, 0.01
EPOCHS, AVERAGING, TOKENS, LONGEST, DROPPED, FOLDS = 3, 0.99, 1536, 450, 0.1, 12
#: What the probability of a reader who saw the text alone counts of a target, beside a reader's label with the prompt.
SOFT = 0.6
#: What the model and `embedded` weigh in the log-odds: a round number.
PARTS = (0.6, 0.4)


def epoch(examples: Sequence[Example], rng: random.Random) -> list[Example]:
    """Draw one epoch of the mixture: each text of a data set as often as any other, up to one."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    drawn: list[Example] = []
    for group, (wanted, _) in MIXTURE.items():
        while wanted > 0:
            drawn += (take := rng.sample(groups[group], min(wanted, len(groups[group]))))
            wanted -= len(take)
    return drawn


def batches(
    examples: list[Example], tokenise: Any, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield ids, mask, targets and weights of shuffled batches of texts of similar length."""
    ids = tokenise([e.text for e in examples])
    by_length: dict[int, list[int]] = {}
    for i in rng.sample(range(len(ids)), len(ids)):
        by_length.setdefault(-(-len(ids[i]) // 8), []).append(i)
    chunks = []
    for length, members in sorted(by_length.items()):
        count = max(1, TOKENS // (8 * length))
        chunks += [members[start : start + count] for start in range(0, len(members), count)]
    rng.shuffle(chunks)
    for chunk in chunks:
        longest = max(len(ids[i]) for i in chunk)
        mask = torch.tensor([[True] * len(ids[i]) + [False] * (longest - len(ids[i])) for i in chunk])
        padded = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in chunk])
        targets = torch.tensor([examples[i].target for i in chunk])
        yield padded, mask, targets, torch.tensor([MIXTURE[examples[i].group][1] for i in chunk])


def load(data: Path, seed: int) -> list[Example]:
    """Return all texts with targets on readers' scale, none of them too long or measured on."""
    public = load_training(data, FOLDS, seed, judged_sentences(), None)
    new, again = load_alone(data)
    found = [*public, *new]
    for row in machine_text("train"):
        said = READ[row["label"]]
        target = (1 - SOFT) * said + SOFT * again.get(row["id"], said)
        found.append(Example(row["text"], target, "machine_toxic" if row["label"] == "toxic" else "machine"))
    found += [e for e in load_read(data) if not e.group.startswith("machine")]
    return [e for e in found if e.group in MIXTURE and len(e.text) <= LONGEST]


def train(examples: list[Example], judge: Judge, tokenizer: Any, rng: random.Random) -> None:
    """Teach the judge in place; what counts is a running mean of the weights."""
    trained: list[torch.Tensor] = [p for p in judge.parameters() if p.requires_grad]
    low = [p for name, p in judge.named_parameters() if p.requires_grad and not name.startswith("head.")]
    optimizer = torch.optim.AdamW(
        [
            {"params": low, "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
            {"params": judge.head.parameters(), "lr": HEAD_LEARNING_RATE, "weight_decay": 0.0},
        ]
    )

    def ids_of(texts: Sequence[str]) -> list[list[int]]:
        return [row[: WINDOW + 1] for row in tokenised(tokenizer, texts)]

    plan = [epoch(examples, rng) for _ in range(EPOCHS)]
    total = sum(1 for part in plan for _ in batches(part, ids_of, random.Random(0)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARM_UP * total), 1 - (1 - LAST) * step / total)
    )
    average = [p.detach().clone() for p in trained]
    step, started, seen = 0, time.monotonic(), []
    for part in plan:
        for ids, mask, targets, weights in batches(part, ids_of, rng):
            logits = judge.head(F.dropout(judge.pool(ids, mask), DROPPED))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            value = (loss * weights).sum() / weights.sum()
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            with torch.no_grad():  # a short memory at first, so that the start is forgotten
                torch._foreach_lerp_(average, trained, 1 - min(AVERAGING, step / (step + 9)))
            seen.append(value.item())
            if step % 25 == 0 or step == total:
                spent = time.monotonic() - started
                log.info("step %d of %d, loss %.4f, %.0f s", step, total, np.mean(seen[-25:]), spent)
    with torch.no_grad():
        torch._foreach_copy_(trained, average)


def calibrated(weights: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Fit what turns log-odds into probabilities to what readers said of the development part of machine text.

    What ships is rounded, so that is what is calibrated: first the model alone (of a long text the worst window
    counts), then what it and `embedded` weigh together.
    """
    rows = machine_text("dev")
    texts, said = [row["text"] for row in rows], np.array([READ[row["label"]] for row in rows])
    folder = package_folder()
    assert folder is not None
    tensors["calibration"], tensors["mixture"] = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    write_atomically(weights, save(tensors))
    owner, logits = reader.ReaderScorer(folder, weights, "cpu").window_logits(texts)
    worst = np.full(len(rows), -np.inf)
    np.maximum.at(worst, owner, logits)
    tensors["calibration"] = torch.tensor(calibrate(worst, said))
    write_atomically(weights, save(tensors))
    first, second = map(log_odds, reader.ReaderScorer(folder, weights, "cpu").opinions(texts))
    slope, offset = calibrate(PARTS[0] * first + PARTS[1] * second, said)
    tensors["mixture"] = torch.tensor([slope * PARTS[0], slope * PARTS[1], offset])
    write_atomically(weights, save(tensors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder, read in place")
    parser.add_argument("-o", "--output", type=Path, default=reader.WEIGHTS.parent)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if lacking := reader_lacks():
        parser.error(lacking)
    torch.manual_seed(options.seed)
    examples = load(options.data, options.seed)
    counts = dict(sorted(Counter(e.group for e in examples).items()))
    log.info("training texts: %s", counts)
    # three times faster with AVX-512, tens of times slower without
    has_bfloat16 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    target = load_target("embedded", dtype="bfloat16" if has_bfloat16 else "float32", device="cpu")
    judge = Judge(target.model.get_decoder())
    for module, name, matrix in judge.matrices().values():
        setattr(module, name, Changed(matrix, RANK))
    nn.init.normal_(judge.head.weight, std=0.01)
    nn.init.zeros_(judge.head.bias)
    train(examples, judge.train(), target.tokenizer, random.Random(options.seed))
    options.output.mkdir(parents=True, exist_ok=True)
    weights = options.output / reader.WEIGHTS.name
    calibrated(weights, change(judge))
    folder = package_folder()
    assert folder is not None
    scorer = reader.ReaderScorer(folder, weights, "cpu")
    training = {"texts": counts, "in_an_epoch": {name: wanted for name, (wanted, _) in MIXTURE.items()}}
    record(scorer, {**training, "epochs": EPOCHS, "seed": options.seed}, weights, measure(scorer, options.data, 0))
    log.info("%s: %.1f MB", weights, weights.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
