"""Writes configs/detoxlm.toml: every setting of every command and method, commented out, with its default and its help.

`python scripts/default_toml.py` after a change of a setting; tests/test_default_toml.py fails until then.
"""

from __future__ import annotations

import json
import textwrap
from typing import Annotated, Any, Literal, get_args, get_origin

import generated
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from detoxlm import settings
from detoxlm.methods import METHODS
from detoxlm.settings import Settings, explained

PATH = generated.ROOT / "configs" / "detoxlm.toml"
INTRODUCTION = """\
# Every setting of DetoxLM with its default, all commented out: this file changes nothing as it is. Copy it, take the
# `#` from what you want to change, and name the copy: detoxlm run --config my.toml
#
# The command line wins over the environment (DETOXLM_SEED=1), the environment over the file, the file over the default.
# A key that the command does not know is an error; which commands know it stands above each part. The tables below are
# the methods' own settings, for `run` and `fit`; the command line gives them as --set KEY=VALUE.
#
# Written by scripts/default_toml.py from the definitions.
"""


def kinds() -> list[type[Settings]]:
    """Return the classes of `detoxlm.settings` that define settings, in their order."""
    classes = [kind for kind in vars(settings).values() if isinstance(kind, type) and issubclass(kind, Settings)]
    return [kind for kind in classes if own(kind)]


def own(kind: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields that a class defines itself, in their order."""
    named = vars(kind).get("__annotations__", ())
    return {name: field for name, field in kind.model_fields.items() if name in named}


def command(kind: type[Settings]) -> str | None:
    """Return the command that a class is the settings of, such as `scorers validate`; None: several share the class."""
    said = (kind.__doc__ or "").strip(".`")
    return said.removeprefix("detoxlm ") if said.startswith("detoxlm ") else None


def part(kind: type[Settings]) -> str:
    """Return a class's own settings, under a heading that names the commands that read them."""
    readers = [name for reader in kinds() if issubclass(reader, kind) and (name := command(reader))]
    what = "" if command(kind) else f"{(kind.__doc__ or '').splitlines()[0]} "
    heading = _comment(f"---- {what}For: {', '.join(readers)}.")
    return f"{heading}\n\n{_lines(own(kind))}"


def table(method: str) -> str:
    """Return a method's own settings as its TOML table."""
    registered = METHODS[method]
    fields = registered.detoxifier_type.settings_type.model_fields
    return f"[{method}]\n{_comment(registered.summary)}\n\n{_lines(fields)}"


def default_toml() -> str:
    """Return the whole file."""
    return "\n".join([INTRODUCTION, *map(part, kinds()), *map(table, METHODS)])


def _lines(fields: dict[str, FieldInfo]) -> str:
    """Return what each setting does and, below it, `#name = default`."""
    return "\n".join(f"{_comment(explained(field))}\n#{name} = {_value(field)}\n" for name, field in fields.items())


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 120, initial_indent="# ", subsequent_indent="# "))


def _value(field: FieldInfo) -> str:
    """Return a default as TOML; of a setting that has none, what it takes."""
    options = [kind for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is Literal]
    choices = ", ".join(json.dumps(choice) for kind in options for choice in get_args(kind))
    if field.default is None:
        noun = _noun(field.annotation)
        said = f"one of {choices}" if noun == "text" else f"{noun} or {choices}"
        return f" # not set; {said if choices else noun}"
    # a JSON text, number, truth value or list of texts is TOML too
    return json.dumps(field.default, default=str, ensure_ascii=False) + (f"  # one of {choices}" if choices else "")


def _noun(annotation: Any) -> str:
    nouns = {int: "a whole number", float: "a number", bool: "true or false", list[str]: "a list of texts"}
    given = (annotation, *get_args(annotation))
    kinds = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in given]
    return next((noun for kind, noun in nouns.items() if kind in kinds), "text")


if __name__ == "__main__":
    generated.main(PATH, default_toml())
