"""Progress: what it says of what is left, where, and that nothing that happens to a console costs the work."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from detoxlm import progress
from detoxlm.progress import say, standard_error, track, waiting


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines every hundredth of a second."""
    monkeypatch.setattr(progress, "FIRST", 0.01)
    monkeypatch.setattr(progress, "EVERY", 0.01)


def until(seen: Callable[[], bool]) -> None:
    """Wait for what another thread writes."""
    end = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < end, "nothing was written"
        time.sleep(0.005)


def test_a_line_says_how_far_it_is_how_fast_and_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    work = progress._Work("generating", 5000, "tokens", 1000, started=100.0)
    now[0] += 10
    assert work.line() == "generating: 1,000 of 5,000 tokens in 10 s (0 tokens/s)"  # nothing to reckon with yet
    work.advance(500)
    now[0] += 40
    # what an earlier run has done is not of this one's speed: 3,500 left at 10 a second
    assert work.line() == "generating: 1,500 of 5,000 tokens in 50 s (10 tokens/s), about 6 min left"
    assert work.closing() == "generating: 500 tokens in 50 s (10 tokens/s)"
    assert progress._Work("loading", None, "", 0, started=100.0).line() == "loading: 50 s so far"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min")]
)
def test_what_is_left_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert progress._duration(seconds) == said


def test_a_log_gets_lines_now_and_then_and_one_at_the_end(often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with track("learning", 4, "steps") as advance:
        advance(1)
        until(lambda: log.getvalue().count("learning: 1 of 4 steps in ") >= 2)
        advance(3)
    lines = log.getvalue().splitlines()
    assert lines[-1].startswith("learning: 4 steps in ") and "left" in lines[0]
    with waiting("loading"):
        until(lambda: "loading: 0 s so far" in log.getvalue())
    assert not log.getvalue().endswith("loading\n")


def test_short_and_finished_work_leaves_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with waiting("loading"), track("generating", 3, "tokens", done=3):
        pass
    assert log.getvalue() == ""


def test_what_is_within_other_work_stays_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with track("searching", 1, "trials") as advance:
        with track("generating", 8, "tokens") as inner:
            inner(8)
        advance(1)
    with track("generating", 8, "tokens") as after:
        after(8)
    assert [line.split(":")[0] for line in log.getvalue().splitlines()] == ["searching", "generating"]


def test_a_terminal_gets_a_bar_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with track("learning [x]", 4, "steps") as advance:
        advance(4)
    shown = terminal.getvalue()
    assert "learning [x]" in shown and "4/4" in shown and "steps/s" in shown and "0:00:00" in shown


def test_a_notebook_gets_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[dict[str, object]] = []

    class Bar:
        def __init__(self, **options: object) -> None:
            bars.append({**options, "n": 0})

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            bars[-1]["closed"] = True

        def update(self, n: int) -> None:
            bars[-1]["n"] = n

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Bar))
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with track("generating", 8, "tokens", done=2) as advance:
        advance(6)
    assert bars == [{"desc": "generating", "total": 8, "initial": 2, "unit": " tokens", "n": 6, "closed": True}]
    del shell.kernel  # IPython in a terminal, or in a log
    with track("generating", 8, "tokens") as advance:
        advance(8)
    assert len(bars) == 1


class Broken(io.StringIO):
    """A pipe that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Broken(), None, "closed"])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_console_that_is_gone_costs_nothing(
    stream: io.StringIO | str | None, terminal: bool, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    if terminal and isinstance(stream, Broken):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    done = []
    with track("learning", 2, "steps") as advance:
        for _ in range(2):
            advance(1)
            done.append(1)
    say("a line")
    assert done == [1, 1]


def test_what_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    say("naïve 🙂")
    assert raw.getvalue() == b"na\\xefve \\U0001f642\n"


def test_a_reader_that_leaves_does_not_end_the_program() -> None:
    """As with `2>&1 | head -1`; Python itself would fail at its end, when it flushes what nobody reads."""
    code = (
        "from detoxlm.progress import say\nimport os\nfor i in range(3):\n    say('x' * 70000)\nos.write(1, b'result')"
    )
    out_read, out_write = os.pipe()
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=out_write, stderr=write)
    os.close(write)
    os.close(out_write)
    assert process.wait() == 0
    with os.fdopen(out_read, "rb") as result:
        assert result.read() == b"result"


def test_the_stream_is_looked_up_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    standard_error().write("here")
    assert log.getvalue() == "here"
