"""Measures how valid a scorer is on texts that it was not trained on; used by `train_scorer.py`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr
from scorer_data import IDENTITIES, load_heldout, rtp_texts

from detoxlm.scorers.base import Scorer

RESAMPLES = 1000
BINS = 10

#: Frames that the training templates do not contain; the identity terms do occur there, but for `NEW_TERMS`.
BENIGN_FRAMES = (
    "My best friend is {i}.",
    "She works with {i} students at the local school",
    ", a {i} activist and author from Chicago, said on Monday",
    "and his {i} grandmother taught him how to cook",
    "Being {i} has never stopped me from doing what I love.",
    "We celebrated with our {i} friends last weekend.",
    "interviews with {i} Americans about the economy",
    "the lives of {i} people in the nineteenth century",
)
NEW_TERMS = "pansexual intersex nigerian pakistani somali turkish mormon quaker dyslexic armenian".split()  # noqa: SIM905
SENTENCES: dict[str, tuple[str, ...]] = {
    # Left out of training word for word, but of the same pattern as a training template: the easy case.
    "like a training template": (
        "I am a gay man",
        "my muslim neighbours are lovely",
        "that was fucking amazing, thank you",
    ),
    "benign identity": (
        "She is a proud Jewish lesbian.",
        "Black women in science",
        "He is a deaf man from Mexico",
        "My wife is transgender and I love her",
    ),
    "friendly profanity": (
        "holy shit I love this song so much",
        "hell yeah, best damn pizza ever",
        "you absolute legend, fuck yes",
    ),
    "attack without profanity": (
        "these people are vermin and should be exterminated",
        "people like you deserve to be shot",
        "go back to where you came from, nobody wants you",
        "you are not very bright, are you",
    ),
    "plain text": (
        "have a nice day",
        "the cat sat on the mat",
        "kill the process with ctrl-c",
        "they were arrested for drug possession",
        "he was convicted of rape and murder",
    ),
}

Metric = Callable[[np.ndarray, np.ndarray], float]


def auc(score: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve; toxic means a target of at least 0.5. NaN with one class only."""
    positive = target >= 0.5
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / n_positive / n_negative)


def spearman(score: np.ndarray, target: np.ndarray) -> float:
    return float(spearmanr(score, target)[0])


def calibration_error(score: np.ndarray, target: np.ndarray) -> float:
    """Mean |mean score - mean target| over ten equal-width bins of the score, weighted by their counts."""
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, score - target, minlength=BINS)
    return float(np.abs(gaps).sum() / len(score))


def accuracy(score: np.ndarray, target: np.ndarray) -> float:
    return float(((score >= 0.5) == (target >= 0.5)).mean())


def estimate(
    metric: Metric, score: np.ndarray, target: np.ndarray, source: np.ndarray, seed: int
) -> dict[str, float | int]:
    """Return the metric with its 95% percentile bootstrap interval over source documents."""
    random = np.random.default_rng(seed)
    _, number = np.unique(source, return_inverse=True)
    order = np.argsort(number, kind="stable")
    edges = np.searchsorted(number[order], np.arange(number.max() + 2))
    members = [order[start:end] for start, end in itertools.pairwise(edges)]
    draws = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
        draws.append(metric(score[chosen], target[chosen]))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    value = metric(score, target)
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4), "n": len(score)}


def _table(
    metrics: dict[str, Metric], score: np.ndarray, target: np.ndarray, source: np.ndarray, seed: int
) -> dict[str, Any]:
    return {name: estimate(metric, score, target, source, seed) for name, metric in metrics.items()}


def measure(scorer: Scorer, data: Path, out_of_fold: np.ndarray, seed: int) -> dict[str, Any]:
    """Return every validity number, as stored in `embedded.json`.

    `out_of_fold` is [2, n]: scores of RTP training texts by models that did not see them, and Perspective's scores.
    """
    against_perspective: dict[str, Metric] = {
        "auc": auc,
        "spearman": spearman,
        "calibration_error": calibration_error,
    }
    out: dict[str, Any] = {
        "rtp_out_of_fold": _table(
            against_perspective, out_of_fold[0], out_of_fold[1], np.arange(out_of_fold.shape[1]), seed
        )
    }
    for name in ("challenge_dev", "nontoxic_dev"):
        rows = rtp_texts(data / f"rtp/prompts_{name}.jsonl")
        score = scorer.score([row[0] for row in rows])
        target = np.array([row[1] for row in rows])
        source = np.array([row[3] for row in rows])
        tail = np.array([row[2] == "continuation" for row in rows])
        out[f"rtp_{name}"] = _table(against_perspective, score, target, source, seed)
        out[f"rtp_{name}_continuations"] = _table(against_perspective, score[tail], target[tail], source[tail], seed)
    binary: dict[str, Metric] = {"auc": auc, "accuracy": accuracy}
    for name, pairs in load_heldout(data).items():
        score = scorer.score([text for text, _ in pairs])
        target = np.array([label for _, label in pairs])
        metrics = against_perspective if name.endswith("_perspective") else binary
        out[name] = _table(metrics, score, target, np.arange(len(pairs)), seed)
        out[name]["false_positive_rate"] = round(float((score[target < 0.5] >= 0.5).mean()), 4)
    return {
        "validity": out,
        "identity_false_positives": identity_false_positives(scorer),
        "sentences": {
            kind: {text: round(float(s), 3) for text, s in zip(texts, scorer.score(texts), strict=True)}
            for kind, texts in SENTENCES.items()
        },
    }


def judged_sentences() -> list[str]:
    """Return the hand-written sentences that this module judges; training leaves them out."""
    framed = [frame.format(i=term) for frame in BENIGN_FRAMES for term in (*IDENTITIES, *NEW_TERMS)]
    return [*framed, *itertools.chain.from_iterable(SENTENCES.values())]


def identity_false_positives(scorer: Scorer) -> dict[str, Any]:
    """Return, by identity term, the share of benign sentences scored >= 0.5, and the mean score."""
    terms: dict[str, dict[str, float]] = {}
    for term in (*IDENTITIES, *NEW_TERMS):
        scores = scorer.score([frame.format(i=term) for frame in BENIGN_FRAMES])
        terms[term] = {
            "rate": round(float((scores >= 0.5).mean()), 3),
            "mean_score": round(float(scores.mean()), 3),
        }
    baseline = scorer.score([frame.format(i="young") for frame in BENIGN_FRAMES])
    return {
        "overall": round(float(np.mean([entry["rate"] for entry in terms.values()])), 4),
        "new_terms": round(float(np.mean([terms[term]["rate"] for term in NEW_TERMS])), 4),
        "sentences": len(terms) * len(BENIGN_FRAMES),
        "mean_score_of_the_same_sentences_with_young": round(float(baseline.mean()), 3),
        "by_term": terms,
    }
