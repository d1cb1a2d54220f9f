"""Makes an auxiliary model for a target: its own continuations, the scorer's opinion of them, and the training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from detoxlm.errors import UsageError
from detoxlm.harvest import Sampled, counts, harvest, own_sampling
from detoxlm.methods.base import FitData
from detoxlm.methods.control.auxiliary import Auxiliary
from detoxlm.methods.control.settings import AuxiliarySettings
from detoxlm.methods.control.storage import packed, shipped
from detoxlm.methods.control.training import positions, train
from detoxlm.models import Target
from detoxlm.passages import Passage, passages
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import BatchSize

log = logging.getLogger(__name__)

#: One prompt in so many is held out, to see how well the auxiliary model does on others.
HELD_OUT = 10
#: Continuations after which a scorer that has said the same of all of them is refused.
ENOUGH = 256
#: Longest context and continuation together, in tokens.
MAX_LENGTH = 96
#: Versions of its scorer that the shipped auxiliary model serves beside the one that it learnt from.
SERVES_TOO = ("3",)


def fit_auxiliary(
    target: Target, data: FitData, settings: AuxiliarySettings, fitting: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Return the tensors of an auxiliary model, the shipped one or one that is trained now; account in `fitting`.

    Args:
        target: the model, untouched.
        data: prompts (None: the built-in ones), and the scorer: how far a text violates the constraint, in [0, 1].
        settings: how.
        fitting: gets `auxiliary`, and `harvest` where it is trained.

    Raises:
        UsageError: no scorer, prompts that give no text, a scorer that says the same of everything, or the shipped
            one asked for where it does not fit.
        DetoxError: the scorer failed on a text, or the loss became NaN.
    """
    scorer = check_auxiliary(data, settings, target)
    if settings.auxiliary == "shipped" or (settings.auxiliary == "auto" and not settings.of_its_own):
        tensors, facts = shipped()
        if _fits(facts, target, scorer) and (settings.auxiliary == "shipped" or data.prompts is None):
            fitting["auxiliary"] = {"source": "shipped", **facts}
            return tensors
    prompts = data.to_continue()
    made = samples_of(target, prompts, scorer, data, settings)
    fitting["harvest"] = counts(prompts, made)
    auxiliary, account = trained_on(
        target,
        made,
        rank=settings.auxiliary_rank,
        epochs=settings.auxiliary_epochs,
        consistency=settings.consistency,
        temperature=settings.temperature,
        batch_size=data.batch_size,
        seed=data.seed,
    )
    fitting["auxiliary"] = {"source": "own", **account}
    return packed(auxiliary)


def check_auxiliary(data: FitData, settings: AuxiliarySettings, target: Target | None) -> Scorer:
    """Return the scorer, whose opinion is the constraint.

    Raises:
        UsageError: there is none, or the shipped auxiliary model is asked for where it does not fit the settings, the
            scorer or, where there is one yet, the target.
    """
    scorer = data.scorer
    if scorer is None:
        raise UsageError("scorer: the constraint is what a scorer says; give one.")
    if settings.auxiliary == "shipped":
        if settings.of_its_own:
            raise UsageError(f"{settings.of_its_own[0]}: the shipped auxiliary model is as it is; --set auxiliary=own.")
        _, facts = shipped()
        if not _fits(facts, target, scorer):
            what = scorer.name if target is None else f"{target.name} and {scorer.name}"
            raise UsageError(
                f"auxiliary: the shipped one is for the model {facts['base']['name']} and the scorer "
                f"{' '.join(facts['scorer'][:2])}; train one for {what}: --set auxiliary=own."
            )
    return scorer


def _fits(facts: dict[str, Any], target: Target | None, scorer: Scorer) -> bool:
    """Tell whether the shipped auxiliary model is of this scorer and, where it is known, this target.

    It learnt from version 2 of `embedded`, which calls more toxic than version 3 does, so it serves that one too.
    """
    name, version, _ = facts["scorer"]
    same = scorer.name == name and scorer.version in (version, *SERVES_TOO)
    return same and (target is None or target.architecture.is_of(facts["base"]))


def trained_on(
    target: Target,
    made: Sequence[Sampled],
    *,
    rank: int,
    epochs: int,
    consistency: float,
    temperature: float,
    batch_size: BatchSize,
    seed: int,
    start: dict[str, torch.Tensor] | None = None,
    drawn: Sequence[float] | None = None,
) -> tuple[Auxiliary, dict[str, Any]]:
    """Return an auxiliary model of the target trained on samples, on the CPU, and an account of the training.

    Args:
        target: the model, untouched.
        made: samples of it, or of another model.
        rank: of a new one.
        epochs: passes over the samples.
        consistency: mu.
        temperature: at which they were drawn.
        batch_size: texts read at once.
        seed: of the training.
        start: tensors of one to go on from; None: a new one.
        drawn: for samples of another model, the log-probability of each there.

    Raises:
        DetoxError: the loss became NaN.
    """
    texts = sample_passages(target, made)
    violations = [one.toxicity for one in made]
    rows = positions(target, texts, violations, batch_size=batch_size, temperature=temperature, drawn=drawn)
    prompts = list(dict.fromkeys(one.prompt for one in made))
    held = set(prompts[HELD_OUT - 1 :: HELD_OUT])
    held_out = torch.tensor([one.prompt in held for one in made])[rows.text]
    torch.manual_seed(seed)
    auxiliary = new_auxiliary(target, rank if start is None else len(start["read.bias"]))
    if start is not None:
        auxiliary.load_state_dict({name: tensor.float() for name, tensor in start.items()})
    share = size(auxiliary) / sum(p.numel() for p in target.model.parameters())
    account = train(
        auxiliary, rows, epochs=epochs, consistency=consistency, seed=seed, held_out=held_out, fresh=start is None
    )
    return auxiliary, {"parameters_share": round(share, 5), **account}


def sample_passages(target: Target, made: Sequence[Sampled]) -> list[Passage]:
    """Tokenise samples; their prompts are context."""
    return passages(target, [(one.prompt, one.continuation) for one in made], MAX_LENGTH)


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
    return Auxiliary(target.architecture.head.weight.detach().cpu(), rank)


def size(auxiliary: Auxiliary) -> int:
    """Return its parameters, without the tied ones."""
    return sum(p.numel() for p in auxiliary.parameters())
