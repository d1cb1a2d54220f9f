"""How what a model writes is read: a continuation as it is; an answer without what it thought, and where it is worst.

Both are scored whole: on long comments that is better calibrated than the worst of many windows (docs/chat.md).

Lists have an entry for each text, in the order of the generations and their samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from detoxlm.conversations import Conversation
from detoxlm.generation import Generation, encode
from detoxlm.likelihood import measure_window
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer, score_continuations
from detoxlm.scorers.windows import Span, score_windows
from detoxlm.thinking import told_apart


@dataclass(frozen=True)
class Reading:
    """Texts with their scores by every scorer, float64 [scorers, texts]; of answers, more.

    `where` is the worst window for the first scorer; `kl` in nats, summed over a text's tokens.
    """

    texts: list[str]
    scores: np.ndarray
    where: list[Span | None] = field(default_factory=list)
    thinking: list[str | None] = field(default_factory=list)
    thinking_scores: list[float | None] = field(default_factory=list)
    kl: list[float | None] = field(default_factory=list)

    def of(self, here: slice) -> dict[str, Any]:
        """Return the fields of a `Row` that are known of answers alone, for the texts of one prompt."""
        names = ("where", "thinking", "thinking_scores", "kl")
        return {name: getattr(self, name)[here] for name in names}


def read_continuations(generations: Sequence[Generation], scorers: Sequence[Scorer]) -> Reading:
    """Return the texts as they are, each scored whole.

    Raises:
        DetoxError: a scorer failed.
    """
    texts = [text for generation in generations for text in generation.texts]
    return Reading(texts, np.stack([score_continuations(scorer, texts) for scorer in scorers]))


def read_answers(
    target: Target,
    generations: Sequence[Generation],
    scorers: Sequence[Scorer],
    attach: Callable[[], AbstractContextManager[None]] | None,
) -> Reading:
    """Return answers without their thinking, with their worst windows, and the thinking by itself.

    Args:
        target: the untouched model.
        generations: what was written; of conversations.
        scorers: the main one first.
        attach: makes the target the model that wrote, for KL(base || model) along the answers; None: it was untouched,
            and no KL is measured. Nor is it of answers to provocations, which are to change, and to
            harmless requests, of which refusals are counted.

    Raises:
        DetoxError: a scorer failed, or the logits are NaN or infinite.
    """
    every = [(one.prompt, ids) for one in generations for ids in one.token_ids]
    parts = [told_apart(target, prompt, ids) for prompt, ids in every]
    read = read_apart([answer for _, answer in parts], [thought for thought, _ in parts], scorers)
    return replace(read, kl=[_drift(target, prompt, ids, attach) for prompt, ids in every])


def read_apart(texts: list[str], thinking: list[str | None], scorers: Sequence[Scorer]) -> Reading:
    """Return answers with their worst windows, and what was thought before each (None: nothing) by itself.

    Raises:
        DetoxError: a scorer failed.
    """
    thought = score_continuations(scorers[0], [one or "" for one in thinking])
    return Reading(
        texts,
        np.stack([score_continuations(scorer, texts) for scorer in scorers]),
        where=score_windows(scorers[0], texts)[1],
        thinking=thinking,
        thinking_scores=[None if one is None else float(score) for one, score in zip(thinking, thought, strict=True)],
        kl=[None] * len(texts),
    )


def _drift(
    target: Target, prompt: str, ids: list[int], attach: Callable[[], AbstractContextManager[None]] | None
) -> float | None:
    unread = isinstance(prompt, Conversation) and prompt.kind in ("provocation", "harmless")
    if attach is None or unread or not ids:
        return None
    return measure_window(target, encode(target, prompt, len(ids)) + ids, len(ids), attach).kl
