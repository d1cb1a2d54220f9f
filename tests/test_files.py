"""Files and folders appear whole or not at all, whatever fails and when."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.files import cache_dir, check_output_folder, folder_written_atomically, write_atomically


def disk_full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Return a setter of the process's umask; the old one is put back."""
    old = os.umask(0o022)
    yield lambda mask: os.umask(mask) and None
    os.umask(old)


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file.json"
    write_atomically(file, b"new \xff")
    assert file.read_bytes() == b"new \xff"
    assert names(file.parent) == {"file.json"}
    write_atomically(file, b"")
    assert file.read_bytes() == b""


@pytest.mark.parametrize("failing", ["fsync", "replace", "chmod", "fdopen"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, failing, disk_full)
    with pytest.raises(DetoxError, match=r"cannot write .*file: No space left on device\. Free space or choose anoth"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_the_old_file_and_nothing_else(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def interrupt(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(error):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_a_reader_sees_the_old_or_the_whole_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    seen: list[bytes] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append(file.read_bytes()), sync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(Path(a).read_bytes()), replace(a, b))[1])
    write_atomically(file, b"new")
    assert seen == [b"old", b"new"]  # on disk before it takes the place of the old


@pytest.mark.parametrize("place", ["file/below", "folder"])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DetoxError, match=f"cannot write .*{place}: "):
        write_atomically(tmp_path / place, b"new")
    assert names(tmp_path) == {"file", "folder"}
    assert names(tmp_path / "folder") == set()


@pytest.mark.parametrize(("mask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_permissions_follow_the_umask(
    mask: int, file_mode: int, folder_mode: int, tmp_path: Path, umask: Callable[[int], None]
) -> None:
    umask(mask)
    write_atomically(tmp_path / "file", b"")
    with folder_written_atomically(tmp_path / "folder") as temporary:
        (temporary / "inner").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == file_mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == folder_mode
    assert stat.S_IMODE((tmp_path / "folder" / "inner").stat().st_mode) == file_mode
    assert os.umask(mask) == mask  # looking at it did not change it


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with something in it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept").write_text("old")
    (folder / "gone").write_text("old")
    return folder


def test_a_folder_appears_only_when_the_block_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "folder"
    with folder_written_atomically(folder) as temporary:
        (temporary / "file").write_text("new")
        assert not folder.exists()
        assert temporary.parent == folder.parent  # the same file system, so that moving it is one step
    assert names(folder) == {"file"}
    assert names(folder.parent) == {"folder"}


def test_an_old_folder_is_replaced_whole(old: Path) -> None:
    with folder_written_atomically(old) as temporary:
        (temporary / "kept").write_text("new")
        assert (old / "kept").read_text() == "old"
    assert names(old) == {"kept"}
    assert (old / "kept").read_text() == "new"
    assert names(old.parent) == {"folder"}


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), DetoxError("mine")])
def test_an_exception_inside_passes_through_and_leaves_the_old_folder(error: BaseException, old: Path) -> None:
    with pytest.raises(type(error)) as caught, folder_written_atomically(old) as temporary:
        (temporary / "kept").write_text("new")
        raise error
    assert caught.value is error
    assert (names(old), (old / "kept").read_text()) == ({"kept", "gone"}, "old")
    assert names(old.parent) == {"folder"}


def test_a_full_disk_inside_is_one_line_and_leaves_the_old_folder(old: Path) -> None:
    with (
        pytest.raises(DetoxError, match=r"cannot write .*folder: No space left on device\. Free space"),
        folder_written_atomically(old) as temporary,
    ):
        (temporary / "kept").write_text("half")
        disk_full()
    assert (names(old), (old / "kept").read_text()) == ({"kept", "gone"}, "old")
    assert names(old.parent) == {"folder"}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failure_while_folders_change_places_leaves_the_old_one(
    failing: int, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    replace = os.replace

    def fail_once(a: Any, b: Any) -> None:
        calls.append(1)
        if len(calls) == failing:
            disk_full()
        replace(a, b)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(DetoxError, match="No space left"), folder_written_atomically(old) as temporary:
        (temporary / "kept").write_text("new")
    assert (names(old), (old / "kept").read_text()) == ({"kept", "gone"}, "old")
    assert not [path for path in old.parent.iterdir() if path != old and any(path.iterdir())]


def test_a_place_under_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(DetoxError, match=r"cannot write .*file/folder: "),
        folder_written_atomically(tmp_path / "file" / "folder"),
    ):
        raise AssertionError("there is no folder to write to")


# --- the cache ------------------------------------------------------------------------------------------------------


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOXLM_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("DETOXLM_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir().name == "detoxlm"
    assert shutil.os.name != "posix" or "Library" in str(cache_dir()) or cache_dir() == tmp_path / "xdg" / "detoxlm"


@pytest.mark.parametrize("place", [".", "..", "/", "/dev/shm"])
def test_a_folder_that_cannot_change_places_is_refused_before_the_work(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path(place).is_dir():
        pytest.skip(f"there is no {place} here")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    check_output_folder(Path(place))  # where files are added nothing is moved
    said = rf"output: {re.escape(place)} cannot be replaced .*Name a folder in it, such as -o .*out\."
    with (
        pytest.raises(UsageError, match=said),
        folder_written_atomically(Path(place), replaces="kind.json"),
    ):
        raise AssertionError("nothing may be made")
    assert names(tmp_path) == {"here"}


def test_a_link_into_another_file_system_can_be_replaced(tmp_path: Path) -> None:
    if not os.path.ismount("/dev/shm") or os.path.ismount(tmp_path):
        pytest.skip("/dev/shm is no file system of its own here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (tmp_path / "out").symlink_to(elsewhere)
        check_output_folder(tmp_path / "out", replaces="kind.json")
        with folder_written_atomically(tmp_path / "out", replaces="kind.json") as folder:
            (folder / "kind.json").write_text("{}")
        assert names(tmp_path / "out") == {"kind.json"}


def test_a_folder_mounted_from_the_same_file_system_is_known_too(tmp_path: Path) -> None:
    volume, folder = tmp_path / "volume", tmp_path / "a folder"
    volume.mkdir()
    folder.mkdir()
    code = (
        "import os, sys; from pathlib import Path; from detoxlm.files import check_output_folder\n"
        "folder = Path(sys.argv[1])\n"
        "try: os.rename(folder, folder.with_name('moved'))\n"
        "except OSError as error: print(error.strerror)\n"
        "check_output_folder(folder, 'kind.json')"
    )
    mounted = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" || exit 77; exec "$3" -c "$4" "$2"', "sh"]
    try:
        done = subprocess.run([*mounted, volume, folder, sys.executable, code], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("unshare, which mounts for one process alone, is not here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    assert done.stdout == "Device or resource busy\n", "so it would have failed at the end"
    assert "a folder cannot be replaced by a new folder: something is mounted there" in done.stderr


def test_a_folder_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    with folder_written_atomically(folder, replaces="kind.json") as temporary:  # an empty one may go
        (temporary / "kind.json").write_text("1")
    with folder_written_atomically(folder, replaces="kind.json") as temporary:
        (temporary / "thesis.txt").write_text("years")
    assert names(folder) == {"thesis.txt"}
    with (
        pytest.raises(UsageError, match=r"output: .*precious exists and has no kind\.json"),
        folder_written_atomically(folder, replaces="kind.json") as temporary,
    ):
        raise AssertionError("nothing may be made")
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(UsageError, match=r"output: .*file exists and is no folder"),
        folder_written_atomically(tmp_path / "file", replaces="kind.json"),
    ):
        pass
    assert names(folder) == {"thesis.txt"}
    assert names(tmp_path) == {"precious", "file"}
