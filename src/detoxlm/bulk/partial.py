"""What an unfinished run has written: the folder `OUTPUT.partial`, from which the next run goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detoxlm.bulk.forms import Form
from detoxlm.errors import DetoxError, UsageError
from detoxlm.files import check_output_file, write_atomically
from detoxlm.journal import Journal, digest_of

log = logging.getLogger(__name__)

#: What the run is, its rendered chunks one after the other, how far they reach, and the file that is made of them.
RUN, CHUNKS, JOURNAL, WHOLE = "run.json", "chunks", "journal", "whole"


def check_output(output: Path, run: dict[str, Any], overwrite: bool) -> None:
    """Raise `UsageError` where a run must not write `output`, or must not go on from what is beside it.

    Args:
        output: the file.
        run: what decides the file, in words: JSON values.
        overwrite: whether a file, or what another run has begun, is given up.
    """
    check_output_file(output)
    if output.exists() and not overwrite:
        raise UsageError(f"output: {output} exists; --overwrite replaces it, or choose another -o.")
    folder = folder_of(output)
    if not folder.exists():
        return
    earlier = _begun(folder)
    if earlier is None and (folder.is_file() or any(not file.name.startswith(".") for file in folder.iterdir())):
        raise UsageError(f"output: {folder} is in the way, and of no unfinished run; move it, or choose another -o.")
    if earlier is not None and earlier != run and not overwrite:
        other = "; ".join(
            f"{key} {earlier.get(key)}, now {run.get(key)}"
            for key in {**earlier, **run}
            if earlier.get(key) != run.get(key)
        )
        raise UsageError(
            f"output: {folder} was begun by another run ({other}). Give what it was begun with, or --overwrite to "
            "start over, or choose another -o."
        )


def folder_of(output: Path) -> Path:
    """Return the folder of a file's unfinished run."""
    return output.with_name(output.name + ".partial")


def _begun(folder: Path) -> dict[str, Any] | None:
    """Return what run has begun in a folder; None: none."""
    try:
        found = json.loads((folder / RUN).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class Partial:
    """The rendered chunks of a run. A chunk is on disk, and never rendered again, when `append` returns."""

    def __init__(self, output: Path, run: dict[str, Any]) -> None:
        """Go on from what the same run has left, or start; `check_output` has seen that this may be.

        Raises:
            DetoxError: the disk is full, or the folder cannot be written.
        """
        self.output, self.folder = output, folder_of(output)
        self.done = 0  # rows
        earlier = _begun(self.folder) if self.folder.exists() else None
        if earlier is not None and earlier != run:
            log.warning("%s was begun by another run: starting over.", self.folder)
            shutil.rmtree(self.folder)
        write_atomically(self.folder / RUN, json.dumps(run, indent=1, ensure_ascii=False).encode())
        self._journal = Journal(self.folder / JOURNAL, digest_of(run))
        try:
            self._file = (self.folder / CHUNKS).open("ab", buffering=0)
            self._resume(digest_of(run))
        except OSError as error:
            raise self._failed(error) from error

    def _resume(self, digest: str) -> None:
        """Cut off what was being written when the run was killed."""
        if self._ends and os.fstat(self._file.fileno()).st_size < self._ends[-1]:
            log.warning("%s has lost some of its chunks: starting over.", self.folder)
            self._journal.remove()
            self._journal = Journal(self.folder / JOURNAL, digest)
        self._file.truncate(self._ends[-1] if self._ends else 0)
        self.done = sum(entry["rows"] for entry in self._journal.entries)

    @property
    def _ends(self) -> list[int]:
        return [entry["end"] for entry in self._journal.entries]

    def append(self, chunk: bytes, rows: int) -> None:
        """Keep a rendered chunk of so many rows.

        Raises:
            DetoxError: the disk is full; what was kept before stays.
        """
        left = memoryview(chunk)
        try:
            while left:  # a disk that fills up takes a part
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        end = (self._journal.entries[-1]["end"] if self._journal.entries else 0) + len(chunk)
        self._journal.append({"rows": rows, "end": end})
        self.done += rows

    def finish(self, form: Form) -> None:
        """Put the file in its place, whole, and remove the folder.

        Raises:
            DetoxError: the disk is full; the same run again does only this.
        """
        whole = self.folder / (CHUNKS if form.joined else WHOLE)
        try:
            if not form.joined:
                form.assemble(self._chunks(), whole)
                with whole.open("rb+") as file:
                    os.fsync(file.fileno())
            self.close()
            os.replace(whole, self.output)  # noqa: PTH105
            shutil.rmtree(self.folder)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the files and leave them for a later run."""
        self._file.close()
        self._journal.close()

    def _chunks(self) -> Iterator[bytes]:
        with (self.folder / CHUNKS).open("rb") as file:
            start = 0
            for end in self._ends:
                yield file.read(end - start)
                start = end

    def _failed(self, error: OSError) -> DetoxError:
        return DetoxError(
            f"cannot write {self.folder}: {error.strerror or error}. Free space and run the same command again: it "
            f"continues after {self.done:,} rows."
        )
