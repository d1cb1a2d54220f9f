"""Unlikelihood training (arXiv 1908.04319): make harmful tokens unlikely, whatever takes their place.

    minimise  -lambda mean_t w_t log(1 - p(y_t)) + price KL(base || p on clean text).

As published, the other part is the likelihood of the training text; here it is the limit on drift that `tasft` has, so
that the two differ in how they treat harmful tokens and in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from detoxlm.methods.finetuning.blame import Blame
from detoxlm.methods.finetuning.method import FineTuning
from detoxlm.methods.training.objectives import Anchored, Tokens
from detoxlm.methods.training.settings import FineTuneSettings
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target

#: Probabilities count as no nearer to 1 than this, or the loss of a certain token would be infinite.
_ROOM = 1e-4


class UnlikelihoodSettings(FineTuneSettings):
    """Settings of `unlikelihood`."""

    blame: Blame = Field("occlusion", description="Weight of a harmful text's token: occlusion, rise or uniform.")
    avoidance: float = Field(2.0, gt=0, description="lambda, the weight of the unlikelihood term.")


@dataclass
class UnlikelihoodDetoxifier(FineTunedDetoxifier):
    """A model trained by unlikelihood."""

    method: ClassVar[str] = "unlikelihood"
    settings_type: ClassVar = UnlikelihoodSettings


@dataclass(frozen=True)
class UnlikelihoodLoss(Anchored):
    """The mean of -log(1 - p) of harmful tokens."""

    avoidance: float

    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return lambda times the weighted mean over harmful tokens."""
        p = harmful.log_p().exp().clamp(max=1 - _ROOM)
        return self.avoidance * harmful.mean(-torch.log1p(-p))


class Unlikelihood(FineTuning):
    """Fine-tune the tokens of the target's own worst continuations away."""

    name: ClassVar[str] = "unlikelihood"
    paper: ClassVar[str] = "Neural text generation with unlikelihood training, arXiv 1908.04319"
    summary: ClassVar[str] = "An adapter learns to make the tokens of a few harmful responses unlikely. A baseline."
    detoxifier_type: ClassVar = UnlikelihoodDetoxifier

    @classmethod
    def objective(cls, target: Target, settings: UnlikelihoodSettings) -> UnlikelihoodLoss:
        """Return the loss."""
        return UnlikelihoodLoss(settings.avoidance)

    @classmethod
    def blame(cls, settings: UnlikelihoodSettings) -> Blame:
        """Return how tokens are weighted."""
        return settings.blame
