"""Nested settings and numbers of any shape, laid out as small tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Block:
    """A small table made of nested settings: two columns (name, value), or a matrix when `columns` is set."""

    caption: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def blocks(data: dict[str, Any], caption: str = "") -> list[Block]:
    """Lay out a nested dict as tables: dicts of much the same keys become one matrix."""
    nested = {key: value for key, value in data.items() if not _is_leaf(value)}
    rows = [(words(key), [plain(value)]) for key, value in data.items() if key not in nested]
    found = [Block(caption, [], rows)] if rows else []
    flat = {key: _with_n(value) for key, value in nested.items() if all(map(_is_leaf, value.values()))}
    columns = sorted(dict.fromkeys(key for value in flat.values() for key in value), key=lambda key: key == "n")
    # Dicts that share no keys would make a wide matrix of dashes.
    if len(flat) > 1 and len(columns) <= 2 * max(map(len, flat.values())):
        matrix = [
            (words(key), [plain(value[column]) if column in value else "–" for column in columns])
            for key, value in flat.items()
        ]
        found.append(Block(caption, [words(column) for column in columns], matrix))
        nested = {key: value for key, value in nested.items() if key not in flat}
    for key, value in nested.items():
        found += blocks(value, f"{caption} · {words(key)}" if caption else words(key))
    return found


def validity_blocks(validity: dict[str, Any]) -> tuple[list[Block], list[tuple[str, list[Block]]]]:
    """Return the scorer's validity as (tables to show, further tables to fold away by name).

    A scorer may file its validity beside much else (how it was trained, what it says of single sentences); then the
    entry `validity` is what readers need first.
    """
    main = validity.get("validity")
    if not isinstance(main, dict):
        return blocks(validity), []
    rest = {key: value for key, value in validity.items() if key != "validity"}
    single = {key: value for key, value in rest.items() if not isinstance(value, dict)}
    named = [(words(key), blocks(value)) for key, value in rest.items() if key not in single]
    return blocks(main), [*named, *([("further entries", blocks(single))] if single else [])]


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Name every value of a nested dict by its path; values as they would be typed in, unlike `plain`."""
    found: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[words(f"{prefix}{key}")] = "none" if value is None else str(value)
    return found


def plain(value: Any) -> str:
    """Print a setting or measured number for people: four significant digits; an estimate with its interval."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "not finite"
        return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    if isinstance(value, dict):
        interval = "" if None in value.values() else f" [{value['low']:.3f}, {value['high']:.3f}]"
        return "none" if value["value"] is None else f"{value['value']:.3f}{interval}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(plain(item) for item in list(value)[:8])
        return f"{shown}, … ({len(value)} values)" if len(value) > 8 else shown
    return str(value)


def words(key: str) -> str:
    """Turn a field's name into words."""
    return str(key).replace("_", " ")


def _is_estimate(value: Any) -> bool:
    return isinstance(value, dict) and {"value", "low", "high"} <= set(value) <= {"value", "low", "high", "n"}


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, dict) or _is_estimate(value)


def _with_n(row: dict[str, Any]) -> dict[str, Any]:
    # Estimates of one row mostly share their n: one column for it, not a bracket in every cell.
    counts = {value.get("n") for value in row.values() if _is_estimate(value)} - {None}
    return {**row, "n": counts.pop()} if len(counts) == 1 and "n" not in row else row
