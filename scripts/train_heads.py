"""Give `embedded:2` and `perspective-like` what their encoders were not trained for: severe toxicity and flirtation.

Fits a head for each on what the trained encoder of `embedded` and that of the expert of `perspective-like` already say
of RealToxicityPrompts' texts, and leaves every other weight: the other scores stay as they are (toxicity to the last
digit, none moves by more than 2e-7). `train_scorer.py` trains all dimensions together; this is how the shipped weights
came by two of them afterwards. What was trained with the scorer and names its revision (`calibrator.json` and
`auxiliary.json`, beside the shipped weights of fusion and of nado) must be told the new one. About ten minutes on two
cores. The same data and machine give the same files.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import torch
from safetensors.torch import load, save
from scorer_calibration import calibrate
from scorer_data import Example, load_training
from scorer_validity import judged_sentences, rtp_sets
from train_scorer import FOLDS

from detoxlm.files import write_atomically
from detoxlm.scorers import embedded, load_scorer, perspective_like
from detoxlm.scorers.adapter import DIMENSIONS
from detoxlm.scorers.package import INSTALL, package_folder
from detoxlm.validity import validate

log = logging.getLogger("train_heads")

NEW = ("severe_toxicity", "flirtation")
#: Weight of the penalty on the squared norm of a head, in standardised features: the best of these by the
#: cross-entropy of folds 1 and 2 under a head fitted on the others.
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def pooled(scorer: embedded.EmbeddedScorer, texts: list[str]) -> np.ndarray:
    """Return what the head reads of texts of one window each, float64 [texts, 2·HIDDEN]."""
    ids = [embedded.windows(row)[0] for row in scorer._tokenise(texts)]
    found = np.empty((len(ids), scorer._model.head.in_features))
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        rows = torch.full((len(chosen), len(ids[chosen[-1]])), embedded.PAD)
        for row, i in zip(rows, chosen, strict=True):
            row[: len(ids[i])] = torch.tensor(ids[i])
        with torch.inference_mode():
            found[chosen] = scorer._model.pool(rows, rows != embedded.PAD).double().numpy()
    return found


def fit(features: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Return weight and bias of the logistic regression of targets in [0, 1], standardised features penalised."""
    mean, scale = features.mean(0), features.std(0) + 1e-9
    x = (features - mean) / scale

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ parameters[:-1] + parameters[-1]
        value = (np.logaddexp(0, z) - target * z).mean() + penalty * (parameters[:-1] ** 2).sum()
        residual = (scipy.special.expit(z) - target) / len(target)
        return value, np.append(x.T @ residual + 2 * penalty * parameters[:-1], residual.sum())

    best = scipy.optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    weight = best[:-1] / scale
    return weight, float(best[-1] - weight @ mean)


def cross_entropy(logit: np.ndarray, target: np.ndarray) -> float:
    return float((np.logaddexp(0, logit) - target * logit).mean())


def head(features: np.ndarray, examples: list[Example], name: str) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Return weight, bias and calibration (slope, offset) of one dimension; fold 0 calibrates and is in no fit."""
    target = np.array([e.others.get(name, np.nan) for e in examples])
    fold = np.array([e.fold for e in examples])
    known = ~np.isnan(target)
    tuned, rest = known & np.isin(fold, (1, 2)), known & (fold > 2)
    tried = {}
    for penalty in PENALTIES:
        weight, bias = fit(features[rest], target[rest], penalty)
        tried[penalty] = cross_entropy(features[tuned] @ weight + bias, target[tuned])
    penalty = min(tried, key=lambda one: tried[one])
    weight, bias = fit(features[known & (fold > 0)], target[known & (fold > 0)], penalty)
    alone = np.array([e.group == "rtp" for e in examples])
    held = known & (fold == 0) & alone
    curve = calibrate(features[held] @ weight + bias, target[held])
    log.info("%s: penalties %s, calibration %s on %d texts", name, tried, curve, held.sum())
    return weight, bias, curve


def record(name: str, weights: Path, data: Path, texts: int) -> None:
    """Measure all dimensions on RTP's development sets, and put them into the JSON beside the weights."""
    scorer = load_scorer(name, device="cpu", cache=False)
    beside = weights.with_suffix(".json")
    known: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
    known["revision"] = scorer.revision
    known["training"]["heads_alone"] = {"dimensions": NEW, "texts": texts, "script": "scripts/train_heads.py"}
    known["dimensions"] = validate(scorer, rtp_sets(data), seed=0, failures=0).as_dict(texts=False)["dimensions"]
    write_atomically(beside, (json.dumps(known, indent=1, ensure_ascii=False) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder, read in place")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = package_folder()
    if folder is None:
        raise SystemExit(f"the encoder is not installed: {INSTALL}")
    examples = [
        e for e in load_training(arguments.data, FOLDS, 0, judged_sentences()) if e.group in ("rtp", "rtp_joined")
    ]
    texts = [e.text for e in examples]
    for weights in (embedded.EARLIER, perspective_like.WEIGHTS):
        scorer = embedded.EmbeddedScorer(folder, weights, "cpu")
        features = pooled(scorer, texts)
        tensors = load(weights.read_bytes())
        before = {name: tensors[name] for name in ("head.weight", "head.bias", "calibration")}
        old = [i for i, name in enumerate(DIMENSIONS[: len(before["head.bias"])]) if name not in NEW]
        found = [head(features, examples, name) for name in NEW]
        rows = torch.tensor(np.stack([weight for weight, _, _ in found])).float()
        tensors["head.weight"] = torch.cat([before["head.weight"][old], rows])
        tensors["head.bias"] = torch.cat([before["head.bias"][old], torch.tensor([bias for _, bias, _ in found])])
        curves = torch.tensor([curve for _, _, curve in found], dtype=torch.float32).T
        tensors["calibration"] = torch.cat([before["calibration"][:, old], curves], 1).contiguous()
        write_atomically(weights, save(tensors))
        log.info("%s: %d dimensions", weights.name, len(tensors["head.bias"]))
    for name, weights in (("embedded:2", embedded.EARLIER), ("perspective-like", perspective_like.WEIGHTS)):
        record(name, weights, arguments.data, len(texts))


if __name__ == "__main__":
    main()
