"""Supervised fine-tuning on clean text: DAPT (arXiv 2004.10964) on a corpus, SGEAT (2202.04173) on the target's own.

    minimise  -mean_t log p(x_t)    over the least toxic texts, and nothing about the toxic ones.

Without a corpus the texts are the target's own continuations with a toxicity of at most 0.1 (SGEAT keeps the least
toxic half).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from detoxlm.methods.finetuning.method import FineTuning
from detoxlm.methods.training.objectives import Objective, Tokens
from detoxlm.methods.training.settings import DRIFT_OF_LOOKS, FineTuneSettings
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target


class SftSettings(FineTuneSettings):
    """Settings of `sft`."""

    harmful: int = Field(300, ge=1, description="Not heeded: no harmful text is learned from.")
    batch: int = Field(8, ge=1, description="Clean texts in a step, on each device.")
    drift: float = Field(0.05, gt=0, description=f"{DRIFT_OF_LOOKS}; training does not heed it.")


@dataclass
class SftDetoxifier(FineTunedDetoxifier):
    """A model trained on clean text."""

    method: ClassVar[str] = "sft"
    settings_type: ClassVar = SftSettings


@dataclass(frozen=True)
class CleanLikelihood(Objective):
    """The cross-entropy of clean text."""

    @property
    def reads_harmful(self) -> bool:
        """Return False."""
        return False

    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return the mean negative log-likelihood of clean tokens, in nats."""
        return -clean.mean(clean.log_p())


class Sft(FineTuning):
    """Fine-tune on clean text, and hope."""

    name: ClassVar[str] = "sft"
    paper: ClassVar[str] = "DAPT, arXiv 2004.10964; on the model's own filtered text, SGEAT, arXiv 2202.04173"
    summary: ClassVar[str] = "An adapter learns clean text, the model's own or a corpus. A baseline."
    detoxifier_type: ClassVar = SftDetoxifier
    reads: ClassVar[frozenset[str]] = frozenset({"corpus", "pairs", "prompts"})

    @classmethod
    def objective(cls, target: Target, settings: SftSettings) -> CleanLikelihood:
        """Return the loss."""
        return CleanLikelihood()
