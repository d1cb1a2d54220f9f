"""A method that only avoids the scorer's favourite words: what the raw, the corrected and a reader's number say of it.

    python benchmarks/loophole.py -o out/loophole --prompts ../shared/data/rtp/prompts_challenge_dev.jsonl --limit 200
    detoxlm label out/loophole/texts.jsonl -o out/loophole/labels.jsonl
    python benchmarks/loophole.py -o out/loophole --labels out/loophole/labels.jsonl

The untouched model and the same with a penalty on the logits of the words with the highest scores. It says nothing
kinder than before; a judge that is to be trusted must not reward it as if it did. `texts.jsonl` has the continuations
of both, mixed and unmarked, for readers; with their labels the toxic fractions by reader are printed beside the
scorer's, and their differences with 95% bootstrap intervals over prompts.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import add_options, task

from detoxlm.comparing import compare
from detoxlm.files import write_atomically
from detoxlm.labels.files import read_labels
from detoxlm.labels.texts import sha256_of
from detoxlm.metrics import METRICS
from detoxlm.metrics.bootstrap import bootstrap, paired_bootstrap
from detoxlm.models import Target, load_target
from detoxlm.recipes import measure
from detoxlm.results import Estimate, Results
from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import Scorer

#: Nats taken from a logit: enough that the token is not said.
PENALTY = 20.0
#: How many words are avoided. Not all that the scorer calls toxic: alone, it calls a third of all words so.
FAVOURITES = 300
SHOWN = ("toxic_fraction", "corrected_toxic_fraction", "expected_max_toxicity", "model_perplexity")


def favourites(target: Target, scorer: Scorer) -> torch.Tensor:
    """Return the ids of the `FAVOURITES` tokens that begin a word and score highest as a word alone, int64."""
    words = [(i, target.tokenizer.decode([i])) for i in range(len(target.tokenizer))]
    words = [(i, word.strip()) for i, word in words if word.startswith(" ") and word.strip().isalpha()]
    scores = scorer.score([word for _, word in words])
    return torch.tensor([words[place][0] for place in np.argsort(-scores)[:FAVOURITES]])


@contextmanager
def penalised(target: Target, ids: torch.Tensor) -> Iterator[None]:
    """Take `PENALTY` from the logits of these tokens."""

    def less(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., ids] -= PENALTY
        return logits

    handle = target.model.get_output_embeddings().register_forward_hook(less)
    try:
        yield
    finally:
        handle.remove()


def written(options: argparse.Namespace, folder: Path) -> None:
    """Measure both, print what the scorer says of them, and write the texts that readers get."""
    target, scorer = load_target(options.model), load_scorer(options.scorer)
    what = task(options, options.recipes[0])
    ids = favourites(target, scorer)
    # the target is not itself while words are penalised: of both, another copy says how likely the texts are
    judge = load_target(options.model)
    base = measure(target, what, scorer, judge=judge)
    with penalised(target, ids):
        now = measure(target, what, scorer, judge=judge)
    compare(base, now)
    for name in SHOWN:
        if name in base.metrics:
            shown = METRICS[name].show
            change = now.comparison.difference.get(name) if now.comparison else None
            print(f"{name:28s} {shown(base.metrics[name])}  {shown(now.metrics[name])}  difference {change}")
    folder.mkdir(parents=True, exist_ok=True)
    base.save(folder / "untouched.json")
    now.save(folder / "penalised.json")
    texts = {(row.prompt, text) for found in (base, now) for row in found.rows for text in row.continuations if text}
    lines = [json.dumps({"prompt": prompt, "text": text}, ensure_ascii=False) for prompt, text in sorted(texts)]
    random.Random(0).shuffle(lines)
    write_atomically(folder / "texts.jsonl", "".join(line + "\n" for line in lines).encode())


def read(folder: Path, labels: Path) -> None:
    """Print the toxic fraction by readers of both, and the difference; a text that they are unsure of is not toxic."""
    found = {label.key: label.verdict for label in read_labels(labels)}
    shares: list[tuple[np.ndarray, np.ndarray]] = []
    for name in ("untouched", "penalised"):
        counts: dict[str, np.ndarray] = {}  # (toxic, all) by prompt: one that is there twice is one unit
        for row in Results.load(folder / f"{name}.json").rows:
            keys = [(sha256_of(text), sha256_of(str(row.prompt))) for text in row.continuations if text]
            if any(key not in found for key in keys):
                raise SystemExit(f"{labels}: texts of {name} have no label; go on with `detoxlm label`")
            toxic_here = sum(found[key] == "toxic" for key in keys)
            counts[str(row.prompt)] = counts.get(str(row.prompt), 0) + np.array([toxic_here, len(row.continuations)])
        toxic, total = np.array(list(counts.values()), dtype=np.float64).T
        shares.append((toxic, total))
        share = bootstrap(toxic, total, proportion=True)
        print(f"{name}: {toxic.sum():.0f} of {total.sum():.0f} toxic to readers, {said(share)}")
    print(f"difference {said(paired_bootstrap(*shares))}")


def said(found: Estimate) -> str:
    """Return an estimate with its interval, if there is one."""
    return f"{found.value:.4f}" + (f", 95% [{found.low:.4f}, {found.high:.4f}]" if found.low is not None else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_options(parser, (), "out/loophole")
    parser.set_defaults(recipes=["quick"])
    parser.add_argument("--labels", type=Path, help="readers' labels of texts.jsonl: print what they say")
    options = parser.parse_args()
    if len(options.recipes) > 1:
        parser.error("--recipes: one of them")
    if options.labels:
        read(Path(options.output), options.labels)
    else:
        written(options, Path(options.output))


if __name__ == "__main__":
    main()
