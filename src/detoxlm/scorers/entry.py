"""How a scorer is named, described and loaded: what an entry point of the group `detoxlm.scorers` leads to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ScorerEntry:
    """How one scorer is named, described and loaded."""

    #: The form of the specification, for help texts: `detoxify[:variant]`.
    spec: str
    #: One line: what it is and what it needs.
    summary: str
    #: `module:function`; the function takes (argument: str, device: str | None), where `argument` is what follows the
    #: colon in the specification ("" without one), and returns a `Scorer`.
    factory: str
    #: Whether scores are worth keeping on disk: True where a score costs a network call or a large model.
    cached: bool
    #: Returns what is missing to run here and how to get it, or None.
    missing: Callable[[], str | None]
    #: Whether it is made of other scorers: its factory then takes `cache` too, for them.
    composed: bool = False
