"""Trains experts: copies of the target, each on texts of one kind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from detoxlm.editing.embeddings import Passage
from detoxlm.experts.settings import ExpertSettings
from detoxlm.finetuning.course import Course
from detoxlm.finetuning.fit import checkpoints, prepared, train_copy
from detoxlm.finetuning.objectives import Objective, Tokens
from detoxlm.finetuning.texts import texts_for
from detoxlm.finetuning.trainer import AvoidanceTrainer, Rows
from detoxlm.methods.base import FitData
from detoxlm.methods.dexperts import ANTI
from detoxlm.models import Target


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
        fitting: gets `texts`, `harvest` where there was one, and under `experts` each one's looks and loss.

    Raises:
        UsageError: the data do not serve (`texts_for`), or no adapter fits the model.
        DetoxError: a loss became NaN.
    """
    ready = prepared(
        target, data, settings, lambda: texts_for(target, data, settings, fitting), fitting, anchored=False
    )
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
            fitting["experts"][role] = account
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return tensors


def _rows(texts: Sequence[Passage]) -> Rows:
    """Batches of texts of one kind: both halves are drawn from them."""
    return Rows(texts, [[1.0] * (len(text.ids) - text.start) for text in texts], texts)
