"""Runs of `score -o` that end too soon: the next ends with the same bytes and scores no chunk twice."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.bulk.command import score_file
from detoxlm.bulk.source import CHUNK
from detoxlm.bulk.work import Done
from detoxlm.errors import DetoxError, UsageError
from detoxlm.settings import ScoreSettings
from detoxlm.versions import packages

#: Two chunks and a part of one.
MANY = 2 * CHUNK + 5
#: A scorer that writes down what it reads, and waits for its end, or fails, where the environment says so.
RULE = """
import os, time

def rule(text):
    with open("read.txt", "a") as file:
        file.write(text + "\\n")
    if text == os.environ.get("WAIT_AT"):
        time.sleep(600)
    if text == os.environ.get("FAIL_AT"):
        raise ValueError("I cannot")
    return len(text) % 7 / 7
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with texts of one length, so that a chunk is read in its order, and with the rule."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)
    rows = [{"text": f"text {i:05}", "id": i, "of": {"three": i % 3}} for i in range(MANY)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def score(output: str, **options: Any) -> Done:
    settings = {"scorer": "python:rule.py:rule", "file": "in.jsonl", "output": output, **options}
    return score_file(ScoreSettings(**settings))


def read() -> collections.Counter[str]:
    """How often each text was read; then forget."""
    file = Path("read.txt")
    found = collections.Counter(file.read_text().splitlines() if file.exists() else [])
    file.unlink(missing_ok=True)
    return found


def undisturbed(ending: str) -> bytes:
    score(f"whole{ending}")
    assert set(read().values()) == {1}
    return Path(f"whole{ending}").read_bytes()


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".csv"])
def test_a_killed_run_ends_with_the_same_bytes_and_no_chunk_is_scored_twice(ending: str, place: Path) -> None:
    expected = undisturbed(ending)
    last = CHUNK + 300
    command = ["score", "--file", "in.jsonl", "-o", f"out{ending}", "--scorer", "python:rule.py:rule"]
    process = subprocess.Popen(
        [sys.executable, "-m", "detoxlm.cli", *command],
        env={**os.environ, "WAIT_AT": f"text {last:05}", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    while not Path("read.txt").exists() or f"text {last:05}" not in Path("read.txt").read_text():
        assert process.poll() is None, "it ended too soon"
        time.sleep(0.05)
    with pytest.raises(UsageError, match=rf"another command writes out\{ending} now \(process {process.pid}"):
        score(f"out{ending}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path(f"out{ending}").exists()
    score(f"out{ending}")
    assert Path(f"out{ending}").read_bytes() == expected
    counted = read()
    assert {text for text, times in counted.items() if times == 2} == {f"text {i:05}" for i in range(CHUNK, last + 1)}
    assert len(counted) == MANY and max(counted.values()) == 2
    left = {path.name for path in place.iterdir() if not path.name.startswith("__")}
    assert left == {"in.jsonl", "rule.py", f"whole{ending}", f"out{ending}"}


def begun(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a run that failed in the second chunk."""
    with monkeypatch.context() as failing:
        failing.setenv("FAIL_AT", f"text {CHUNK + 10:05}")
        with pytest.raises(DetoxError, match="it failed on 'text 01034': I cannot"):
            score(output)
    assert len(read()) == CHUNK + 11


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_what_was_half_written_is_written_again(ending: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = undisturbed(ending)
    begun(f"out{ending}", monkeypatch)
    partial = place / f"out{ending}.partial"
    with (partial / "chunks").open("ab") as file:
        file.write(b'{"id": 1024, "te')
    with (partial / "journal").open("ab") as file:
        file.write(b'{"rows": 1024, "e')
    score(f"out{ending}")
    assert Path(f"out{ending}").read_bytes() == expected and len(read()) == MANY - CHUNK


def test_a_part_that_has_lost_chunks_is_not_trusted(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = undisturbed(".jsonl")
    begun("out.jsonl", monkeypatch)
    with (place / "out.jsonl.partial" / "chunks").open("r+b") as file:
        file.truncate(100)
    score("out.jsonl")
    assert Path("out.jsonl").read_bytes() == expected and len(read()) == MANY
    assert "out.jsonl.partial has lost some of its chunks: starting over" in caplog.text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scorer": "regex:0"}, r"scorer python:rule\.py:rule 1 \(\w{12}\), now regex:0 1 \(\w{12}\)"),
        ({"prefix": "my_"}, "columns toxicity, now my_toxicity"),
        ({"skip_bad_rows": True}, "--skip-bad-rows False, now True"),
        ({"file": "other.jsonl"}, r"content of --file \w{16}, now \w{16}"),
    ],
)
def test_a_part_of_another_run_is_refused_by_what_differs_and_given_up_when_asked(
    changed: dict[str, Any],
    said: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun("out.jsonl", monkeypatch)
    (place / "other.jsonl").write_text('{"text": "text 0"}\n')
    with pytest.raises(UsageError, match=rf"^output: out\.jsonl\.partial was begun by another run \({said}\)\. Give"):
        score("out.jsonl", **changed)
    assert not read()
    score("out.jsonl", **changed, overwrite=True)
    assert "out.jsonl.partial was begun by another run: starting over" in caplog.text
    rows = len(Path("out.jsonl").read_text().splitlines())
    assert rows == (1 if "file" in changed else MANY) and not Path("out.jsonl.partial").exists()


def test_a_part_that_other_versions_have_scored_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun("out.jsonl", monkeypatch)
    monkeypatch.setattr("detoxlm.bulk.command.packages", lambda: {**packages(), "torch": "0.1"})
    with pytest.raises(UsageError, match=r"was begun by another run \(torch [^,;]+, now 0\.1\)\. Give"):
        score("out.jsonl")
    assert not read()


def test_the_same_file_at_another_place_continues(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun("out.jsonl", monkeypatch)
    (place / "in.jsonl").rename(place / "moved.jsonl")
    score("out.jsonl", file="moved.jsonl")
    assert len(read()) == MANY - CHUNK


def test_a_folder_that_is_no_part_of_a_run_is_left_alone(place: Path) -> None:
    Path("out.jsonl.partial").mkdir()
    Path("out.jsonl.partial/mine.txt").write_text("mine")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(UsageError, match=r"out\.jsonl\.partial is in the way, and of no unfinished run; move it"):
            score("out.jsonl", **options)
    assert Path("out.jsonl.partial/mine.txt").read_text() == "mine"


#: A command on a disk with room for so many bytes in one file.
SMALL_DISK = """
import resource, sys
from detoxlm.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
del sys.argv[1]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_full_disk_is_said_in_one_line_and_the_run_continues_when_there_is_room(place: Path) -> None:
    expected = undisturbed(".jsonl")
    command = ["score", "--file", "in.jsonl", "-o", "out.jsonl", "--scorer", "python:rule.py:rule"]
    full = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(len(expected) * 3 // 4), *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, line = full.stderr.splitlines()
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert line == (
        "detoxlm: cannot write out.jsonl.partial: File too large. Free space and run the same command again: it "
        f"continues after {CHUNK:,} rows."
    )
    assert read().total() == 2 * CHUNK
    score("out.jsonl")
    assert Path("out.jsonl").read_bytes() == expected and read().total() == MANY - CHUNK


def test_a_full_disk_at_the_very_end_costs_no_score(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = undisturbed(".parquet")
    with monkeypatch.context() as full, pytest.raises(DetoxError, match=r"cannot write .*No space left.* 2,053 rows"):
        full.setattr("detoxlm.bulk.parquet.Parquet.assemble", _raise_no_space)
        score("out.parquet")
    assert len(read()) == MANY
    score("out.parquet")
    assert Path("out.parquet").read_bytes() == expected and not read()


def _raise_no_space(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.more
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_memory_does_not_grow_with_the_file(ending: str, place: Path) -> None:
    import tracemalloc

    def peak(chunks: int) -> int:
        with Path("long.jsonl").open("w") as file:
            for i in range(chunks * CHUNK):
                file.write(json.dumps({"text": f"{i} {'x' * 1000}"}) + "\n")
        tracemalloc.start()
        score(f"out{ending}", file="long.jsonl", scorer="regex:7", overwrite=True)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # what is imported counts once
    assert peak(6) < 1.2 * peak(2)


def test_progress_counts_what_was_done_before(
    place: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    begun("out.jsonl", monkeypatch)
    seen: list[tuple[Any, ...]] = []
    from detoxlm import progress

    real = progress.track
    monkeypatch.setattr(
        "detoxlm.bulk.command.track", lambda *given, **named: seen.append((*given, named)) or real(*given, **named)
    )
    assert call("score", "--file", "in.jsonl", "-o", "out.jsonl", "--scorer", "python:rule.py:rule")[0] == 0
    assert seen == [("scoring", MANY, "texts", {"done": CHUNK})]
