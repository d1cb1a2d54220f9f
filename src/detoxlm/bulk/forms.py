"""The kinds of file that scores are written to: what a chunk becomes, and how chunks become the file."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from detoxlm.bulk.source import Chunk, Source
from detoxlm.records import as_json


class Form(ABC):
    """A kind of file. What it makes depends on rows, scores and columns alone: the same in, the same out.

    First it sees all chunks without scores; then it renders each, in order; at last it is given the rendered chunks.
    """

    #: How names of such files end.
    suffix: ClassVar[str]
    #: Whether the rendered chunks, one after the other, are the file.
    joined: ClassVar[bool] = True

    def __init__(self, source: Source, columns: Sequence[str], described: Sequence[str]) -> None:
        """Take what is scored, the columns of scores, and what scorers they are from."""
        self.source, self.columns, self.described = source, list(columns), list(described)

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
    def render(self, chunk: Chunk, scores: np.ndarray) -> bytes:
        """Return the rows with their scores, float64 [rows, columns], behind the other columns."""

    def assemble(self, chunks: Iterator[bytes], path: Path) -> None:
        """Write the file of the rendered chunks, where they are not `joined`."""
        raise NotImplementedError


class Jsonl(Form):
    """An object a line. What JSON has no word for, such as times, is text."""

    suffix = ".jsonl"

    def render(self, chunk: Chunk, scores: np.ndarray) -> bytes:
        """Return a line for each row."""
        lines = []
        for row, values in zip(as_json(chunk.rows), scores.tolist(), strict=True):
            found = {**row, **dict(zip(self.columns, values, strict=True))}
            lines.append(json.dumps(found, ensure_ascii=False, allow_nan=False) + "\n")
        return "".join(lines).encode()


class Csv(Form):
    """Comma-separated, in UTF-8, with a header. Values that are no texts are written as in JSON, null as nothing."""

    suffix = ".csv"

    def __init__(self, source: Source, columns: Sequence[str], described: Sequence[str]) -> None:
        """See `Form`."""
        super().__init__(source, columns, described)
        self._others: dict[str, None] = {}  # a set that keeps its order

    def see(self, chunk: Chunk) -> None:
        """Learn the names of the columns."""
        for row in as_json(chunk.rows):
            self._others.update(dict.fromkeys(row))

    def render(self, chunk: Chunk, scores: np.ndarray) -> bytes:
        """Return a record for each row, below the header where they are the first."""
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        if chunk.start == 0:
            writer.writerow([*self._others, *self.columns])
        for row, values in zip(as_json(chunk.rows), scores.tolist(), strict=True):
            writer.writerow([*(_cell(row.get(name)) for name in self._others), *values])
        return written.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
