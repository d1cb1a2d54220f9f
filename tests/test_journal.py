"""The journal: nothing finished is lost or done twice, whenever the run was killed."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import DetoxError
from detoxlm.journal import Journal

ENTRIES: list[dict[str, Any]] = [
    {"rows": [["prompt", "text", 0.25]], "seconds": 0.1},
    {"text": "line\nbreak \r\n tab\t \u2028 é \x00 \ud83d"},  # a lone surrogate at the end
    {"window": {"nll": 12.345678901234567, "tokens": 3, "kl": None}},
    {},
]


def write(path: Path, entries: list[dict[str, Any]], digest: str = "key") -> None:
    journal = Journal(path, digest)
    for entry in entries:
        journal.append(entry)
    journal.close()


def read(path: Path, digest: str = "key") -> list[dict[str, Any]]:
    journal = Journal(path, digest)
    journal.close()
    return journal.entries


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal goes, in a folder that does not exist yet."""
    return tmp_path / "new" / "run.partial"


def test_entries_come_back_as_they_were(path: Path) -> None:
    write(path, ENTRIES)
    assert read(path) == ENTRIES
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == 1 + len(ENTRIES) + 1 and lines[-1] == b""


def test_an_entry_is_on_disk_when_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path, "key")
    synced: list[bytes] = []
    sync = os.fsync

    def spy(handle: int) -> None:
        sync(handle)
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", spy)
    journal.append({"a": 1})
    assert synced == [path.read_bytes()]
    assert synced[0].endswith(b'{"a": 1}\n')
    journal.close()


def test_a_kill_at_any_byte_loses_only_the_line_being_written(path: Path) -> None:
    write(path, ENTRIES)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        finished = max(0, sum(end <= size for end in ends) - 1)
        journal = Journal(path, "key")
        assert journal.entries == ENTRIES[:finished]
        for entry in ENTRIES[finished:]:
            journal.append(entry)
        journal.close()
        assert path.read_bytes() == whole  # as if it had never been killed


def test_an_empty_file_is_a_new_journal(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, ENTRIES)
    whole = path.read_bytes()
    path.write_bytes(b"")
    write(path, ENTRIES)
    assert path.read_bytes() == whole
    assert caplog.text == ""


def test_another_digest_starts_over_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, ENTRIES, "first")
    journal = Journal(path, "second")
    assert journal.entries == []
    assert f"{path} is of a run with other settings, models or versions: starting over." in caplog.text
    journal.append({"b": 2})
    journal.close()
    assert read(path, "second") == [{"b": 2}]
    assert b"first" not in path.read_bytes()


def test_the_right_digest_gives_no_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, ENTRIES)
    write(path, [])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("line", "number"),
    [(b'{"a": 1', 2), (b"\0\0\0", 2), (b"[1, 2]", 2), (b"7", 2), (b"\xff\xfe\xfa", 2), (b"", 2), (b"not ours", 1)],
)
def test_damage_in_the_middle_is_named_by_line_and_nothing_is_overwritten(line: bytes, number: int, path: Path) -> None:
    write(path, ENTRIES)
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = line
    damaged = b"\n".join(lines)
    path.write_bytes(damaged)
    with pytest.raises(
        DetoxError, match=rf"run\.partial, line {number}: not a journal entry .*Delete the file"
    ) as caught:
        Journal(path, "key")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == damaged


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(DetoxError, match=r"cannot write .*: Is a directory\. Choose another -o"):
        Journal(tmp_path, "key")


def test_a_place_under_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DetoxError, match=r"cannot write .*file/run: File exists"):
        Journal(tmp_path / "file" / "run", "key")


def test_numbers_that_json_lacks_are_refused_and_leave_the_file_whole(path: Path) -> None:
    journal = Journal(path, "key")
    journal.append({"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append({"nll": float("nan")})
    journal.append({"b": 2})
    journal.close()
    assert read(path) == [{"a": 1}, {"b": 2}]


# --- a full disk ----------------------------------------------------------------------------------------------------


def test_a_failing_fsync_is_one_line_with_the_fix_and_earlier_entries_stay(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path, "key")
    journal.append({"a": 1})
    size = path.stat().st_size

    def disk_full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        with pytest.raises(DetoxError) as caught:
            journal.append({"b": 2})
    assert str(caught.value) == (
        f"cannot write {path}: No space left on device. Free space and run the same command again: it continues after "
        f"1 finished steps ({size} bytes)."
    )
    assert journal.entries == [{"a": 1}]
    journal.append({"c": 3})  # nothing of the failed entry is left
    journal.close()
    assert read(path) == [{"a": 1}, {"c": 3}]


@pytest.fixture
def small_disk(path: Path) -> Iterator[Path]:
    """Let no file of this process grow past 200 bytes: writes stop half-way, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, old[1]))
    yield path
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_write_that_stops_half_way_keeps_earlier_entries_and_continues_with_space(small_disk: Path) -> None:
    entries = [{"text": letter * 60} for letter in "abcd"]
    journal = Journal(small_disk, "key")
    journal.append(entries[0])
    journal.append(entries[1])
    whole = small_disk.read_bytes()
    for _ in range(2):
        with pytest.raises(DetoxError, match="continues after 2 finished steps"):
            journal.append(entries[2])
        assert small_disk.read_bytes() == whole
    journal.close()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    continued = Journal(small_disk, "key")
    assert continued.entries == entries[:2]
    for entry in entries[2:]:
        continued.append(entry)
    continued.close()
    write(small_disk.with_name("uninterrupted"), entries)
    assert small_disk.read_bytes() == small_disk.with_name("uninterrupted").read_bytes()


# --- ends -----------------------------------------------------------------------------------------------------------


def test_close_keeps_the_file_and_remove_deletes_it(path: Path) -> None:
    write(path, ENTRIES)
    assert path.exists()
    Journal(path, "key").remove()
    assert not path.exists()
