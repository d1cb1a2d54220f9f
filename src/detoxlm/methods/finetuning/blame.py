"""How much each token contributes to a text's toxicity, so that the harmless words of a toxic text are left alone.

*Occlusion*: the toxicity of the text less that of the text without the token. *Rise*: the toxicity of the text up to
the token less that up to the one before. Occlusion misses what is said twice, where no one token matters; there the
rise takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from detoxlm.models import Target
from detoxlm.passages import Passage
from detoxlm.progress import track
from detoxlm.scorers.base import Scorer

Blame = Literal["occlusion", "rise", "uniform"]
#: Occlusions that sum to less than this explain nothing.
UNEXPLAINED = 0.1


def token_weights(target: Target, scorer: Scorer, texts: Sequence[Passage], blame: Blame) -> list[list[float]]:
    """Return weights in [0, 1], one for each token of every text after its context.

    Args:
        target: whose tokenizer it is.
        scorer: who judges the texts, each without its context, as continuations are judged everywhere.
        texts: harmful texts.
        blame: `uniform` gives every token 1; the others are above.
    """
    words = [passage.ids[passage.start :] for passage in texts]
    if blame == "uniform":
        return [[1.0] * len(ids) for ids in words]
    weights = []
    with track("blaming tokens", sum(map(len, words)), "tokens") as advance:
        for ids in words:
            given = _occlusion(target, scorer, ids) if blame == "occlusion" else np.zeros(len(ids))
            if given.sum() < UNEXPLAINED:
                given = _rise(target, scorer, ids)
            weights.append(given.tolist())
            advance(len(ids))
    return weights


def _occlusion(target: Target, scorer: Scorer, ids: list[int]) -> np.ndarray:
    scores = _scores(target, scorer, [ids, *(ids[:i] + ids[i + 1 :] for i in range(len(ids)))])
    return np.clip(scores[0] - scores[1:], 0, 1)


def _rise(target: Target, scorer: Scorer, ids: list[int]) -> np.ndarray:
    scores = _scores(target, scorer, [ids[: i + 1] for i in range(len(ids))])
    return np.clip(np.diff(scores, prepend=0.0), 0, 1)


def _scores(target: Target, scorer: Scorer, rows: list[list[int]]) -> np.ndarray:
    """Scores of decoded rows; one that decodes to nothing is not toxic."""
    texts = [target.tokenizer.decode(row, skip_special_tokens=True) for row in rows]
    said = [i for i, text in enumerate(texts) if text.strip()]
    scores = np.zeros(len(rows))
    if said:
        scores[said] = scorer.score([texts[i] for i in said])
    return scores
