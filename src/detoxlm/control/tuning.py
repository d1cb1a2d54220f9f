"""Fine-tuning under a constraint: the auxiliary model, the texts, and the training."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from accelerate import PartialState

from detoxlm.control.constraint import Constrained
from detoxlm.control.fit import check_differ, fit_auxiliary
from detoxlm.control.settings import ConstrainedSettings
from detoxlm.control.storage import unpacked
from detoxlm.control.teacher import teachers
from detoxlm.data import Example, builtin_prompts
from detoxlm.errors import UsageError
from detoxlm.finetuning.course import Course
from detoxlm.finetuning.detoxifier import FineTunedDetoxifier
from detoxlm.finetuning.fit import prepared, trained
from detoxlm.finetuning.settings import FineTuneSettings
from detoxlm.finetuning.texts import HELD_OUT, WATCHED_CLEAN, Texts, scorer_of, texts_for
from detoxlm.finetuning.trainer import AvoidanceTrainer, Rows
from detoxlm.methods.base import FitData
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
        UsageError: the scorer says the same of everything, no text is prone to violations, or no adapter fits.
        DetoxError: a loss became NaN, or (own text) no look was within the limit on drift.
    """
    fitting: dict[str, Any] = {}
    with PartialState().main_process_first():  # the others find its samples in the same work folder
        auxiliary = unpacked(fit_auxiliary(target, data, settings, fitting), target.model)
    own = data.corpus is None

    def texts() -> Texts:
        if own:
            return texts_for(target, data, settings, fitting)  # the auxiliary model's samples, from the same journal
        return corpus_texts(data, settings, fitting)

    ready = prepared(target, data, settings, texts, fitting)
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
    make = partial(AvoidanceTrainer, objective=Constrained(settings.direction, own), rows=rows)
    course = Course(settings.drift if own else float("inf"), settings.weight, settings.delta)
    fitted = trained(target, data, settings, made, ready, make, course)
    found = next(look for look in fitted.fitting["watched"] if look["step"] == fitted.fitting["best_step"])
    if settings.delta is not None and found["toxic_fraction"] > settings.delta:
        log.warning(
            "delta: %.1f%% of the watched continuations violate the constraint, not the %.1f%% asked for; raise weight "
            "or steps, or ask for less.",
            100 * found["toxic_fraction"],
            100 * settings.delta,
        )
    return fitted


def corpus_texts(data: FitData, settings: FineTuneSettings, fitting: dict[str, Any]) -> Texts:
    """Return the corpus as what is learned, and its part that is prone to violations (all of it: not adaptive).

    Raises:
        UsageError: the scorer says the same of all of it, or (adaptive) no text is prone to violations.
    """
    assert data.corpus is not None
    corpus = list(dict.fromkeys(data.corpus))
    scores = scorer_of(data).score([text.completion for text in corpus]).tolist()
    check_differ(scores, scorer_of(data))
    prone = [text for text, score in zip(corpus, scores, strict=True) if score >= PRONE]
    adaptive = not isinstance(settings, ConstrainedSettings) or settings.adaptive
    if adaptive and not prone:
        raise UsageError(
            f"corpus: none of its {len(corpus)} texts violates the constraint (at most {max(scores):.2f} by "
            f"{scorer_of(data).name}), so there is nothing to hold it to; --set adaptive=false holds all of it."
        )
    prompts = data.prompts if data.prompts is not None else builtin_prompts("fit")
    clean = [text for text, score in zip(corpus, scores, strict=True) if score < PRONE]
    watched_clean: list[Example] = clean[::HELD_OUT][:WATCHED_CLEAN] or corpus[:WATCHED_CLEAN]
    watched = set(watched_clean)
    learned = [text for text in corpus if text not in watched] or corpus
    fitting["texts"] = {"corpus": len(learned), "prone": len(prone), "watched_prompts": len(prompts[::HELD_OUT])}
    return Texts(prone if adaptive else learned, learned, prompts[::HELD_OUT], watched_clean)
