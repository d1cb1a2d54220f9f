"""The file that is scored, a chunk of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from detoxlm.errors import UsageError
from detoxlm.items import BadRow, each, maker
from detoxlm.records import Row, local_records, sha256_of, suffix_of

#: Usable rows that are read, scored and written together. The last digits of a score depend on the batch that its text
#: is read in; so this is fixed, and part of what names a run.
CHUNK = 1024
#: Size and time of last change of a file, or of each of a folder.
State = list[tuple[int, int]]


@dataclass(frozen=True)
class Chunk:
    """Usable rows that follow each other."""

    #: How many usable rows are before these.
    start: int
    #: The line of each, from 1 (parquet: the row).
    lines: list[int]
    texts: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Source:
    """A file of one of the kinds of `detoxlm.records.READERS`, or a folder of `save_to_disk`."""

    path: Path
    #: What the column of the texts may be called: the first of these that the first row has.
    columns: tuple[str, ...]
    #: Whether rows that cannot be used are passed over.
    skip: bool
    #: Usable rows of a chunk.
    size: int = CHUNK

    @property
    def is_parquet(self) -> bool:
        """Whether its columns have types of their own."""
        return suffix_of(self.path) == ".parquet"

    def sha256(self) -> str:
        """Return 64 hex digits that name its content."""
        with self._readable():
            return sha256_of(self.path)

    def state(self) -> State:
        """Return size and time of last change of the file, or of each of a folder."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        return [(found.st_size, found.st_mtime_ns) for found in (os.stat(file) for file in files)]  # noqa: PTH116

    def chunks(self, start: int = 0, bad: Callable[[BadRow], None] = lambda _: None) -> Iterator[Chunk]:
        """Yield the usable rows from number `start` (from 0), in their order, `size` at a time.

        Args:
            start: a multiple of `size`.
            bad: told of each row that cannot be used.

        Raises:
            UsageError: the file cannot be read; a row cannot be used, and `skip` is not set.
        """
        rows = self._usable(bad)
        with self._readable():
            for _ in islice(rows, start):
                pass
        while True:
            with self._readable():
                found = list(islice(rows, self.size))
            if not found:
                return
            yield Chunk(
                start, [line for line, _ in found], [text for _, (text, _) in found], [row for _, (_, row) in found]
            )
            start += len(found)

    def _usable(self, bad: Callable[[BadRow], None]) -> Iterator[tuple[int, tuple[str, Row]]]:
        make = maker([(name,) for name in self.columns], lambda texts, row: (texts[0], row))
        for line, made in each(self.path, local_records("file", self.path), make, self.skip):
            if isinstance(made, BadRow):
                bad(made)
            else:
                yield line, made

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"file: cannot read {self.path}: {error.strerror or error}.") from error
