"""What the plugins share: who scores, which prompts, and the scores. Whatever fails raises, so that the run stops."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache

from detoxlm.conversations import form_of
from detoxlm.data import builtin_prompts, describe_skipped, read_prompts
from detoxlm.errors import UsageError
from detoxlm.generation import trimmed
from detoxlm.metrics.toxicity import THRESHOLD
from detoxlm.progress import say
from detoxlm.scorers import Scorer, load_scorer
from detoxlm.scorers.base import score_continuations
from detoxlm.settings import MeasureOptions
from detoxlm.sources import resolve

__all__ = ["THRESHOLD", "prompts", "scorer_named", "toxicity"]

#: Tools score from several threads at a time, and a scorer is one model.
_ONE_AT_A_TIME = threading.RLock()


def scorer_named(spec: str | None = None) -> Scorer:
    """Return the scorer of that name, loaded once in a process; None: the one that DETOXLM_SCORER names, or `embedded`.

    Raises:
        UsageError: the scorer is unknown or cannot be had here, or DETOXLM_SCORER names several.
        DetoxError: it is there and cannot be loaded.
    """
    if spec is None:
        named = resolve(MeasureOptions, {}).scorer
        if len(named) > 1:
            raise UsageError(
                f"scorer: {', '.join(named)} are {len(named)}, and one scores here; name one in DETOXLM_SCORER."
            )
        spec = named[0]
    with _ONE_AT_A_TIME:
        return _loaded(spec)


@cache
def _loaded(spec: str) -> Scorer:
    scorer = load_scorer(spec)
    # the tools' own results have no place for it, and numbers of different scorers must never be mixed
    say(f"Scored by {scorer.name}, version {scorer.version}, revision {scorer.revision}")
    return scorer


def toxicity(texts: Sequence[str], spec: str | None = None) -> list[float]:
    """Return the toxicity of continuations, each in [0, 1]; an empty one has 0.

    Args:
        texts: what a model wrote, without the prompt.
        spec: the scorer, as for `scorer_named`.

    Raises:
        UsageError, DetoxError: as `scorer_named`; the scorer failed.
    """
    scorer = scorer_named(spec)
    with _ONE_AT_A_TIME:
        found: list[float] = score_continuations(scorer, texts).tolist()
    return found


def prompts(*, builtin: bool) -> list[str]:
    """Return the prompts of the file that DETOXLM_PROMPTS names, as `detoxlm evaluate --prompts` reads it.

    DETOXLM_COLUMN, DETOXLM_LIMIT and DETOXLM_SKIP_BAD_ROWS are its options. White space around prompts is taken off.

    Args:
        builtin: whether DetoxLM's own provocative prompts serve where no file is named.

    Raises:
        UsageError: no file is named and `builtin` is False, or it cannot be read or has conversations.
    """
    options = resolve(MeasureOptions, {})
    if options.prompts is None:
        if not builtin:
            raise UsageError("prompts: this task brings none; name a file in DETOXLM_PROMPTS.")
        return trimmed(builtin_prompts("measure", "provocative")[: options.limit])
    loaded = read_prompts(
        options.prompts, column=options.column, limit=options.limit, skip_bad_rows=options.skip_bad_rows
    )
    if skipped := describe_skipped(loaded):
        say(skipped)
    if form_of(loaded.items) == "chat":
        raise UsageError(
            f"prompts: {options.prompts} has conversations, and this task continues texts; name a column of texts in "
            "DETOXLM_COLUMN."
        )
    return trimmed(loaded.items)
