"""`detoxlm cache`: what the cache folder holds of converted models, and how to be rid of it."""

from __future__ import annotations

import time
from typing import Annotated, Any, Optional

import typer

from detoxlm import console
from detoxlm.options import Json

cache_app = typer.Typer(
    help="List or delete models that were converted from GGUF, `embedded` among them. DETOXLM_CACHE names the folder.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@cache_app.command("list", short_help="List converted models and their sizes.")
def list_models(as_json: Json = False) -> None:
    """List converted models, the last used first: name, GGUF file, size on disk, last use."""
    from detoxlm.gguf_cache import cached_models, size_shown

    models = cached_models()
    if as_json:
        console.print_json([_described(model) for model in models])
        return
    for model in models:  # no table: it would break names that `clear` must be given
        used = _day(model.last_used).replace("T", " ")
        print(f"{model.name}\n  {size_shown(model.bytes)}, last used {used}, made of {model.source}")
    if not models:
        print("No converted models.")


@cache_app.command("clear", short_help="Delete converted models, one or all.", epilog="Example: detoxlm cache clear")
def clear_models(
    name: Annotated[Optional[str], typer.Argument(help="One model, as `cache list` names it [default: all].")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """Delete converted models. Whoever needs one again converts it again; scores that are kept stay."""
    from detoxlm.gguf_cache import clear_cache, size_shown

    gone = clear_cache(name)
    if as_json:
        console.print_json([_described(model) for model in gone])
        return
    for model in gone:
        print(f"Deleted: {model.name} ({size_shown(model.bytes)})")
    if not gone:
        print("Nothing to delete.")


def _described(model: Any) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "bytes": model.bytes,
        "last_used": _day(model.last_used),
        "folder": str(model.folder),
    }


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M", time.localtime(seconds))
