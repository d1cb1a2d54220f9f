"""Makes an auxiliary model for a target: its own continuations, the scorer's opinion of them, and the training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from detoxlm.control.auxiliary import Auxiliary
from detoxlm.control.settings import AuxiliarySettings
from detoxlm.control.states import width_of
from detoxlm.control.training import positions, train
from detoxlm.data import builtin_prompts
from detoxlm.editing.embeddings import passages
from detoxlm.errors import UsageError
from detoxlm.harvest import Sampled, counts, harvest, own_sampling
from detoxlm.methods.base import FitData
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer

log = logging.getLogger(__name__)

#: One prompt in so many is held out, to see how well the auxiliary model does on others.
HELD_OUT = 10
#: Continuations after which a scorer that has said the same of all of them is refused.
ENOUGH = 256
#: Longest context and continuation together, in tokens.
MAX_LENGTH = 96


def fit_auxiliary(
    target: Target, data: FitData, settings: AuxiliarySettings, fitting: dict[str, Any]
) -> tuple[Auxiliary, list[Sampled]]:
    """Return a trained auxiliary model on the CPU, and the samples that it has learned from; account in `fitting`.

    Args:
        target: the model, untouched.
        data: prompts (None: the built-in ones), and the scorer: how far a text violates the constraint, in [0, 1].
        settings: how.
        fitting: gets `harvest` and `auxiliary`.

    Raises:
        UsageError: no scorer, prompts that give no text, or a scorer that says the same of everything.
        DetoxError: the scorer failed on a text, or the loss became NaN.
    """
    if data.scorer is None:
        raise UsageError("scorer: the constraint is what a scorer says; give one.")
    prompts = data.prompts if data.prompts is not None else builtin_prompts("fit")
    made = samples_of(target, prompts, data.scorer, data, settings)
    fitting["harvest"] = counts(prompts, made)
    texts = passages(target, [(one.prompt, one.continuation) for one in made], MAX_LENGTH)
    rows = positions(
        target,
        texts,
        [one.toxicity for one in made],
        batch_size=data.batch_size,
        temperature=settings.temperature,
    )
    held = set(prompts[HELD_OUT - 1 :: HELD_OUT])
    held_out = torch.tensor([one.prompt in held for one in made])[rows.text]
    torch.manual_seed(data.seed)
    auxiliary = new_auxiliary(target, settings.auxiliary_rank)
    fitting["auxiliary"] = {
        "parameters_share": round(size(auxiliary) / sum(p.numel() for p in target.model.parameters()), 5),
        **train(
            auxiliary,
            rows,
            epochs=settings.auxiliary_epochs,
            consistency=settings.consistency,
            seed=data.seed,
            held_out=held_out,
        ),
    }
    return auxiliary, made


def samples_of(
    target: Target, prompts: Sequence[str], scorer: Scorer, data: FitData, settings: AuxiliarySettings
) -> list[Sampled]:
    """Return the target's own continuations with how far each violates the constraint.

    Raises:
        UsageError: there is no text, or the scorer has said the same of the first `ENOUGH` of them, or of all.
    """
    seen: list[float] = []

    def check(scores: Sequence[float]) -> None:
        seen.extend(scores)
        if len(seen) >= ENOUGH:
            check_differ(seen, scorer)

    sampling = own_sampling(settings.samples, data.seed).model_copy(update={"temperature": settings.temperature})
    made = harvest(target, prompts, scorer, sampling, batch_size=data.batch_size, workdir=data.workdir, check=check)
    if not made:
        raise UsageError(f"prompts: {target.name} continues none of the {len(prompts)} prompts with any text.")
    check_differ([one.toxicity for one in made], scorer)
    return made


def check_differ(scores: Sequence[float], scorer: Scorer) -> None:
    """Raise `UsageError` where all scores are the same: there is nothing to learn."""
    if max(scores) - min(scores) < 1e-3:
        raise UsageError(
            f"scorer: {scorer.name} says {scores[0]:g} of all of {len(scores)} continuations, so there is nothing to "
            "learn; give --prompts whose continuations violate the constraint now and then, or mend the scorer."
        )


def new_auxiliary(target: Target, rank: int) -> Auxiliary:
    """Return an untrained auxiliary model for a target, on the CPU, tied to its output head."""
    return Auxiliary(target.architecture.head.weight.detach().cpu(), width_of(target.model), rank)


def size(auxiliary: Auxiliary) -> int:
    """Return its parameters, without the tied ones."""
    return sum(p.numel() for p in auxiliary.parameters())
