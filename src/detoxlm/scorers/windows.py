"""Where a long text is most toxic: it is read in windows, each of which is scored by itself.

A window is as many whole sentences as fit into `WORDS` words, and a new one begins at every sentence, so that what
follows a sentence is read with it. A sentence that is longer is read in pieces of that length, each half of which is
in the next one too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from detoxlm.scorers.base import EMPTY_SCORE, Scorer
from detoxlm.sentences import sentences

#: Words of a window: about 32 tokens.
WORDS = 24
_WORD = re.compile(r"\S+")
#: A half-open range of characters.
Span = tuple[int, int]


def windows(text: str) -> list[Span]:
    """Return the windows of a text in their order; a text of at most `WORDS` words has one, an empty one none.

    Every word is in one at least, and none lies within another.
    """
    words = [found.span() for found in _WORD.finditer(text)]
    if not words:
        return []
    if len(words) <= WORDS:
        return [(words[0][0], words[-1][1])]
    ends = {end for _, end in sentences(text)}
    starts, parts = 0, []  # ranges of words, half-open: sentences, and halves of windows of those that are too long
    for i, (_, end) in enumerate(words):
        if end in ends or i == len(words) - 1:
            step = WORDS // 2 if i + 1 - starts > WORDS else WORDS
            parts += [(start, min(start + step, i + 1)) for start in range(starts, i + 1, step)]
            starts = i + 1
    found: list[Span] = []
    reached = 0
    for at, (start, end) in enumerate(parts):
        for _, later in parts[at + 1 :]:
            if later - start > WORDS:
                break
            end = later
        if end > reached:  # else it lies within the window before
            found.append((words[start][0], words[end - 1][1]))
            reached = end
    return found


def score_windows(scorer: Scorer, texts: Sequence[str]) -> tuple[np.ndarray, list[Span | None]]:
    """Return the score of each text's worst window, float64 [len(texts)] in [0, 1], and where that is; None: empty.

    Raises:
        UsageError, DetoxError: as `Scorer.score`.
    """
    spans = [windows(text) for text in texts]
    scores = iter(scorer.score([text[a:b] for text, some in zip(texts, spans, strict=True) for a, b in some]).tolist())
    worst, where = np.full(len(texts), EMPTY_SCORE), list[Span | None]()
    for i, some in enumerate(spans):
        said = [next(scores) for _ in some]
        if said:
            worst[i] = max(said)
        where.append(some[said.index(max(said))] if said else None)
    return worst, where
