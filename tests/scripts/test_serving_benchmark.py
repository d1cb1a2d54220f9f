"""The benchmark of the scorers' server counts what a server of a known rate answers, and its wrong answers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import serving

#: Seconds that the server takes for a request; it serves one at a time.
TAKES = 0.005


class Slow:
    """A connection to a server that answers one request after another, each text with a score of 0.5."""

    lock: asyncio.Lock

    def __init__(self, port: int) -> None:
        pass

    async def __aenter__(self) -> Slow:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        async with Slow.lock:
            await asyncio.sleep(TAKES)
        return 200, json.dumps({"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.5}}}}).encode()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "Link", Slow)


@pytest.mark.usefixtures("slow")
def test_a_rate_holds_the_time_of_the_answers_that_come_after_the_end() -> None:
    async def run() -> tuple[list[float], float, int]:
        Slow.lock = asyncio.Lock()
        return await serving.closed_loop(0, {"a": 0.5, "b": 0.1}, connections=50, seconds=0.1)

    times, took, wrong = asyncio.run(run())
    assert len(times) >= 50  # every connection had an answer, most of them after the tenth of a second
    assert took >= len(times) * TAKES, "no more than the server can answer"
    assert 0 < wrong < len(times)


@pytest.mark.usefixtures("slow")
def test_no_wrong_answer_of_many_connections_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def server(scorer: str) -> AsyncIterator[Any]:
        yield 0, SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=0)), None

    monkeypatch.setattr(serving, "server", server)
    monkeypatch.setattr(serving, "load_scorer", lambda *_, **__: SimpleNamespace(score=lambda texts: np.array([0.9])))
    monkeypatch.setattr(sys.modules[__name__], "TAKES", 0.0)

    async def run() -> None:
        Slow.lock = asyncio.Lock()
        await serving.memory("any", ["a"], 200)

    asyncio.run(run())
    assert capsys.readouterr().out.splitlines()[-1] == "wrong answers: 200"
