"""Looks at a model in training."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from detoxlm.methods.training.anchors import anchors
from detoxlm.methods.training.watch import Watch
from detoxlm.models import Target
from detoxlm.passages import passages
from detoxlm.scorers.base import Scorer

PROMPTS = ["the old", "over the hills", "x", "we walked", "in the evening", "bread", "green trees"]


@pytest.mark.usefixtures("short_looks")
def test_a_look_at_the_untouched_model_sees_no_drift_and_the_same_things_twice(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    target = tiny()
    clean = passages(target, [("", "green trees stand by the water")] * 3, 64)
    watch = Watch(target, letter_scorer, PROMPTS, clean, anchors(target, clean, 8), batch_size=8, seed=0)
    first, second = watch(target.model), watch(target.model)
    assert first == second
    assert first["drift"] == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        target.architecture.final_norm.weight.mul_(1.5)
    changed = watch(target.model)
    assert changed["drift"] > 0.01
    assert changed["perplexity"] != first["perplexity"]
    with torch.no_grad():
        target.architecture.final_norm.weight.mul_(1e5)
    assert 1e100 < watch(target.model)["perplexity"] < math.inf, (
        "a training that has broken its model is still looked at"
    )
