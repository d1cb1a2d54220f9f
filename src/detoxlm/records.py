"""Numbered rows out of a file or a Hugging Face Hub dataset.

`READERS` names the kinds of file by their suffix; a reader turns one into numbered rows, and all that read text read it
through `lines`. pyarrow and datasets are imported when a source needs them.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from detoxlm.conversations import is_turns
from detoxlm.errors import UsageError

Row = dict[str, Any]


class RowError(ValueError):
    """This row cannot be used; the message says why, without a full stop."""


class ColumnError(RowError):
    """This row has not the columns that are read."""


#: A row and its number: the physical line that it starts on, from 1 (parquet and Hub: the row). One that cannot be read
#: is an error in its place, for whoever draws the rows to raise or to collect.
Records = Iterator[tuple[int, Row | RowError]]
Reader = Callable[[Path], Records]


def open_source(kind: str, source: str | Path) -> tuple[Records, str | None]:
    """Return the rows of a file or a Hub dataset (`name` or `name:split`), and the file's SHA-256; None: from the Hub.

    Args:
        kind: what is read, for error messages: `prompts`.
        source: the file, of one of the kinds in `READERS`; else the id of the data set.

    Raises:
        UsageError: no such file, a folder or an unknown kind of file; while rows are drawn: a file without a header or
            that is no parquet, datasets is missing or cannot load the id.
        OSError: the file cannot be read, also while rows are drawn.
    """
    path = _local_file(kind, source)
    if path is None:
        return _hub_records(kind, str(source)), None
    return local_records(kind, path), None if path.is_dir() else sha256_of(path)


def local_records(kind: str, path: Path) -> Records:
    """Return the rows of a file of a known kind, or of a folder of `save_to_disk`.

    Raises:
        UsageError, OSError: as `open_source`.
    """
    checked = _local_file(kind, path)
    assert checked is not None  # a path never names a data set of the Hub
    return _saved_records(kind, path) if path.is_dir() else READERS[suffix_of(path)](path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and files of a folder, as 64 hex digits."""
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        said = "".join(f"{file.relative_to(path)} {sha256_of(file)}\n" for file in files)
        return hashlib.sha256(said.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local_file(kind: str, source: str | Path) -> Path | None:
    """Return the file that `source` names; None: it names no file, so a Hub dataset."""
    name, path = str(source), Path(source)
    known = suffix_of(path) in READERS
    if not path.exists():
        if known or isinstance(source, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UsageError(f"{kind}: {path} does not exist.")
        return None
    if path.is_dir() and not _is_saved_dataset(path):
        raise UsageError(f"{kind}: {path} is a folder; name a file in it.")
    if not known and not path.is_dir():
        raise UsageError(
            f"{kind}: {path} is of no known kind; its name must end in {', '.join(READERS)}, or in one of them and .gz."
        )
    return path


def same_columns(path: Path) -> bool:
    """Return whether all rows of such a file have the columns of the first."""
    return suffix_of(path) in (".csv", ".tsv", ".parquet")


def suffix_of(path: Path) -> str:
    """The kind of file: the last ending, without the .gz of a packed one."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _is_saved_dataset(folder: Path) -> bool:
    """Tell whether `datasets` has written a folder by `save_to_disk`."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


#: Byte order marks of encodings other than UTF-8, and how Python calls those.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16"}
_MARKS[codecs.BOM_UTF16_BE] = "utf-16"


def lines(path: Path) -> Iterator[str]:
    r"""Yield lines split at \n alone (str.splitlines also cuts at U+2028), or at \r in a file without any \n.

    UTF-8 is expected, and what is not is kept for `_not_utf8` to find; UTF-16 and UTF-32 are known by their mark.

    Raises:
        UsageError: bytes of 0: a file in UTF-16 without a mark, or no text at all.
        OSError: the file cannot be read, or is a .gz that was cut off or damaged.
    """
    try:
        yield from _lines(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:  # all that unpacking raises
        raise OSError(f"it is no whole .gz file ({error}); fetch or pack it again") from error


def _lines(path: Path) -> Iterator[str]:
    with _unpacked(path) as file:
        beginning = file.peek(1 << 16)[: 1 << 16]
        encoding = next((name for mark, name in _MARKS.items() if beginning.startswith(mark)), None)
        if encoding is None and b"\0" in beginning:
            raise UsageError(f"{path}: not UTF-8 (bytes of 0: perhaps UTF-16 without a mark). Save the file as UTF-8.")
        if encoding is not None or (b"\r" in beginning and b"\n" not in beginning):
            try:
                whole = file.read().decode(encoding or "utf-8-sig", errors="strict" if encoding else "surrogateescape")
            except UnicodeDecodeError as error:
                said = (encoding or "").upper()  # error.encoding names the byte order too
                raise UsageError(f"{path}: not {said}, as its first bytes say: {error.reason}.") from None
            yield from io.StringIO(whole, newline=None)  # which splits at \r, \n and \r\n
            return
        for number, line in enumerate(file):
            yield line.decode("utf-8" if number else "utf-8-sig", errors="surrogateescape")


def _unpacked(path: Path) -> io.BufferedReader:
    if path.name.lower().endswith(".gz"):
        return io.BufferedReader(gzip.open(path))
    return path.open("rb")


def _not_utf8(text: str) -> RowError | None:
    broken = re.search("[\udc80-\udcff]", text)
    return RowError(f"not UTF-8 (byte {ord(broken[0]) - 0xDC00:#04x}); save the file as UTF-8") if broken else None


def _text_records(path: Path) -> Records:
    for number, line in enumerate(lines(path), start=1):
        if line.strip():
            yield number, _not_utf8(line) or {"text": line.rstrip("\r\n")}


def _json_records(path: Path) -> Records:
    """An object a line; or, over any lines, an array of objects or texts, an object of lists as columns, or one row."""
    text = "".join(lines(path))
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict) and whole and all(_is_column(value) for value in whole.values()):
        lengths = {len(value) for value in whole.values()}
        if len(lengths) > 1:
            raise UsageError(f"{path}: an object of lists of {len(lengths)} lengths; give one value for each row.")
        rows: list[Any] = [dict(zip(whole, values, strict=True)) for values in zip(*whole.values(), strict=True)]
    elif isinstance(whole, list):
        rows = [{"text": one} if isinstance(one, str) else one for one in whole]
    elif isinstance(whole, dict):
        rows = [_not_utf8(text) or whole]
    else:
        yield from _jsonl_records(path)
        return
    for number, row in enumerate(rows, start=1):
        yield number, row if isinstance(row, dict | RowError) else RowError(f"not a JSON object but {row!r:.40}")


def _is_column(value: Any) -> bool:
    """Tell whether a list holds a value for each row; the turns of one conversation are one value."""
    return isinstance(value, list) and not (value and is_turns(value))


def _jsonl_records(path: Path) -> Records:
    for number, row in _text_records(path):
        try:
            row = json.loads(row["text"]) if isinstance(row, dict) else row
        except (ValueError, RecursionError) as error:
            row = RowError(f"not valid JSON (an object a line is expected): {getattr(error, 'msg', error)}")
        yield number, row if isinstance(row, dict | RowError) else RowError(f"not a JSON object but {row!r:.40}")


def _delimiter(header: str, usual: str) -> str:
    """Return what parts the columns: the usual delimiter, or another that a header without that one has."""
    others = [one for one in ",;\t|" if one in header]
    return usual if usual in others or not others else max(others, key=header.count)


def _csv_records(path: Path, delimiter: str = ",") -> Records:
    csv.field_size_limit(2**31 - 1)  # its own limit, 131,072 characters, refuses long documents
    first = next((line for line in lines(path) if line.strip()), "").strip()
    told = re.fullmatch('"?sep=(.)"?', first)  # a line for spreadsheets alone, above the header
    delimiter = told[1] if told else _delimiter(first, delimiter)
    # strict: an unclosed quote would otherwise swallow the rest of the file without a word.
    reader = csv.reader(lines(path), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
            problem = _not_utf8("".join(fields))
        except StopIteration:
            return
        except csv.Error as error:
            fields, problem = [""], RowError(f"broken csv, lines {number}–{reader.line_num}: {error}")
        if problem and not header:
            raise UsageError(f"{path}:{number}: no header: {problem}. Mend the file.")
        if header and fields:
            if not problem and delimiter == "\t" and any("\n" in field and "\t" in field for field in fields):
                problem = RowError(f"a quote runs over lines {number}–{reader.line_num}; double the quotes in texts")
            if not problem and len(fields) != len(header):
                problem = RowError(f"{len(fields)} field(s), the header has {len(header)}")
            yield number, problem or dict(zip(header, fields, strict=True))
        elif fields and told:
            told = None
        elif fields:
            header = _told_apart([name.strip() for name in fields], f"{path}:{number}")


def _told_apart(names: list[str], place: str) -> list[str]:
    """Return the names of columns, each once: of several without a name, as spreadsheets leave behind, their places.

    Raises:
        UsageError: two columns have one name, so that one of them would be lost.
    """
    if names.count("") > 1:
        names = [name or f"column {number}" for number, name in enumerate(names, start=1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{place}: two columns are called `{twice}`; give one of them another name.")
    return names


def _parquet_records(path: Path) -> Records:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _told_apart(file.schema_arrow.names, str(path))
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            yield from enumerate(rows, start=1)
    except (pyarrow.ArrowInvalid, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable as parquet: {error}") from error


def _saved_records(kind: str, folder: Path) -> Records:
    try:
        import datasets
    except ModuleNotFoundError:
        raise UsageError(
            f"{kind}: {folder} was written by datasets, which reads it: pip install 'detoxlm[eval]'"
        ) from None
    data = datasets.load_from_disk(str(folder))
    if isinstance(data, datasets.DatasetDict):
        if len(data) > 1:
            raise UsageError(f"{kind}: {folder} has the splits {', '.join(data)}; name the folder of one of them.")
        (data,) = data.values()
    yield from enumerate(data, start=1)


def _hub_records(kind: str, source: str) -> Records:
    name, _, split = source.partition(":")
    try:
        import datasets

        data = datasets.load_dataset(name, split=split or None, streaming=True)
        if not split:
            if len(data) > 1:
                raise ValueError(f"say which of its splits, as {name}:SPLIT: {', '.join(data)}")
            (data,) = data.values()
        yield from enumerate(data, start=1)
    except ModuleNotFoundError:
        raise UsageError(f"{kind}: {source} is no file, and a Hub dataset needs: pip install 'detoxlm[eval]'") from None
    except Exception as error:  # datasets, and the network below it, raise many kinds
        raise UsageError(f"{kind}: {source} is no file, and as a Hub dataset it failed: {error}") from error


def as_json(value: Any) -> Any:
    """Return a value as JSON has it: what it has no word for as text, NaN and infinities as null."""
    if isinstance(value, dict):
        return {_written(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return _written(value)


def _written(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")  # JSON may spell half a character


#: Every kind of file that can be read, by suffix in lower case.
READERS: dict[str, Reader] = {
    ".txt": _text_records,
    **dict.fromkeys((".jsonl", ".ndjson"), _jsonl_records),
    ".json": _json_records,
    ".csv": _csv_records,
    ".tsv": partial(_csv_records, delimiter="\t"),
    ".parquet": _parquet_records,
}
