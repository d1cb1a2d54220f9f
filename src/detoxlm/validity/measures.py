"""The numbers that say how far a scorer can be trusted: what each means, and how it follows from scores and targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from detoxlm.metrics.ranks import levels, spearman_of
from detoxlm.metrics.toxicity import THRESHOLD
from detoxlm.results import Estimate

#: From here on a target or a score means toxic; the recipes' toxic fraction uses the same number.
TOXIC = THRESHOLD
#: Equal-width bins of the score, for the calibration curve and its error.
BINS = 10


@dataclass(frozen=True)
class Measure:
    """One number of a scorer's validity, the same in the console, the page and the documentation."""

    label: str
    meaning: str
    better: Literal["higher", "lower"]
    percent: bool = False

    def show(self, estimate: Estimate | None, *, sign: bool = False) -> str:
        """Print an estimate with its interval: `0.943 [0.938, 0.948]`, `7.1% [6.0, 8.2]`; `sign`: of a difference.

        None, such as the rank correlation of a scorer that gives all texts one score, is a dash.
        """
        if estimate is None:
            return "–"
        plus, scale, digits = "+" if sign else "", 100 if self.percent else 1, 1 if self.percent else 3
        unit = (" points" if sign else "%") if self.percent else ""
        text = f"{estimate.value * scale:{plus}.{digits}f}{unit}"
        if estimate.low is not None and estimate.high is not None:
            text += f" [{estimate.low * scale:{plus}.{digits}f}, {estimate.high * scale:{plus}.{digits}f}]"
        return text.replace("-", "−")


MEASURES: dict[str, Measure] = {
    "auc": Measure("AUC", "chance that a toxic text scores above a benign one; 0.5 is a coin", "higher"),
    "spearman": Measure("Spearman", "rank correlation of scores with targets that are scores themselves", "higher"),
    "calibration_error": Measure(
        "ECE", "expected calibration error: mean gap between mean score and mean target over ten bins", "lower"
    ),
    "accuracy": Measure("Accuracy", "share of texts on the right side of 0.5", "higher", percent=True),
    "false_positive_rate": Measure(
        "False positives", "share of benign texts scored 0.5 or more", "lower", percent=True
    ),
    "false_negative_rate": Measure("False negatives", "share of toxic texts scored below 0.5", "lower", percent=True),
    "precision": Measure("Precision", "share of texts scored 0.5 or more that are toxic", "higher", percent=True),
    "recall": Measure("Recall", "share of toxic texts scored 0.5 or more", "higher", percent=True),
}
#: What is shown of further dimensions; validity.json has the others too.
DIMENSION_MEASURES = ("auc", "spearman", "calibration_error")


def auc(score: np.ndarray, target: np.ndarray) -> float:
    """Return the area under the ROC curve, in [0, 1]; ties count half. NaN with one class only.

    Args:
        score: float [N].
        target: float [N] in [0, 1]; at least 0.5 is toxic.
    """
    return float(auc_draws(score, target, np.ones((1, len(score))))[0])


def spearman(score: np.ndarray, target: np.ndarray) -> float:
    """Return Spearman's rank correlation of float [N] with float [N], in [-1, 1]; ties share their mean rank.

    NaN where either is constant.
    """
    return float(spearman_of(score, target)(np.ones((1, len(score))))[0])


def calibration_error(score: np.ndarray, target: np.ndarray) -> float:
    """Return the expected calibration error, in [0, 1]: |mean score - mean target| over bins, weighted by count.

    Ten bins of equal width, closed below, the last one on both sides; see Naeini et al. 2015. A score of 0.7 is
    calibrated where targets are labels if 70% of such texts are toxic, and where they are scores if their mean is 0.7.
    """
    gaps = np.bincount(bin_of(score, BINS), score - target, minlength=BINS)
    return float(np.abs(gaps).sum() / len(score))


def accuracy(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of texts whose score and target lie on the same side of 0.5."""
    return float(((score >= TOXIC) == (target >= TOXIC)).mean())


def false_positive_rate(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of benign texts with a score of at least 0.5; NaN without benign texts."""
    benign = target < TOXIC
    return float((score[benign] >= TOXIC).mean()) if benign.any() else float("nan")


def false_negative_rate(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of toxic texts with a score below 0.5; NaN without toxic texts."""
    toxic = target >= TOXIC
    return float((score[toxic] < TOXIC).mean()) if toxic.any() else float("nan")


def precision(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of texts with a score of at least 0.5 that are toxic; NaN where no score is so high."""
    called = score >= TOXIC
    return float((target[called] >= TOXIC).mean()) if called.any() else float("nan")


def recall(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of toxic texts with a score of at least 0.5; NaN without toxic texts."""
    return 1 - false_negative_rate(score, target)


def is_binary(target: np.ndarray) -> bool:
    """Say whether targets are labels (0 and 1 only) and not scores: then there is no Spearman to speak of."""
    return bool(np.isin(target, (0.0, 1.0)).all())


def bin_of(score: np.ndarray, count: int) -> np.ndarray:
    """Return the number of each score's bin, from 0: `count` of equal width over [0, 1], the last closed above too."""
    return np.minimum((score * count).astype(int), count - 1)


def auc_draws(score: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of each resample, where text i counts `weights[r, i]` times: weights [R, N], result [R].

    The probability that a toxic text scores above a benign one, ties half (Mann-Whitney U over the number of pairs).
    """
    order, starts, _ = levels(score)
    toxic = (target >= TOXIC)[order]
    ordered = weights[:, order]
    positive = np.add.reduceat(ordered * toxic, starts, axis=1)
    negative = np.add.reduceat(ordered * ~toxic, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return ratio((positive * below).sum(axis=1), pairs)


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return top / bottom, element by element; NaN where the bottom is 0."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
