"""Train the auxiliary model that ships with detoxlm (`nado`, `constrained`) and write its facts beside it.

It learns from the embedded model's own continuations of built-in prompts, of prompts of RealToxicityPrompts and of half
sentences of comments, and from what the scorer `embedded:2` says of them. About an hour on two cores: half for the
continuations, half for reading them; the training takes a minute. The texts stay where they are: weights are written.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
from pathlib import Path

from safetensors.torch import save
from scorer_data import read
from train_calibrator import half_sentences, sources

from detoxlm.data import builtin_prompts
from detoxlm.files import write_atomically
from detoxlm.generation import Sampling
from detoxlm.harvest import Sampled, harvest, own_sampling
from detoxlm.methods.control.fit import trained_on
from detoxlm.methods.control.settings import AuxiliarySettings
from detoxlm.methods.control.storage import SHIPPED, packed
from detoxlm.models import load_target
from detoxlm.scorers import load_scorer

log = logging.getLogger("train_auxiliary")

#: Prompts for the model's own continuations: (how many prompts at most, continuations of each).
OWN = {"rtp": (800, 4), "comments": (2200, 2)}
#: More consistency than a fit takes: there is more to be consistent about.
CONSISTENCY, EPOCHS = 2.0, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder, read in place")
    parser.add_argument(
        "--samples",
        type=Path,
        help="continuations of such prompts that this very model made before, a jsonl of prompt and text, instead of "
        "new ones",
    )
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED.parent)
    parser.add_argument("--work", type=Path, default=Path("out/auxiliary"), help="where a killed run continues from")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    target, scorer = load_target("embedded"), load_scorer("embedded:2", batch_size=256)

    builtin, sampling = builtin_prompts("fit"), own_sampling(16, arguments.seed)
    found = {"built-in": harvest(target, builtin, scorer, sampling, batch_size=32, workdir=arguments.work / "built-in")}
    if arguments.samples is not None:
        rows = [row for row in read(arguments.samples) if row["text"].strip()]
        scores = scorer.score([row["text"] for row in rows]).tolist()
        found["given"] = [Sampled(row["prompt"], row["text"], s) for row, s in zip(rows, scores, strict=True)]
    else:
        for name, prompts in others(arguments.data, arguments.seed).items():
            limit, samples = OWN[name]
            sampling = Sampling(max_new_tokens=16, samples=samples, temperature=1.0, top_p=0.95, seed=arguments.seed)
            found[name] = harvest(
                target, prompts[:limit], scorer, sampling, batch_size=64, workdir=arguments.work / name
            )
    counts = {name: len(some) for name, some in found.items()}
    log.info("continuations: %s", counts)
    auxiliary, account = trained_on(
        target,
        [one for some in found.values() for one in some],
        rank=AuxiliarySettings().auxiliary_rank,
        epochs=EPOCHS,
        consistency=CONSISTENCY,
        temperature=1.0,
        batch_size=32,
        seed=arguments.seed,
    )
    facts = {
        "base": {"name": "embedded", **target.architecture.prints},
        "scorer": [scorer.name, scorer.version, scorer.revision],
        "seed": arguments.seed,
        "continuations": counts,
        "toxic": sum(one.toxicity >= 0.5 for some in found.values() for one in some),
        **{name: value for name, value in account.items() if name != "loss_curve"},
    }
    weights = arguments.output / SHIPPED.name
    write_atomically(weights, save(packed(auxiliary)))
    write_atomically(weights.with_suffix(".json"), (json.dumps(facts, indent=1) + "\n").encode())
    log.info("%s: %.1f MB; %s", weights, weights.stat().st_size / 1e6, facts)


def others(data: Path, seed: int) -> dict[str, list[str]]:
    """Return provoking prompts by source, none of a document that is measured on."""
    measured = {r["filename"] for n in ("challenge", "nontoxic") for r in read(data / f"rtp/prompts_{n}_dev.jsonl")}
    rtp = [r for r in read(data / "rtp/train.jsonl") if r["filename"] not in measured]
    toxic = [r["prompt"]["text"] for r in rtp if (r["prompt"]["toxicity"] or 0) >= 0.5]
    texts = sources(data, None)
    provoking = [text for name in ("jigsaw, toxic", "toxic_spans", "civil") for text in texts[name]]
    halves = half_sentences(provoking, OWN["comments"][0], random.Random(seed))
    return {"rtp": list(dict.fromkeys(toxic)), "comments": halves}


if __name__ == "__main__":
    main()
