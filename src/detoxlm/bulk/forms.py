"""The kinds of file that rows with new columns are written to: what a chunk becomes, and how chunks become the file."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from detoxlm.bulk.source import Chunk, Source
from detoxlm.records import as_json

#: What a new column holds.
Kind = Literal["score", "text", "texts"]
#: New values: of each new column a list, with a number, a text or a list of texts for each row.
Values = Sequence[Sequence[Any]]


class Form(ABC):
    """A kind of file. What it makes depends on rows, new values and columns alone: the same in, the same out.

    First it sees all chunks without new values; then it renders each, in order; at last it gets the rendered chunks.
    """

    #: How names of such files end.
    suffix: ClassVar[str]
    #: Whether the rendered chunks, one after the other, are the file.
    joined: ClassVar[bool] = True

    def __init__(self, source: Source, columns: Sequence[str], described: Sequence[str], kind: Kind = "score") -> None:
        """Take what is read, the names of the new columns, what those are from, and what each holds."""
        self.source, self.columns, self.described, self.kind = source, list(columns), list(described), kind

    def see(self, chunk: Chunk) -> None:  # noqa: B027 - most kinds need to know nothing
        """Learn from rows what the file must be like.

        Raises:
            UsageError: this kind cannot hold them.
        """

    def seen(self) -> None:  # noqa: B027
        """Be told that there are no more.

        Raises:
            UsageError: this kind cannot hold the rows.
        """

    @abstractmethod
    def render(self, chunk: Chunk, made: Values) -> bytes:
        """Return the rows with the new values behind the other columns."""

    def assemble(self, chunks: Iterator[bytes], path: Path) -> None:
        """Write the file of the rendered chunks, where they are not `joined`."""
        raise NotImplementedError


class Jsonl(Form):
    """An object a line. What JSON has no word for, such as times, is text."""

    suffix = ".jsonl"

    def render(self, chunk: Chunk, made: Values) -> bytes:
        """Return a line for each row."""
        lines = []
        for row, values in zip(as_json(chunk.rows), zip(*made, strict=True), strict=True):
            found = {**row, **dict(zip(self.columns, values, strict=True))}
            lines.append(json.dumps(found, ensure_ascii=False, allow_nan=False) + "\n")
        return "".join(lines).encode()


class Csv(Form):
    """Comma-separated, in UTF-8, with a header. Values that are no texts are written as in JSON, null as nothing."""

    suffix = ".csv"

    def __init__(self, source: Source, columns: Sequence[str], described: Sequence[str], kind: Kind = "score") -> None:
        """See `Form`."""
        super().__init__(source, columns, described, kind)
        self._others: dict[str, None] = {}  # a set that keeps its order

    def see(self, chunk: Chunk) -> None:
        """Learn the names of the columns."""
        for row in as_json(chunk.rows):
            self._others.update(dict.fromkeys(row))

    def render(self, chunk: Chunk, made: Values) -> bytes:
        """Return a record for each row, below the header where they are the first."""
        records: list[list[Any]] = [[*self._others, *self.columns]] if chunk.start == 0 else []
        for row, values in zip(as_json(chunk.rows), zip(*made, strict=True), strict=True):
            records.append([*(_cell(row.get(name)) for name in self._others), *(_new(value) for value in values)])
        written = io.StringIO()
        plain, quoting = (
            csv.writer(written, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )
        for record in records:
            # before Python 3.13 csv does not see that a bare \r has to be quoted, which ends a record for its readers
            broken = any(isinstance(cell, str) and "\r" in cell for cell in record)
            (quoting if broken else plain).writerow(record)
        return written.getvalue().encode()


def _new(value: Any) -> Any:
    """Return a number as it is: csv writes all its digits, as JSON does."""
    return value if isinstance(value, float) else _cell(value)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
