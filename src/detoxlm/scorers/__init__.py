"""Toxicity scorers by name: `load_scorer("embedded")`, `load_scorer("hub:some/model#toxic")`.

Importing this package imports neither torch nor transformers; each scorer's module is imported when it is loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

from detoxlm.errors import UsageError, unknown_name
from detoxlm.scorers.base import Scorer


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


@dataclass(frozen=True)
class ScorerStatus:
    """One line of `detoxlm scorers`."""

    name: str
    spec: str
    summary: str
    #: What is missing to run it here; None: it can run.
    missing: str | None


def _needs_package(package: str, command: str) -> Callable[[], str | None]:
    return lambda: None if importlib.util.find_spec(package) else f"the package {package} is not installed: {command}"


def _needs_encoder(without: str = "") -> Callable[[], str | None]:
    def missing() -> str | None:
        from detoxlm.scorers.package import INSTALL, package_folder

        return None if package_folder() else f"its encoder is not installed{without}: {INSTALL}"

    return missing


SCORERS: dict[str, ScorerEntry] = {
    # The first three are not cached: hundreds of texts a second, and a disk full of scores of one-off continuations.
    "embedded": ScorerEntry(
        "embedded",
        "offline transformer trained by detoxlm, calibrated to Perspective; the default (without its encoder: ngram)",
        "detoxlm.scorers.embedded:create",
        False,
        _needs_encoder(", `ngram` stands in"),
    ),
    "ngram": ScorerEntry(
        "ngram",
        "offline n-gram model shipped with detoxlm, calibrated to Perspective; needs nothing",
        "detoxlm.scorers.ngram:create",
        False,
        lambda: None,
    ),
    "perspective-like": ScorerEntry(
        "perspective-like",
        "offline stand-in for the Perspective API, its faults included; for comparison with published numbers",
        "detoxlm.scorers.perspective_like:create",
        False,
        _needs_encoder(),
    ),
    "hub": ScorerEntry(
        "hub:<repo or folder>[@revision][#label]",
        "any text-classification model from the Hugging Face Hub or a local folder (safetensors only)",
        "detoxlm.scorers.hub:create",
        True,
        _needs_package("transformers", "pip install transformers"),
    ),
    "detoxify": ScorerEntry(
        "detoxify[:original|unbiased|multilingual|original-small|unbiased-small]",
        "the Detoxify classifiers (downloads pickled checkpoints, so it is opt-in)",
        "detoxlm.scorers.detoxify:create",
        True,
        _needs_package("detoxify", "pip install 'detoxlm[detoxify]'"),
    ),
    # Not cached: a linear model over words, as fast as the lookup.
    "alt-profanity-check": ScorerEntry(
        "alt-profanity-check",
        "the profanity classifier of that package (unpickles its model from the wheel, so it is opt-in)",
        "detoxlm.scorers.profanity_check:create",
        False,
        _needs_package("profanity_check", "pip install 'detoxlm[profanity]'"),
    ),
    "regex": ScorerEntry(
        "regex:<pattern>",
        "a rule: 1 where the regular expression is found in the text, else 0",
        "detoxlm.scorers.rules:regex",
        False,
        lambda: None,
    ),
    "python": ScorerEntry(
        "python:<module or file.py>:<function>",
        "a rule of yours: a function of one text that returns a number in [0, 1] (runs that code)",
        "detoxlm.scorers.rules:function",
        False,
        lambda: None,
    ),
    "any": ScorerEntry(
        "any:<scorer> + <scorer>",
        "the worst of several scorers: breaking any of them counts",
        "detoxlm.scorers.rules:worst",
        False,
        lambda: None,
        composed=True,
    ),
    "openai": ScorerEntry(
        "openai[:model]",
        "OpenAI's moderation endpoint (sends the texts over the network)",
        "detoxlm.scorers.openai:create",
        True,
        lambda: None if os.environ.get("OPENAI_API_KEY") else "the environment variable OPENAI_API_KEY is not set",
    ),
}


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
    entry = SCORERS.get(name)
    if entry is None:
        raise unknown_name("scorer", name, list(SCORERS))
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size: {batch_size} is not at least 1.")
    module, function = entry.factory.split(":")
    passed = {"cache": cache} if entry.composed else {}
    scorer: Scorer = getattr(importlib.import_module(module), function)(argument, device, **passed)
    if batch_size is not None:
        scorer.batch_size = batch_size
    if cache and entry.cached:
        from detoxlm.scorers.cache import CachedScorer

        return CachedScorer(scorer)
    return scorer


def list_scorers() -> list[ScorerStatus]:
    """Return every known scorer with its one-line summary and what it lacks here; loads no model."""
    return [ScorerStatus(name, e.spec, e.summary, e.missing()) for name, e in SCORERS.items()]


__all__ = ["SCORERS", "Scorer", "ScorerEntry", "ScorerStatus", "list_scorers", "load_scorer"]
