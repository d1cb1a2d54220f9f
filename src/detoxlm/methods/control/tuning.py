"""Fine-tuning under a constraint: the auxiliary model, the texts, and the training."""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.harvest import HELD_OUT
from detoxlm.methods.base import FitData
from detoxlm.methods.control.auxiliary import Auxiliary
from detoxlm.methods.control.constraint import ConstraintLoss
from detoxlm.methods.control.fit import check_differ, fit_auxiliary
from detoxlm.methods.control.settings import ConstrainedSettings
from detoxlm.methods.control.storage import unpacked
from detoxlm.methods.control.teacher import teachers
from detoxlm.methods.training.course import Course
from detoxlm.methods.training.fit import Make, Prepared, harvesting, prepared, trained
from detoxlm.methods.training.texts import WATCHED_CLEAN, Texts, scorer_of, texts_for, texts_read, warn_of_rest
from detoxlm.methods.training.trainer import AvoidanceTrainer, Rows
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target

log = logging.getLogger(__name__)

#: Corpus texts with at least this violation are prone to it.
PRONE = 0.5


def fine_tune_under_constraint(
    target: Target, data: FitData, settings: ConstrainedSettings, made: type[FineTunedDetoxifier]
) -> FineTunedDetoxifier:
    """Train a copy of the target on a corpus, held to q where violations are likely. The target stays untouched.

    Args:
        target: the model.
        data: the corpus (None: the target's own text), prompts for the auxiliary model's samples, and the scorer.
        settings: of the method.
        made: its type of detoxifier.

    Raises:
        UsageError: the scorer says the same of everything, no text is prone to violations, harmful texts or pairs
            beside a corpus, or no adapter fits.
        DetoxError: a loss became NaN, or (own text) no look was within the limit on drift.
    """
    fitting: dict[str, Any] = {}
    with harvesting():
        auxiliary = unpacked(fit_auxiliary(target, data, settings, fitting), target.model)
    ready = prepared_for(target, data, settings, fitting)
    make = regularised(target, data, settings, ready, auxiliary)
    fitted = trained(target, data, settings, made, ready, make, course_of(data, settings))
    warn_of_delta(fitted, settings)
    return fitted


def prepared_for(target: Target, data: FitData, settings: ConstrainedSettings, fitting: dict[str, Any]) -> Prepared:
    """Return the texts, of the corpus or of the target's own, and what training is watched on; count in `fitting`.

    Raises:
        UsageError: the scorer says the same of everything, or no text is prone to violations.
    """

    def texts() -> Texts:
        if data.corpus is None:
            return texts_for(target, data, settings, fitting)  # the auxiliary model's samples, from the same journal
        return corpus_texts(data, settings, fitting)

    return prepared(target, data, settings, texts, fitting, anchored=own_text(data))


def regularised(
    target: Target, data: FitData, settings: ConstrainedSettings, ready: Prepared, auxiliary: Auxiliary
) -> Make:
    """Return how to make the trainer that holds prone texts to the q of this auxiliary model and the target."""
    kept = teachers(
        target,
        auxiliary,
        ready.harmful,
        rule=settings.rule,
        guidance=settings.guidance,
        tolerance=settings.tolerance,
        batch_size=data.batch_size,
    )
    even = [[1.0] * (len(text.ids) - text.start) for text in ready.harmful]
    rows = Rows(ready.harmful, even, ready.clean, ready.anchors, kept)
    return partial(AvoidanceTrainer, objective=ConstraintLoss(settings.direction, own_text(data)), rows=rows)


def own_text(data: FitData) -> bool:
    """Tell whether the clean text is the target's own; a corpus, or the non-toxic sides of pairs, is to be learned."""
    return data.corpus is None and not data.pairs


def course_of(data: FitData, settings: ConstrainedSettings) -> Course:
    """Return the course of a training that has not begun: a corpus is learned to the end, whatever the drift."""
    limit = settings.drift if own_text(data) else float("inf")
    return Course(limit, settings.weight, settings.delta)


def warn_of_delta(fitted: FineTunedDetoxifier, settings: ConstrainedSettings) -> None:
    """Say so where the share of violations that was asked for is not reached."""
    found = next(look for look in fitted.fitting["watched"] if look["step"] == fitted.fitting["best_step"])
    if settings.delta is not None and found["toxic_fraction"] > settings.delta:
        log.warning(
            "delta: %.1f%% of the watched continuations violate the constraint, not the %.1f%% asked for; raise weight "
            "or steps, or ask for less.",
            100 * found["toxic_fraction"],
            100 * settings.delta,
        )


def corpus_texts(data: FitData, settings: ConstrainedSettings, fitting: dict[str, Any]) -> Texts:
    """Return the corpus as what is learned, and its part that is prone to violations (all of it: not adaptive).

    Raises:
        UsageError: the scorer says the same of all of it, or (adaptive) no text is prone to violations.
    """
    assert data.corpus is not None
    corpus = list(dict.fromkeys(data.corpus))
    random.Random(data.seed).shuffle(corpus)  # files are often sorted, and what is more than the steps read is left out
    scorer = scorer_of(data)
    scores = dict(zip(corpus, scorer.score([text.completion for text in corpus]).tolist(), strict=True))
    check_differ(list(scores.values()), scorer)
    prone = [text for text in corpus if scores[text] >= PRONE]
    if settings.adaptive and not prone:
        raise UsageError(
            f"corpus: none of its {len(corpus)} texts violates the constraint (at most {max(scores.values()):.2f} by "
            f"{scorer.name}), so there is nothing to hold it to; --set adaptive=false holds all of it."
        )
    prompts = data.to_continue()[::HELD_OUT]
    clean = [text for text in corpus if scores[text] < PRONE]
    watched = clean[::HELD_OUT][:WATCHED_CLEAN] or corpus[:WATCHED_CLEAN]
    held_out, read = set(watched), texts_read(settings)
    others = [text for text in corpus if text not in held_out] or corpus
    learned = others[:read]
    warn_of_rest(len(others), settings)
    fitting["texts"] = {"corpus": len(corpus), "prone": len(prone), "learned": len(learned)}
    return Texts(prone[:read] if settings.adaptive else learned, learned, prompts, watched)
