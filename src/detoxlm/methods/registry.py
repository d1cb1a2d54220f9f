"""The methods by name, as packages declare them; knows their names and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from detoxlm.registry import Registry

if TYPE_CHECKING:
    from detoxlm.methods.base import Method

#: The built-in ones as lists show them: those of the four papers and what is nearest to each.
_ORDER = (
    "fusion",
    "nado",
    "dexperts",
    "gedi",
    "subspace",
    "surgery",
    "probe",
    "dinm",
    "tasft",
    "constrained",
    "sft",
    "unlikelihood",
    "contrastive",
    "dpo",
)


def _checked(name: str, found: object) -> type[Method]:
    """Return the method that an entry point leads to; raise ValueError with what is wrong with it."""
    needed = ("name", "paper", "summary", "detoxifier_type", "reads", "fit")
    lacking = [part for part in needed if not hasattr(found, part)]
    if not isinstance(found, type) or lacking:
        what = f"has no `{lacking[0]}`" if lacking else "is no class"
        raise ValueError(f"it is no method: {found!r} {what}; subclass detoxlm.methods.Method")
    method = cast("type[Method]", found)
    kind = method.detoxifier_type
    if missing := [part for part in ("method", "kind", "settings_type") if not hasattr(kind, part)]:
        raise ValueError(f"its detoxifier_type has no `{missing[0]}`; subclass detoxlm.methods.Detoxifier")
    # a saved folder names the detoxifier's method, and is loaded by that name
    for said in (method.name, kind.method):
        if said != name:
            raise ValueError(f"it calls itself {said!r}, its entry point {name!r}")
    return method


METHODS: Registry[type[Method]] = Registry("detoxlm.methods", "method", _checked, _ORDER)
