"""One writer at a time: two commands with one output would each end in the other's file."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from detoxlm.errors import UsageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = logging.getLogger(__name__)

#: Locks that this process holds: lock file -> (descriptor, thread).
_HELD: dict[Path, tuple[int, int]] = {}
#: What the systems say where somebody else has the lock.
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
#: How often the file is opened again after others took it, or its folder, away; each time another command has ended.
_TRIES = 100


@contextmanager
def only_writer(output: Path) -> Iterator[None]:
    """Let no other command write `output` while the block runs, by a lock on the file `OUTPUT.lock` beside it.

    The system gives the lock back when a process ends, however it ends, so a killed one blocks nobody. The thread that
    has it may enter again. Of the processes of one `accelerate launch` the first has it. Where the file system has no
    locks, a warning says so. (Not `filelock`, which guards the caches: it has no place for who holds a lock.)

    Raises:
        UsageError: nothing can be written there, or another command writes it now; the message names the process.
    """
    lock = Path(os.path.abspath(output)).with_name(output.name + ".lock")  # noqa: PTH100 - a link stays a link
    if os.environ.get("RANK", "0") != "0" or _is_mine(lock, output):
        yield
        return
    made = [folder for folder in lock.parents if not folder.exists()]
    descriptor = _acquired(lock, output)
    _HELD[lock] = descriptor, threading.get_ident()
    try:
        yield
    finally:
        del _HELD[lock]
        _release(lock, descriptor)
        for folder in made:  # of a command that was refused; one with something in it stays
            with suppress(OSError):
                folder.rmdir()


def _is_mine(lock: Path, output: Path) -> bool:
    """Tell whether this thread has the lock; raise `UsageError` where another thread of this process has it."""
    held = _HELD.get(lock)
    if held is not None and held[1] != threading.get_ident():
        raise UsageError(f"output: another thread of this process writes {output} now; wait for it or choose another.")
    return held is not None


def _acquired(lock: Path, output: Path) -> int:
    """Return the descriptor of the lock file, locked and with who we are in it."""
    for _ in range(_TRIES):
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # a command that was refused took its empty folder away
            continue
        except OSError as error:
            raise UsageError(f"output: cannot write {output}: {error.strerror}; choose another -o.") from error
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise UsageError(
                    f"output: another command writes {output} now{holder}; wait for it, end it, or choose another -o."
                ) from None
            log.warning("%s: no locks on this file system (%s); start no second command on it.", output, error.strerror)
            return descriptor
        if _is_at(lock, descriptor):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)  # its holder took the file away between our opening and our locking it
    raise UsageError(f"output: cannot lock {lock}: others take it away; choose another -o.")


def _lock(descriptor: int) -> None:
    """Lock the file; raise OSError, with a number of `_TAKEN` where somebody else has it."""
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # a locked byte cannot be read: one behind what is
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(lock: Path, descriptor: int) -> bool:
    """Tell whether the open file is still the one of that name."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _sign(descriptor: int) -> None:
    """Write down who we are, for the message of whoever comes second."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    me = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    with suppress(OSError):  # a full disk: the lock holds without a name in it
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(me).encode())


def _holder(descriptor: int) -> str:
    """Return who holds the lock, in brackets; empty where the file does not say."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        said = json.loads(os.read(descriptor, 1000))
        return f" (process {said['pid']} on {said['host']}, since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _release(lock: Path, descriptor: int) -> None:
    """Take the file away and give the lock back, in the order that lets nobody lock a file that is gone."""
    if sys.platform != "win32":
        with suppress(OSError):
            lock.unlink()
    os.close(descriptor)
    if sys.platform == "win32":  # which removes no open file; nor one that the next has opened by now
        with suppress(OSError):
            lock.unlink()


def _let_go() -> None:
    """In a forked child, close what the parent holds: a child that outlives it must not go on holding its locks."""
    for descriptor, _ in _HELD.values():
        with suppress(OSError):
            os.close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
