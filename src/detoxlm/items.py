"""Items made of rows: a text or a label out of a row, and all items of a source, with the rows that were left out."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from detoxlm.conversations import KINDS, Conversation, Marked, fault_of, is_turns
from detoxlm.errors import UsageError
from detoxlm.records import ColumnError, Records, Row, RowError, open_source, same_columns

T = TypeVar("T")
#: What files call how toxic a text is.
LABEL_COLUMNS = ("toxicity", "label", "toxic", "perspective", "hateful")
#: Choices of columns; the first whose columns a row has all of is taken.
Columns = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class BadRow:
    """A row that was left out. `line` is the physical line it starts on, from 1 (parquet and Hub: the row)."""

    line: int
    reason: str


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """What a source held. `sha256` is of the whole file, also when a limit ended the reading; None: from the Hub.

    `lines` are the items' own, as `BadRow.line`.
    `rows` is how many rows it has, those after the limit too; None: not known (a Hub dataset that a limit ended).
    """

    items: list[T]
    skipped: list[BadRow]
    source: str
    sha256: str | None
    lines: list[int] = field(default_factory=list)
    rows: int | None = None


def describe_skipped(loaded: Loaded[Any]) -> str | None:
    """Return one line that says how many rows were skipped and why the first ones were; None: none was."""
    bad = len(loaded.skipped)
    return skipped_line(loaded.source, loaded.skipped[:3], bad, bad + len(loaded.items))


def skipped_line(source: str, first: Sequence[BadRow], bad: int, rows: int) -> str | None:
    """Return a line that says that `bad` of all `rows` were skipped, and why the `first` were; None: none was."""
    shown = [f"line {row.line}: {row.reason}" for row in first] + ["…"] * (bad > len(first))
    return f"{source}: {bad} of {rows} rows skipped ({'; '.join(shown)})" if bad else None


def load(
    kind: str,
    source: str | Path,
    choices: Columns,
    make: Callable[[list[str], Row], T],
    limit: int | None,
    skip: bool,
    *,
    option: str = "--column",
    read: Callable[[Row, str], str] | None = None,
) -> Loaded[T]:
    """Collect what `make` makes of the texts in the columns of the first choice that the first row has.

    `make` gets the texts in the order of the choice's columns, and the row. `option` names another column, where one is
    enough; messages say so. `read` gets a text out of a row's column; None: `text_of`. The rest is as for `collect`.
    """

    return collect(kind, source, maker(choices, make, option, read), limit, skip)


def maker(
    choices: Columns,
    make: Callable[[list[str], Row], T],
    option: str = "--column",
    read: Callable[[Row, str], str] | None = None,
) -> Callable[[Row], T]:
    """Return what makes an item of a row, for rows of one source in their order; the rest is as for `load`."""

    def item(row: Row) -> T:
        nonlocal choices
        # The first row decides for all: a later row without its columns is bad, not read from others.
        choices = [_choose(choices, row, option)]
        return make([(read or text_of)(row, name) for name in choices[0]], row)

    return item


def collect(kind: str, source: str | Path, make: Callable[[Row], T], limit: int | None, skip: bool) -> Loaded[T]:
    """Collect what `make` makes of each row.

    Args:
        kind: what is read, for error messages: `prompts`.
        source: a file or the id of a Hub dataset; see `detoxlm.records.open_source`.
        make: turns a row into an item, or raises `RowError`.
        limit: stop after so many items; None: read all.
        skip: collect the rows that cannot be used in `skipped` instead of raising.

    Raises:
        UsageError: as `detoxlm.data.read_prompts`.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit: {limit} is too few {kind}; give at least 1.")
    items: list[T] = []
    lines: list[int] = []
    skipped: list[BadRow] = []
    try:
        records, sha256 = open_source(kind, source)
        local = sha256 is not None or Path(source).exists()
        for line, made in each(source, records, make, skip):
            if isinstance(made, BadRow):
                skipped.append(made)
            else:
                items.append(made)
                lines.append(line)
            if len(items) == limit:
                break
        read = len(items) + len(skipped)
        # the rest of a file is counted, not made: whoever takes a part wants to know how large a part
        rows = read + sum(1 for _ in records) if local or len(items) != limit else None
    except OSError as error:
        raise UsageError(f"{kind}: cannot read {source}: {error.strerror or error}.") from error
    loaded = Loaded(items, skipped, str(source), sha256, lines, rows)
    if not items:
        raise UsageError(f"{kind}: no usable row: {describe_skipped(loaded) or f'{source} is empty'}.")
    return loaded


def each(
    source: str | Path, records: Records, make: Callable[[Row], T], skip: bool
) -> Iterator[tuple[int, T | BadRow]]:
    """Yield the line of each row and what `make` makes of it, or, with `skip`, why it cannot be used.

    Raises:
        UsageError: a row cannot be used, and `skip` is not set; or the first has not the columns, of a kind of file
            where then no row has.
    """
    used = False
    for line, row in records:
        try:
            if isinstance(row, RowError):
                raise row
            made = make(row)
        except RowError as error:
            if isinstance(error, ColumnError) and not used and same_columns(Path(source)):
                raise UsageError(f"{source}:{line}: {error}.") from None  # no row that is left would have them
            if not skip:
                raise UsageError(f"{source}:{line}: {error}. Mend it or use --skip-bad-rows.") from None
            yield line, BadRow(line, str(error))
        else:
            used = True
            yield line, made


def text_of(row: Row, name: str) -> str:
    """Return the text in a column, or in the `text` of the object there.

    Raises:
        RowError: it is no text, an empty one, or holds half a character.
    """
    # RealToxicityPrompts: {"prompt": {"text": …, "toxicity": …}}; in a CSV the object is text itself
    value = _written_object(name, row[name]) if isinstance(row[name], str) else row[name]
    if isinstance(value, dict):
        value = value.get("text", value)
    if not isinstance(value, str):
        raise RowError(f"`{name}` is {value!r:.40}, not a text")
    if not value.strip():
        raise RowError(f"`{name}` is an empty text")
    if re.search("[\ud800-\udfff]", value):  # JSON may spell one ("\ud83d"); no tokenizer and no file takes it
        raise RowError(f"`{name}` holds half a character (an unpaired surrogate)")
    return value


def prompt_of(row: Row, name: str) -> str:
    """Return the prompt in a column: a text as `text_of`, or a list of turns (written out, in a CSV) as a conversation.

    A row's `kind` and `rule` go with it; see `detoxlm.conversations.Conversation` and `Marked`.

    Raises:
        RowError: it is neither, the turns cannot be answered, or the rule is an object that cannot be read.
    """
    value, marks = row[name], with_names(row, ("kind",), ("rule",))
    kind, rule = marks.get("kind"), marks.get("rule")
    kind, rule = kind if kind in KINDS else None, _rule_of(rule)  # a file may call other things so
    if isinstance(value, str) and re.match(r"\s*\[\s*\{", value):
        value = _read_object(value) or value
    if not is_turns(value) and not (isinstance(value, list) and _plain(name) == "messages"):
        return Marked.of(text_of(row, name), kind, rule)
    if fault := fault_of(value):
        raise RowError(f"`{name}`: {fault}")
    return Conversation(value, kind=kind, rule=rule)


def _rule_of(value: Any) -> dict[str, Any] | None:
    """Return the rule in a cell: an object, or one written out (in a CSV); None: it is none.

    Raises:
        RowError: it is written as an object, and cannot be read.
    """
    if isinstance(value, str) and value.lstrip()[:1] == "{" and _is_written(value):
        written = value
        if not isinstance(value := _read_object(written), dict):
            raise RowError(f"`rule` is {written!r:.40}, an object that cannot be read; write JSON")
    return (_given(value) or None) if isinstance(value, dict) else None


def _given(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule without what it leaves open: in Parquet every row has the keys of all, with null for no value."""
    found = {key: _given(value) if isinstance(value, dict) else value for key, value in rule.items()}
    return {key: value for key, value in found.items() if value is not None and value != {}}


def _is_written(value: str) -> bool:
    stripped = value.strip()
    return stripped[:1] + stripped[-1:] in ("{}", "[]")


def _read_object(value: str) -> Any:
    """Return what a cell spells in JSON or as Python prints it; None: it spells nothing."""
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(value.strip())
    return None


def _written_object(name: str, value: str) -> Any:
    """Return the object that a cell spells in JSON or as Python prints it; any other text as it is.

    Raises:
        RowError: a list, or an object without a `text`: no model should be asked to continue that.
    """
    if not _is_written(value):
        return value
    found = _read_object(value)
    if isinstance(found, dict) and isinstance(found.get("text"), str):
        return found
    if isinstance(found, dict | list) and found:
        raise RowError(f"`{name}` is {value!r:.40}, an object or list written out, not a text")
    return value


def label_of(name: str, value: Any) -> float | None:
    """Return a label in [0, 1]: a number, a boolean, or either as a string; null and "" are none.

    Raises:
        RowError: it is something else, and `name` is what the message calls it.
    """
    if value is None or value == "":
        return None
    try:
        number = float({"true": 1.0, "false": 0.0}.get(str(value).strip().lower(), value))
    except (TypeError, ValueError, OverflowError):
        raise RowError(f"label `{name}` is {value!r:.40}, not a number") from None
    if not 0.0 <= number <= 1.0:
        raise RowError(f"label `{name}` is {number:g}, outside [0, 1]")
    return number


def _choose(choices: Columns, row: Row, option: str) -> tuple[str, ...]:
    for choice in choices:
        if all(name in row for name in choice):
            return choice
    named = {_plain(name): name for name in row}
    for choice in choices:  # `Prompt` is `prompt`, where no column is called just so
        if all(name.lower() in named for name in choice):
            return tuple(named[name.lower()] for name in choice)
    wanted = " or ".join(" + ".join(f"`{name}`" for name in choice) for choice in choices)
    hint = f"; name another with {option}" if any(len(choice) == 1 for choice in choices) else ""
    raise ColumnError(f"no column {wanted}; found: {names_of(row)}{hint}")


def with_names(row: Row, *families: Sequence[str]) -> Row:
    """Return a row whose columns are called as ours are, where they differ in case or outer spaces alone.

    So columns beside a text are found as the text itself is: `Label` is `label`. A family is of names that may stand
    for each other; where one of them is there as it is, no other column is taken for one.
    """
    names = {name for family in families for name in family}
    missing = {name.lower(): name for family in families if not any(one in row for one in family) for name in family}
    renamed = {key: missing[_plain(key)] for key in row if key not in names and _plain(key) in missing}
    return {renamed.get(key, key): value for key, value in row.items()} if renamed else row


def _plain(name: object) -> str:
    return str(name).strip().lower()


def names_of(row: Row) -> str:
    """Return the names of a row's columns, the first twelve at most, for error messages."""
    return ", ".join([f"`{name}`" for name in list(row)[:12]] + ["…"] * (len(row) > 12)) or "none"
