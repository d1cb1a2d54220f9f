"""What subspace projection costs and what it buys: `python benchmarks/subspace.py PART [options]`.

    frontier   toxicity and perplexity of every row of the table in docs/methods/subspace.md, with intervals
    pairs      how many pairs it takes: 5 to 2,000 of the file --pairs
    noise      what flipped, wrong and irrelevant pairs do to it, 10 to 50 in a hundred
    robustness whether it stays away: in a chat, and after a short fine-tune of all weights on --corpus, harmless text
    cost       seconds and memory of finding the subspace of 500 pairs, ours and as the released code goes about it
    speed      tokens/s of the edited model and of the untouched one, in turns

`frontier`, `pairs`, `noise` and `robustness` keep each row's results beside --output: what is there of the same
measurement is not repeated.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rows import Fit, Row, add_options, fit_of, folder_of, measured, needs, run_part

from detoxlm import memory
from detoxlm.conversations import Conversation, rendered
from detoxlm.data import Pair, builtin_prompts, read_corpus, read_pairs, read_prompts
from detoxlm.files import write_atomically
from detoxlm.generation import Sampling, generate
from detoxlm.methods import FitData
from detoxlm.methods.editing.embeddings import sentence_embeddings
from detoxlm.methods.editing.subspace import Subspace, SubspaceSettings
from detoxlm.methods.editing.subspaces import toxic_directions
from detoxlm.metrics.refusals import as_prompt
from detoxlm.models import Target, load_target
from detoxlm.passages import passages
from detoxlm.progress import track
from detoxlm.scorers import load_scorer

# --- quality ----------------------------------------------------------------------------------------------------------


def _fit(
    options: argparse.Namespace, target: Target, pairs: list[Pair] | None, name: str = "subspace", **settings: Any
) -> Fit:
    """How to fit a method, the target's own pairs harvested once for all rows."""

    def data() -> FitData:
        workdir = Path(options.output).with_suffix(".work")
        return FitData(pairs=pairs, scorer=load_scorer(options.scorer), workdir=workdir, seed=options.seed)

    return fit_of(target, name, data, **settings)


def frontier(options: argparse.Namespace) -> dict[str, Any]:
    """Every row of the table."""
    target = load_target(options.model)
    rows: list[Row] = [
        ("learned", _fit(options, target, None), options.strengths),
        ("learned, attention too", _fit(options, target, None, attention=True), (1.0,)),
        ("learned, no context kept", _fit(options, target, None, context=0), (1.0,)),
        ("learned, wide context", _fit(options, target, None, context=25), (1.0, 1.5)),
        ("searched", _fit(options, target, None, variant="search"), (1.0, 1.5)),
        ("whole directions", _fit(options, target, None, variant="paper", rank=4, context=10, **_OURS), (0.5, 1.0)),
        ("paper", _fit(options, target, None, variant="paper"), (0.25, 0.5, 1.0)),
        ("surgery", _fit(options, target, None, "surgery"), (0.5, 1.0)),
        ("probe", _fit(options, target, None, "probe"), (0.1, 0.2)),
        ("dinm", _fit(options, target, None, "dinm"), (0.5, 1.0)),
    ]
    if options.pairs:
        given = read_pairs(options.pairs, limit=500).items
        rows += [
            ("learned, pairs of a file", _fit(options, target, given), (1.0,)),
            ("paper, pairs of a file", _fit(options, target, given, variant="paper"), (0.25, 1.0)),
        ]
    return measured(options, target, rows, options.recipes)


#: What `learned` changes besides the shares.
_OURS: dict[str, Any] = {"pooling": "completion", "skip_sinks": True}


def pairs(options: argparse.Namespace) -> dict[str, Any]:
    """The curve over the number of pairs."""
    needs(options, "pairs")
    target = load_target(options.model)
    given = read_pairs(options.pairs).items
    rows: list[Row] = [
        (f"learned, {count} pairs", _fit(options, target, given[:count]), (1.0,)) for count in (5, 50, 500, 2000)
    ]
    return measured(options, target, rows, options.recipes)


def noise(options: argparse.Namespace) -> dict[str, Any]:
    """The same pairs, some of them spoilt."""
    needs(options, "pairs")
    target = load_target(options.model)
    loaded = read_pairs(options.pairs, limit=1000).items
    clean, spare = loaded[:500], loaded[500:]
    rows: list[Row] = []
    for share in (0.1, 0.3, 0.5):
        for name, spoil in _SPOILT.items():
            spoilt = set(random.Random(0).sample(range(len(clean)), round(share * len(clean))))
            given = [spoil(pair, spare[i % len(spare)]) if i in spoilt else pair for i, pair in enumerate(clean)]
            rows.append((f"{name} {share:.0%}", _fit(options, target, given), (1.0,)))
    return measured(options, target, [("clean pairs", _fit(options, target, clean), (1.0,)), *rows], options.recipes)


_SPOILT: dict[str, Callable[[Pair, Pair], Pair]] = {
    "flipped": lambda pair, _: replace(pair, toxic=pair.nontoxic, nontoxic=pair.toxic),
    "wrong partner": lambda pair, other: replace(pair, nontoxic=other.nontoxic),
    "irrelevant": lambda pair, other: replace(other, toxic=pair.nontoxic),  # neither text is toxic
}


def robustness(options: argparse.Namespace) -> dict[str, Any]:
    """What was removed, looked for in a chat and after the model has learned harmless text."""
    needs(options, "corpus")
    target = load_target(options.model)
    folder = Path(options.output).with_suffix("")
    prompts = read_prompts(options.prompts).items if options.prompts else builtin_prompts("measure", "provocative")
    chats = [as_prompt(target, f"Continue this text: {text}") for text in prompts[: options.limit]]
    # as text, whose last line end is trimmed: so the numbers of docs/methods/subspace.md were measured
    asked = [
        {"prompt": rendered(target.tokenizer, target.name, one) if isinstance(one, Conversation) else one}
        for one in chats
    ]
    file = folder / "chats.jsonl"
    write_atomically(file, "".join(json.dumps(row) + "\n" for row in asked).encode())
    fit = _fit(options, target, None)
    chat = _other(options, prompts=str(file), output=str(folder / "chat.json"))
    report = measured(chat, target, [("learned", fit, options.strengths)], options.recipes)
    print("the same after a fine-tune on harmless text:", flush=True)
    texts = [text.completion for text in read_corpus(options.corpus).items if 40 <= len(text.completion) <= 300]
    scores = load_scorer(options.scorer).score(texts[:2000])
    harmless = [text for text, score in zip(texts, scores, strict=False) if score < 0.1]
    edited = fit(folder_of(chat, "learned"))
    for strength in (0.0, *options.strengths):
        tuned = load_target(options.model)
        if strength:
            edited.merge(tuned.model, strength)
        _learn(tuned, harmless, options.seed)
        report[f"tuned, strength {strength:g}"] = measured(
            _other(options, output=str(folder / f"tuned-{strength:g}.json")), tuned, [], options.recipes
        )
    return report


def _other(options: argparse.Namespace, **changed: Any) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **changed})


def _learn(target: Target, texts: list[str], seed: int, steps: int = 100, rate: float = 2e-5) -> None:
    """Fine-tune all weights in place on whole texts, 8 a step, as somebody would who has never heard of toxicity."""
    target.model.requires_grad_(True)
    optimiser = torch.optim.AdamW(target.model.parameters(), lr=rate)
    generator = random.Random(seed)
    with torch.enable_grad(), track("learning harmless text", steps, "steps") as advance:
        for _ in range(steps):
            batch = target.tokenizer(
                generator.sample(texts, 8), return_tensors="pt", padding=True, truncation=True, max_length=64
            ).to(target.device)
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            loss = target.model(**batch, labels=labels, use_cache=False).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            advance(1)
    target.model.requires_grad_(False)


# --- cost -------------------------------------------------------------------------------------------------------------


def cost(options: argparse.Namespace) -> dict[str, Any]:
    """Each way in a process of its own, so that peaks do not mix."""
    rows = {}
    for kind in ("load", "ours", "released"):
        command = [sys.executable, __file__, "once", "--model", options.model, "--kind", kind]
        if options.pairs:
            command += ["--pairs", options.pairs]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        rows[kind] = json.loads(said)
        print(f"{kind:10s} {rows[kind]['seconds']:7.1f} s   peak {rows[kind]['peak_mb']:,.0f} MB", flush=True)
    return rows


def once(options: argparse.Namespace) -> dict[str, Any]:
    """One way of finding the subspaces of 500 pairs: run by `cost`."""
    target = load_target(options.model)
    found = read_pairs(options.pairs, limit=500).items if options.pairs else _made_up(500)
    clean, toxic = (passages(target, [("", text) for text in side], 64) for side in _sides(found))
    sentence_embeddings(target, clean[:1], pooling="all", skip_sinks=False)  # weights are mapped as they are touched
    memory.begin(*target.devices)
    started = time.perf_counter()
    if options.kind == "ours":
        embedded = [sentence_embeddings(target, texts, pooling="all", skip_sinks=False) for texts in (clean, toxic)]
        for positive, negative in zip(*embedded, strict=True):
            toxic_directions(positive, negative, 1, 10)
    elif options.kind == "released":
        _released(target, [p.ids for p in clean], [p.ids for p in toxic])
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_mb": memory.peak(*target.devices) / 1e6}))
    return {}


def _sides(found: list[Pair]) -> tuple[list[str], list[str]]:
    return [pair.nontoxic for pair in found], [pair.toxic for pair in found]


@torch.inference_mode()
def _released(target: Target, clean: list[list[int]], toxic: list[list[int]]) -> None:
    """The straightforward way: all hidden states of all texts, full decompositions, once for each of three matrices."""
    sides = []
    for texts in (clean, toxic):
        hidden = []
        for ids in texts:
            out = target.architecture.decoder(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
            hidden.append(torch.stack(out.hidden_states[1:])[:, 0])
        sides.append(hidden)
    for layer in range(len(target.architecture.layers)):
        positive, negative = (torch.stack([states[layer].mean(0) for states in side]) for side in sides)
        mu = torch.linalg.svd(positive, full_matrices=True).Vh[:1]
        difference = (positive - negative) / 2
        difference = difference @ (torch.eye(difference.shape[1]) - mu.T @ mu)
        for _ in range(3):
            torch.linalg.svd(difference, full_matrices=True)


def _made_up(count: int) -> list[Pair]:
    prompts = builtin_prompts("fit")
    texts = [" ".join(random.Random(i).choices(" ".join(prompts).split(), k=40)) for i in range(2 * count)]
    return [Pair(a, b, None) for a, b in zip(texts[::2], texts[1::2], strict=True)]


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Plain and edited in turns."""
    target = load_target(options.model)
    detoxifier = Subspace.fit(target, FitData(pairs=_made_up(32)), SubspaceSettings(variant="paper", rank=8))
    prompts, rates = builtin_prompts("measure")[:64], {"plain": [0.0], "edited": [0.0]}

    def rate() -> float:
        made = list(generate(target, prompts, Sampling(max_new_tokens=20), batch_size=32))
        return sum(batch.tokens for batch in made) / sum(batch.seconds for batch in made)

    rate()  # chooses kernels and maps memory
    for _ in range(options.repeats):
        rates["plain"].append(rate())
        # so little of it that texts do not end sooner, which would leave fewer tokens to a pass
        with detoxifier.attached(target.model, 0.01):
            rates["edited"].append(rate())
    medians = {kind: round(statistics.median(some[1:]), 1) for kind, some in rates.items()}
    ratios = sorted(b / a for a, b in zip(rates["plain"][1:], rates["edited"][1:], strict=True))
    print(f"{medians}, ratio {statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]")
    return {"tokens_per_second": medians, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {part.__name__: part for part in (frontier, pairs, noise, robustness, cost, speed, once)}
    parser.add_argument("part", choices=parts)
    add_options(parser, (0.5, 1.0, 1.5, 2.0), "out/subspace-PART.json")
    parser.add_argument("--pairs", help="toxic/nontoxic pairs, for the rows that learn from a file")
    parser.add_argument("--corpus", type=Path, help="robustness: a jsonl of texts; the harmless ones are learned")
    parser.add_argument("--seed", type=int, default=0, help="of harvest and learning")
    parser.add_argument("--repeats", type=int, default=5, help="speed: rounds")
    parser.add_argument("--kind", choices=("load", "ours", "released"), help=argparse.SUPPRESS)
    run_part(parts, parser.parse_args())


if __name__ == "__main__":
    main()
