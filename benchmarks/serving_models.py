"""Load on `detoxlm serve`: `python benchmarks/serving_models.py cost|load [--detoxifier DIR] [--minutes N]`.

cost  tokens/s at 1, 8 and 32 streams: `generate` in this process, the server at strength 0, and at the detoxifier's
      own, in turns, so that a busy machine slows all; and the time to a stream's first text.
load  so many minutes of 64 streams at strengths of their own (0 among them), some of them read slowly, beside clients
      that vanish, send no request, bring a wrong key, or fill the window. Whoever asks what was asked before must get
      what a request alone got; a text that parts from it is told with the place, for it may be a near-tie.

Server and clients share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from fusion import tokens_per_second
from near_ties import NEAR, Request, parting

from detoxlm.data import builtin_prompts
from detoxlm.generation import Sampling
from detoxlm.methods import Detoxifier
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import load_target

STREAMS = (1, 8, 32)
TOKENS, KEY = 32, "benchmark"


@asynccontextmanager
async def server(model: str, *options: str) -> AsyncIterator[tuple[httpx.AsyncClient, psutil.Process, Path]]:
    """Yield a client, the process and the log of a server."""
    with tempfile.TemporaryDirectory() as folder:
        log, keys = Path(folder) / "log", Path(folder) / "keys"
        keys.write_text(KEY)
        command = [sys.executable, "-m", "detoxlm.cli", "serve", model, "--port", "0", "--page-scorer", "none"]
        with log.open("wb") as file:
            child = subprocess.Popen([*command, "--api-key-file", str(keys), *options], stderr=file, stdout=file)
        try:
            while "Serving" not in (said := log.read_text("utf-8", "replace")):
                assert child.poll() is None, said
                await asyncio.sleep(0.2)
            address = "http://127.0.0.1:" + said.partition("127.0.0.1:")[2].split("/")[0]
            limits = httpx.Limits(max_connections=None)
            headers = {"Authorization": f"Bearer {KEY}"}
            async with httpx.AsyncClient(
                base_url=address, headers=headers, limits=limits, timeout=600, trust_env=False
            ) as client:
                yield client, psutil.Process(child.pid), log
        finally:
            child.terminate()
            child.wait(90)


async def stream(client: httpx.AsyncClient, body: dict[str, Any], pause: float = 0.0) -> tuple[str, float]:
    """Return a streamed text, and the seconds to its first part; a slow reader waits so long after each."""
    began, first, text = time.perf_counter(), 0.0, ""
    async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                part = json.loads(line[6:])
                text += part["choices"][0]["text"]
                first = first or time.perf_counter() - began
                await asyncio.sleep(pause)
    return text, first


async def cost(options: argparse.Namespace) -> None:
    """Print the table of `cost`."""
    target, prompts = load_target(options.model), builtin_prompts("measure")[:64]
    found: dict[tuple[int, str], list[float]] = {}
    firsts: dict[tuple[int, str], list[float]] = {}

    async def served(client: httpx.AsyncClient, count: int, name: str, strength: dict[str, float]) -> None:
        bodies = [
            {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "detoxlm": strength}
            for prompt in prompts[:count]
        ]
        before = await written(client)
        began = time.perf_counter()
        told = await asyncio.gather(*(stream(client, body) for body in bodies))
        seconds = time.perf_counter() - began
        found.setdefault((count, name), []).append((await written(client) - before) / seconds)
        firsts.setdefault((count, name), []).extend(first for _, first in told)

    async with server(options.model, "--prefix-tokens", "0", "--detoxifier", options.detoxifier) as (client, *_):
        for count in STREAMS:
            for turn in range(options.turns + 1):
                rate = await asyncio.to_thread(tokens_per_second, target, prompts[:count], count, TOKENS)
                found.setdefault((count, "generate"), []).append(rate)
                await served(client, count, "strength 0", {"strength": 0.0})
                await served(client, count, "detoxified", {})
                if turn == 0:  # the first of each is slower
                    for kept in (found, firsts):
                        for key in [key for key in kept if key[0] == count]:
                            del kept[key]
    print("streams  what         tokens/s  of generate  of strength 0  first text, median ms")
    for (count, name), rates in found.items():
        plain, zero = (
            statistics.median(a / b for a, b in zip(rates, found[count, other], strict=True))
            for other in ("generate", "strength 0")
        )
        first = statistics.median(firsts[count, name]) * 1000 if (count, name) in firsts else float("nan")
        print(f"{count:7d}  {name:11s}  {statistics.median(rates):8.1f}  {plain:11.2f}  {zero:13.2f}  {first:21.0f}")


async def written(client: httpx.AsyncClient) -> int:
    """Return how many tokens the server has written."""
    return int(await counter(client, "detoxlm_tokens_total"))


async def counter(client: httpx.AsyncClient, name: str) -> float:
    page = (await client.get("/metrics")).text
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{name} "))


async def load(options: argparse.Namespace) -> None:
    """Print what came of `load`."""
    rng = random.Random(0)
    prompts = builtin_prompts("measure")
    known = [
        {
            "prompt": prompts[i],
            "max_tokens": rng.randint(1, 40),
            "temperature": rng.choice([0, 1]),
            "seed": i,
            "detoxlm": {"strength": rng.choice([0, 0.25, 0.5, 1, 2])},
        }
        for i in range(options.requests)
    ]
    counts: Counter[str] = Counter()
    parted: Counter[tuple[int, str]] = Counter()
    async with server(options.model, "--max-queue", "512", "--detoxifier", options.detoxifier) as (client, child, log):
        alone = [(await stream(client, body))[0] for body in known]
        end, memory = time.monotonic() + 60 * options.minutes, []

        async def good(number: int) -> None:
            mine = random.Random(number)
            while time.monotonic() < end:
                i = mine.randrange(len(known))
                text, _ = await stream(client, known[i], pause=0.3 if number % 8 == 0 else 0.0)
                counts["answered"] += 1
                if text != alone[i]:
                    counts["differ"] += 1
                    parted[i, text] += 1

        async def bad(number: int) -> None:
            mine = random.Random(-number)
            while time.monotonic() < end:
                await asyncio.sleep(mine.random())
                kind = mine.choice(sorted(_BAD))
                counts[await _BAD[kind](client)] += 1

        async def watch() -> None:
            while time.monotonic() < end:
                memory.append(child.memory_info().rss / 2**20)
                await asyncio.sleep(60)

        await asyncio.gather(*(good(i) for i in range(64)), *(bad(i) for i in range(1, 5)), watch())
        unfused, queue = (
            await counter(client, "detoxlm_unfused_tokens_total"),
            await counter(client, "detoxlm_rows_running"),
        )
        print(dict(counts))
        print(f"unfused tokens {unfused:.0f}, rows left {queue:.0f}, tokens {await written(client)}")
        print("resident MB by the minute:", " ".join(f"{one:.0f}" for one in memory))
        print("tracebacks:", log.read_text("utf-8", "replace").count("Traceback"))
    judge(options, known, alone, parted)


def judge(
    options: argparse.Namespace, known: list[dict[str, Any]], alone: list[str], parted: Counter[tuple[int, str]]
) -> None:
    """Print of each text that differs where it parts from what the request alone got; exit 1 if not at a near-tie."""
    if not parted:
        print("no text parts from what it was alone")
        return
    target, detoxifier = load_target(options.model), Detoxifier.from_pretrained(options.detoxifier)
    assert isinstance(detoxifier, DecodingDetoxifier)
    requests = [
        Request(
            body["prompt"],
            Sampling(max_new_tokens=body["max_tokens"], temperature=body["temperature"], seed=body["seed"]),
            body["detoxlm"]["strength"],
        )
        for body in known
    ]
    far = 0
    for (i, text), times in parted.items():
        beside = [one for k, one in enumerate(requests) if k != i][:7]
        found = parting(target, detoxifier, requests[i], (text, alone[i]), beside)
        far += not found.near
        print(f"  request {i} at strength {requests[i].strength:g}, {times} times: {found}")
    print(f"{len(parted)} texts part from what they were alone, {far} of them not at a near-tie (below {NEAR:g})")
    if far:
        sys.exit(1)


async def _vanish(client: httpx.AsyncClient) -> str:
    body = {"prompt": "The old", "max_tokens": 200, "stream": True}
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        async for _ in answer.aiter_lines():
            break
    return "vanished"


async def _malformed(client: httpx.AsyncClient) -> str:
    answer = await client.post("/v1/completions", content=b'{"prompt": "The old", "max_tok')
    return f"malformed: {answer.status_code}"


async def _wrong_key(client: httpx.AsyncClient) -> str:
    answer = await client.post("/v1/completions", json={"prompt": "The"}, headers={"Authorization": "Bearer wrong"})
    return f"wrong key: {answer.status_code}"


async def _edge(client: httpx.AsyncClient) -> str:
    window = (await client.get("/v1/models")).json()["data"][0]["max_model_len"]
    over = await client.post("/v1/completions", json={"prompt": [1] * window, "max_tokens": 1})
    full = await client.post("/v1/completions", json={"prompt": [1] * min(window - 1, 1500), "max_tokens": 1})
    return f"window: {over.status_code}, {full.status_code}"


_BAD = {"vanish": _vanish, "malformed": _malformed, "key": _wrong_key, "edge": _edge}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=("cost", "load"))
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--detoxifier", required=True, help="folder of a detoxifier of the model")
    parser.add_argument("--turns", type=int, default=3, help="of cost: how often each is measured")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load")
    parser.add_argument("--requests", type=int, default=40, help="of load: requests that are asked again and again")
    options = parser.parse_args()
    if options.requests > (most := len(builtin_prompts("measure"))):
        parser.error(f"--requests: {most} at most, one of each built-in prompt")
    asyncio.run({"cost": cost, "load": load}[options.part](options))


if __name__ == "__main__":
    main()
