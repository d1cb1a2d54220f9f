"""Where settings come from: command line, then environment (`DETOXLM_<FIELD>`), then a TOML file, then the default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from detoxlm.errors import UsageError, did_you_mean, unknown_name

S = TypeVar("S", bound=BaseModel)


def resolve(kind: type[S], given: dict[str, Any], config: Path | None = None) -> S:
    """Merge the command line, the environment and the TOML file into one settings object.

    Args:
        kind: the settings class.
        given: what the command line gave; None stands for not given.
        config: a TOML file whose top-level keys are fields of `kind`. Its tables are methods' own settings, which
            `method_table` reads, and are passed over here.

    Raises:
        UsageError: the file is missing or not TOML, or a value is wrong; names the field, its value and its source.
    """
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    for key, value in read_toml(config).items() if config is not None else ():
        if key in kind.model_fields or not isinstance(value, dict):
            values[key], source[key] = value, str(config)
    for name in kind.model_fields:
        variable = f"DETOXLM_{name.upper()}"
        if variable in os.environ:
            values[name], source[name] = os.environ[variable], f"environment variable {variable}"
    for name, value in given.items():
        if value is not None:
            values[name], source[name] = value, f"--{name.replace('_', '-')}"
    return validated(kind, values, source)


def method_table(config: Path | None, method: str, known: Iterable[str]) -> dict[str, Any]:
    """Return the TOML table of a method's own settings; empty without one.

    Raises:
        UsageError: the file has a table of a name that is no method, which would be passed over silently.
    """
    content = read_toml(config) if config is not None else {}
    for name, value in content.items():
        if isinstance(value, dict) and name not in known:
            raise unknown_name(f"config: {config}: table", name, list(known))
    table = content.get(method, {})
    return dict(table) if isinstance(table, dict) else {}


def validated(kind: type[S], values: dict[str, Any], source: dict[str, str] | str) -> S:
    """Build `kind` from `values`; turn pydantic's error into one line that names the field and where it came from."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "settings"
        where = source if isinstance(source, str) else source.get(field, "settings")
        if first["type"] == "extra_forbidden":
            known = kind.model_fields
            hint = did_you_mean(field, known)
            raise UsageError(f"{field} ({where}): no such setting.{hint} Known: {', '.join(known)}.") from None
        said = first["msg"].removeprefix("Value error, ")  # pydantic's, before the words of our own checks
        raise UsageError(f"{field} ({where}): {said}; got {first['input']!r}.") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raise `UsageError` naming it and the line that is wrong."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config: cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"config: {path} is not TOML: {error}.") from error
