"""One progress bar for all long work: what is done, how fast, how long it will still take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def track(description: str, total: int, unit: str, *, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`; shows a bar on a terminal's standard error, and one closing line elsewhere.

    Args:
        description: what is being done, such as `generating`.
        total: units of work in all.
        unit: what is counted and shown per second, such as `tokens`.
        done: units that an earlier, interrupted run has finished; not counted in the speed.
    """
    started, fresh = time.monotonic(), 0
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
            task = bar.add_task(description, total=total, completed=done, speed="")

            def advance(n: int) -> None:
                nonlocal fresh
                fresh += n
                bar.update(task, advance=n, speed=f"{fresh / (time.monotonic() - started):,.0f} {unit}/s")

            yield advance
        return

    def count(n: int) -> None:
        nonlocal fresh
        fresh += n

    yield count
    seconds = time.monotonic() - started
    if fresh:
        speed = f"{fresh / seconds:,.0f}" if seconds else "∞"
        print(f"{description}: {fresh:,} {unit} in {seconds:.0f} s ({speed} {unit}/s)", file=sys.stderr)
