"""Load on `detoxlm serve-scorer`: `python benchmarks/serving.py rate|memory|mixed [--scorer NAME] [--prompts FILE]`.

rate    requests a second, and the median and the 99th percentile of their times, at 1, 8, 64 and 256 connections,
        beside the texts a second that the library scores offline in a process of its own, before and after.
memory  resident memory of the server over 100,000 requests at 64 connections (say `--scorer ngram`, or take an hour).
mixed   ten minutes of good clients beside such as vanish, dribble, or send what is no request.

Every score that comes back is held to the library's. Server and client share the machine's cores.
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
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scorers import CHILD, read_texts

from detoxlm.scorers import load_scorer

#: What floating-point sums differ by when texts are read in other company.
NEAR = 1e-5


class Link:
    """A connection that is kept for one request after another."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Link:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def ask(self, path: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        """Return code and body of the answer to a POST."""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length = next(int(one.split(b":")[1]) for one in lines if one.lower().startswith(b"content-length:"))
        return int(lines[0].split()[1]), await self.reader.readexactly(length)


def request_of(text: str) -> bytes:
    return json.dumps(
        {"comment": {"text": text}, "requestedAttributes": {"TOXICITY": {}}, "languages": ["en"]}
    ).encode()


def right(answer: tuple[int, bytes], wanted: float) -> bool:
    """Say whether an answer has the score that the library gives."""
    code, body = answer
    if code != 200:
        return False
    value = json.loads(body)["attributeScores"]["TOXICITY"]["summaryScore"]["value"]
    return abs(value - wanted) < NEAR


@asynccontextmanager
async def server(scorer: str, *options: str) -> AsyncIterator[tuple[int, psutil.Process, Path]]:
    """Yield port, process and log of a server."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "detoxlm.cli", "serve-scorer", "--scorer", scorer, "--port", "0", *options]
            child = subprocess.Popen(command, stderr=file, stdout=file)
        try:
            while "Serving" not in (said := log.read_text("utf-8", "replace")):
                assert child.poll() is None, said
                await asyncio.sleep(0.1)
            port = int(said.partition("127.0.0.1:")[2].split()[0])
            yield port, psutil.Process(child.pid), log
        finally:
            child.terminate()
            child.wait(90)


def offline(scorer: str, texts: list[str]) -> float:
    """Return texts a second that a process of its own scores in batches of 64: the median of five passes."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, scorer], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    return statistics.median(json.loads(done.stdout.splitlines()[-1])[0])


async def rate(scorer: str, texts: list[str], seconds: float) -> None:
    """Print the table of `rate`."""
    wanted = dict(zip(texts, load_scorer(scorer, cache=False).score(texts), strict=True))
    rates = [offline(scorer, texts)]
    rows = []
    async with server(scorer) as (port, _, _):
        for connections in (1, 8, 64, 256):
            times, took, wrong = await closed_loop(port, wanted, connections, seconds)
            rows.append((connections, len(times) / took, *np.percentile(times, [50, 99]) * 1000, wrong))
    rates.append(offline(scorer, texts))
    print(f"{scorer}: offline, batches of 64: {rates[0]:.0f} texts/s before, {rates[1]:.0f} after")
    print("connections  requests/s  of offline  p50 ms  p99 ms  wrong")
    for connections, found, middle, last, wrong in rows:
        share = found / statistics.mean(rates)
        print(f"{connections:11d}  {found:10.1f}  {share:10.2f}  {middle:6.1f}  {last:6.1f}  {wrong:5d}")


async def closed_loop(
    port: int, wanted: dict[str, float], connections: int, seconds: float
) -> tuple[list[float], float, int]:
    """Ask over so many connections, each as soon as it has its answer, and begin nothing after so many seconds.

    Returns:
        Each request's seconds; the seconds from the first request to the last answer, which is later than `seconds`, as
        every connection still waits for one then; and how many answers were wrong.
    """
    texts, bodies = list(wanted), [request_of(text) for text in wanted]
    times: list[float] = []
    wrong = 0
    ready = asyncio.Barrier(connections + 1)

    async def one(number: int) -> None:
        nonlocal wrong
        rng = random.Random(number)
        async with Link(port) as link:
            await link.ask("/v1alpha1/comments:analyze", bodies[0])  # connected and warm
            await ready.wait()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                i = rng.randrange(len(texts))
                began = time.perf_counter()
                answer = await link.ask("/v1alpha1/comments:analyze", bodies[i])
                times.append(time.perf_counter() - began)
                wrong += not right(answer, wanted[texts[i]])

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(one(number))
        await ready.wait()
        began = time.perf_counter()
    return times, time.perf_counter() - began, wrong


async def memory(scorer: str, texts: list[str], requests: int) -> None:
    """Print the memory of the server after every tenth of the requests."""
    wanted = dict(zip(texts, load_scorer(scorer, cache=False).score(texts), strict=True))
    bodies, left, wrong = [request_of(text) for text in wanted], requests, 0
    async with server(scorer) as (port, process, _):

        async def one(number: int) -> None:
            nonlocal left, wrong
            rng = random.Random(number)
            async with Link(port) as link:
                while left > 0:
                    left -= 1
                    if left % (requests // 10) == 0:
                        print(f"{requests - left:7d} requests: {process.memory_info().rss / 1e6:.1f} MB", flush=True)
                    i = rng.randrange(len(bodies))
                    # in a line of its own: `wrong` would be read before the answer comes, and others' counts be lost
                    answer = await link.ask("/v1alpha1/comments:analyze", bodies[i])
                    wrong += not right(answer, wanted[texts[i]])

        await asyncio.gather(*(one(number) for number in range(64)))
        print(f"wrong answers: {wrong}")


class Mixed:
    """Clients of all manners against one server."""

    def __init__(self, port: int, wanted: dict[str, float], end: float) -> None:
        self._port, self._wanted, self._end = port, wanted, end
        self._texts = list(wanted)
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Run until the end."""
        manners = [self.good] * 16 + [self.lines] * 2 + [self.lists] * 2
        manners += [self.vanishing] * 4 + [self.slow] * 4 + [self.malformed] * 4
        await asyncio.gather(*(self._repeat(manner, number) for number, manner in enumerate(manners)))

    async def _repeat(self, manner: Any, number: int) -> None:
        rng = random.Random(number)
        while time.perf_counter() < self._end:
            try:
                await manner(rng)
            except (OSError, asyncio.IncompleteReadError):  # a good client's connection must never break
                self.counts[f"{manner.__name__}: broken off"] += 1

    def _count(self, manner: str, answer: tuple[int, bytes], good: bool) -> None:
        # a full queue is an answer too: the client is told when to come again
        self.counts[f"{manner}: " + ("right" if good else "told to wait" if answer[0] == 429 else "WRONG")] += 1

    async def good(self, rng: random.Random) -> None:
        """Twenty comments over one connection."""
        async with Link(self._port) as link:
            for _ in range(20):
                text = rng.choice(self._texts)
                answer = await link.ask("/v1alpha1/comments:analyze", request_of(text))
                self._count("good", answer, right(answer, self._wanted[text]))

    async def lists(self, rng: random.Random) -> None:
        """A list of texts."""
        texts = rng.choices(self._texts, k=rng.randint(1, 100))
        async with Link(self._port) as link:
            code, body = await link.ask("/score", json.dumps({"texts": texts}).encode())
        scores = json.loads(body).get("scores", [])
        good = len(scores) == len(texts) and all(
            abs(score - self._wanted[text]) < NEAR for score, text in zip(scores, texts, strict=True)
        )
        self._count("lists", (code, body), good)

    async def lines(self, rng: random.Random) -> None:
        """Lines, of which one is none."""
        texts = rng.choices(self._texts, k=50)
        lines = [json.dumps({"text": text}) for text in texts]
        lines[25] = "{"
        async with Link(self._port) as link:
            body = "\n".join(lines).encode()
            head = (
                f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: {len(body)}"
            )
            link.writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
            said = (await link.reader.read()).decode().partition("\r\n\r\n")[2]
        found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        good = [one["line"] for one in found] == list(range(1, 51)) and all(
            "error" in one if one["line"] == 26 else abs(one["toxicity"] - self._wanted[texts[one["line"] - 1]]) < NEAR
            for one in found
        )
        self._count("lines", (200, b""), good)

    async def vanishing(self, rng: random.Random) -> None:
        """Gone in the middle of the body, or before the answer."""
        body = request_of(rng.choice(self._texts))
        head = f"POST /v1alpha1/comments:analyze HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        async with Link(self._port) as link:
            link.writer.write(head.encode() + body[: rng.choice((3, len(body)))])
            await link.writer.drain()
            await asyncio.sleep(rng.random() * 0.05)
            link.writer.transport.abort()
        self.counts["vanishing"] += 1

    async def slow(self, rng: random.Random) -> None:
        """A request in twenty pieces, over two seconds."""
        text = rng.choice(self._texts)
        body = request_of(text)
        head = (
            f"POST /v1alpha1/comments:analyze HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close"
        )
        whole = f"{head}\r\n\r\n".encode() + body
        async with Link(self._port) as link:
            for start in range(0, len(whole), len(whole) // 20 + 1):
                link.writer.write(whole[start : start + len(whole) // 20 + 1])
                await link.writer.drain()
                await asyncio.sleep(0.1)
            first, _, said = (await link.reader.read()).partition(b"\r\n\r\n")
        answer = int(first.split()[1]), said
        self._count("slow", answer, right(answer, self._wanted[text]))

    async def malformed(self, rng: random.Random) -> None:
        """What is no request, or asks for what there is not."""
        bad = (rng.randbytes(200), b'{"comment": ', b"[" * 5000, b'{"comment": {"text": null}}', b"\xff" * 10, b"null")
        async with Link(self._port) as link:
            answer = await link.ask("/v1alpha1/comments:analyze", rng.choice(bad))
        self._count("malformed", answer, answer[0] == 400 and b"error" in answer[1])


async def mixed(scorer: str, texts: list[str], minutes: float) -> None:
    """Print what came of every manner of client, and whether the log has a traceback."""
    wanted = dict(zip(texts, load_scorer(scorer, cache=False).score(texts), strict=True))
    async with server(scorer) as (port, process, log):
        clients = Mixed(port, wanted, time.perf_counter() + 60 * minutes)
        running = asyncio.create_task(clients.run())
        for tenth in range(1, 11):
            await asyncio.wait([running], timeout=6 * minutes)
            print(f"{tenth * minutes / 10:4.1f} min: {process.memory_info().rss / 1e6:.0f} MB", flush=True)
        await running
        said = log.read_text("utf-8", "replace")
    for name, count in sorted(clients.counts.items()):
        print(f"{count:8d}  {name}")
    print(f"tracebacks in the log: {said.count('Traceback')}; errors: {said.count('a request failed')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("rate", "memory", "mixed"))
    parser.add_argument("--scorer", default="perspective-like")
    parser.add_argument("--prompts", type=Path, help="a RealToxicityPrompts jsonl [default: built-in prompts]")
    parser.add_argument("--seconds", type=float, default=20, help="rate: how long at each number of connections")
    parser.add_argument("--requests", type=int, default=100_000, help="memory: how many")
    parser.add_argument("--minutes", type=float, default=10, help="mixed: how long")
    arguments = parser.parse_args()
    texts = sorted({text for text in read_texts(arguments.prompts) if text.strip()})
    if arguments.part == "rate":
        asyncio.run(rate(arguments.scorer, texts, arguments.seconds))
    elif arguments.part == "memory":
        asyncio.run(memory(arguments.scorer, texts, arguments.requests))
    else:
        asyncio.run(mixed(arguments.scorer, texts, arguments.minutes))


if __name__ == "__main__":
    main()
