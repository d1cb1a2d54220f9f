"""How fast the evaluation loop is: ours against the batch-1 loop of the released scripts, same prompts, one run.

    python benchmarks/generation.py [--prompts FILE] [--limit 96] [--repeats 3] [-o generation.json]

The batch-1 loop is what the released scripts do: one prompt at a time through `model.generate`, greedy, 10 new tokens.
Ours is `detoxlm.generation` at batch 32. Both produce the same tokens, which is checked. It also times the model with a
fusion detoxifier attached. Rounds of the variants alternate, so that a busy machine slows all of them; the figure is
each variant's median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from detoxlm.data import builtin_prompts, read_prompts
from detoxlm.files import write_atomically
from detoxlm.generation import Sampling, generate
from detoxlm.methods import FitData
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.models import Target, load_target
from detoxlm.progress import track

NEW_TOKENS = 10


def released_loop(target: Target, prompts: list[str]) -> list[list[int]]:
    """One prompt at a time through transformers' generate, as the released evaluation scripts do."""
    made = []
    for prompt in prompts:
        inputs = target.tokenizer(prompt, return_tensors="pt")
        out = target.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        new = out[0, inputs["input_ids"].shape[1] :].tolist()
        made.append([token for token in new if token != target.tokenizer.eos_token_id])
    return made


def our_loop(target: Target, prompts: list[str], batch_size: int) -> list[list[int]]:
    batches = generate(target, prompts, Sampling(max_new_tokens=NEW_TOKENS), batch_size=batch_size)
    made = {g.index: g.token_ids[0] for batch in batches for g in batch.generations}
    return [made[i] for i in range(len(prompts))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--prompts", default=None, help="default: the built-in measuring prompts")
    parser.add_argument("--limit", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=Path("generation.json"))
    options = parser.parse_args()
    target = load_target(options.model)
    prompts = (read_prompts(options.prompts).items if options.prompts else builtin_prompts("measure"))[: options.limit]
    detoxifier = Fusion.fit(target, FitData(), FusionSettings())
    variants: dict[str, tuple[Callable[[], list[list[int]]], bool]] = {
        "released scripts' loop, batch 1": (lambda: released_loop(target, prompts), False),
        "detoxlm, batch 1": (lambda: our_loop(target, prompts, 1), False),
        "detoxlm, batch 32": (lambda: our_loop(target, prompts, 32), False),
        "detoxlm, batch 32, fused": (lambda: our_loop(target, prompts, 32), True),
    }
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    tokens: dict[str, list[list[int]]] = {}
    with track("rounds", options.repeats * len(variants), "rounds") as advance, torch.inference_mode():
        our_loop(target, prompts[:8], 8)  # first calls are slower: kernels are chosen and memory is mapped
        for _ in range(options.repeats):
            for name, (loop, is_fused) in variants.items():
                with detoxifier.attached(target.model) if is_fused else nullcontext():
                    started = time.perf_counter()
                    tokens[name] = loop()
                    seconds = time.perf_counter() - started
                speeds[name].append(sum(map(len, tokens[name])) / seconds)
                advance(1)
    baseline, single, batched, with_fusion = (statistics.median(speeds[name]) for name in variants)
    first, *_ = variants
    same = sum(a == b for a, b in zip(tokens[first], tokens["detoxlm, batch 32"], strict=True))
    rows: list[dict[str, Any]] = [
        {"variant": name, "tokens_per_second": round(statistics.median(values), 1), "rounds": values}
        for name, values in speeds.items()
    ]
    print(f"{len(prompts)} prompts, {NEW_TOKENS} greedy tokens each, {torch.get_num_threads()} threads")
    for row in rows:
        print(f"{row['variant']:34s} {row['tokens_per_second']:8.1f} tokens/s")
    print(f"batch 32 against the released loop: {batched / baseline:.1f}x (batch 1: {single / baseline:.1f}x)")
    print(f"fused against plain at batch 32:    {with_fusion / batched:.2f}")
    print(f"same continuation as the released loop: {same} of {len(prompts)} prompts")
    report = {
        "rows": rows,
        "speedup": batched / baseline,
        "fused_over_plain": with_fusion / batched,
        "same_continuations": same,
        "prompts": len(prompts),
    }
    write_atomically(options.output, json.dumps(report, indent=1).encode())
    if same < 0.98 * len(prompts):
        sys.exit("the two loops disagree: the comparison is void")


if __name__ == "__main__":
    main()
