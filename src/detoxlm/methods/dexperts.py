"""DExperts (arXiv 2105.03023): an expert in clean text and an anti-expert in toxic text vote on the next token.

    z~_v = z_v + strength (z+_v - z-_v)        for v in the target's own nucleus, renormalised there,

z the target's logits, z+ and z- those of two copies of it, one tuned on clean and one on toxic text. Strength is the
paper's alpha. The released code re-reads the prefix without a cache and truncates the tail for good, so that text
outside the nucleus has no probability at all; here both experts' caches live in the target's, and the tail keeps its
mass. `experts=anti` leaves the expert out: the target takes its place, as in the paper's ablation, at two thirds of
the price.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.calibration.calibrator import check_copyable
from detoxlm.calibration.sources import SharedCache, acting_on_logits
from detoxlm.experts.copies import expert, logits_of
from detoxlm.experts.detoxifier import ExpertDetoxifier
from detoxlm.experts.settings import ExpertSettings
from detoxlm.experts.steering import change_nucleus
from detoxlm.finetuning.method import training
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.models import Target

EXPERT, ANTI = "expert", "anti-expert"


class DExpertsSettings(ExpertSettings):
    """Settings of `dexperts`."""

    experts: Literal["pair", "anti"] = Field(
        "pair",
        description="pair: an expert and an anti-expert; anti: the anti-expert alone, against the target itself.",
    )


@dataclass
class DExpertsDetoxifier(ExpertDetoxifier):
    """One or two experts beside the target; tensors `expert.…` and `anti-expert.…`, as fine-tuning leaves them."""

    method: ClassVar[str] = "dexperts"
    settings_type: ClassVar = DExpertsSettings

    @property
    def roles(self) -> tuple[str, ...]:
        """Who there is, the anti-expert last."""
        assert isinstance(self.settings, DExpertsSettings)
        return roles(self.settings)

    @contextmanager
    def _attach(self, model: PreTrainedModel, strength: float) -> Iterator[None]:
        assert isinstance(self.settings, DExpertsSettings)
        settings = self.settings
        made = self._made(
            lambda: [expert(model, part(self.tensors, role), turn) for turn, role in enumerate(self.roles, 1)]
        )
        views = [Architecture.of(one) for one in made]

        def act(logits: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
            each = states.flatten(0, 1).chunk(len(views), -1)

            def change(tokens: torch.Tensor, before: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
                says = [before, *(logits_of(view, given[at], tokens) for view, given in zip(views, each, strict=True))]
                return strength * (says[-2] - says[-1])

            return change_nucleus(logits, change, candidates=settings.candidates, nucleus=settings.nucleus)

        with acting_on_logits(model, SharedCache(model, *(view.decoder for view in views)), act):
            yield


def roles(settings: DExpertsSettings) -> tuple[str, ...]:
    """Return who is trained, the anti-expert last."""
    return (EXPERT, ANTI) if settings.experts == "pair" else (ANTI,)


def part(tensors: dict[str, torch.Tensor], role: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one expert, by their names in the model."""
    return {name.removeprefix(f"{role}."): t for name, t in tensors.items() if name.startswith(f"{role}.")}


class DExperts(Method):
    """Tune one copy of the target on clean and one on toxic text, and steer by their difference."""

    name: ClassVar[str] = "dexperts"
    paper: ClassVar[str] = "DExperts, arXiv 2105.03023"
    summary: ClassVar[str] = (
        "Two tuned copies of the model, a clean and a toxic one, vote on every token. No weights change; three times "
        "the work."
    )
    detoxifier_type: ClassVar = DExpertsDetoxifier

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> DExpertsDetoxifier:
        """Get texts, and train the experts one after the other."""
        training(cls.name)  # says what is missing, before hours of sampling
        check_copyable(target.model)
        from detoxlm.experts.training import train_experts

        fitting: dict[str, Any] = {}
        tensors = train_experts(target, data, settings, roles(settings), fitting)
        return DExpertsDetoxifier(settings, describe_target(target), tensors, fitting)
