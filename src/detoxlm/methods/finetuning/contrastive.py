"""Contrastive perplexity (arXiv 2401.08491): clean texts must be more likely than toxic ones, as groups.

With phi(x) the log-perplexity of a text, over the clean texts x+ and the toxic texts x- of a batch,

    minimise  -log( sum exp(-phi(x+) / tau) / (sum exp(-phi(x+) / tau) + alpha sum exp(-phi(x-) / tau)) )
              + price KL(base || p on clean text).

The paper's toxic texts are paraphrases of the clean ones; here they are what the target said to prompts of the same
kind. The limit on drift is ours, as in `tasft`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from detoxlm.methods.finetuning.method import FineTuning
from detoxlm.methods.training.objectives import Anchored, Tokens
from detoxlm.methods.training.settings import FineTuneSettings
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target


class ContrastiveSettings(FineTuneSettings):
    """Settings of `contrastive`."""

    temperature: float = Field(0.5, gt=0, description="tau, of the log-perplexities.")
    alpha: float = Field(1.0, gt=0, description="alpha, the weight of the toxic texts.")


@dataclass
class ContrastiveDetoxifier(FineTunedDetoxifier):
    """A model trained by contrastive perplexity."""

    method: ClassVar[str] = "contrastive"
    settings_type: ClassVar = ContrastiveSettings


@dataclass(frozen=True)
class ContrastivePerplexity(Anchored):
    """The share of the clean texts in the likelihoods of a batch, as a loss."""

    temperature: float
    alpha: float

    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return -log of the share."""
        good, bad = ((side.per_text(side.log_p(), texts) / self.temperature).logsumexp(0) for side in (clean, harmful))
        return torch.logaddexp(good, bad + torch.tensor(self.alpha).log()) - good


class Contrastive(FineTuning):
    """Fine-tune on the difference between clean and toxic texts."""

    name: ClassVar[str] = "contrastive"
    paper: ClassVar[str] = "Contrastive perplexity for controlled generation, arXiv 2401.08491"
    summary: ClassVar[str] = "An adapter learns to find clean texts likelier than toxic ones. A baseline."
    detoxifier_type: ClassVar = ContrastiveDetoxifier

    @classmethod
    def objective(cls, target: Target, settings: ContrastiveSettings) -> ContrastivePerplexity:
        """Return the loss."""
        return ContrastivePerplexity(settings.temperature, settings.alpha)
