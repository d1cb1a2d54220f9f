"""A parquet file with new columns: those of a parquet file keep their types, those of others get their values' types.

A chunk is rendered as an Arrow stream, because a parquet file that was not finished cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detoxlm.bulk.forms import Form, Kind, Values
from detoxlm.bulk.source import CHUNK, Chunk, Source
from detoxlm.errors import UsageError, first_line
from detoxlm.records import as_json

#: A row group has so many rows, or fewer with so many bytes: what is in memory when the file is written.
GROUP_ROWS, GROUP_BYTES = 64 * CHUNK, 64 * 2**20
#: What Arrow raises of values that do not fit a column.
_MISFITS = (ValueError, TypeError, OverflowError, NotImplementedError)


#: The types of new columns.
_TYPES = {"score": pa.float64, "text": pa.string, "texts": lambda: pa.list_(pa.string())}


class Parquet(Form):
    """Parquet, compressed with zstd. Its metadata say, under `detoxlm`, what the new columns are from."""

    suffix = ".parquet"
    joined = False

    def __init__(self, source: Source, columns: Sequence[str], described: Sequence[str], kind: Kind = "score") -> None:
        """See `Form`."""
        super().__init__(source, columns, described, kind)
        #: The columns of the rows, without the new ones.
        self._schema = pa.schema([])
        self._table: _Table | None = None

    def see(self, chunk: Chunk) -> None:
        """Learn the types of the columns."""
        if not self.source.is_parquet:
            rows = as_json(chunk.rows)
            names = dict.fromkeys(name for row in rows for name in row)
            found = pa.schema([(name, _array(name, rows).type) for name in names])
            try:
                self._schema = pa.unify_schemas([self._schema, found], promote_options="permissive")
            except pa.ArrowException as error:
                raise UsageError(f"output: a column holds values of several types: {_mended(error)}") from error

    def seen(self) -> None:
        """See that parquet has these types."""
        if self.source.is_parquet:
            self._table = _Table(self.source.path)
            self._schema = self._table.schema
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), self._whole()).close()
        except pa.ArrowException as error:
            raise UsageError(f"output: {_mended(error)}") from error

    def render(self, chunk: Chunk, made: Values) -> bytes:
        """Return the rows and their new values as an Arrow stream."""
        if self._table is not None:
            others = self._table.rows(chunk.lines).columns
        else:
            rows = as_json(chunk.rows)
            others = [_array(column.name, rows, column.type) for column in self._schema]
        schema = self._whole()
        new = [pa.array(values, schema.field(name).type) for name, values in zip(self.columns, made, strict=True)]
        table = pa.Table.from_arrays([*others, *new], schema=schema)
        written = pa.BufferOutputStream()
        with pa.ipc.new_stream(written, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_table(table)
        return written.getvalue().to_pybytes()

    def assemble(self, chunks: Iterator[bytes], path: Path) -> None:
        """Write the parquet file, a row group at a time."""
        with pq.ParquetWriter(path, self._whole(), compression="zstd") as writer:
            group: list[pa.Table] = []
            for chunk in chunks:
                table = pa.ipc.open_stream(chunk).read_all()
                if group and sum(map(len, group)) + len(table) > GROUP_ROWS:
                    _write(writer, group)
                    group = []
                group.append(table)
                if sum(one.nbytes for one in group) >= GROUP_BYTES:
                    _write(writer, group)
                    group = []
            if group:
                _write(writer, group)

    def _whole(self) -> Any:
        """Return the schema with the new columns."""
        schema, kind = self._schema, _TYPES[self.kind]()
        for name in self.columns:
            schema = schema.append(pa.field(name, kind))
        said = json.dumps(
            {"scorers" if self.kind == "score" else "by": self.described, "columns": self.columns}
        ).encode()
        return schema.with_metadata({**(schema.metadata or {}), b"detoxlm": said})


class _Table:
    """The rows of a parquet file in their own types, asked for in their order."""

    def __init__(self, path: Path) -> None:
        file = pq.ParquetFile(path)
        self.schema = file.schema_arrow
        self._batches = file.iter_batches(batch_size=CHUNK)
        self._batch = pa.RecordBatch.from_pylist([], schema=self.schema)
        self._first = 1  # the number of its first row

    def rows(self, numbers: Sequence[int]) -> Any:
        """Return the rows of these numbers, from 1 and rising from call to call."""
        found, i = [], 0
        while i < len(numbers):
            here = [number - self._first for number in numbers[i:] if number < self._first + len(self._batch)]
            found.append(self._batch.take(pa.array(here, pa.int64())))
            i += len(here)
            if i < len(numbers):
                self._first += len(self._batch)
                self._batch = next(self._batches)
        return pa.Table.from_batches(found, self.schema)


def _array(name: str, rows: Sequence[dict[str, Any]], kind: Any = None) -> Any:
    """Return a column of rows, of a type or of that of its values.

    Raises:
        UsageError: its values have no type in common.
    """
    try:
        return pa.array([row.get(name) for row in rows], kind)
    except _MISFITS as error:
        raise UsageError(f"output: column `{name}`: {_mended(error)}") from error


def _mended(error: BaseException) -> str:
    return f"{first_line(error)}. Write .jsonl, which takes any row, or leave the column out."


def _write(writer: Any, group: list[Any]) -> None:
    table = pa.concat_tables(group)
    writer.write_table(table, row_group_size=len(table))
