"""Batches: who is scored with whom, and that no request waits, fails or is turned away for another's sake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from detoxlm.serve.batching import MOST, Batcher, QueueFullError
from detoxlm.serve.metrics import Metrics


class Held:
    """Scores a text by its length; each batch is held until it is let go."""

    def __init__(self, held: bool = True) -> None:
        self.batches: list[list[str]] = []
        self._held = held
        self._gates: list[asyncio.Event] = []

    async def __call__(self, texts: list[str]) -> np.ndarray:
        self.batches.append(texts)
        if self._held:
            self._gates.append(asyncio.Event())
            await self._gates[-1].wait()
        if any("boom" in text for text in texts):
            raise RuntimeError(f"of {len(texts)}")
        return np.array([[float(len(text))] for text in texts])

    async def let_go(self) -> None:
        """Let every batch go that is held now, and see what comes of it."""
        gates, self._gates = self._gates, []
        for gate in gates:
            gate.set()
        await settled()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def in_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 10))  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


def batcher(score: Any, slots: int = 1, capacity: int = 1000) -> Batcher:
    return Batcher(score, slots, capacity, Metrics())


def ask(to: Batcher, *texts: str, patient: bool = False) -> asyncio.Task[np.ndarray]:
    return asyncio.create_task(to.score(list(texts), patient))  # type: ignore[arg-type]


@in_loop
async def test_one_request_is_scored_at_once_and_what_comes_meanwhile_goes_together_by_length() -> None:
    score = Held()
    to = batcher(score)
    first = ask(to, "alone")
    await settled()
    assert score.batches == [["alone"]]
    others = [ask(to, "four", "a"), ask(to, "seventy"), ask(to, "xxx")]
    await settled()
    assert len(score.batches) == 1 and to.waiting == 4
    await score.let_go()
    assert first.done() and score.batches[1] == ["a", "xxx", "four", "seventy"] and to.waiting == 0
    await score.let_go()
    assert [one.result().ravel().tolist() for one in others] == [[4, 1], [7], [3]]


@in_loop
async def test_requests_of_one_moment_are_scored_together() -> None:
    score = Held(held=False)
    to = batcher(score)
    await asyncio.gather(*(ask(to, "x" * i) for i in range(1, 9)))
    assert [len(batch) for batch in score.batches] == [8]


@in_loop
async def test_batches_grow_to_what_the_scorer_does_in_time_and_the_oldest_go_first() -> None:
    seconds = [0.0]

    async def score(texts: list[str]) -> np.ndarray:
        batches.append([int(text) for text in texts])
        seconds[0] += 0.01 + 0.01 * len(texts)  # 19 texts in a batch's time
        await asyncio.sleep(0)
        return np.zeros((len(texts), 1))

    batches: list[list[int]] = []
    to = batcher(score)
    to._now = lambda: seconds[0]  # type: ignore[method-assign]
    await asyncio.gather(*(ask(to, f"{i:084}") for i in range(400)))
    assert [i for batch in batches for i in sorted(batch)] == list(range(400))
    assert all(17 <= len(batch) <= 20 for batch in batches[6:-1]), [len(batch) for batch in batches]


@in_loop
async def test_one_request_may_be_longer_than_a_batch_and_short_ones_are_counted_too() -> None:
    score = Held(held=False)
    to = batcher(score, capacity=10)
    long = await to.score(["x" * 9] * (MOST + 50))
    assert long.shape == (MOST + 50, 1)
    assert (await to.score([])).size == 0


@in_loop
async def test_a_full_queue_turns_away_but_keeps_the_patient() -> None:
    score = Held()
    to = batcher(score, capacity=3)
    first, second = ask(to, "a"), None
    await settled()
    second = ask(to, "b", "c")
    await settled()
    with pytest.raises(QueueFullError) as full:
        await to.score(["d", "e"])
    assert 1 <= full.value.seconds <= 60
    patient = ask(to, "dd", "ee", patient=True)
    await settled()
    assert to.waiting == 2
    other = ask(to, "f")  # the patient leave half of it to those that cannot wait
    await settled()
    assert to.waiting == 3
    for _ in range(3):
        await score.let_go()
    assert first.done() and second.done() and other.done() and patient.result().ravel().tolist() == [2, 2]


@in_loop
async def test_a_text_that_fails_fails_its_own_request_alone() -> None:
    score = Held()
    to = batcher(score)
    first = ask(to, "first")
    await settled()
    asked = [ask(to, "good"), ask(to, "boom", "x"), ask(to, "better")]
    later = None
    for number in range(8):
        await score.let_go()
        if number == 0:
            later = ask(to, "later")
    assert first.result() == [[5.0]] and asked[0].result() == [[4.0]] and asked[2].result() == [[6.0]]
    assert later is not None and later.result() == [[5.0]]
    with pytest.raises(RuntimeError, match="of 2"):
        asked[1].result()


@in_loop
async def test_nothing_is_scored_for_a_request_that_is_gone() -> None:
    score = Held()
    to = batcher(score)
    ask(to, "first")
    await settled()
    gone, stays = ask(to, "gone"), ask(to, "stays")
    await settled()
    gone.cancel()
    await settled()
    for _ in range(2):
        await score.let_go()
    assert score.batches == [["first"], ["stays"]] and stays.done() and to.waiting == 0


@in_loop
async def test_two_slots_score_two_batches_at_a_time() -> None:
    score = Held()
    to = batcher(score, slots=2)
    one = ask(to, "one")
    await settled()
    two, three = ask(to, "two"), None
    await settled()
    three = ask(to, "three")
    await settled()
    assert score.batches == [["one"], ["two"]]
    await score.let_go()
    assert one.done() and two.done() and score.batches[2] == ["three"]
    await score.let_go()
    assert three.result() == [[5.0]]
