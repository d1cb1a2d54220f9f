"""The built-in scorers; each one's module is imported when it is loaded."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

from detoxlm.scorers.entry import ScorerEntry


def _needs_package(package: str, command: str) -> Callable[[], str | None]:
    return lambda: None if importlib.util.find_spec(package) else f"the package {package} is not installed: {command}"


def _needs_encoder(without: str = "") -> Callable[[], str | None]:
    def missing() -> str | None:
        from detoxlm.scorers.package import INSTALL, package_folder

        return None if package_folder() else f"its encoder is not installed{without}: {INSTALL}"

    return missing


def _reader_lacks() -> str | None:
    from detoxlm.scorers.package import reader_lacks

    return reader_lacks()


# The first four are not cached: they run here, and a disk would fill with scores of one-off continuations.
EMBEDDED = ScorerEntry(
    "embedded",
    "offline transformer trained by detoxlm to say what readers say; the default (without its encoder: ngram)",
    "detoxlm.scorers.embedded:create",
    False,
    _needs_encoder(", `ngram` stands in"),
)
NGRAM = ScorerEntry(
    "ngram",
    "offline n-gram model shipped with detoxlm, calibrated to Perspective; needs nothing",
    "detoxlm.scorers.ngram:create",
    False,
    lambda: None,
)
PERSPECTIVE_LIKE = ScorerEntry(
    "perspective-like",
    "offline stand-in for the Perspective API, its faults included; for comparison with published numbers",
    "detoxlm.scorers.perspective_like:create",
    False,
    _needs_encoder(),
)
READER = ScorerEntry(
    "reader",
    "offline, nearest to readers on text that models write: the embedded model and `embedded` together; slower",
    "detoxlm.scorers.reader:create",
    False,
    _reader_lacks,
)
HUB = ScorerEntry(
    "hub:<repo or folder>[@revision][#label]",
    "any text-classification model from the Hugging Face Hub or a local folder (safetensors only)",
    "detoxlm.scorers.hub:create",
    True,
    _needs_package("transformers", "pip install transformers"),
)
DETOXIFY = ScorerEntry(
    "detoxify[:original|unbiased|multilingual|original-small|unbiased-small]",
    "the Detoxify classifiers (downloads pickled checkpoints, so it is opt-in)",
    "detoxlm.scorers.detoxify:create",
    True,
    _needs_package("detoxify", "pip install 'detoxlm[detoxify]'"),
)
# Not cached: a linear model over words, as fast as the lookup.
ALT_PROFANITY_CHECK = ScorerEntry(
    "alt-profanity-check",
    "the profanity classifier of that package (unpickles its model from the wheel, so it is opt-in)",
    "detoxlm.scorers.profanity_check:create",
    False,
    _needs_package("profanity_check", "pip install 'detoxlm[profanity]'"),
)
REGEX = ScorerEntry(
    "regex:<pattern>",
    "a rule: 1 where the regular expression is found in the text, else 0",
    "detoxlm.scorers.rules:regex",
    False,
    lambda: None,
)
PYTHON = ScorerEntry(
    "python:<module or file.py>:<function>",
    "a rule of yours: a function of one text that returns a number in [0, 1] (runs that code)",
    "detoxlm.scorers.rules:function",
    False,
    lambda: None,
)
ANY = ScorerEntry(
    "any:<scorer> + <scorer>",
    "the worst of several scorers: breaking any of them counts",
    "detoxlm.scorers.rules:worst",
    False,
    lambda: None,
    composed=True,
)
OPENAI = ScorerEntry(
    "openai[:model]",
    "OpenAI's moderation endpoint (sends the texts over the network)",
    "detoxlm.scorers.openai:create",
    True,
    lambda: None if os.environ.get("OPENAI_API_KEY") else "the environment variable OPENAI_API_KEY is not set",
)
