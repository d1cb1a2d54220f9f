"""The scorer behind a server: in a thread of it, or in processes of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import Scorer


@dataclass(frozen=True)
class Identity:
    """Which scorer it is."""

    name: str
    version: str
    revision: str
    #: What it can say of a text; toxicity first.
    dimensions: tuple[str, ...]

    def as_dict(self) -> dict[str, str]:
        """Return what answers and metrics say of it."""
        return {"scorer": self.name, "version": self.version, "revision": self.revision}


def identity_of(scorer: Scorer) -> Identity:
    """Return which scorer it is."""
    return Identity(scorer.name, scorer.version, scorer.revision, scorer.dimensions)


def table_of(scorer: Scorer, texts: list[str]) -> np.ndarray:
    """Return all that a scorer says of texts: float64 [texts, dimensions].

    Raises:
        DetoxError: as `Scorer.score_dimensions`.
    """
    return np.stack(list(scorer.score_dimensions(texts).values()), 1)


class Engine:
    """Scores batches, as many at a time as it has `slots`, and leaves the event loop free meanwhile."""

    def __init__(
        self,
        identity: Identity,
        slots: int,
        executor: Callable[[], Executor],
        table: Callable[[list[str]], np.ndarray],
    ) -> None:
        """Take what makes the executor, and the function that runs in it."""
        self.identity = identity
        self.slots = slots
        self._make = executor
        self._table = table
        self._executor = executor()

    async def score(self, texts: list[str]) -> np.ndarray:
        """Return float64 [texts, dimensions].

        Raises:
            DetoxError: the scorer failed.
            BrokenExecutor: its process died; the next call gets a new one.
        """
        executor = self._executor
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, self._table, texts)
        except BrokenExecutor:
            if executor is self._executor:  # others that it broke for have not replaced it yet
                executor.shutdown(wait=False)
                self._executor = self._make()
            raise

    async def warm(self) -> None:
        """Wait until every slot has scored a text.

        Raises:
            DetoxError, BrokenExecutor: as `score`.
        """
        await asyncio.gather(*(self.score(["Good morning."]) for _ in range(self.slots)))

    def close(self) -> None:
        """End the thread or the processes."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def in_thread(scorer: Scorer) -> Engine:
    """Return the engine of one scorer, which scores a batch at a time."""
    return Engine(
        identity_of(scorer),
        1,
        lambda: ThreadPoolExecutor(1, thread_name_prefix="scorer"),
        lambda texts: table_of(scorer, texts),
    )


def in_processes(spec: str, workers: int, device: str | None) -> Engine:
    """Return the engine of `workers` processes, each with a scorer of its own and its share of the cores.

    Raises:
        UsageError, DetoxError: the scorer cannot be loaded.
    """
    identity = identity_of(load_scorer(spec, device=device, cache=False))
    threads = max(1, (os.cpu_count() or 1) // workers)

    def pool() -> Executor:
        # forked, the processes would inherit sockets and locks of a server at work
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(spec, device, threads))

    return Engine(identity, workers, pool, _table)


#: The scorer of this process, where it is a worker.
_scorer: Scorer | None = None


def _begin(spec: str, device: str | None, threads: int) -> None:
    """Load a worker's scorer. It ends with its server and not before: what was accepted is answered."""
    global _scorer
    for one in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and service managers reach the workers too
        signal.signal(one, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
    # before torch is imported, which reads it once; scorers without torch must not pay for the import
    os.environ["OMP_NUM_THREADS"] = str(threads)
    _scorer = load_scorer(spec, device=device, cache=False)


def _table(texts: list[str]) -> np.ndarray:
    assert _scorer is not None
    return table_of(_scorer, texts)
