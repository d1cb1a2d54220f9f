"""Fit a fine-tuning method: harmful and clean texts, or pairs of them, and the training of a copy on its loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from detoxlm.data import Example
from detoxlm.errors import UsageError
from detoxlm.methods.base import FitData
from detoxlm.methods.finetuning.blame import Blame, token_weights
from detoxlm.methods.training.anchors import anchors
from detoxlm.methods.training.course import Course
from detoxlm.methods.training.fit import learnable, prepared, trained
from detoxlm.methods.training.objectives import Objective
from detoxlm.methods.training.settings import FineTuneSettings
from detoxlm.methods.training.texts import Texts, as_passages, preferences, scorer_of, texts_for
from detoxlm.methods.training.trainer import AvoidanceTrainer, PreferenceTrainer, Rows
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target
from detoxlm.passages import Passage
from detoxlm.scorers.base import Scorer

log = logging.getLogger(__name__)


def fine_tune(
    target: Target,
    data: FitData,
    settings: FineTuneSettings,
    objective: Objective,
    blame: Blame,
    made: type[FineTunedDetoxifier],
) -> FineTunedDetoxifier:
    """Train a copy of the target, and return what the best look at it found changed. The target stays untouched.

    Args:
        target: the model.
        data: texts, or what to harvest them from.
        settings: of the method.
        objective: its loss.
        blame: how tokens of harmful texts are weighted.
        made: the method's type of detoxifier.

    Raises:
        UsageError: the data do not serve (`texts_for`), or no adapter fits the model.
        DetoxError: the loss became NaN, or no look was within the limit on drift.
    """
    fitting: dict[str, Any] = {}
    harmful_too = objective.reads_harmful

    def texts() -> Texts:
        return texts_for(target, data, settings, fitting, harmful_too=harmful_too)

    ready = prepared(target, data, settings, texts, fitting, anchored=objective.anchored)
    harmful, weights = blamed(target, scorer_of(data), ready.harmful, blame)
    said = anchors(target, harmful, data.batch_size, "reading harmful text") if objective.reads_base else None
    rows = Rows(harmful, weights, ready.clean, ready.anchors, said)
    make = partial(AvoidanceTrainer, objective=objective, rows=rows)
    return trained(target, data, settings, made, ready, make, Course(settings.drift))


def blamed(
    target: Target, scorer: Scorer, harmful: Sequence[Passage], blame: Blame
) -> tuple[list[Passage], list[list[float]]]:
    """Return the harmful texts some of whose tokens are to blame, with the weights of their tokens.

    Raises:
        UsageError: there are harmful texts, and nothing in any of them is.
    """
    weights = token_weights(target, scorer, harmful, blame)
    # a text's first token is not predicted, so nothing can be learned of it
    found = [
        (text, given)
        for text, given in zip(harmful, weights, strict=True)
        if sum(given[max(1, text.start) - text.start :]) > 0
    ]
    if harmful and not found:
        raise UsageError(
            f"harmful: {scorer.name} finds nothing toxic in the {len(harmful)} harmful texts, so no token is to blame; "
            "give others, another --scorer, or --set blame=uniform where the method has it."
        )
    if left_out := len(harmful) - len(found):
        log.warning("harmful: %d texts are left out, nothing in them is toxic to %s.", left_out, scorer.name)
    return [text for text, _ in found], [given for _, given in found]


def fine_tune_by_preference(
    target: Target, data: FitData, settings: FineTuneSettings, beta: float, made: type[FineTunedDetoxifier]
) -> FineTunedDetoxifier:
    """Train a copy of the target by DPO on pairs of a clean and a harmful text of one prompt; else as `fine_tune`.

    Raises:
        UsageError: as `fine_tune`, or no prompt has both.
        DetoxError: as `fine_tune`.
    """
    fitting: dict[str, Any] = {}
    ready = prepared(
        target, data, settings, lambda: texts_for(target, data, settings, fitting), fitting, anchored=False
    )
    chosen = preferences(ready.texts)
    sides = (
        as_passages(target, [Example(pair.prompt, getattr(pair, side)) for pair in chosen], settings.max_length)
        for side in ("nontoxic", "toxic")
    )
    pairs = [pair for pair in zip(*sides, strict=True) if all(map(learnable, pair))]
    if not pairs:
        raise UsageError("pairs: no pair has a second token on both sides, so there is nothing to predict.")
    fitting["texts"]["pairs"] = len(pairs)
    make = partial(PreferenceTrainer, pairs=pairs, beta=beta)
    return trained(target, data, settings, made, ready, make, Course(settings.drift))
