"""Prompts, texts, pairs and corpora, read from the user's files or the Hugging Face Hub; and the built-in ones.

A reader of `_READERS` turns a file into numbered rows, `_collect` makes an item of each and `_load` takes the texts
from it, and the public functions say only which columns they want. pyarrow and datasets are imported when a source
needs them.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from detoxlm.errors import UsageError

T = TypeVar("T")
Row = dict[str, Any]
Columns = Sequence[tuple[str, ...]]
# Numbered rows; one that cannot be read is an error in its place, for `_load` to raise or to collect.
Records = Iterator[tuple[int, "Row | _RowError"]]

COMPLETION_COLUMNS = ("completion", "continuation", "response")
LABEL_COLUMNS = ("toxicity", "label", "toxic", "perspective", "hateful")
#: What judged texts are called in files that people have: `comment_text` and `target` are Civil Comments'.
TEXT_COLUMNS = ("text", "comment_text", "comment")
TARGET_COLUMNS = (*LABEL_COLUMNS, "target")
#: What files say of a text beside its toxicity, named as the shipped scorers name their dimensions.
DIMENSION_COLUMNS = ("insult", "profanity", "identity_attack", "threat", "sexually_explicit")
GROUP_COLUMNS = ("groups", "group", "identity", "identities")
DOCUMENT_COLUMNS = ("filename", "document")
_BUILTIN = resources.files("detoxlm") / "prompts"


@dataclass(frozen=True)
class LabelledText:
    """A text and how toxic it is said to be, in [0, 1]; None: not said."""

    text: str
    label: float | None


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in toxicity, and the prompt that both follow (None: there is none)."""

    toxic: str
    nontoxic: str
    prompt: str | None


@dataclass(frozen=True)
class Example:
    """A text to train on: the completion of a prompt, or a whole text (prompt None)."""

    prompt: str | None
    completion: str


@dataclass(frozen=True)
class JudgedText:
    """A text, and by column what was said of it: a toxicity in [0, 1], None where nothing was."""

    text: str
    targets: dict[str, float | None]
    #: By name in `DIMENSION_COLUMNS`: what was said beside toxicity, each in [0, 1].
    dimensions: dict[str, float] = dataclasses.field(default_factory=dict)
    #: Where it was taken from: `prompt`, `continuation`, or empty for a text of its own.
    part: str = ""
    #: The source document that the row names; None: it names none.
    document: str | None = None
    #: Identity groups that the row names; None: the file has no such column.
    groups: frozenset[str] | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that was left out. `line` is the physical line it starts on, from 1 (parquet and Hub: the row)."""

    line: int
    reason: str


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """What a source held. `sha256` is of the whole file, also when a limit ended the reading; None: from the Hub."""

    items: list[T]
    skipped: list[BadRow]
    source: str
    sha256: str | None


def read_prompts(
    source: str | Path, *, column: str | None = None, limit: int | None = None, skip_bad_rows: bool = False
) -> Loaded[str]:
    """Read prompts (column `prompt`, else `text`; or `column`) and stop after `limit`.

    `source` is a .txt file (a prompt a line), .jsonl, .ndjson or .json (an object a line), .csv, .tsv or .parquet;
    else the id of a Hub dataset, `name` or `name:split`. A value may be a text or an object with a `text` of its
    own, as in RealToxicityPrompts. With `skip_bad_rows`, rows that cannot be used are collected in `skipped`.

    Raises:
        UsageError: no such file, a folder, an unknown kind of file, no rows, no such column, an unusable row (as
            `FILE:LINE: reason`) or, with `skip_bad_rows`, no other; datasets is missing or cannot load the id.
    """
    choices = [(column,)] if column else [("prompt",), ("text",)]
    return _load("prompts", source, choices, lambda texts, row: texts[0], limit, skip_bad_rows)


def read_texts(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    skip_bad_rows: bool = False,
    labels: bool = True,
) -> Loaded[LabelledText]:
    """Read texts (default column `text`) with their toxicity labels where they have any.

    The label is the row's first of `LABEL_COLUMNS`, inside a nested text or beside it: a number in [0, 1], a
    boolean, or either as a string; null and "" are no label, all else is a bad row. Without `labels` none is read. See
    also `read_prompts`.
    """
    name = column or "text"

    def labelled(texts: list[str], row: Row) -> LabelledText:
        fields = {**row, **row[name]} if isinstance(row[name], dict) else row
        label = next((known for known in LABEL_COLUMNS if labels and known in fields), None)
        return LabelledText(texts[0], _label(label, fields[label]) if label else None)

    return _load("texts", source, [(name,)], labelled, limit, skip_bad_rows)


def read_pairs(source: str | Path, *, limit: int | None = None, skip_bad_rows: bool = False) -> Loaded[Pair]:
    """Read pairs: columns `toxic` and `nontoxic`, or `rejected` and `chosen`; `prompt` where there is one.

    Dialogues in one string (Anthropic HH) are texts like any other. Spaces that a corpus' tokeniser has left around
    punctuation are taken out of both texts (`close_up`): where one side alone has them, they are what would be learned.
    For the rest see `read_prompts`.
    """

    def pair(texts: list[str], row: Row) -> Pair:
        return Pair(
            close_up(texts[0]), close_up(texts[1]), None if row.get("prompt") in (None, "") else _text(row, "prompt")
        )

    return _load("pairs", source, [("toxic", "nontoxic"), ("rejected", "chosen")], pair, limit, skip_bad_rows)


_BEFORE = re.compile(r"(?<=\S) +(?=[.,!?;:)\]](?:[\s.,!?]|$)|(?:n't|'(?:s|re|m|ve|ll|d))\b)")
_AFTER = re.compile(r"(?<=[(\[]) +(?=\S)")


def close_up(text: str) -> str:
    """Return `text` without the spaces that tokenised corpora leave around punctuation.

    Of ParaDetox's toxic texts 79% have them (`did n't , you`), of their partners 21%. The subspace of 500 of its pairs
    holds the spaces too, which costs 23% of the perplexity of WikiText (it is written with them); closed up it costs 4%
    (docs/methods/subspace.md).
    """
    return _AFTER.sub("", _BEFORE.sub("", text))


def read_corpus(
    source: str | Path, *, column: str | None = None, limit: int | None = None, skip_bad_rows: bool = False
) -> Loaded[Example]:
    """Read texts to train on: `text` (or `column`, or a line of a .txt), else `prompt` and one of COMPLETION_COLUMNS.

    The arguments and the errors are those of `read_prompts`.
    """
    choices = [(column,)] if column else [("text",), *(("prompt", name) for name in COMPLETION_COLUMNS)]

    def example(texts: list[str], row: Row) -> Example:
        return Example(texts[0] if len(texts) > 1 else None, texts[-1])

    return _load("corpus", source, choices, example, limit, skip_bad_rows)


def read_judged(
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    document: str | None = None,
    skip_bad_rows: bool = False,
) -> Loaded[list[JudgedText]]:
    """Read texts that people or Perspective judged, to judge a scorer by; one item a row, with the texts of the row.

    Three layouts are known. RealToxicityPrompts: `prompt` and `continuation`, objects with a `text` and a `toxicity`,
    are a text each, of the document `filename`; a half without text is left out. Pairs: `toxic` and
    `nontoxic` are texts with the labels 1 and 0, and the toxic one names their document. Else a text a row, in the
    first of `TEXT_COLUMNS`, with every one of `TARGET_COLUMNS` that the first row has. The first and the last take the
    `DIMENSION_COLUMNS` along that they find. A target is a number in [0, 1], a boolean, or either as a string; null and
    "" say nothing.

    Args:
        source: as for `read_prompts`.
        text: the column of the text; None: one of the known layouts.
        label: the column of the target; None: those that are known.
        group: the column of the identity groups, a list or a text parted by commas; None: one of `GROUP_COLUMNS`.
        document: the column of the source document; None: one of `DOCUMENT_COLUMNS`.
        skip_bad_rows: as for `read_prompts`.

    Raises:
        UsageError: as `read_prompts`; a missing column is named together with those that were found.
    """
    layout: Callable[[Row], list[JudgedText]] | None = None

    def item(row: Row) -> list[JudgedText]:
        nonlocal layout
        # The first row decides for all, as in `_load`.
        layout = layout or _judged_layout(row, text, label)
        places = [name for name in ((document,) if document else DOCUMENT_COLUMNS) if name in row]
        columns = [name for name in ((group,) if group else GROUP_COLUMNS) if name in row]
        for option, name, found in (("document", document, places), ("group", group, columns)):
            if name and not found:
                raise _RowError(f"no column `{name}`; found: {_names(row)}; name another with --{option}")
        named = row[places[0]] if places else None
        place = None if named in (None, "") else str(named)
        groups = _groups(row[columns[0]]) if columns else None
        return [
            dataclasses.replace(one, document=place if place is not None else one.document, groups=groups)
            for one in layout(row)
        ]

    return _collect("data", source, item, None, skip_bad_rows)


def read_plain_text(path: str | Path, *, field: str = "text") -> str:
    r"""Return one whole UTF-8 file, without a byte order mark and with \r\n as \n, for measuring perplexity.

    Args:
        path: the file.
        field: the setting that named it, for error messages.

    Raises:
        UsageError: the file does not exist, cannot be read, is empty, or is not UTF-8 (as `FILE:LINE: reason`).
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(f"{field}: cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8 ({error.reason}). Save the file as UTF-8.") from None
    if not text.strip():
        raise UsageError(f"{field}: {path} is empty. Name a file with some pages of ordinary text.")
    return text


def builtin_prompts(split: Literal["fit", "measure"], kind: Literal["mild", "provocative"] | None = None) -> list[str]:
    """Return the project's own prompts of a split: beginnings of text of 5 to 20 words, cut in mid-sentence.

    `fit` is for fitting, `measure` for measuring; they share none. Without a `kind`, mild and provocative take turns.
    """
    rows = [json.loads(line) for line in (_BUILTIN / "builtin.jsonl").read_text("utf-8").splitlines()]
    return [row["text"] for row in rows if row["split"] == split and kind in (None, row["kind"])]


def neutral_text() -> str:
    """Return the project's own neutral text: about 4,000 words of explanatory prose, an article a paragraph."""
    return (_BUILTIN / "neutral.txt").read_text("utf-8")


def describe_skipped(loaded: Loaded[Any]) -> str | None:
    """Return one line that says how many rows were skipped and why the first ones were; None: none was."""
    bad, rows = len(loaded.skipped), len(loaded.items) + len(loaded.skipped)
    shown = [f"line {row.line}: {row.reason}" for row in loaded.skipped[:3]] + ["…"] * (bad > 3)
    return f"{loaded.source}: {bad} of {rows} rows skipped ({'; '.join(shown)})" if bad else None


class _RowError(ValueError):
    """This row cannot be used; the message says why, without a full stop."""


def _choose(choices: Columns, row: Row) -> tuple[str, ...]:
    for choice in choices:
        if all(name in row for name in choice):
            return choice
    wanted = " or ".join(" + ".join(f"`{name}`" for name in choice) for choice in choices)
    hint = "; name another with --column" if any(len(choice) == 1 for choice in choices) else ""
    raise _RowError(f"no column {wanted}; found: {_names(row)}{hint}")


def _names(row: Row) -> str:
    return ", ".join([f"`{name}`" for name in list(row)[:12]] + ["…"] * (len(row) > 12)) or "none"


def _judged_layout(row: Row, text: str | None, label: str | None) -> Callable[[Row], list[JudgedText]]:
    """Return what makes the texts of a row; chosen by the first row and the columns that the user named."""
    if text is None and label is None:
        if all(isinstance(row.get(part), dict) for part in ("prompt", "continuation")):
            return _rtp_texts
        # beside a text they are its labels
        if all(isinstance(row.get(side), str) for side in ("toxic", "nontoxic")) and not {*TEXT_COLUMNS} & {*row}:
            return _pair_texts
    texts = [name for name in ((text,) if text else TEXT_COLUMNS) if name in row]
    labels = [name for name in ((label,) if label else TARGET_COLUMNS) if name in row]
    for option, wanted, found in (
        ("text", (text,) if text else TEXT_COLUMNS, texts),
        ("label", (label,) if label else TARGET_COLUMNS, labels),
    ):
        if not found:
            missing = " or ".join(f"`{name}`" for name in wanted)
            raise _RowError(f"no column {missing}; found: {_names(row)}; name another with --{option}")

    def one_text(row: Row) -> list[JudgedText]:
        for name in (texts[0], *labels):
            if name not in row:
                raise _RowError(f"no column `{name}`, which the first row has; found: {_names(row)}")
        targets = {name: _label(name, row[name]) for name in labels}
        return [JudgedText(_text(row, texts[0]), targets, _dimensions(row))]

    return one_text


def _dimensions(said: Row) -> dict[str, float]:
    found = {}
    for name in DIMENSION_COLUMNS:
        try:
            target = _label(name, said.get(name))
        except _RowError:  # nobody asked for this column: another file's `threat` may be anything
            continue
        if target is not None:
            found[name] = target
    return found


def _rtp_texts(row: Row) -> list[JudgedText]:
    found = []
    for part in ("prompt", "continuation"):
        half = row.get(part)
        if not isinstance(half, dict):
            raise _RowError(f"`{part}` is not an object with `text` and `toxicity`, unlike the first row's")
        target = _label("toxicity", half.get("toxicity"))
        # Some continuations are empty, and Perspective gave some halves no score: no fault of the file.
        if str(half.get("text", "")).strip():
            found.append(JudgedText(_text(row, part), {"toxicity": target}, _dimensions(half), part))
    return found


def _pair_texts(row: Row) -> list[JudgedText]:
    for side in ("toxic", "nontoxic"):
        if side not in row:
            raise _RowError(f"no column `{side}`, which the first row has; found: {_names(row)}")
    source = _text(row, "toxic")
    return [
        JudgedText(source, {"toxic": 1.0}, document=source),
        JudgedText(_text(row, "nontoxic"), {"toxic": 0.0}, document=source),
    ]


def _groups(value: Any) -> frozenset[str]:
    names = value if isinstance(value, list) else str(value or "").split(",")
    return frozenset(name for name in (str(name).strip() for name in names) if name)


def _text(row: Row, name: str) -> str:
    # RealToxicityPrompts: {"prompt": {"text": …, "toxicity": …}}
    value = row[name].get("text", row[name]) if isinstance(row[name], dict) else row[name]
    if not isinstance(value, str):
        raise _RowError(f"`{name}` is {value!r:.40}, not a text")
    if not value.strip():
        raise _RowError(f"`{name}` is an empty text")
    if re.search("[\ud800-\udfff]", value):  # JSON may spell one ("\ud83d"); no tokenizer and no file takes it
        raise _RowError(f"`{name}` holds half a character (an unpaired surrogate)")
    return value


def _label(name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float({"true": 1.0, "false": 0.0}.get(str(value).strip().lower(), value))
    except (TypeError, ValueError, OverflowError):
        raise _RowError(f"label `{name}` is {value!r:.40}, not a number") from None
    if not 0.0 <= number <= 1.0:
        raise _RowError(f"label `{name}` is {number:g}, outside [0, 1]")
    return number


def _load(
    kind: str, source: str | Path, choices: Columns, make: Callable[[list[str], Row], T], limit: int | None, skip: bool
) -> Loaded[T]:
    """Collect what `make` makes of the texts in the columns of the first choice that the rows have."""

    def item(row: Row) -> T:
        nonlocal choices
        # The first row decides for all: a later row without its columns is bad, not read from others.
        choices = [_choose(choices, row)]
        return make([_text(row, name) for name in choices[0]], row)

    return _collect(kind, source, item, limit, skip)


def _collect(kind: str, source: str | Path, make: Callable[[Row], T], limit: int | None, skip: bool) -> Loaded[T]:
    """Collect what `make` makes of each row."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit: {limit} is too few {kind}; give at least 1.")
    items: list[T] = []
    skipped: list[BadRow] = []
    sha256 = None
    try:
        if path := _local_file(kind, source):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        for line, row in _READERS[path.suffix.lower()](path) if path else _hub_records(kind, str(source)):
            try:
                if isinstance(row, _RowError):
                    raise row
                items.append(make(row))
            except _RowError as error:
                if not skip:
                    raise UsageError(f"{source}:{line}: {error}. Mend it or use --skip-bad-rows.") from None
                skipped.append(BadRow(line, str(error)))
            if len(items) == limit:
                break
    except OSError as error:
        raise UsageError(f"{kind}: cannot read {source}: {error.strerror or error}.") from error
    loaded = Loaded(items, skipped, str(source), sha256)
    if not items:
        raise UsageError(f"{kind}: no usable row: {describe_skipped(loaded) or f'{source} is empty'}.")
    return loaded


def _local_file(kind: str, source: str | Path) -> Path | None:
    """Return the file that `source` names; None: it names no file, so a Hub dataset."""
    name, path = str(source), Path(source)
    known = path.suffix.lower() in _READERS
    if not path.exists():
        if known or isinstance(source, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UsageError(f"{kind}: {path} does not exist.")
        return None
    if path.is_dir():
        raise UsageError(f"{kind}: {path} is a folder; name a file in it.")
    if not known:
        raise UsageError(f"{kind}: {path} is of no known kind; its name must end in {', '.join(_READERS)}.")
    return path


def _lines(path: Path) -> Iterator[str]:
    r"""Yield lines split at \n alone (str.splitlines also cuts at U+2028); `_not_utf8` finds the broken ones."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield line.decode("utf-8" if number else "utf-8-sig", errors="surrogateescape")


def _not_utf8(text: str) -> _RowError | None:
    broken = re.search("[\udc80-\udcff]", text)
    return _RowError(f"not UTF-8 (byte {ord(broken[0]) - 0xDC00:#04x})") if broken else None


def _text_records(path: Path) -> Records:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield number, _not_utf8(line) or {"text": line.rstrip("\r\n")}


def _json_records(path: Path) -> Records:
    for number, row in _text_records(path):
        try:
            row = json.loads(row["text"]) if isinstance(row, dict) else row
        except (ValueError, RecursionError) as error:
            row = _RowError(f"not valid JSON (an object a line is expected): {getattr(error, 'msg', error)}")
        yield number, row if isinstance(row, dict | _RowError) else _RowError(f"not a JSON object but {row!r:.40}")


def _csv_records(path: Path, delimiter: str = ",") -> Records:
    csv.field_size_limit(2**31 - 1)  # its own limit, 131,072 characters, refuses long documents
    # strict: an unclosed quote would otherwise swallow the rest of the file without a word.
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
            problem = _not_utf8("".join(fields))
        except StopIteration:
            return
        except csv.Error as error:
            fields, problem = [""], _RowError(f"broken csv, lines {number}–{reader.line_num}: {error}")
        if problem and not header:
            raise UsageError(f"{path}:{number}: no header: {problem}. Mend the file.")
        if header and fields:
            if not problem and delimiter == "\t" and any("\n" in field and "\t" in field for field in fields):
                problem = _RowError(f"a quote runs over lines {number}–{reader.line_num}; double the quotes in texts")
            if not problem and len(fields) != len(header):
                problem = _RowError(f"{len(fields)} field(s), the header has {len(header)}")
            yield number, problem or dict(zip(header, fields, strict=True))
        elif fields:
            header = [name.strip() for name in fields]


def _parquet_records(path: Path) -> Records:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            yield from enumerate(rows, start=1)
    except (pyarrow.ArrowInvalid, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable as parquet: {error}") from error


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


_READERS: dict[str, Callable[[Path], Records]] = {
    ".txt": _text_records,
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _json_records),
    ".csv": _csv_records,
    ".tsv": partial(_csv_records, delimiter="\t"),
    ".parquet": _parquet_records,
}
