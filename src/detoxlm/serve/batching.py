"""Texts of many requests scored together, without any request waiting for others to come.

While the scorer works on one batch the next gathers; when it is free the oldest go first, as many as it is
likely to score within the latency budget. A request that finds it free is scored at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from detoxlm.serve.metrics import Metrics
from detoxlm.serve.pace import Pace

#: Texts of a batch, however short.
MOST = 256
#: What a text costs beside its characters, in characters.
_OVERHEAD = 16

Score = Callable[[list[str]], Awaitable[np.ndarray]]


class QueueFullError(Exception):
    """Too many texts wait; `seconds` from now there should be room."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"try again in {seconds} s")
        self.seconds = seconds


@dataclass
class _Waiting:
    """The texts of one request."""

    texts: list[str]
    done: asyncio.Future[np.ndarray]
    #: A batch that it was in failed: it is tried by itself.
    alone: bool = False
    cost: int = field(init=False)

    def __post_init__(self) -> None:
        self.cost = sum(len(text) + _OVERHEAD for text in self.texts)


class Batcher:
    """Gathers texts for a scorer. All methods are for one event loop."""

    def __init__(self, score: Score, slots: int, capacity: int, metrics: Metrics) -> None:
        """Take the scorer.

        Args:
            score: what scores a batch: float64 [texts, dimensions], or an error.
            slots: batches that are scored at a time.
            capacity: texts that may wait; one request may have more when none waits.
            metrics: where batches are counted.
        """
        self._score = score
        self._free = slots
        self._capacity = capacity
        self._metrics = metrics
        self._queue: deque[_Waiting] = deque()
        self._count = 0
        self._pace = Pace()
        self._now = time.perf_counter
        self._room = asyncio.Event()
        self._called = False
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """The texts that wait."""
        return self._count

    async def score(self, texts: list[str], patient: bool = False) -> np.ndarray:
        """Return what the scorer says of texts, float64 [texts, dimensions], in their order.

        Args:
            texts: those of one request, which are scored in one batch.
            patient: wait for room; it leaves half of the queue to those that cannot.

        Raises:
            QueueFullError: it is full, and `patient` is not set.
            Exception: whatever the scorer raised, for a batch of these texts alone.
        """
        if not texts:
            return np.empty((0, 0))
        capacity = self._capacity // 2 if patient else self._capacity
        while self._count and self._count + len(texts) > capacity:
            if not patient:
                raise QueueFullError(self._seconds())
            self._room.clear()
            await self._room.wait()
        item = _Waiting(texts, asyncio.get_running_loop().create_future())
        self._queue.append(item)
        self._count += len(texts)
        self._soon()
        return await item.done

    def _soon(self) -> None:
        """Dispatch when the loop has read what has arrived by now: those requests are scored together."""
        if not self._called and self._free:
            self._called = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._called = False
        while self._free and (batch := self._next()):
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)  # the loop holds tasks weakly
            task.add_done_callback(self._running.discard)
        self._room.set()

    def _next(self) -> list[_Waiting]:
        """Take the requests of the next batch off the queue; without those that nobody waits for any more."""
        batch: list[_Waiting] = []
        cost = texts = 0
        limit = self._pace.limit
        while self._queue:
            item = self._queue[0]
            if not item.done.done():
                full = cost + item.cost > limit or texts + len(item.texts) > MOST
                if batch and (full or item.alone or batch[0].alone):
                    break
                batch.append(item)
                cost, texts = cost + item.cost, texts + len(item.texts)
            self._queue.popleft()
            self._count -= len(item.texts)
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        """Score a batch and answer its requests."""
        texts = [text for item in batch for text in item.texts]
        order = list(range(len(texts)))
        if len(batch) > 1:  # one alone stays as it is: then its scores are the library's to the last digit
            order.sort(key=lambda i: len(texts[i]))
        began = self._now()
        try:
            scored = await self._score([texts[i] for i in order])
            scores = np.empty_like(scored)
            scores[order] = scored
        except Exception as error:  # whatever a scorer raises is its requests' answer, and the server goes on
            self._metrics.failures += 1
            self._failed(batch, error)
        else:
            seconds = self._now() - began
            self._pace.add(sum(item.cost for item in batch), seconds)
            self._metrics.texts += len(texts)
            self._metrics.batches.add(len(texts))
            self._metrics.scoring.add(seconds)
            start = 0
            for item in batch:
                if not item.done.done():
                    item.done.set_result(scores[start : start + len(item.texts)])
                start += len(item.texts)
        finally:
            self._free += 1
            self._dispatch()

    def _failed(self, batch: list[_Waiting], error: Exception) -> None:
        """Give an error to a request that failed by itself; else try each by itself: one text may have failed all."""
        if len(batch) == 1:
            if not batch[0].done.done():
                batch[0].done.set_exception(error)
            return
        for item in reversed(batch):
            item.alone = True
            self._queue.appendleft(item)
            self._count += len(item.texts)

    def _seconds(self) -> int:
        """Seconds until most of what waits is scored, for `Retry-After`."""
        return min(60, max(1, math.ceil(self._pace.seconds(sum(item.cost for item in self._queue)))))
