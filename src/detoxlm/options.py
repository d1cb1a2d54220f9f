"""Settings as the options of commands: a field is an option, and a command gets all of them resolved."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args, get_origin

import typer

from detoxlm.progress import say as complain
from detoxlm.settings import Settings, explained
from detoxlm.sources import resolve

#: The model of every command that has one.
Model = Annotated[
    str,
    typer.Argument(help="Hub id, local folder (an adapter's too), .gguf file, or `embedded` (SmolLM2-135M-Instruct)."),
]
#: The option of every command that prints a table.
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
#: The option of every command whose settings may come from a file.
Config = Annotated[
    Optional[Path],  # noqa: UP045 - Typer reads this at run time
    typer.Option("--config", help="TOML file with any of these settings; the command line and DETOXLM_* win."),
]


def with_settings(kind: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of `kind`, and pass it the resolved settings as `settings`.

    The wrapped command's own parameters stay; its `config_path`, if any, names the TOML file to read.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
        # a class's own settings first, then those of its bases: the most particular on top of --help
        order = dict.fromkeys(name for base in kind.__mro__ for name in vars(base).get("__annotations__", ()))
        options = [_option(name, kind.model_fields[name]) for name in order if name in kind.model_fields]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            values = {name: given.pop(name) for name in kind.model_fields}
            settings = resolve(kind, values, given.get("config_path"))
            try:
                command(settings=settings, **given)
            except KeyboardInterrupt:
                complain("detoxlm: interrupted. The same command continues where it was.")
                raise typer.Exit(130) from None

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + options
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _option(name: str, field: Any) -> inspect.Parameter:
    """Turn a settings field into a Typer option; None stands for not given, so that other sources can answer."""
    flag = f"--{name.replace('_', '-')}"
    names = [flag, "-o"] if name == "output" else [flag]
    kind = field.annotation
    if kind is bool:
        names = [f"{flag}/--no-{name.replace('_', '-')}"]
    # `X | None` is an option of X; a list is an option to repeat, a Literal one of choices
    kinds = [] if get_origin(kind) in (list, Literal) else [one for one in get_args(kind) if one is not type(None)]
    bare = (kinds or [kind])[0] if len(kinds) < 2 else str  # of several kinds: pydantic reads which it is
    unsaid = field.default is None or field.default is False
    default = ",".join(field.default) if isinstance(field.default, list) else field.default
    help_text = explained(field) + ("" if unsaid else f" [default: {default}]")
    option = typer.Option(*names, help=help_text)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[bare], option],  # noqa: UP045
    )
