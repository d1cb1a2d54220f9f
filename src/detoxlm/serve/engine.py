"""The scorer behind a server: in a thread of it, or in processes of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess

import numpy as np

from detoxlm.errors import DetoxError
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
        DetoxError: as `Scorer.score_dimensions`; or code of the user's would end the program.
    """
    try:
        return np.stack(list(scorer.score_dimensions(texts).values()), 1)
    except SystemExit as error:  # else it would end the server
        raise DetoxError(f"scorer {scorer.name}: it called sys.exit.") from error


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
        loop, executor = asyncio.get_running_loop(), self._executor
        try:
            work = loop.run_in_executor(executor, self._table, texts)
        except BrokenExecutor:  # it died before, so that was not for these texts
            executor = self._replaced(executor)
            work = loop.run_in_executor(executor, self._table, texts)
        try:
            return await work
        except BrokenExecutor:
            self._replaced(executor)
            raise

    def _replaced(self, broken: Executor) -> Executor:
        """Return a new executor in place of one that broke, once for all that it broke for."""
        if broken is self._executor:
            broken.shutdown(wait=False)
            _end_workers(0)
            self._executor = self._make()
        return self._executor

    async def warm(self) -> None:
        """Wait until every slot has scored a text.

        Raises:
            DetoxError, BrokenExecutor: as `score`.
        """
        await asyncio.gather(*(self.score(["Good morning."]) for _ in range(self.slots)))

    def close(self) -> None:
        """End the thread or the processes, with what they are at."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        _end_workers(_LAST)


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
        return ProcessPoolExecutor(workers, _Context(), initializer=_begin, initargs=(spec, device, threads))

    return Engine(identity, workers, pool, _table)


class _Worker(SpawnProcess):
    """A worker's process, to be told from other children of a program."""


class _Context(SpawnContext):
    Process = _Worker


def _end_workers(seconds: float) -> None:
    """End all workers: let them end for so long, then kill them. The pool itself would ask, and they do not hear it."""
    workers = [child for child in multiprocessing.active_children() if isinstance(child, _Worker)]
    end = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))
        worker.kill()
        worker.join()


#: Seconds that workers have to end in.
_LAST = 5.0
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
