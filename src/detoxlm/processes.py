"""Several processes at one command, as `accelerate launch` or `torchrun` start them: who they are, and what they share.

`evaluate` and `fit` join them: prompts and windows of text are dealt out, what each has made goes to all, the first one
writes and prints. Elsewhere a process is alone, whatever its environment says.
"""

from __future__ import annotations

import glob
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.progress import be_silent, say

T = TypeVar("T")
#: How long one may wait for the others: shares of long work do not end at once. The launcher ends all where one dies.
PATIENCE = timedelta(days=7)

_JOINED = False


def started() -> tuple[int, int]:
    """Return the number of this process and how many there are, as the launcher says."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def join() -> None:
    """Share work with the other processes of this command from now on; all but the first fall silent."""
    global _JOINED
    number, count = started()
    if _JOINED or count == 1:
        return
    from accelerate import PartialState

    PartialState(timeout=PATIENCE)
    _JOINED = True
    signal.signal(signal.SIGTERM, _ended)
    if number:
        import logging

        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
        logging.disable(logging.WARNING)
        be_silent()


def refuse_several(command: str) -> None:
    """Raise `UsageError` where several processes were started at a command that one carries out."""
    if started()[1] > 1:
        raise UsageError(f"processes: `detoxlm {command}` works in one; `evaluate` and `fit` share their work.")


def _ended(_: int, __: FrameType | None) -> None:
    """Say why a process ends that has done nothing wrong, and end it."""
    complain("ended, because another process was; the same command continues where it was.")
    os._exit(143)


def complain(text: str) -> None:
    """Write to standard error, as a line, what ends the command; of several processes all but the first say who."""
    number, count = started()
    say(f"detoxlm (process {number + 1} of {count}): {text}" if number else f"detoxlm: {text}")


def place() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many share the work."""
    return started() if _JOINED else (0, 1)


def is_first() -> bool:
    """Tell whether this process is the one that writes and prints; one that is alone is."""
    return place()[0] == 0


def dealt(batches: Sequence[Sequence[int]], number: int, count: int) -> list[int]:
    """Return the prompts that one of `count` processes has of batches of them: every so many-th batch, whole."""
    return [i for batch in batches[number::count] for i in batch]


def own_path(path: Path) -> Path:
    """Return where this process keeps what is kept at `path`: no two write one file."""
    number, count = place()
    return path if count == 1 else path.with_name(f"{path.name}-{number + 1}of{count}")


def remove_parts(path: Path) -> None:
    """Remove what any number of processes have kept for `path`, also those of an earlier, killed command."""
    for part in path.parent.glob(f"{glob.escape(path.name)}-*of*"):
        part.unlink(missing_ok=True)


def gathered(own: T) -> list[T]:
    """Return what all processes have, in their order; all must ask, and wait for each other.

    Raises:
        DetoxError: another process has ended.
    """
    count = place()[1]
    if count == 1:
        return [own]
    import torch

    found: list[Any] = [None] * count
    try:
        torch.distributed.all_gather_object(found, own)
    except RuntimeError as error:
        raise _alone(error) from error
    return found


def from_first(own: T) -> T:
    """Return what the first process has; all must ask.

    Raises:
        DetoxError: another process has ended.
    """
    if place()[1] == 1:
        return own
    import torch

    box: list[Any] = [own]
    try:
        torch.distributed.broadcast_object_list(box)
    except RuntimeError as error:
        raise _alone(error) from error
    return cast(T, box[0])


def in_turn(parts: Sequence[Sequence[T]]) -> list[T]:
    """Return what was dealt out one by one, in the order that it had: the first of each, the second of each, ..."""
    longest = max(map(len, parts), default=0)
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


def _alone(error: Exception) -> DetoxError:
    return DetoxError(
        f"processes: another one has ended ({first_line(error)[:100]}); what it said is above, if it could. The same "
        "command continues where it was."
    )
