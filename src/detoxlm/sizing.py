"""How many sequences are worked on at once: a number, or what memory and speed allow, found while the work goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

import torch

from detoxlm import memory, processes
from detoxlm.errors import DetoxError

log = logging.getLogger(__name__)

#: None: `auto` on an accelerator, `START` on a CPU.
BatchSize = int | Literal["auto"] | None
#: The first batch of `auto`, and every batch on a CPU where nothing is asked for.
START = 32
#: No batch is larger: past this nothing gets faster.
MOST = 4096
#: A batch is doubled while that makes it so much faster for each sequence,
_FASTER = 1.1
#: and while the larger one is expected to take at most this share of the free memory.
_SHARE = 0.8

#: What torch says where memory ran out: on GPUs; on CPUs, of Linux and of Windows; in matrix products. Not what it says
#: of shared memory, or of an illegal access to some.
_RAN_OUT = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")

T = TypeVar("T")
R = TypeVar("R")


class Sizes:
    """The batch sizes of one stretch of work.

    With `auto` the first batch is of `START` sequences. Batches are doubled while that makes them faster, up to what
    the memory that one has taken leaves room for. What runs out of memory is made again in halves, and no batch is as
    large any more. What is made of a sequence must not depend on its batch; then nothing does but the time.
    """

    def __init__(self, size: BatchSize, device: torch.device) -> None:
        """Take what was asked for, and where the work is done."""
        known = asked(size, device)
        self._halving = self._growing = known == "auto"
        #: How many sequences the next batch has at most.
        self.size = START if known == "auto" else known
        self._device = device
        #: Tokens a second, of the size before.
        self._rate = 0.0

    @classmethod
    def halved(cls, size: int, device: torch.device) -> Sizes:
        """Return those of work with a size of its own, in several processes too: it is halved, and never doubled."""
        sizes = cls(size, device)
        sizes._halving = True
        return sizes

    def over(
        self,
        items: Sequence[T],
        work: Callable[[list[T]], R],
        *,
        each: int = 1,
        tokens: Callable[[T], int] = lambda _: 1,
    ) -> Iterator[tuple[list[T], R]]:
        """Yield the items in batches, in their order, each with what `work` makes of it.

        Args:
            items: what is worked on; each is `each` sequences.
            work: makes something of a batch; called again for a part of it where memory ran out, so nothing that it
                does before it returns may count twice.
            each: sequences of an item; a batch has one item at least.
            tokens: how long an item is, where that differs: speed is counted in tokens.

        Raises:
            DetoxError: `auto`, and there is no memory for a single item.
        """
        done = 0
        while done < len(items):
            part = list(items[done : done + max(1, self.size // each)])
            made = self._made(part, work, each, sum(map(tokens, part)))
            if made is not None:
                done += len(part)
                yield part, made[0]

    def _made(self, part: list[T], work: Callable[[list[T]], R], each: int, tokens: int) -> tuple[R] | None:
        """Return what is made of a batch; None: it must be smaller."""
        sequences, device = len(part) * each, self._device
        free, before = (memory.free(device), memory.begin(device)) if self._growing else (0.0, 0)
        started = time.perf_counter()
        try:
            made = work(part)
        except (MemoryError, RuntimeError) as error:
            if not self._halving or not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise DetoxError(
                    f"batch_size: there is no memory for a batch of one ({each} sequences). Ask for fewer samples or "
                    "tokens, or load the model with --dtype bfloat16."
                ) from error
        else:
            if self._growing and len(part) >= self.size // each:
                seconds = max(time.perf_counter() - started, 1e-9)
                self._grow(tokens / seconds, 2 * (memory.peak(device) - before) <= _SHARE * free)
            return (made,)
        # outside of `except`, whose error holds on to what the batch had made
        self.size, self._growing = max(1, sequences // 2), False
        log.warning("batch_size: there is no memory for %d sequences at once; going on with %d.", sequences, self.size)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _grow(self, rate: float, room: bool) -> None:
        """Double the size if the last doubling was worth it and there is room; else keep the faster of the two."""
        if self._rate and rate < _FASTER * self._rate:
            self._growing = False
            if rate < self._rate:
                self.size //= 2
        elif not room or 2 * self.size > MOST:
            self._growing = False
        else:
            self.size, self._rate = 2 * self.size, rate


def asked(size: BatchSize, device: torch.device) -> int | Literal["auto"]:
    """Return the size that was asked for, or the default of a device.

    Several processes have a number in place of `auto`: their shares are dealt out by batches.
    """
    if size is None:
        size = START if device.type == "cpu" else "auto"
    return START if size == "auto" and processes.place()[1] > 1 else size


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is of memory that ran out; on CPUs and some GPUs torch has no class for it, only words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _RAN_OUT)
