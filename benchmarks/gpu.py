"""What a GPU makes of DetoxLM: `make test-gpu`, or `python benchmarks/gpu.py -o gpu.md [--minutes 4]`.

Tokens/s of Llama shapes of 135M, 1B and 8B with random weights in bfloat16: plain, fused, and fused across tokenizers,
at several batch sizes, greedy, in turn; and a harvest of the embedded model at `--batch-size auto`.
Writes a table in Markdown with the card's name. What the minutes do not reach is left out, and the page says so.
Without a GPU it says that, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from across_tokenizers import Rows
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from detoxlm.architecture import Architecture
from detoxlm.data import builtin_prompts
from detoxlm.files import write_atomically
from detoxlm.generation import Sampling, generate
from detoxlm.harvest import own_sampling
from detoxlm.methods import FitData
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.models import Target, load_target

GREEDY = Sampling(temperature=0.0)
#: Width, MLP width, layers, heads, key-value heads.
SHAPES = {
    "tiny": (64, 128, 2, 4, 2),
    "135M": (576, 1536, 30, 9, 3),
    "1B": (2048, 8192, 16, 32, 8),
    "8B": (4096, 14336, 32, 32, 8),
}
HEAD = "| shape | batch | plain | fused | of plain | fused, other tokenizer | of plain |\n|---|---|---|---|---|---|---|"


def other_tokenizer(tokenizer: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer that cuts the same vocabulary's words into more pieces: it has half of the merges."""
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = stored["model"]["merges"]
    stored["model"]["merges"] = merges[: len(merges) // 2]
    inner = Tokenizer.from_str(json.dumps(stored))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=tokenizer.eos_token, pad_token=tokenizer.pad_token, padding_side="left"
    )


def shaped(base: Target, name: str) -> Target:
    """Return a target of a shape, with random weights and the tokenizer of `base`."""
    width, inner, layers, heads, kv_heads = SHAPES[name]
    config = LlamaConfig(
        vocab_size=base.architecture.vocab_size,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        eos_token_id=base.tokenizer.eos_token_id,
    )
    with base.device:
        model = AutoModelForCausalLM.from_config(config, dtype=base.model.dtype).eval().requires_grad_(False)
    return Target(model, base.tokenizer, Architecture.of(model), f"random, {name}", "random")


def rates(base: Target, name: str, batches: list[int], steps: int, until: float) -> list[str]:
    """Time steps of one shape in turn: plain, fused, fused across tokenizers. Returns lines of the table."""
    same = shaped(base, name)
    other = replace(same, tokenizer=other_tokenizer(base.tokenizer))
    fused = [(target, Fusion.fit(target, FitData(), FusionSettings())) for target in (same, other)]
    ids = [base.tokenizer(str(prompt))["input_ids"][:32] for prompt in builtin_prompts("measure")[:32]]
    lines = []
    for batch in batches:
        if time.monotonic() > until:
            lines.append(f"| {name} | {batch} | not reached | | | | |")
            continue
        rows = [ids[i % len(ids)] for i in range(batch)]
        kinds = [Rows(same, None, rows, batch, GREEDY)]
        kinds += [Rows(target, one, rows, batch, GREEDY) for target, one in fused]
        seconds = [[kind.step() for kind in kinds] for _ in range(steps + 2)][2:]
        plain, ours, across = (batch / statistics.median(one) for one in zip(*seconds, strict=True))
        cells = [f"{plain:,.0f}", f"{ours:,.0f}", f"{ours / plain:.2f}", f"{across:,.0f}", f"{across / plain:.2f}"]
        lines.append(f"| {name} | {batch} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def harvested(base: Target, samples: int) -> str:
    """Return how fast continuations are made at `--batch-size auto`."""
    prompts = [str(prompt) for prompt in builtin_prompts("measure")[:115]]
    started, tokens, sizes = time.perf_counter(), 0, []
    for batch in generate(base, prompts, own_sampling(samples, 0), batch_size="auto"):
        tokens += batch.tokens
        sizes.append(sum(len(one.texts) for one in batch.generations))
    rate = tokens / (time.perf_counter() - started)
    shown = ", ".join(map(str, dict.fromkeys(sizes)))
    how = f"{tokens:,} tokens at `--batch-size auto`, batches of {shown}"
    return f"Harvest of the embedded model, {how}: {rate:,.0f} tokens/s."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu: to try the script itself")
    parser.add_argument("--shapes", nargs="+", default=["135M", "1B", "8B"], choices=list(SHAPES))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 128, 256])
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--samples", type=int, default=20, help="of each harvested prompt; 0: no harvest")
    parser.add_argument("--minutes", type=float, default=4.0, help="no further row is begun after so many")
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu.md"))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu.py: there is no CUDA GPU here; nothing was measured.")
        return
    until = time.monotonic() + 60 * options.minutes
    card = torch.cuda.get_device_name() if options.device == "cuda" else "a CPU"
    base = load_target("embedded", device=options.device)
    lines = [f"Tokens/s on {card}, torch {torch.__version__}, {base.info.dtype}, greedy.\n", HEAD]
    for name in options.shapes:
        lines += rates(base, name, options.batches, options.steps, until)
    if options.samples:
        late = time.monotonic() > until
        lines += ["", "Harvest: not reached." if late else harvested(base, options.samples)]
    write_atomically(options.output, ("\n".join(lines) + "\n").encode())
    print(f"{options.output} written")


if __name__ == "__main__":
    main()
