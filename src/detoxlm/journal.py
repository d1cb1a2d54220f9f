"""An append-only journal: what a killed run had finished, so that the next one redoes nothing."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from detoxlm.errors import DetoxError
from detoxlm.files import append_whole

log = logging.getLogger(__name__)


def digest_of(key: Any) -> str:
    """Return 64 hex digits that name what `key` (JSON values) says: equal keys, in any order, are the same work."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


class Journal:
    """Entries of one run in a jsonl file, each on disk before the work goes on.

    The first line is a digest of whatever decides the entries (model, prompts, sampling, versions). A file with another
    key belongs to another run and is started over, with a warning.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        try:
            kept = self._read(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if kept else "wb", buffering=0)
            self._file.truncate(kept)
            self._file.seek(kept)
        except OSError as error:
            raise DetoxError(f"cannot write {path}: {error.strerror}. Choose another -o.") from error
        if not kept:
            self._write({"key": digest})

    def _read(self, digest: str) -> int:
        """Load the entries and return how many bytes are whole lines of this run."""
        if not self.path.exists():
            return 0
        kept = 0
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                break  # the line that was being written when the run was killed
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    raise ValueError(f"{type(entry).__name__} in place of an object")
            except ValueError as error:
                raise DetoxError(
                    f"{self.path}, line {number + 1}: not a journal entry ({error}). Delete the file to start over."
                ) from error
            if number == 0 and entry.get("key") != digest:
                log.warning("%s is of a run with other settings, models or versions: starting over.", self.path)
                return 0
            if number:
                self.entries.append(entry)
            kept += len(line)
        return kept

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry; it is on disk when this returns. Raises `DetoxError` when the disk is full."""
        self._write(entry)
        self.entries.append(entry)

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"
        start = self._file.tell()
        try:
            append_whole(self._file, line)
        except OSError as error:  # a half line that could not be taken back is dropped by the next run
            raise DetoxError(
                f"cannot write {self.path}: {error.strerror}. Free space and run the same command again: it continues "
                f"after {len(self.entries)} finished steps ({start} bytes)."
            ) from error

    def close(self) -> None:
        """Close the file and leave it for a later run."""
        self._file.close()

    def __del__(self) -> None:
        """Leave the file of a run that failed to a later one."""
        with suppress(AttributeError):  # it could not be opened
            self._file.close()

    def remove(self) -> None:
        """Close and delete the file: the run is complete and its results are saved."""
        self._file.close()
        self.path.unlink(missing_ok=True)
