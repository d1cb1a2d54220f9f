"""What a detoxifier costs in vLLM: `python benchmarks/in_vllm.py MODEL DETOXIFIER [--rows 1,8,32] [--rounds 3]`.

Three engines of one model stand beside each other in this process: plain, with the detoxifier inside the model, and
with it beside (a cache of its own). Each writes the same number of tokens for so many requests, in turns, so that what
else the machine does hits all three. Printed: tokens a second, the median over rounds, its share of plain, and the
share of each engine's time that passes in the processor (a calibrator's layers inside the model are not part of it).

MODEL is a folder or Hub id that vLLM loads; of `embedded` the folder that `detoxlm cache list` names.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the processor's time is read in this process
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from vllm import LLM, SamplingParams

from detoxlm.serving.in_vllm import loading
from detoxlm.serving.in_vllm.processor import LIVE, Processor
from detoxlm.vllm_installed import FOLDER

PROMPT = list(range(1000, 1024))
PROCESSOR = ["detoxlm.serving.vllm:Detoxifier"]


class Engine:
    """One engine, and how long its processor has worked."""

    def __init__(self, model: str, route: str | None, dtype: str) -> None:
        os.environ[loading.ROUTE] = route or ""
        before = set(LIVE)
        settings: dict[str, Any] = {"dtype": dtype, "max_model_len": 256, "max_num_seqs": 32, "enforce_eager": True}
        if route is not None:
            settings["logits_processors"] = PROCESSOR
        self.llm = LLM(model, enable_prefix_caching=False, disable_log_stats=True, **settings)
        self.acting = 0.0
        for one in set(LIVE) - before:
            self._time(one)

    def _time(self, processor: Processor) -> None:
        apply = processor.apply

        def timed(*given: Any) -> Any:
            began = time.perf_counter()
            try:
                return apply(*given)
            finally:
                self.acting += time.perf_counter() - began

        processor.apply = timed  # type: ignore[method-assign, assignment]

    def write(self, rows: int, tokens: int) -> tuple[float, float]:
        """Return tokens a second, and the share of the time that the processor took."""
        params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        prompts = [{"prompt_token_ids": [row + 100, *PROMPT]} for row in range(rows)]
        self.acting, began = 0.0, time.perf_counter()
        self.llm.generate(prompts, params, use_tqdm=False)
        took = time.perf_counter() - began
        return rows * tokens / took, self.acting / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("detoxifier")
    parser.add_argument("--rows", default="1,8,32")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    os.environ[FOLDER] = options.detoxifier
    engines = {name: Engine(options.model, route, options.dtype) for name, route in ROUTES.items()}
    print("rows  engine  tokens/s  of plain  in the processor")
    for rows in map(int, options.rows.split(",")):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
        for number in range(options.rounds + 1):
            for name, engine in engines.items():
                measured = engine.write(rows, options.tokens if number else 2)
                if number:  # the first is to warm up
                    found[name].append(measured)
        plain = statistics.median(speed for speed, _ in found["plain"])
        for name, measures in found.items():
            speed, share = (statistics.median(column) for column in zip(*measures, strict=True))
            print(f"{rows:4d}  {name:6s}  {speed:8.1f}  {speed / plain:8.2f}  {share:16.2f}", flush=True)


ROUTES = {"plain": None, "inside": "", "beside": "beside"}

if __name__ == "__main__":
    main()
