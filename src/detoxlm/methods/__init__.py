"""The methods, by name: the built-in ones and those of other packages (`detoxlm.registry`)."""

from __future__ import annotations

from detoxlm.methods.base import Detoxifier, FitData, Method
from detoxlm.methods.registry import METHODS


def get_method(name: str) -> type[Method]:
    """Return the method of that name; raise `UsageError` with the known names for any other, or where it is broken."""
    return METHODS.get_known(name)


__all__ = ["METHODS", "Detoxifier", "FitData", "Method", "get_method"]
