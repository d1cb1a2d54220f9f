"""TA-SFT, toxicity-avoiding supervised fine-tuning (arXiv 2412.06843), re-derived: the paper has released no code.

Learn to move away from a few harmful responses y of the model's own, by the earth-mover distance between what it says
next and the harmful token, and stay where it was on clean text:

    minimise  -lambda mean_t w_t EMD(p_t, y_t) + price KL(base || p on clean text),

    EMD(p, y) = 1 - (sum_v p_v ê_v) . ê_y,    ê the unit rows of the embedding matrix (`emd.py`).

-EMD is bounded, and a token's synonyms go with it. w_t is how much the token contributes to the toxicity of the text;
the price follows the drift that is measured, so that quality costs what `drift` allows.

With soft targets the harmful side is a distribution q_t, and in place of EMD(p_t, y_t) stands its provable lower bound

    |m_p - m_q|^2 / 2 <= EMD(p_t, q_t),    q_t = (1 - smoothing) y_t + smoothing base_t,    m_p = sum_v p_v ê_v,

base_t what the untouched model says there. q_t = base_t would teach nothing: training starts at p_t = base_t, where
the bound and its gradient are 0. With y_t in it the gradient starts at -(1 - smoothing) (m_base - ê_y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from detoxlm.methods.finetuning.blame import Blame
from detoxlm.methods.finetuning.emd import emd_lower_bound, emd_to_token, smoothed, unit_rows
from detoxlm.methods.finetuning.method import FineTuning
from detoxlm.methods.training.objectives import Anchored, Tokens
from detoxlm.methods.training.settings import FineTuneSettings
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target

#: How lambda goes over the steps.
Schedule = Literal["constant", "rise", "fall"]


class TasftSettings(FineTuneSettings):
    """Settings of `tasft`."""

    blame: Blame = Field(
        "occlusion",
        description="Weight of a harmful text's token: occlusion, how much less toxic the text is without it; rise, "
        "how much more toxic it is with it than up to it; uniform.",
    )
    avoidance: float = Field(6.0, gt=0, description="lambda, the weight of the earth-mover term.")
    avoidance_schedule: Schedule = Field(
        "constant",
        description="Of lambda over the steps: constant; rise, linearly from next to nothing to `avoidance`; fall, "
        "linearly from `avoidance` to next to nothing.",
    )
    targets: Literal["token", "soft"] = Field(
        "token",
        description="What is kept away from: token, the harmful token (exact distance); soft, a distribution of it and "
        "of what the untouched model says there (a lower bound on the distance).",
    )
    smoothing: float = Field(0.1, ge=0, lt=1, description="soft: the untouched model's share of the distribution.")


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
    """The mean earth-mover distance from harmful tokens, or from soft targets, negative."""

    units: torch.Tensor  # [V, d]
    avoidance: float
    smoothing: float | None = None  # None: harmful tokens; else of soft targets
    schedule: Schedule = "constant"
    steps: int = 1

    @property
    def reads_base(self) -> bool:
        """Soft targets do."""
        return self.smoothing is not None

    def weight(self, done: float) -> float:
        """Return the share of lambda: 1; or 1/steps, 2/steps, ... 1 (rise); or that backwards (fall)."""
        if self.schedule == "constant":
            return 1.0
        return done + 1 / self.steps if self.schedule == "rise" else 1 - done

    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return -lambda times the weighted mean over harmful tokens, in [-2 lambda, 0]."""

        def distance(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return emd_to_token(logits.softmax(-1), ids, self.units)

        def bound(logits: torch.Tensor, ids: torch.Tensor, top: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
            q = smoothed(ids, top, base, self.smoothing or 0.0, logits.shape[-1])
            return emd_lower_bound(logits.softmax(-1), q, self.units)

        if self.smoothing is None:
            return -self.avoidance * harmful.mean(harmful.each(distance, harmful.ids))
        kept = harmful.base[:, :-1]  # without the tail, whose tokens are not known
        return -self.avoidance * harmful.mean(harmful.each(bound, harmful.ids, harmful.top, kept))


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
        return Avoidance(
            unit_rows(target.architecture.embeddings.weight),
            settings.avoidance,
            settings.smoothing if settings.targets == "soft" else None,
            settings.avoidance_schedule,
            settings.steps,
        )

    @classmethod
    def blame(cls, settings: TasftSettings) -> Blame:
        """Return how tokens are weighted."""
        return settings.blame
