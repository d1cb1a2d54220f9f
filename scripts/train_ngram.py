"""Train the scorer `ngram` and measure it: `python scripts/train_ngram.py --data ../shared/data`.

Writes `ngram.safetensors` (weights) and `ngram.json` (validity) to the scorer's weights folder. Needs the extra
`[train]`; takes about three minutes and 4 GB on one core. The same data and seed give the same files.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread: sums in one order, the same weights every time

import numpy as np
import scipy.optimize
import scipy.sparse
from safetensors.numpy import save
from scorer_calibration import calibrate
from scorer_data import Example, load_training
from scorer_validity import judged_sentences, measure, record

from detoxlm.files import write_atomically
from detoxlm.scorers import ngram

log = logging.getLogger("train_ngram")
#: These targets are on Perspective's scale (the templates by construction), so they share the RTP intercept; if they
#: had their own it would absorb "all of these are benign" and no identity term would learn anything.
SHARED_INTERCEPT = ("rtp", "rtp_joined", "templates", "madlibs", "bold")
#: How much a text of a data set weighs in the fit; the prompts and continuations of RTP are the scale to reproduce.
WEIGHT = {
    "rtp": 3.0,
    "rtp_joined": 1.5,
    "wikipedia_talk": 0.3,
    "jigsaw": 0.5,
    "civil": 0.15,
    "toxic_spans": 0.3,
    "hatemoji": 0.1,
    "madlibs": 0.3,
    "paradetox": 0.2,
    "bold": 0.3,
    "templates": 0.3,
}
RIDGE = 0.5
#: Rare n-grams carry slurs and insults; idf to this power gives them more of a text's unit length than plain idf.
IDF_POWER = 1.5
FOLDS = 4
BATCH = 256


def count_features(texts: list[str]) -> ngram.Features:
    """Featurise any number of texts with the scorer's own code."""
    parts = []
    for start in range(0, len(texts), BATCH):
        part = ngram.featurise([ngram.normalise(text) for text in texts[start : start + BATCH]])
        parts.append(part._replace(row=part.row + start))
    return ngram.Features(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def inverse_frequency(features: ngram.Features, count: int) -> np.ndarray:
    """Return idf^IDF_POWER by bucket as uint8; 0 for n-grams seen once, which teach one text by heart.

    Only the ratios matter, because every text is scaled to one length, so the largest is made 255.
    """
    seen = np.bincount(features.bucket, minlength=ngram.BUCKETS)
    idf = np.where(seen >= 2, 1 + np.log((1 + count) / (1 + seen)), 0.0) ** IDF_POWER
    return np.rint(idf / idf.max() * 255).astype(np.uint8)


def design_matrix(features: ngram.Features, count: int, idf: np.ndarray) -> scipy.sparse.csr_matrix:
    values = ngram.feature_values(features, count, idf.astype(np.float64)).astype(np.float32)
    pointers = np.searchsorted(features.row, np.arange(count + 1))
    return scipy.sparse.csr_matrix((values, features.bucket.astype(np.int32), pointers), shape=(count, ngram.BUCKETS))


def fit(
    X: scipy.sparse.csr_matrix, target: np.ndarray, weight: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, float]:
    """Minimise the weighted cross-entropy with soft targets plus a ridge: weights [buckets] and group 0's intercept."""
    transposed, groups = X.T.tocsr(), int(group.max()) + 1

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        beta, intercepts = parameters[:-groups], parameters[-groups:]
        logit = X @ beta.astype(np.float32) + intercepts[group]
        residual = weight * (1 / (1 + np.exp(-logit)) - target)
        gradient = np.concatenate(
            [
                transposed @ residual.astype(np.float32) + RIDGE * beta,
                np.bincount(group, residual, minlength=groups),
            ]
        )
        entropy = (weight * (np.logaddexp(0, logit) - target * logit)).sum()
        return float(entropy + RIDGE / 2 * (beta**2).sum()), gradient

    start = np.zeros(X.shape[1] + groups)
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 150, "maxcor": 8})
    return found.x[:-groups], float(found.x[-groups])


def train(examples: list[Example]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the tensors to store, and the out-of-fold scores of the RTP prompts and continuations."""
    names = ["rtp", *sorted({e.group for e in examples} - set(SHARED_INTERCEPT))]
    group = np.array([0 if e.group in SHARED_INTERCEPT else names.index(e.group) for e in examples])
    target = np.array([e.target for e in examples])
    weight = np.array([WEIGHT[e.group] for e in examples])
    fold = np.array([e.fold for e in examples])
    features = count_features([e.text for e in examples])
    idf = inverse_frequency(features, len(examples))
    X = design_matrix(features, len(examples), idf)
    log.info("%d texts, %.1f M n-grams", len(examples), X.nnz / 1e6)

    logit = np.full(len(examples), np.nan)
    for number in range(FOLDS):
        rest, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        beta, bias = fit(X[rest], target[rest], weight[rest], group[rest])
        logit[held] = X[held] @ beta + bias
        log.info("fold %d of %d done", number + 1, FOLDS)
    single = np.array([e.fold >= 0 and e.group == "rtp" for e in examples])
    slope, offset = calibrate(logit[single], target[single])
    beta, bias = fit(X, target, weight, group)
    tensors = {
        "weights": beta.astype(np.float16),
        "idf": idf,
        "calibration": np.array([bias, slope, offset]),
    }
    scores = 1 / (1 + np.exp(-(slope * logit + offset)))
    return tensors, np.stack([scores[single], target[single]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder, read in place")
    parser.add_argument("-o", "--output", type=Path, default=ngram.WEIGHTS.parent)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    examples = load_training(arguments.data, FOLDS, arguments.seed, judged_sentences())
    counts = dict(sorted(Counter(e.group for e in examples).items()))
    log.info("training texts: %s", counts)
    tensors, out_of_fold = train(examples)
    weights = arguments.output / ngram.WEIGHTS.name
    write_atomically(weights, save(tensors))
    scorer = ngram.NgramScorer(weights)
    training = {"texts": counts, "seed": arguments.seed, "ridge": RIDGE, "idf_power": IDF_POWER}
    measured = measure(scorer, arguments.data, arguments.seed, out_of_fold)
    record(scorer, training, weights, measured)
    log.info("%s", json.dumps(measured["validity"], indent=1))


if __name__ == "__main__":
    main()
