"""What smaller weights cost and spare: a model whole and quantised, each untouched and fused, in one run.

    python benchmarks/quantization.py [--model embedded] [--quantization int8] [--windows 2] [--rows 8] [-o FILE]

Model perplexity is of the first windows (1,024 tokens) of the built-in neutral text; speed is greedy continuation of as
many built-in prompts, 16 tokens each, the four variants in turns. Fusion is the shipped calibrator at its default
strength, fitted to each of the two. Memory is that of weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from detoxlm.data import builtin_prompts, neutral_text
from detoxlm.files import write_atomically
from detoxlm.generation import Sampling, sample_batch
from detoxlm.likelihood import fluency_windows, measure_window
from detoxlm.methods import FitData
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.models import Target, load_target

TOKENS = 16


def bytes_of(weight: torch.Tensor) -> int:
    """What a weight takes, also one that a class of its own keeps in several tensors."""
    names = weight.__tensor_flatten__()[0] if hasattr(weight, "__tensor_flatten__") else []
    parts = [getattr(weight, name) for name in names] or [weight]
    return sum(part.numel() * part.element_size() for part in parts)


def perplexity(target: Target, windows: list[Any], attach: Any) -> float:
    measured = [measure_window(target, ids, count, attach) for ids, count in windows]
    return math.exp(sum(one.nll for one in measured) / sum(one.tokens for one in measured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--quantization", default="int8")
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=Path("quantization.json"))
    options = parser.parse_args()
    prompts = builtin_prompts("measure", "provocative")[: options.rows]
    found: dict[str, Any] = {}
    variants = []
    for kind in (None, options.quantization):
        target = load_target(options.model, quantization=kind)
        fused = Fusion.fit(target, FitData(), FusionSettings())
        windows = fluency_windows(target, neutral_text(), 0)[: options.windows]
        for name, attach in (("untouched", None), ("fused", lambda t=target, f=fused: f.attached(t.model))):
            label = f"{kind or 'whole'}, {name}"
            found[label] = {
                "weights_mb": sum(map(bytes_of, target.model.parameters())) / 1e6,
                "perplexity": perplexity(target, windows, attach),
                "tokens_per_second": [],
            }
            variants.append((label, target, attach))
    for _ in range(options.rounds):
        for label, target, attach in variants:
            with (attach or nullcontext)():
                started = time.perf_counter()
                rows = sample_batch(target, prompts, Sampling(max_new_tokens=TOKENS))
                made = sum(len(ids) for row in rows for ids in row)
            found[label]["tokens_per_second"].append(round(made / (time.perf_counter() - started), 2))
    write_atomically(options.output, json.dumps(found, indent=1).encode())
    for label, numbers in found.items():
        print(f"{label}: {json.dumps(numbers)}")


if __name__ == "__main__":
    main()
