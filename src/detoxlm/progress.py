"""How far long work is: what is done, how fast, how long it will still take. It never costs the work.

In a terminal and in a notebook there is a bar; elsewhere, as in logs, a line now and then.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

#: Where nobody sees a bar, seconds until the first line, and between those after it.
FIRST, EVERY = 10.0, 30.0
#: Whether something shows itself in this thread: what is within it stays silent, as two bars write over each other.
_SHOWN = threading.local()


#: What a stream raises that is broken, closed, or not there at all.
_BROKEN = (OSError, ValueError, AttributeError)


class Unbreakable:
    """A stream that goes on when nobody reads it any more: a closed pipe or terminal must not cost hours of work."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do nothing where that is impossible. What the encoding lacks is escaped."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self._stream, "encoding", None) or "ascii"
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except _BROKEN as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        try:
            self._stream.flush()
        except _BROKEN as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Point a broken pipe to nowhere: else Python fails at its end, when it flushes what could not be written."""
        if isinstance(error, BrokenPipeError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def isatty(self) -> bool:
        """Tell whether somebody may be looking."""
        try:
            return bool(self._stream.isatty())
        except (AttributeError, ValueError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def standard_error() -> Unbreakable:
    """Return standard error as it is now, unbreakable; where a program has none, what is written is lost."""
    return Unbreakable(sys.stderr)


def be_silent() -> None:
    """Show no progress in this thread from now on: of several processes the first one does."""
    _SHOWN.on = True


def say(text: str) -> None:
    """Write a line to standard error."""
    stream = standard_error()
    stream.write(text + "\n")
    stream.flush()


@contextmanager
def track(description: str, total: int, unit: str, *, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`; shows a bar in a terminal or a notebook, and elsewhere lines and one closing line.

    Args:
        description: what is being done, such as `generating`.
        total: units of work in all.
        unit: what is counted and shown per second, such as `tokens`.
        done: units that an earlier, interrupted run has finished; not counted in the speed.
    """
    with _shown(_Work(description, total, unit, done)) as work:
        yield work.advance


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """Show that something goes on that nobody can count, such as `loading`, for as long as the block runs."""
    with _shown(_Work(description, None, "", 0)):
        yield


@dataclass
class _Work:
    """What is being done; `total` None: it cannot be counted."""

    description: str
    total: int | None
    unit: str
    done: int
    fresh: int = 0
    started: float = field(default_factory=time.monotonic)
    seen: Callable[[int], None] = lambda _: None  # moves a bar

    def advance(self, n: int) -> None:
        self.fresh += n
        self.seen(n)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def speed(self) -> str:
        if not self.seconds:
            return f"∞ {self.unit}/s"
        rate = self.fresh / self.seconds
        return f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.2g} {self.unit}/s"

    def line(self) -> str:
        """How far it is, for a log."""
        if self.total is None:
            return f"{self.description}: {self.seconds:.0f} s so far"
        now = self.done + self.fresh
        left = f", about {_duration(self.seconds * (self.total - now) / self.fresh)} left" if self.fresh else ""
        return f"{self.description}: {now:,} of {self.total:,} {self.unit} in {self.seconds:.0f} s ({self.speed}){left}"

    def closing(self) -> str:
        """What a log keeps of it; empty where nothing was done."""
        said = f"{self.description}: {self.fresh:,} {self.unit} in {self.seconds:.0f} s ({self.speed})"
        return said if self.fresh else ""


def _duration(seconds: float) -> str:
    """Seconds as people say them: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _shown(work: _Work) -> Iterator[_Work]:
    if getattr(_SHOWN, "on", False):
        yield work
        return
    if standard_error().isatty():
        show = _bar(work)
    elif in_notebook():
        show = _notebook_bar(work)
    else:
        show = _lines(work)
    _SHOWN.on = True
    try:
        with show:
            yield work
    finally:
        _SHOWN.on = False


@contextmanager
def _bar(work: _Work) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
    if work.total is not None:
        columns += [BarColumn(), MofNCompleteColumn(), TextColumn(work.unit, markup=False)]
        columns += [TextColumn("{task.fields[speed]}"), TimeRemainingColumn()]
    else:
        columns += [SpinnerColumn("line"), TimeElapsedColumn()]
    stream: Any = standard_error()
    with Progress(*columns, console=Console(file=stream), transient=work.total is None) as bar:
        task = bar.add_task(work.description, total=work.total, completed=work.done, speed="")
        work.seen = lambda n: bar.update(task, advance=n, speed=work.speed)
        yield


def in_notebook() -> bool:
    """Tell whether a notebook shows what this process writes."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


@contextmanager
def _notebook_bar(work: _Work) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without ipywidgets it is a bar of text, and says so
            from tqdm.auto import tqdm
    except ImportError:
        with _lines(work):
            yield
        return
    with tqdm(desc=work.description, total=work.total, initial=work.done, unit=f" {work.unit}") as bar:
        work.seen = bar.update
        yield


@contextmanager
def _lines(work: _Work) -> Iterator[None]:
    over = threading.Event()

    def write() -> None:
        pause = FIRST
        while not over.wait(pause):
            say(work.line())
            pause = EVERY

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()
    if closing := work.closing():
        say(closing)
