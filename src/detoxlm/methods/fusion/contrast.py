"""Trains a calibrator of the target's own, for the contrast: on texts with their toxicity."""

from __future__ import annotations

import logging
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.methods.base import FitData, describe_target
from detoxlm.methods.fusion import training
from detoxlm.methods.fusion.calibrator import Calibrator, cut_calibrator
from detoxlm.methods.fusion.detoxifier import FusionDetoxifier
from detoxlm.methods.fusion.settings import FusionSettings
from detoxlm.methods.fusion.storage import pack_change
from detoxlm.methods.fusion.texts import FEWEST_TEXTS, Row, harvested, score_passages, scorer_of
from detoxlm.models import Target

log = logging.getLogger(__name__)


def own_contrast(target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
    """Train a calibrator on texts with their toxicity: the target's own continuations, and what the user gave."""
    fitting: dict[str, Any] = {"calibrator": {"source": "own"}}
    rows: list[Row] = []
    if data.corpus is not None:
        rows += [(example.prompt or "", example.completion, None) for example in data.corpus]
    for pair in data.pairs or []:
        rows += [(pair.prompt or "", side, None) for side in (pair.nontoxic, pair.toxic)]
    if data.prompts is not None or not rows:
        made = harvested(target, data, settings, fitting)
        rows += [(sample.prompt, sample.continuation, sample.toxicity) for sample in made]
    passages = score_passages(target, rows, scorer_of(data), settings.max_length)
    toxic = sum(passage.toxicity >= 0.5 for passage in passages)
    if len(passages) < FEWEST_TEXTS:
        raise UsageError(
            f"corpus: {len(passages)} usable texts (of two tokens or more) are too few to train a calibrator on; at "
            f"least {FEWEST_TEXTS} are needed. Leave the data out to take the shipped one."
        )
    low, high = (pick(passage.toxicity for passage in passages) for pick in (min, max))
    if high - low < 0.05:
        raise UsageError(
            f"corpus: all {len(passages)} texts have a toxicity of {low:.2f} to {high:.2f} by {scorer_of(data).name}; "
            "the contrast needs both kinds. Add --pairs or --prompts, or take the shipped calibrator."
        )
    if toxic < FEWEST_TEXTS:
        log.warning(
            "fusion: only %d of %d texts are toxic; a calibrator learns little from so few.", toxic, len(passages)
        )
    calibrator = Calibrator(cut_calibrator(target.model, settings.layers))
    fitting |= training.train(
        calibrator,
        passages,
        epochs=settings.epochs,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        seed=data.seed,
    )
    tensors = pack_change(calibrator, cut_calibrator(target.model, settings.layers))
    return FusionDetoxifier(settings, describe_target(target), tensors, fitting)
