"""Writes docs/commands.md: what `--help` says of every command, as plain Markdown.

`python scripts/command_pages.py` after a change of a command or of a setting; `make lint` fails until then (`--check`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import generated
import typer

from detoxlm.cli import app

PATH = generated.ROOT / "docs" / "commands.md"
INTRODUCTION = """\
# Commands

What `detoxlm COMMAND --help` says, on one page. Ranges are enforced; an option that names no default is off or not set.
Most options are settings, which may come from the environment or a file too: see [Settings](concepts.md#settings).

Written by `scripts/command_pages.py` from the definitions.
"""


def command_pages() -> str:
    """Return the whole page: a list of the commands, then a section for each."""
    root: Any = typer.main.get_command(app)  # Any: which classes of command and parameter it makes is Typer's affair
    commands = list(_commands_of(root, "detoxlm"))
    contents = [f"- [`{path}`](#{path.replace(' ', '-')}): {_markdown(command.help)}" for path, command in commands]
    return "\n".join([INTRODUCTION, *contents, "", *(section(path, command) for path, command in commands)])


def _commands_of(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield (words, command) of every command of a group, in the order of `--help`; of a group too that acts alone."""
    for name, command in group.commands.items():
        if not hasattr(command, "commands"):
            yield f"{path} {name}", command
            continue
        if command.invoke_without_command:
            yield f"{path} {name}", command
        yield from _commands_of(command, f"{path} {name}")


def section(path: str, command: Any) -> str:
    """Return a command's section: what it does, its usage, an example, its arguments and its options."""
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## {path}", _markdown(command.help), _block(usage)]
    if command.epilog:
        parts.append(f"Example:\n\n{_block(command.epilog.removeprefix('Example: '))}")
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        records = [one.get_help_record(context) for one in command.params if one.param_type_name == kind]
        lines = [f"- `{names}`: {_markdown(text)}" for names, text in filter(None, records)]
        if lines:
            parts.append(f"{title}:\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _block(text: str) -> str:
    return f"```text\n{text}\n```"  # not bash: tests/test_docs.py runs that, and usage is no command


def _markdown(text: str) -> str:
    """Return a help text as Markdown: outside of code with Markdown's own escapes."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"[<*]", r"\\\g<0>", part) for part in parts)


if __name__ == "__main__":
    generated.main(PATH, command_pages())
