"""Every method and variant, fitted to tiny models in about a second each; kept, because fits are deterministic."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np

from detoxlm.data import Example, Pair
from detoxlm.methods import Detoxifier, FitData, get_method
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer

PROMPTS = ["the old", "a much longer prompt than the others, which is", "x", "over the hills and"]

#: Every method and variant, with settings that make its fit a matter of a second on a tiny model.
FUSION = {"calibrator": "own", "layers": 2, "learning_rate": 1e-2, "samples": 8}
TUNING = {"steps": 4, "check_every": 2, "batch": 4, "rank": 4, "learning_rate": 1e-2, "drift": 9.0, "max_length": 32}
EXPERTS = {name: TUNING[name] for name in TUNING if name != "drift"}
AUXILIARY = {"samples": 8, "auxiliary_rank": 16, "auxiliary_epochs": 60, "tolerance": 0.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fusion": ("fusion", {**FUSION, "batch": 8, "threshold": 0.0}),
    "fusion, the paper's": ("fusion", {**FUSION, "variant": "paper", "steps": 4, "train_batch": 4}),
    "nado": ("nado", AUXILIARY),
    "dexperts": ("dexperts", EXPERTS),
    "dexperts, anti": ("dexperts", {**EXPERTS, "experts": "anti"}),
    "gedi": ("gedi", EXPERTS),
    "subspace": ("subspace", {"steps": 4, "context": 1, "rank": 4, "drift": 9.0}),
    "subspace, the paper's": ("subspace", {"variant": "paper", "rank": 4}),
    "surgery": ("surgery", {"rows": 0.5, "alpha": 2.0}),
    "probe": ("probe", {}),
    "dinm": ("dinm", {"learning_rate": 1e-2}),
    "tasft": ("tasft", {**TUNING, "avoidance": 20.0, "blame": "uniform"}),
    "unlikelihood": ("unlikelihood", {**TUNING, "avoidance": 9.0}),
    "constrained": ("constrained", {**TUNING, **AUXILIARY, "adaptive": False, "guidance": 4.0}),
    "sft": ("sft", TUNING),
    "contrastive": ("contrastive", TUNING),
    "dpo": ("dpo", TUNING),
    "tasft, all weights": ("tasft", {**TUNING, "tune": "full", "learning_rate": 1e-3}),
}
#: Methods without anything random, once they have their data.
DETERMINISTIC = {"subspace, the paper's", "surgery", "probe"}
#: Methods that refuse pairs beside a corpus.
ONLY_A_CORPUS = {"constrained", "fusion, the paper's"}
#: Methods that learn from the target's own continuations, among which some tiny models have no letter `e`.
OWN_SAMPLES = {"nado", "constrained"}

#: Detoxifiers by what they were fitted from: fits are deterministic, and the tests change none.
FITTED: dict[tuple[str, ...], Detoxifier] = {}


def fit(target: Target, method_name: str, letter_scorer: Any, *, fresh: bool = False, **data: Any) -> Detoxifier:
    words = ["green trees stand by the water", "we walked home in the evening", "bread rises in a warm room"]
    corpus = [Example(None, f"{words[i % 3]} {i}") for i in range(16)]
    pairs = [Pair(f"eeee eeee e {i}", f"good good {i}", None) for i in range(16)]
    name, settings = CASES[method_name]
    method = get_method(name)
    scorer = DigestScorer() if name in OWN_SAMPLES else letter_scorer
    defaults = {"corpus": corpus, "pairs": pairs, "prompts": PROMPTS, "scorer": scorer}
    if method_name in ONLY_A_CORPUS:
        del defaults["pairs"]
    key = (method_name, target.architecture.fingerprint, repr(sorted(data)), repr(data.get("seed")))
    if fresh or key not in FITTED:
        FITTED[key] = method.fit(
            target, FitData(**{**defaults, **data}), method.detoxifier_type.settings_type(**settings)
        )
    return copy.deepcopy(FITTED[key])


class DigestScorer(Scorer):
    """Toxicity without rhyme or reason, but from 0 to 1 for any model's texts."""

    name, version, revision = "digest", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([hashlib.sha256(text.encode()).digest()[0] / 255 for text in texts])


class Forgetful(Scorer):
    """Finds the first `toxic` texts that it is shown toxic, and no other: whatever is measured later is better."""

    name, version, revision = "forgetful", "1", "test"

    def __init__(self, toxic: int) -> None:
        self.left = toxic

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        toxic = min(self.left, len(texts))
        self.left -= toxic
        return np.array([1.0] * toxic + [0.0] * (len(texts) - toxic))
