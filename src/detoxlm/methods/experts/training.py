"""Trains experts: copies of the target, each on texts of one kind."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.methods.base import FitData
from detoxlm.methods.experts.settings import ANTI, ExpertSettings
from detoxlm.methods.training.course import Course
from detoxlm.methods.training.fit import Prepared, checkpoints, forget, prepared, train_copy
from detoxlm.methods.training.objectives import Objective, Tokens
from detoxlm.methods.training.texts import texts_for
from detoxlm.methods.training.trainer import AvoidanceTrainer, Rows, Run
from detoxlm.models import Target
from detoxlm.passages import Passage


@dataclass(frozen=True)
class Likelihood(Objective):
    """The cross-entropy of all texts of a batch."""

    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return the mean negative log-likelihood of tokens, in nats; both halves are of one kind of text."""
        return -(clean.mean(clean.log_p()) + harmful.mean(harmful.log_p())) / 2


def train_experts(
    target: Target, data: FitData, settings: ExpertSettings, roles: Sequence[str], fitting: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Return the tensors of each expert, their names behind its role's; account in `fitting`. The target is untouched.

    A killed fit goes on where it stopped: an expert that is done is found in its checkpoints.

    Args:
        target: the model.
        data: harmful and clean texts, or what to harvest them from.
        settings: how they are trained.
        roles: `expert` (of clean text), `anti-expert` (of harmful text) or both.
        fitting: gets `texts`, `harvest` where there was one, and under `experts` the last look at each.

    Raises:
        UsageError: the data do not serve (`texts_for`), or no adapter fits the model.
        DetoxError: a loss became NaN.
    """
    ready = _prepared(target, data, settings, fitting)
    tensors: dict[str, torch.Tensor] = {}
    fitting["experts"] = {}
    with ExitStack() as stack:
        workdir = data.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folders = []
        for role in roles:
            texts = ready.harmful if role == ANTI else ready.clean
            make = partial(AvoidanceTrainer, objective=Likelihood(), rows=_rows(texts))
            folders.append(checkpoints(workdir, target, data, f"dexperts, {role}", settings, ready))
            course = Course()  # without a limit on drift: an expert is to differ
            learned, account = train_copy(target, data.seed, settings, ready.watch, make, course, folders[-1])
            tensors |= {f"{role}.{name}": tensor for name, tensor in learned.items()}
            fitting["experts"][role] = account["watched"][-1]
            fitting |= account  # the last one's, the anti-expert's, is what the report draws
        for folder in folders:
            forget(folder)
    return tensors


def train_classes(
    target: Target, data: FitData, settings: ExpertSettings, generative: float, fitting: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Return the adapter that tells two classes apart (`detoxlm.methods.experts.classes`); account in `fitting`.

    Args:
        target: the model.
        data: harmful and clean texts, or what to harvest them from.
        settings: how it is trained.
        generative: share of the generative loss in [0, 1].
        fitting: gets `texts`, `harvest` where there was one, and the looks (at the clean class) and loss.

    Raises:
        UsageError: the data do not serve (`texts_for`), or no adapter fits the model.
        DetoxError: the loss became NaN.
    """
    ready = _prepared(target, data, settings, fitting)
    rows = Rows(ready.harmful, [[1.0] * (len(text.ids) - text.start) for text in ready.harmful], ready.clean)
    make = partial(ClassTrainer, rows=rows, generative=generative)
    with ExitStack() as stack:
        workdir = data.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = checkpoints(workdir, target, data, "gedi", settings, ready)
        tensors, account = train_copy(target, data.seed, settings, ready.watch, make, Course(), folder)
        forget(folder)
    fitting |= account
    return tensors


def _prepared(target: Target, data: FitData, settings: ExpertSettings, fitting: dict[str, Any]) -> Prepared:
    """The texts, all of them: an expert is held to nothing, and its training draws from one kind alone."""
    texts = partial(texts_for, target, data, settings, fitting)
    return prepared(target, data, settings, texts, fitting, anchored=False, whole=True)


class ClassTrainer(AvoidanceTrainer):
    """Trains one adapter, added for clean and taken away for toxic text, to write both and to tell them apart."""

    def __init__(self, model: PreTrainedModel | PeftModel, run: Run, *, rows: Rows, generative: float) -> None:
        super().__init__(model, run, objective=Likelihood(), rows=rows)
        self.generative = generative
        self.signs = torch.ones(1)  # of the rows of a batch; a look sees the clean class

        def signed(module: torch.nn.Module, _: Any, change: torch.Tensor) -> torch.Tensor:
            if not module.training:
                return change
            signs = self.signs.to(change).repeat_interleave(len(change) // len(self.signs))  # OPT flattens rows
            return change * signs.view(-1, *(1 for _ in change.shape[1:]))

        for name, module in model.named_modules():
            if ".lora_B." in name:
                module.register_forward_hook(signed)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return generative L_g + (1 - generative) L_d of a batch of `Rows.collate`, each text read as both classes.

        Raises:
            DetoxError: it is NaN or infinite.
        """
        rows = len(inputs["input_ids"])
        own = torch.tensor([1.0] * (rows // 2) + [-1.0] * (rows // 2), device=inputs["input_ids"].device)
        twice = {name: inputs[name].repeat(2, 1) for name in ("input_ids", "attention_mask")}
        self.signs = torch.cat([own, -own])  # kept: gradient checkpointing runs layers again
        right, wrong = self._states(model, twice).chunk(2)
        generated, told = [], []
        for kind, first in (("clean", 0), ("harmful", rows // 2)):
            tokens = self._tokens(right, inputs, kind, first)
            likely, other = tokens.log_p(), self._tokens(wrong, inputs, kind, first).log_p()
            generated.append(-tokens.mean(likely))
            ratio = likely.new_zeros(rows // 2).index_add(0, tokens.text, likely - other)
            told.append(F.softplus(-ratio).mean())
        l_g, l_d = torch.stack(generated).mean(), torch.stack(told).mean()
        loss = self.generative * l_g + (1 - self.generative) * l_d
        self.seen([loss])
        return loss


def _rows(texts: Sequence[Passage]) -> Rows:
    """Batches of texts of one kind: both halves are drawn from them."""
    return Rows(texts, [[1.0] * (len(text.ids) - text.start) for text in texts], texts)
