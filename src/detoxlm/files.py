"""Files written whole or not at all, and the cache folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from safetensors import SafetensorError

from detoxlm.errors import DetoxError, UsageError


def append_whole(file: FileIO, data: bytes) -> None:
    """Write at the end of a file, where it stands; the data are on disk when this returns, or the file is as it was.

    Raises:
        OSError: such as of a full disk. If even the file could not be put back, part of the data is at its end.
    """
    start = file.tell()
    try:
        while data:  # a disk that fills up takes a part
            data = data[file.write(data) :]
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            file.truncate(start)
            file.seek(start)
        raise


def cache_dir() -> Path:
    """Return the folder for converted models and cached scores: `$DETOXLM_CACHE`, else the system's cache folder."""
    import platformdirs

    return Path(os.environ.get("DETOXLM_CACHE") or platformdirs.user_cache_dir("detoxlm"))


#: How a Git LFS pointer begins: the small text that a clone without Git LFS has in place of a large file.
_POINTER = b"version https://git-lfs"


def refuse_pointers(field: str, *paths: Path) -> None:
    """Raise `UsageError` where a file, or a file of a folder, is a Git LFS pointer in place of the real one.

    Args:
        field: the setting that named them, for the message.
        paths: files and folders; one that does not exist is passed over.
    """
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            try:
                pointer = file.stat().st_size <= 1024 and file.is_file() and file.read_bytes().startswith(_POINTER)
            except OSError:  # not to be read: whoever needs the file says so
                continue
            if pointer:
                raise UsageError(
                    f"{field}: {file} is a Git LFS pointer, not the file itself. Fetch it: `git lfs install`, then "
                    f"`git lfs pull` in {file.parent}."
                )


def check_output_file(path: Path) -> None:
    """Raise `UsageError` where an output `path` cannot become a file: it is a folder, a device or the like."""
    if path.is_dir():
        raise UsageError(f"output: {path} is a folder; name a file, such as -o {path / 'results.json'}.")
    if path.exists() and not path.is_file():
        raise UsageError(f"output: {path} is no regular file; choose another -o.")


def check_output_folder(path: Path, replaces: str | None = None) -> None:
    """Raise `UsageError` where an output `path` cannot become a folder, or must not be replaced.

    Args:
        path: the folder; it need not be there.
        replaces: a file by which an existing folder shows that it is of the same kind, and so may be replaced with all
            that is in it; an empty one always may. None: files are added to whatever is there.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"output: {path} exists and is no folder; choose another -o.")
    if replaces is not None and (path.name in ("", "..") or _is_mount(path)):  # a path without a name: `.` or `/`
        raise UsageError(
            f"output: {path} cannot be replaced by a new folder: something is mounted there, such as a volume, or this "
            f"command runs in it. Name a folder in it, such as -o {path / 'out'}."
        )
    if replaces is not None and path.is_dir() and any(path.iterdir()) and not (path / replaces).is_file():
        raise UsageError(
            f"output: {path} exists and has no {replaces}, so it is not of the kind to replace it; choose another -o."
        )


def _is_mount(path: Path) -> bool:
    """Tell whether something is mounted at a path; a folder of the same file system too, where Linux lists it."""
    if os.path.ismount(path):  # `Path.is_mount` follows links before Python 3.12
        return True
    real = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118 - a link itself can be moved
    for character in "\\ \t\n":  # as the list spells them
        real = real.replace(character, f"\\{ord(character):03o}")
    with suppress(OSError):  # not Linux
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        return any(line.split(" ")[4] == real for line in mounts)
    return False


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`: a reader sees the old file or the whole new one, also after a crash or a full disk.

    Raises:
        DetoxError: the folder or file cannot be written; nothing is left behind.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp makes 0600
        os.replace(temporary, path)  # noqa: PTH105
        temporary = None
    except OSError as error:
        raise DetoxError(f"cannot write {path}: {error.strerror}. Free space or choose another -o.") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def folder_written_atomically(folder: Path, replaces: str | None = None) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `folder` when the block ends without an error.

    An existing `folder` is replaced only then, so a failed save leaves the old one whole.

    Args:
        folder: where to.
        replaces: a file by which an existing folder shows that it is of the same kind, and so may be replaced with all
            that is in it; an empty one always may. None: of a folder that is ours alone, it needs none.

    Raises:
        UsageError: there is a file or another folder already, or with `replaces` a mount, which cannot be moved.
        DetoxError: the disk is full or the place not writable.
    """
    if replaces is not None:
        check_output_folder(folder, replaces)
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(0o666 & ~_umask())  # safetensors writes 0600: nobody else could load the folder
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            os.replace(folder, old / folder.name)  # noqa: PTH105
            try:
                os.replace(temporary, folder)  # noqa: PTH105
            except OSError:
                os.replace(old / folder.name, folder)  # noqa: PTH105
                old.rmdir()
                raise
            shutil.rmtree(old)
        else:
            os.replace(temporary, folder)  # noqa: PTH105
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        reason = getattr(error, "strerror", None) or error
        raise DetoxError(f"cannot write {folder}: {reason}. Free space or choose another -o.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
