"""Prompts continued by `--engine ray`, a worker killed in the middle: `python benchmarks/bulk_prompts.py`.

A tiny random model continues numbered prompts, in this process and by workers of Ray; when a third of the rows are
written, one of the workers is killed. Reported: whether both outputs have the same bytes, whether every row is there
once and in its place, and the seconds of each run. It ends after `--minutes`, and then fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from detoxlm.data import builtin_prompts


def write_model(folder: Path) -> None:
    """Save a random Llama of two layers, to which a token is a byte."""
    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate([*alphabet, "</s>"])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 256, "eos_token_id": 256, "max_position_embeddings": 512}
    LlamaForCausalLM(LlamaConfig(vocab_size=257, initializer_range=0.3, **small, **ends)).save_pretrained(folder)


def write_prompts(path: Path, count: int) -> None:
    """Write numbered prompts, a row each."""
    prompts = builtin_prompts("measure")
    rows = ({"id": i, "prompt": f"{prompts[i % len(prompts)][:60]} {i}"} for i in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def kill_a_worker(command: psutil.Process, chunks: Path, size: float, killed: list[int]) -> None:
    """Kill a worker of a command once its unfinished output has so many bytes."""
    while command.is_running():
        if chunks.exists() and chunks.stat().st_size > size:
            break
        time.sleep(0.05)
    for process in command.children(recursive=True):
        if "Worker" in " ".join(process.cmdline()[:1]):
            process.kill()
            killed.append(process.pid)
            return


def continued(place: Path, output: Path, options: list[str], end: float, kill_at: float | None = None) -> float:
    """Return the seconds of a run; with `kill_at` (bytes) a worker is killed in it."""
    command = ["generate", str(place / "model"), "--file", str(place / "in.jsonl"), "-o", str(output)]
    command += ["--max-new-tokens", "5", "--batch-size", "256", "--device", "cpu", *options]
    began, killed = time.monotonic(), list[int]()
    process = subprocess.Popen([sys.executable, "-m", "detoxlm.cli", *command], env=os.environ)
    if kill_at is not None:
        chunks = Path(f"{output}.partial") / "chunks"
        watch = threading.Thread(target=kill_a_worker, args=(psutil.Process(process.pid), chunks, kill_at, killed))
        watch.start()
    try:
        code = process.wait(max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.terminate()
        raise SystemExit("not done in time; give fewer --prompts, or more --minutes") from None
    if code or (kill_at is not None and not killed):
        raise SystemExit("it failed, or ended before a worker could be killed")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=30)
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_model(place / "model")
        write_prompts(place / "in.jsonl", arguments.prompts)
        here, there = place / "here.jsonl", place / "ray.jsonl"
        alone = continued(place, here, [], end)
        ray = ["--engine", "ray", "--workers", str(arguments.workers)]
        together = continued(place, there, ray, end, here.stat().st_size / 3)
        ids = [json.loads(line)["id"] for line in there.open(encoding="utf-8")]
        print(
            f"{arguments.prompts:,} prompts, a worker of {arguments.workers} killed after a third: "
            f"same bytes: {here.read_bytes() == there.read_bytes()}; every row once, in its place: "
            f"{ids == list(range(arguments.prompts))}; {alone:.0f} s here, {together:.0f} s with Ray"
        )


if __name__ == "__main__":
    main()
