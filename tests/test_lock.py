"""One writer at a time, whoever was killed and whatever the file system can do."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detoxlm import lock
from detoxlm.errors import UsageError
from detoxlm.lock import only_writer

#: Holds the lock of its argument until its input ends.
HOLDER = """
import sys
from pathlib import Path
from detoxlm.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(output: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes `output` while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_who_writes_and_may_write_when_that_has_ended(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    with holder(output) as process:
        with pytest.raises(UsageError) as refused, only_writer(output):
            raise AssertionError("two writers")
        said = str(refused.value)
        assert said.startswith(f"output: another command writes {output} now (process {process.pid} on ")
        assert socket.gethostname() in said and "since 20" in said and said.endswith("choose another -o.")
        with only_writer(tmp_path / "other.json"):  # another output is another lock
            pass
        process.communicate("")
        assert list(tmp_path.iterdir()) == []
    with only_writer(output):
        assert [path.name for path in tmp_path.iterdir()] == ["results.json.lock"]


def test_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    with holder(output) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "results.json.lock").exists()  # it could not clean up
        with only_writer(output), pytest.raises(UsageError, match=rf"process {os.getpid()} on"):
            _in_another_process(output)
        assert list(tmp_path.iterdir()) == []


def _in_another_process(output: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from detoxlm.lock import only_writer\n"
        "with only_writer(Path(sys.argv[1])): pass"
    )
    done = subprocess.run([sys.executable, "-c", code, str(output)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(done.stderr)


#: Holds the lock, and leaves a child behind; prints the child's number.
PARENT = """
import os, sys, time
from pathlib import Path
from detoxlm.lock import only_writer
with only_writer(Path(sys.argv[1])):
    child = os.fork()
    if not child:
        os.close(1)
        time.sleep(60)
    print(child, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_outlives_a_killed_parent_does_not_hold_its_lock(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    try:
        os.kill(child, 0)  # it lives
        with only_writer(output):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_thread_that_writes_may_enter_again_and_another_thread_may_not(tmp_path: Path) -> None:
    output, seen = tmp_path / "results.json", []

    def other() -> None:
        try:
            with only_writer(output):
                pass
        except UsageError as error:
            seen.append(str(error))

    with only_writer(output):
        with only_writer(tmp_path / "." / "results.json"):
            pass
        assert (tmp_path / "results.json.lock").exists()  # the inner block gave nothing back
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(seen) == 1 and "another thread of this process writes" in seen[0]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_folders_that_were_made_for_nothing_go_again(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), only_writer(tmp_path / "a" / "b" / "results.json"):
        assert (tmp_path / "a" / "b").is_dir()
        raise error
    assert list(tmp_path.iterdir()) == []
    with only_writer(tmp_path / "a" / "b" / "results.json"):
        (tmp_path / "a" / "b" / "results.json").write_text("{}")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["results.json"]


def test_a_place_that_cannot_be_written_is_named_before_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"output: cannot write .*file/r\.json: .*; choose another -o"):
        only_writer(tmp_path / "file" / "r.json").__enter__()

    def read_only(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(UsageError, match=r"output: cannot write .*r\.json: Read-only file system; choose another"):
        only_writer(tmp_path / "r.json").__enter__()


def test_a_file_system_without_locks_is_said_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(_: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(lock, "_lock", none)
    with only_writer(tmp_path / "r.json"):
        assert "no locks on this file system" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_the_later_processes_of_a_launch_leave_the_lock_to_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with holder_of_rank_0(tmp_path / "d", monkeypatch), only_writer(tmp_path / "d"):
        pass


@contextmanager
def holder_of_rank_0(output: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "0")
        started = holder(output)
        started.__enter__()
    try:
        yield
    finally:
        started.__exit__(None, None, None)
