"""DExperts (arXiv 2105.03023): an expert in clean text and an anti-expert in toxic text vote on the next token.

    z~_v = z_v + strength (z+_v - z-_v)        for v in the target's own nucleus, renormalised there,

z the target's logits, z+ and z- those of two copies of it, one tuned on clean and one on toxic text. Strength is the
paper's alpha. The released code re-reads the prefix without a cache and truncates the tail for good, so that text
outside the nucleus has no probability at all; here both experts' caches live in the target's, and the tail keeps its
mass. `experts=anti` leaves the expert out: the target takes its place, as in the paper's ablation, at two thirds of
the price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.copies import check_copyable
from detoxlm.methods.experts.copies import expert, logits_of
from detoxlm.methods.experts.detoxifier import ExpertDetoxifier
from detoxlm.methods.experts.settings import DExpertsSettings, roles_of
from detoxlm.methods.experts.steering import change_nucleus
from detoxlm.methods.needs import Need
from detoxlm.methods.training import check_installed
from detoxlm.models import Target


class Vote(Steering):
    """Adds how much likelier the expert finds each token of the target's nucleus than the anti-expert does."""

    name = "dexperts"

    def __init__(self, views: Sequence[Architecture], candidates: int, nucleus: float) -> None:
        """Take the expert and the anti-expert, or the anti-expert alone, and the settings."""
        self._views, self._candidates, self._nucleus = views, candidates, nucleus
        self.readers = tuple(view.decoder for view in views)

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, V], changed by what the experts' states `said` [N, D] say of the nucleus."""
        each = said.chunk(len(self._views), -1)

        def change(tokens: torch.Tensor, before: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            experts = (logits_of(view, given[at], tokens) for view, given in zip(self._views, each, strict=True))
            says = [before, *experts]
            return strength[at, None] * (says[-2] - says[-1])

        return change_nucleus(x, change, candidates=self._candidates, nucleus=self._nucleus)


@dataclass
class DExpertsDetoxifier(ExpertDetoxifier):
    """One or two experts beside the target; tensors `expert.…` and `anti-expert.…`, as fine-tuning leaves them."""

    method: ClassVar[str] = "dexperts"
    settings_type: ClassVar = DExpertsSettings

    @property
    def roles(self) -> tuple[str, ...]:
        """Who there is, the anti-expert last."""
        assert isinstance(self.settings, DExpertsSettings)
        return roles_of(self.settings)

    def _steer(self, model: PreTrainedModel) -> Steering:
        assert isinstance(self.settings, DExpertsSettings)
        made = [expert(model, part(self.tensors, role)) for role in self.roles]
        return Vote([Architecture.of(one) for one in made], self.settings.candidates, self.settings.nucleus)


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
    needs: ClassVar[Need] = "states"

    @classmethod
    def check(cls, data: FitData, settings: Any, target: Target | None = None) -> None:
        """Refuse to train where what trains is not installed, and a model that cannot be copied."""
        super().check(data, settings, target)
        check_installed(cls.name)
        if target is not None:
            check_copyable(target.model)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> DExpertsDetoxifier:
        """Get texts, and train the experts one after the other."""
        cls.check(data, settings, target)
        from detoxlm.methods.experts.training import train_experts

        fitting: dict[str, Any] = {}
        tensors = train_experts(target, data, settings, roles_of(settings), fitting)
        return DExpertsDetoxifier(settings, describe_target(target), tensors, fitting)
