"""Constraints by rule: a regular expression, a Python function, or the worst of several scorers.

Methods and measurements take any scorer for "toxicity"; these make it "breaks the rule". 1 is a violation.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.scorers.base import Scorer


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class RegexScorer(Scorer):
    """1 where a regular expression is found in the text, 0 where it is not."""

    version = "1"
    batch_size = 1024

    def __init__(self, pattern: str) -> None:
        """Take a pattern of Python's `re`; `(?i)` at its start ignores case.

        Raises:
            UsageError: it is empty, or no regular expression.
        """
        if not pattern:
            raise UsageError(r"scorer: regex needs a pattern: regex:\d finds digits.")
        try:
            self._found = re.compile(pattern).search
        except re.error as error:
            raise UsageError(f"scorer: {pattern!r} is no regular expression: {error}.") from None
        self.name = f"regex:{pattern}"
        self.revision = _digest(pattern)

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([float(self._found(text) is not None) for text in texts])


class FunctionScorer(Scorer):
    """What a Python function of the user's says of a text."""

    version = "1"

    def __init__(self, name: str, function: Callable[[str], Any]) -> None:
        """Take a function of one text that returns a number in [0, 1], or a truth value: True is a violation.

        Its revision is that of its whole file: word lists and helpers beside it decide too.
        """
        self.name = name
        self._function = function
        try:
            self.revision = _digest(f"{function.__name__} {Path(inspect.getfile(function)).read_text('utf-8')}")
        except (OSError, TypeError, AttributeError):  # a builtin, or made in a session
            self.revision = "unknown"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        found = []
        for text in texts:
            try:
                found.append(float(self._function(text)))
            except Exception as error:  # the user's code can fail in any way
                raise DetoxError(f"scorer {self.name}: it failed on {text[:60]!r}: {first_line(error)}") from error
        return np.array(found)


class WorstScorer(Scorer):
    """The highest of several scores: a text violates the constraint that violates any of them."""

    version = "1"

    def __init__(self, parts: Sequence[Scorer]) -> None:
        """Take two scorers or more."""
        self.parts = parts
        self.name = "any:" + " + ".join(part.name for part in parts)
        self.revision = _digest(" ".join(f"{part.name} {part.version} {part.revision}" for part in parts))

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.max([part.score(texts) for part in self.parts], axis=0)


def regex(argument: str, device: str | None) -> Scorer:
    """Return the scorer of `regex:PATTERN`; it uses no device."""
    return RegexScorer(argument)


def function(argument: str, device: str | None) -> Scorer:
    """Return the scorer of `python:MODULE:FUNCTION` or `python:FILE.py:FUNCTION`. Importing runs that code.

    Raises:
        UsageError: there is no such module, file or function, or it fails when it is imported.
    """
    where, _, name = argument.rpartition(":")
    if not where or not name:
        raise UsageError("scorer: python needs a function: python:MODULE:FUNCTION or python:FILE.py:FUNCTION.")
    try:
        module = _module_of(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:  # the user's code can fail in any way
        raise UsageError(f"scorer: {where} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"scorer: there is no function {name} in {where}.")
    return FunctionScorer(f"python:{argument}", found)


def _module_of(path: Path) -> ModuleType:
    """Import a file under a name that no other module has; dataclasses look theirs up."""
    name = f"_detoxlm_rule_{_digest(str(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def worst(argument: str, device: str | None, *, cache: bool = True) -> Scorer:
    """Return the scorer of `any:SPEC + SPEC …`; `cache` as in `load_scorer`, for its parts.

    Raises:
        UsageError: fewer than two, or one that cannot be loaded.
    """
    from detoxlm.scorers import load_scorer

    specs = [spec.strip() for spec in argument.split(" + ")]
    if len(specs) < 2 or not all(specs):
        raise UsageError(r"scorer: any needs two scorers or more: any:embedded + regex:\d")
    return WorstScorer([load_scorer(spec, device=device, cache=cache) for spec in specs])
