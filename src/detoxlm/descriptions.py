"""Descriptions in JSON that may have been damaged: read whole, or refused by the names of field and file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from detoxlm.errors import UsageError, first_line

_WORDS = {str: "a text", int: "a number", dict: "an object", list: "a list"}


def read_object(file: Path, *, field: str, fix: str) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Args:
        file: in UTF-8.
        field: the setting that named it, for messages.
        fix: what mends it, for messages.

    Raises:
        UsageError: it cannot be read, is not JSON, or holds no object or an empty one.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{field}: {file} is damaged: {first_line(error)}; {fix}") from error
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{field}: {file} is damaged: it holds {found!r:.40}, not a description; {fix}")
    return found


def check_fields(
    found: Mapping[str, Any],
    wanted: Mapping[str, type],
    file: Path,
    *,
    field: str,
    fix: str,
    inside: str = "",
    may_be_empty: Collection[str] = (),
) -> None:
    """Refuse a description that lacks a field, has it empty, or of another type.

    Args:
        found: the description.
        wanted: by name of field its type: str, int, dict or list.
        file: that it is in, for messages.
        field: the setting that named the file, for messages.
        fix: what mends it, for messages.
        inside: what comes before the names in messages, such as `target.`.
        may_be_empty: names of lists and objects that may be empty.

    Raises:
        UsageError: names the field and the file.
    """
    for name, kind in wanted.items():
        if name not in found:
            raise UsageError(f"{field}: {file} is damaged: it lacks `{inside}{name}`; {fix}")
        value = found[name]
        right = isinstance(value, kind) and not isinstance(value, bool)
        if not right or (value in ("", 0, {}, []) and name not in may_be_empty):
            raise UsageError(
                f"{field}: {file} is damaged: `{inside}{name}` is {value!r:.40} where {_WORDS[kind]} belongs; {fix}"
            )
