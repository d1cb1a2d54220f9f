"""Is what `detoxlm serve` writes what `attached` writes? `python benchmarks/served_equal.py [--methods fusion nado]`.

Greedy continuations of the built-in prompts, by the engine of the server with requests that join and leave, and by
`generate` with the detoxifier attached. Where the two part, it is told how far below the likeliest token the two are
that were written there, in nats: batches differ in the last digits of their sums, so a near-tie may fall either way;
nothing else may, and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from near_ties import NEAR, distance

from detoxlm.data import builtin_prompts
from detoxlm.files import write_atomically
from detoxlm.generation import Sampling, encode, end_tokens, generate
from detoxlm.methods import Detoxifier, FitData, get_method
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target, load_target
from detoxlm.scorers import load_scorer
from detoxlm.serving.batch import Batch
from detoxlm.serving.host import Host
from detoxlm.serving.rows import Job, Piece


def served(
    target: Target, detoxifier: DecodingDetoxifier, strength: float, prompts: list[str], tokens: int
) -> list[list[int]]:
    """Return the tokens of each prompt's continuation by the server's engine."""
    found: list[list[int]] = [[] for _ in prompts]

    def told_to(i: int) -> Callable[[Piece | Exception], None]:
        def tell(piece: Piece | Exception) -> None:
            if isinstance(piece, Exception):
                raise piece
            found[i].extend(one.token for one in piece.drawn)

        return tell

    jobs = [
        Job(
            encode(target, prompt, None),
            prompt,
            Sampling(max_new_tokens=tokens),
            told_to(i),
            detoxifier="d",
            strength=strength,
        )
        for i, prompt in enumerate(prompts)
    ]
    host = Host(target, {"d": detoxifier})
    batch, waiting = Batch(host, 16), deque(jobs)
    while waiting or len(batch):
        batch.turn(waiting)
    host.close()
    assert batch.counts.unfused == 0
    return found


def attached(
    target: Target, detoxifier: DecodingDetoxifier, strength: float, prompts: list[str], tokens: int
) -> list[list[int]]:
    """Return the same by `generate`."""
    found: list[list[int]] = [[] for _ in prompts]
    with detoxifier.attached(target.model, strength) if strength else nullcontext():
        for batch in generate(target, prompts, Sampling(max_new_tokens=tokens), batch_size=16):
            for one in batch.generations:
                found[one.index] = one.token_ids[0]
    return found


def parted_at(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the first place where two texts differ, in tokens."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def apart(logits: torch.Tensor, texts: Sequence[Sequence[int]], place: int, ends: Sequence[int]) -> float:
    """Return how far below the likeliest token the farthest of those is that texts have at a place, nats.

    Args:
        logits: [V], of that place.
        texts: their tokens; one that has none there has ended.
        place: the token that differs.
        ends: tokens that end a text.
    """
    written = [[text[place]] if place < len(text) else ends for text in texts]
    return max(distance(logits, Sampling(), 0.0, tokens) for tokens in written)


def logits_after(target: Target, detoxifier: DecodingDetoxifier, strength: float, ids: Sequence[int]) -> torch.Tensor:
    """Return the logits [V] of the token after a text."""
    with torch.inference_mode(), detoxifier.attached(target.model, strength) if strength else nullcontext():
        return target.model(torch.tensor([list(ids)], device=target.device)).logits[0, -1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--methods", nargs="+", default=["fusion", "nado"], help="fitted with their own settings")
    parser.add_argument("--detoxifiers", nargs="*", default=[], help="folders of more")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path, default=Path("out/served_equal.json"))
    options = parser.parse_args()
    target, scorer = load_target(options.model), load_scorer("embedded")
    prompts = [*builtin_prompts("measure"), *builtin_prompts("fit")][: options.prompts]
    found: list[Detoxifier] = [
        get_method(name).fit(target, FitData(scorer=scorer), get_method(name).detoxifier_type.settings_type())
        for name in options.methods
    ]
    found += map(Detoxifier.from_pretrained, options.detoxifiers)
    table = []
    for detoxifier in found:
        assert isinstance(detoxifier, DecodingDetoxifier), f"{detoxifier.method} is no decoding method"
        for strength in (0.0, detoxifier.default_strength):
            ours = served(target, detoxifier, strength, prompts, options.tokens)
            theirs = attached(target, detoxifier, strength, prompts, options.tokens)
            ties, wrong = [], 0
            for prompt, a, b in zip(prompts, ours, theirs, strict=True):
                if a != b:
                    place = parted_at(a, b)
                    logits = logits_after(target, detoxifier, strength, [*encode(target, prompt, None), *a[:place]])
                    ties.append(apart(logits, (a, b), place, end_tokens(target)))
                    wrong += ties[-1] >= NEAR
            row = {"method": detoxifier.method, "strength": strength, "prompts": len(prompts), "tokens": options.tokens}
            row |= {"same": len(prompts) - len(ties), "near_ties": len(ties) - wrong, "wrong": wrong}
            row["farthest_nats"] = max(ties, default=0.0)
            table.append(row)
            print(row, flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.output, json.dumps(table, indent=1).encode())
    sys.exit(int(any(row["wrong"] for row in table)))


if __name__ == "__main__":
    main()
