"""The thread in which a model works, and the queue before it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from detoxlm.errors import DetoxError
from detoxlm.serve.batching import QueueFullError
from detoxlm.serving.batch import Batch
from detoxlm.serving.host import Host
from detoxlm.serving.metrics import Metrics
from detoxlm.serving.rows import Job

log = logging.getLogger("detoxlm.serve")

#: What `Retry-After` says of a queue that is full before it is known how fast it moves, seconds, and at most.
_RETRY, _LONGEST = 1, 60


class Engine:
    """Works on jobs until it is closed. `submit`, `cancel` and `close` are for any thread."""

    def __init__(self, host: Host, most: int, queue: int, metrics: Metrics, prefix_tokens: int = 0) -> None:
        """Start the thread.

        Args:
            host: the model and its detoxifiers; the engine's from now on.
            most: rows that are decoded together; a job has no more.
            queue: rows that may wait; one request may have more when none waits.
            metrics: where steps are counted.
            prefix_tokens: tokens of ended rows that are kept, so that conversations that go on are read in part.
        """
        self._batch, self._capacity, self._metrics = Batch(host, most, prefix_tokens), queue, metrics
        self._host = host
        #: Its methods are atomic: others add to its end, and only the batch, in the model's thread, takes from it.
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        metrics.counts = self._batch.counts
        metrics.running, metrics.waiting = lambda: len(self._batch), self._rows_waiting
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put the jobs of one request at the end of the queue.

        Raises:
            QueueFullError: there is no room for all of them.
            DetoxError: the engine is closed.
        """
        with self._changed:
            if self._closed:
                raise DetoxError("the server ends")
            waiting = self._rows_waiting()
            if waiting and waiting + sum(job.count for job in jobs) > self._capacity:
                raise QueueFullError(self._seconds())
            self._waiting.extend(jobs)
            self._changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Let go of jobs: their rows are free at the next step, and those that wait count no more from now on."""
        with self._changed:
            for job in jobs:
                job.cancelled = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread after its step; whoever still waits is told of an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._host.close()

    def _rows_waiting(self) -> int:
        return sum(job.count for job in list(self._waiting) if not job.cancelled)

    def _seconds(self) -> int:
        return min(_LONGEST, max(_RETRY, len(self._waiting)))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._waiting or len(self._batch)):
                    self._changed.wait()
                if self._closed:
                    break
            began = time.perf_counter()
            self._batch.turn(self._waiting)
            self._metrics.steps.add(time.perf_counter() - began)
        self._batch.end(self._waiting, DetoxError("the server ended"))
