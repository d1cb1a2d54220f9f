"""The methods, by name. Adding one is one file, and one import and one name here."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from detoxlm.errors import unknown_name
from detoxlm.methods.base import Detoxifier, FitData, Method

if TYPE_CHECKING:
    METHODS: dict[str, type[Method]]


@cache
def _methods() -> dict[str, type[Method]]:
    # Imported when first asked for: what the methods are made of imports `detoxlm.methods.base`, and so this file.
    from detoxlm.methods.constrained import Constrained
    from detoxlm.methods.contrastive import Contrastive
    from detoxlm.methods.dexperts import DExperts
    from detoxlm.methods.dinm import Dinm
    from detoxlm.methods.dpo import Dpo
    from detoxlm.methods.fusion import Fusion
    from detoxlm.methods.gedi import Gedi
    from detoxlm.methods.nado import Nado
    from detoxlm.methods.probe import Probe
    from detoxlm.methods.sft import Sft
    from detoxlm.methods.subspace import Subspace
    from detoxlm.methods.surgery import Surgery
    from detoxlm.methods.tasft import Tasft
    from detoxlm.methods.unlikelihood import Unlikelihood

    every: tuple[type[Method], ...] = (
        Fusion,
        Nado,
        DExperts,
        Gedi,
        Subspace,
        Surgery,
        Probe,
        Dinm,
        Tasft,
        Constrained,
        Sft,
        Unlikelihood,
        Contrastive,
        Dpo,
    )
    return {method.name: method for method in every}


def __getattr__(name: str) -> Any:
    if name == "METHODS":
        return _methods()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_method(name: str) -> type[Method]:
    """Return the method of that name; raise `UsageError` with the known names for any other."""
    methods = _methods()
    if name not in methods:
        raise unknown_name("method", name, list(methods))
    return methods[name]


__all__ = ["METHODS", "Detoxifier", "FitData", "Method", "get_method"]
