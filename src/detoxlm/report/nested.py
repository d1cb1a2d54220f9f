"""Nested settings and numbers of any shape, laid out as small tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from detoxlm.metrics.readers import ENTRY
from detoxlm.report.vocabulary import FIELDS, TEXTS, named, titled


@dataclass(frozen=True)
class Block:
    """A small table made of nested settings: two columns (name, value), or a matrix when `columns` is set."""

    caption: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    #: The rows quote example texts, as names or as values: they can be hurtful, and are hidden until asked for.
    quotes: bool = False


def blocks(data: dict[str, Any], caption: str = "", quotes: bool = False) -> list[Block]:
    """Lay out a nested dict as tables: dicts of much the same keys become one matrix.

    Example texts get tables of their own: everything below a key of `TEXTS` (then `quotes`), numbers by the name of a
    text (it has a space in it), and lists of texts.
    """
    nested = {key: value for key, value in data.items() if not _is_leaf(value)}
    leaves = {key: value for key, value in data.items() if key not in nested}
    quoted = {key for key, value in leaves.items() if quotes or _quotes(key, value)}
    found = []
    for hidden in (False, True):
        rows = {key: value for key, value in leaves.items() if (key in quoted) == hidden}
        shares = _digits(rows.values()) if hidden else None
        if rows:
            shown = [(_name(key, hidden), [plain(value, shares)]) for key, value in rows.items()]
            found.append(Block(caption, [], shown, hidden))
    flat = {
        key: _with_n(value)
        for key, value in nested.items()
        if all(map(_is_leaf, value.values()))
        and not any(_quotes(inner, value[inner]) for inner in value)
        # among example texts the names of columns may be texts too, and those of tables
        and (not quotes or value.keys() <= FIELDS)
    }
    columns = sorted(dict.fromkeys(key for value in flat.values() for key in value), key=lambda key: key == "n")
    # Dicts that share no keys would make a wide matrix of dashes.
    if len(flat) > (not quotes) and len(columns) <= 2 * max(map(len, flat.values())):
        digits = {column: _digits(row[column] for row in flat.values() if column in row) for column in columns}
        matrix = [
            (
                _name(key, quotes),
                [plain(value[column], digits[column]) if column in value else "–" for column in columns],
            )
            for key, value in flat.items()
        ]
        found.append(Block(caption, [named(column) for column in columns], matrix, quotes))
        nested = {key: value for key, value in nested.items() if key not in flat}
    for key, value in nested.items():
        found += blocks(value, f"{caption} · {titled(key)}" if caption else titled(key), quotes or key in TEXTS)
    return found


def _name(key: str, quoted: bool) -> str:
    return key if quoted else named(key)


def _quotes(key: str, value: Any) -> bool:
    """Tell whether a row quotes texts: a number by the name of a text, or a list of texts."""
    if isinstance(value, list):
        return any(isinstance(item, dict) or (isinstance(item, str) and " " in item) for item in value)
    return " " in str(key).strip() and isinstance(value, int | float) and not isinstance(value, bool)


def _digits(values: Iterable[Any]) -> int | None:
    """Return how many digits a column of shares has: three, as intervals do; None: it holds other things."""
    numbers = [value["value"] if _is_estimate(value) else value for value in values]
    return 3 if all(value is None or (isinstance(value, float) and abs(value) <= 1) for value in numbers) else None


def validity_blocks(validity: dict[str, Any]) -> tuple[list[Block], list[tuple[str, list[Block]]]]:
    """Return the scorer's validity as (tables to show, further tables to fold away by name).

    A scorer may file its validity beside much else (how it was trained, what it says of single sentences); then the
    entry `validity` is what readers need first.
    """
    validity = {key: value for key, value in validity.items() if key != ENTRY}  # `reading.reader_blocks` shows that
    main = validity.get("validity")
    if not isinstance(main, dict):
        return blocks(validity), []
    rest = {key: value for key, value in validity.items() if key != "validity"}
    single = {key: value for key, value in rest.items() if not isinstance(value, dict)}
    more = [(titled(key), blocks(value, quotes=key in TEXTS)) for key, value in rest.items() if key not in single]
    return blocks(main), [*more, *([("Further entries", blocks(single))] if single else [])]


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Name every value of a nested dict by its path; values as they would be typed in, unlike `plain`."""
    found: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}".replace("_", " ")] = "none" if value is None else str(value)
    return found


def plain(value: Any, digits: int | None = None) -> str:
    """Print a setting or measured number for people: an estimate with its interval, a float with `digits`.

    None: four significant ones.
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "not finite"
        if digits is not None:
            return f"{value:.{digits}f}"
        return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    if isinstance(value, dict):
        interval = "" if None in value.values() else f" [{value['low']:.3f}, {value['high']:.3f}]"
        return "none" if value["value"] is None else f"{value['value']:.3f}{interval}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(plain(item) for item in list(value)[:8])
        return f"{shown}, … ({len(value)} values)" if len(value) > 8 else shown
    return str(value)


def _is_estimate(value: Any) -> bool:
    return isinstance(value, dict) and {"value", "low", "high"} <= set(value) <= {"value", "low", "high", "n"}


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, dict) or _is_estimate(value)


def _with_n(row: dict[str, Any]) -> dict[str, Any]:
    # Estimates of one row mostly share their n: one column for it, not a bracket in every cell.
    counts = {value.get("n") for value in row.values() if _is_estimate(value)} - {None}
    return {**row, "n": counts.pop()} if len(counts) == 1 and "n" not in row else row
