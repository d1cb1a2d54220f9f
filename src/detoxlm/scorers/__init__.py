"""Toxicity scorers by name: `load_scorer("embedded")`, `load_scorer("hub:some/model#toxic")`.

Importing this package imports neither torch nor transformers; each scorer's module is imported when it is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.registry import Registry
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.entry import ScorerEntry


def _checked(name: str, found: object) -> ScorerEntry:
    """Return the scorer that an entry point leads to; raise ValueError with what is wrong with it."""
    if not isinstance(found, ScorerEntry):
        raise ValueError(f"it is no scorer: {found!r} is no detoxlm.scorers.ScorerEntry")
    if ":" not in found.factory:
        raise ValueError(f"its factory {found.factory!r} is no `module:function`")
    return found


#: The built-in scorers in the order of lists, then those of other packages.
SCORERS: Registry[ScorerEntry] = Registry(
    "detoxlm.scorers",
    "scorer",
    _checked,
    (
        "embedded",
        "ngram",
        "perspective-like",
        "reader",
        "hub",
        "detoxify",
        "alt-profanity-check",
        "regex",
        "python",
        "any",
        "openai",
    ),
)


@dataclass(frozen=True)
class ScorerStatus:
    """One line of `detoxlm scorers`."""

    name: str
    spec: str
    summary: str
    #: What is missing to run it here; None: it can run.
    missing: str | None


def load_scorer(spec: str, *, device: str | None = None, batch_size: int | None = None, cache: bool = True) -> Scorer:
    """Return the scorer that `spec` names.

    Args:
        spec: a name of `SCORERS`, with its argument behind a colon: `embedded`, `hub:<repo or folder>#label`,
            `regex:<pattern>`; `list_scorers` has every form.
        device: a torch device for scorers that use torch; None: a GPU when there is one.
        batch_size: texts scored at a time; None: the scorer's own.
        cache: keep the scores of network and large-model scorers on disk (`detoxlm.files.cache_dir()`).

    Raises:
        UsageError: the name is unknown, the model, label or package is missing, or an argument is out of range.
        DetoxError: the model is there and cannot be loaded.
    """
    name, _, argument = spec.partition(":")
    entry = SCORERS.get_known(name)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size: {batch_size} is not at least 1.")
    passed = {"cache": cache} if entry.composed else {}
    scorer: Scorer = _factory(name, entry)(argument, device, **passed)
    if batch_size is not None:
        scorer.batch_size = batch_size
    if cache and entry.cached:
        from detoxlm.scorers.cache import CachedScorer

        return CachedScorer(scorer)
    return scorer


def _factory(name: str, entry: ScorerEntry) -> Callable[..., Scorer]:
    """Import what makes a scorer; raise `UsageError` where its module is broken."""
    module, _, function = entry.factory.partition(":")
    try:
        factory: Callable[..., Scorer] = getattr(importlib.import_module(module), function)
    except DetoxError:
        raise
    except Exception as error:  # what a module of somebody else raises when imported is no closed set
        raise UsageError(
            f"scorer: {name}: its factory {entry.factory} cannot be imported: {type(error).__name__}: "
            f"{first_line(error)}. Mend or uninstall its package."
        ) from error
    return factory


def list_scorers() -> list[ScorerStatus]:
    """Return every known scorer with its one-line summary and what it lacks here; loads no model."""
    problems = SCORERS.problems()
    found = [ScorerStatus(name, e.spec, e.summary, _missing(e)) for name, e in SCORERS.working().items()]
    # a name that a built-in one has keeps its own line; that another package claims it too is one more
    return found + [ScorerStatus(name, name, "of another package", problem) for name, problem in problems.items()]


def _missing(entry: ScorerEntry) -> str | None:
    try:
        return entry.missing()
    except Exception as error:  # somebody else's check must not cost the list
        return f"its own check failed: {type(error).__name__}: {first_line(error)}"


__all__ = ["SCORERS", "Scorer", "ScorerEntry", "ScorerStatus", "list_scorers", "load_scorer"]
