"""TA-SFT, toxicity-avoiding supervised fine-tuning (arXiv 2412.06843), re-derived: the paper has released no code.

Learn to move away from a few harmful responses y of the model's own, by the earth-mover distance between what it says
next and the harmful token, and stay where it was on clean text:

    minimise  -lambda mean_t w_t EMD(p_t, y_t) + price KL(base || p on clean text),

    EMD(p, y) = 1 - (sum_v p_v ê_v) . ê_y,    ê the unit rows of the embedding matrix (`detoxlm.finetuning.emd`).

-EMD is bounded, and a token's synonyms go with it. w_t is how much the token contributes to the toxicity of the text;
the price follows the drift that is measured, so that quality costs what `drift` allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from detoxlm.finetuning.blame import Blame
from detoxlm.finetuning.detoxifier import FineTunedDetoxifier
from detoxlm.finetuning.emd import emd_to_token, unit_rows
from detoxlm.finetuning.method import FineTuning
from detoxlm.finetuning.objectives import Anchored, Tokens
from detoxlm.finetuning.settings import FineTuneSettings
from detoxlm.models import Target


class TasftSettings(FineTuneSettings):
    """Settings of `tasft`."""

    blame: Blame = Field(
        "occlusion",
        description="Weight of a harmful text's token: occlusion, how much less toxic the text is without it; rise, "
        "how much more toxic it is with it than up to it; uniform.",
    )
    avoidance: float = Field(6.0, gt=0, description="lambda, the weight of the earth-mover term.")


@dataclass
class TasftDetoxifier(FineTunedDetoxifier):
    """A model trained by TA-SFT."""

    method: ClassVar[str] = "tasft"
    settings_type: ClassVar = TasftSettings

    @property
    def default_strength(self) -> float:
        """2: going on in the direction of a short training costs less than a longer training."""
        return 2.0


@dataclass(frozen=True)
class Avoidance(Anchored):
    """The mean earth-mover distance from harmful tokens, negative."""

    units: torch.Tensor  # [V, d]
    avoidance: float

    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return -lambda times the weighted mean over harmful tokens."""

        def distance(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return emd_to_token(logits.softmax(-1), ids, self.units)

        return -self.avoidance * harmful.mean(harmful.each(distance, harmful.ids))


class Tasft(FineTuning):
    """Fine-tune away from the target's own worst continuations."""

    name: ClassVar[str] = "tasft"
    paper: ClassVar[str] = "Toxicity-avoiding supervised fine-tuning (TA-SFT), arXiv 2412.06843"
    summary: ClassVar[str] = (
        "An adapter learns to keep its distance from a few harmful responses, by meaning, and to stay where it was."
    )
    detoxifier_type: ClassVar = TasftDetoxifier

    @classmethod
    def objective(cls, target: Target, settings: TasftSettings) -> Avoidance:
        """Return the loss, over the target's own embeddings."""
        return Avoidance(unit_rows(target.architecture.embeddings.weight), settings.avoidance)

    @classmethod
    def blame(cls, settings: TasftSettings) -> Blame:
        """Return how tokens are weighted."""
        return settings.blame
