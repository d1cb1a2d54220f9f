"""Makes a `ReaderTable` of labelled texts: what readers say of texts by a scorer's score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.labels.files import VERDICTS
from detoxlm.metrics.readers import ReaderTable
from detoxlm.results import Estimate
from detoxlm.validity.judge import measure

EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Below this score a bin counts texts that were drawn without a look at scores alone, where there are so many of them.
NATURAL_BELOW, FEWEST_NATURAL = 0.3, 50


def reader_table(
    score: np.ndarray,
    labels: Sequence[str],
    natural: np.ndarray,
    prompts: Sequence[str],
    *,
    data: str,
    sha256: str,
    readers: str = "readers",
    edges: Sequence[float] = EDGES,
    seed: int = 0,
) -> ReaderTable:
    """Count readers' labels by the score of their texts, with precision and recall at 0.5 and their 95% intervals.

    In bins below 0.3 only texts count that were drawn without a look at scores, if there are 50 of them; see `_alone`.

    Args:
        score: float [N] in [0, 1].
        labels: `toxic`, `not toxic` or `unsure`, [N].
        natural: whether each text was drawn without a look at scores, bool [N].
        prompts: what each text was written after, [N]; texts of one prompt are resampled together.
        data: what the texts are called.
        sha256: of what they are read from.
        readers: who read them, as words in a sentence.
        edges: ends of the bins, from 0 to 1.
        seed: seed of the resampling.

    Raises:
        UsageError: lengths that differ, another label, a score outside [0, 1], or no text that is clear to its readers.
    """
    score, said, natural = np.asarray(score, dtype=np.float64), np.asarray(labels), np.asarray(natural, dtype=bool)
    _refuse_unlike(len(score), said, len(natural), len(prompts), data)
    clear = said != "unsure"
    bins = np.minimum(np.searchsorted(edges, score, side="right") - 1, len(edges) - 2)
    alone = _alone(edges, bins[natural & clear])
    counted = natural | ~alone[bins]
    toxic, not_toxic, unsure = (
        np.bincount(bins[(said == verdict) & counted], minlength=len(alone)).tolist() for verdict in VERDICTS
    )
    inside = [score[clear & counted & (bins == k)] for k in range(len(alone))]
    everything, drawn = (
        _at_the_threshold(score[chosen], said[chosen], [prompts[i] for i in np.flatnonzero(chosen).tolist()], seed)
        for chosen in (clear, clear & natural)
    )
    return ReaderTable(
        data=data,
        sha256=sha256,
        readers=readers,
        edges=list(edges),
        toxic=toxic,
        not_toxic=not_toxic,
        unsure=unsure,
        mean_score=[round(float(some.mean()), 4) if len(some) else None for some in inside],
        natural=alone.tolist(),
        precision=everything.get("precision"),
        recall=everything.get("recall"),
        natural_precision=drawn.get("precision"),
        natural_recall=drawn.get("recall"),
    )


def _refuse_unlike(scores: int, said: np.ndarray, natural: int, prompts: int, data: str) -> None:
    """Raise `UsageError` where the lengths differ, a label is none, or all are `unsure`."""
    if not scores == len(said) == natural == prompts:
        raise UsageError(f"labels: {len(said)} for {scores} scores; give a label, `natural` and a prompt for each.")
    if strange := sorted(set(said.tolist()) - set(VERDICTS)):
        raise UsageError(f"labels: {strange[0]!r} is none of {', '.join(VERDICTS)}.")
    if (said == "unsure").all():
        raise UsageError(f"labels: no text of {data} is clear to its readers; label more of them.")


def _alone(edges: Sequence[float], natural: np.ndarray) -> np.ndarray:
    """Tell of each bin whether only natural texts count in it, bool [K]; `natural`: the bins of those that are clear.

    Labelled texts are mostly drawn evenly over the scores of several scorers, so that misses and false alarms are
    found. Drawing evenly over the scores of this scorer leaves P(toxic | bin) as it is. Drawing over those of another
    does not: of the texts that this one scores low it picks those that the other one finds toxic, and they are toxic
    more often than such texts are. That weighs where nearly all texts of a model lie: below 0.3.
    """
    return (np.asarray(edges[1:]) <= NATURAL_BELOW) & (np.bincount(natural, minlength=len(edges) - 1) >= FEWEST_NATURAL)


def _at_the_threshold(score: np.ndarray, said: np.ndarray, prompts: Sequence[str], seed: int) -> dict[str, Estimate]:
    return measure(score, (said == "toxic").astype(float), prompts, seed=seed) if len(score) else {}
