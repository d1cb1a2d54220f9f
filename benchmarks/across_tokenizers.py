"""What fusion across tokenizers costs, step by step: `python benchmarks/across_tokenizers.py --model GGUF`.

Rows of 20, 128 and 512 tokens grow by a token at a time at batch 8 and 32, plain and fused in turn, so that a busy
machine slows both; a line gives both rates and the median ratio of the two, with its quartiles. `--model embedded` has
the calibrator's own tokenizer. Prompts are read before the clock starts. On a CPU it counts processor time, which other
programs do not slow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from detoxlm.data import builtin_prompts
from detoxlm.generation import Sampling, end_tokens, next_token
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.models import Target, load_target
from detoxlm.passes import Prefill, extend, prefill

#: So many rows are read, of odd batches one; larger batches repeat them, and sampling lets them part.
_READ = 2
DRAWN = Sampling(temperature=1.0, top_p=0.9)


def texts_of(target: Target, length: int, batch: int) -> list[list[int]]:
    """Return rows of `length` tokens of running English, each another, that a batch can be made of."""
    prompts = builtin_prompts("measure")
    rows = []
    for row in range(1 if batch % _READ else _READ):
        text = " ".join(str(prompt) for prompt in prompts[row:] + prompts[:row])
        rows.append(target.tokenizer(text)["input_ids"][:length])
    return rows


class Rows:
    """A batch that grows by a token of every row at each step, plain or fused."""

    def __init__(
        self, target: Target, detoxifier: Detoxifier | None, rows: list[list[int]], batch: int, sampling: Sampling
    ) -> None:
        self._target, self._detoxifier, self._sampling = target, detoxifier, sampling
        self._noise = torch.Generator().manual_seed(0)
        assert batch % len(rows) == 0, "each row is repeated as often as any other"
        with self._attached():
            self._state: Prefill = prefill(target, rows).repeated(batch // len(rows))
        self._ends = end_tokens(target)

    def _attached(self) -> Any:
        return self._detoxifier.attached(self._target.model) if self._detoxifier else nullcontext()

    def step(self) -> float:
        """Draw and read a token of every row; returns the seconds that it took."""
        noise = torch.rand(len(self._state.mask), generator=self._noise).to(self._target.device)
        with self._attached():
            clock = time.process_time if self._target.device.type == "cpu" else time.perf_counter
            started = clock()
            logits = self._state.logits.clone()
            logits[:, self._ends] = -torch.inf
            token = next_token(logits, self._sampling, noise)
            self._state = extend(self._target.model, self._state, token[:, None])
            self._state.logits[0, 0].item()  # a GPU is waited for
            return clock() - started


def measured(target: Target, detoxifier: Detoxifier, length: int, batch: int, steps: int) -> dict[str, Any]:
    """Time steps in turn."""
    rows = texts_of(target, length, batch)
    plain, fused = (Rows(target, one, rows, batch, DRAWN) for one in (None, detoxifier))
    pairs = [(plain.step(), fused.step()) for _ in range(steps + 2)][2:]
    ratios = [a / b for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    rates = [batch / statistics.median(times) for times in zip(*pairs, strict=True)]
    print(
        f"batch {batch:3d}  {length:3d} tokens  plain {rates[0]:7.1f}  fused {rates[1]:7.1f} tokens/s  "
        f"ratio {rates[1] / rates[0]:.3f} (steps in turn: {middle:.3f} [{low:.3f}, {high:.3f}])",
        flush=True,
    )
    return {"batch": batch, "length": length, "plain": rates[0], "fused": rates[1], "ratio": middle, "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="the target")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 128, 512])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--detoxifier", type=Path, help="its folder [default: fitted, with the shipped calibrator]")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    target = load_target(options.model)
    if options.detoxifier:
        detoxifier = Detoxifier.from_pretrained(options.detoxifier)
    else:
        detoxifier = Fusion.fit(target, FitData(), FusionSettings())
    made = [measured(target, detoxifier, n, b, options.steps) for b in options.batches for n in options.lengths]
    if options.output:
        options.output.write_text(json.dumps({"model": options.model, "rows": made}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
