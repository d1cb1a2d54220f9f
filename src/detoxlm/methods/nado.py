"""NADO, decoding under a learned constraint (arXiv 2205.14219): a small auxiliary model beside the target.

From the target's own continuations and what a scorer says of them, an auxiliary model learns how likely a text is to
stay within the constraint once it goes on with each next token, R (`detoxlm.control.auxiliary`). Decoding draws from

    q(v)  ~  p(v) min(1, R(v) / (1 - tolerance))^beta    over the target's likeliest tokens,    beta the strength.

beta = 1 without a tolerance is the published q, the nearest distribution to p that satisfies the constraint if R is
exact. R is learned, and a text is bad long before it is certain to be, so more is better. Any scorer can be the
constraint, not toxicity alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.calibration.sources import acting_on_logits
from detoxlm.calibration.steering import lower
from detoxlm.control.auxiliary import Auxiliary, log_satisfied
from detoxlm.control.settings import AuxiliarySettings
from detoxlm.control.states import OwnStates, width_of
from detoxlm.errors import UsageError, first_line
from detoxlm.methods.base import Detoxifier, FitData, Method, describe_target
from detoxlm.models import Target


class NadoSettings(AuxiliarySettings):
    """Settings of `nado`."""

    candidates: int = Field(256, ge=1, description="How many of the target's likeliest tokens are judged.")


@dataclass
class NadoDetoxifier(Detoxifier):
    """An auxiliary model for one target."""

    method: ClassVar[str] = "nado"
    kind: ClassVar = "decoding"
    settings_type: ClassVar = NadoSettings

    @property
    def default_strength(self) -> float:
        """beta."""
        return 12.0

    @property
    def max_strength(self) -> float:
        """Where a token twice as likely to violate the constraint as is tolerated is all but banned."""
        return 50.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (6.0, 12.0, 24.0)

    @contextmanager
    def _attach(self, model: PreTrainedModel, strength: float) -> Iterator[None]:
        options = self.settings
        assert isinstance(options, NadoSettings)
        auxiliary = auxiliary_from(self.tensors, model)

        def act(logits: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
            top, tokens = logits.topk(min(options.candidates, logits.shape[-1]), dim=-1)
            s = auxiliary(states.flatten(0, 1), tokens.flatten(0, 1)).view(tokens.shape)
            return lower(logits, tokens, top.float(), -strength * log_satisfied(s, options.tolerance))

        own = OwnStates()
        with own.watching(model), acting_on_logits(model, own, act):
            yield


def auxiliary_from(tensors: dict[str, torch.Tensor], model: PreTrainedModel) -> Auxiliary:
    """Return the auxiliary model of these tensors, on the device of `model`.

    Raises:
        UsageError: they do not fit.
    """
    try:
        rank = len(tensors["read.bias"])
        made = Auxiliary(Architecture.of(model).head.weight, width_of(model), rank).to(model.device)
        made.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise UsageError(f"detoxifier: its weights do not fit this model: {first_line(error)}") from error
    return made.requires_grad_(False)


class Nado(Method):
    """Learn which tokens keep the constraint, and lower the others."""

    name: ClassVar[str] = "nado"
    paper: ClassVar[str] = "Neurally-decomposed oracle (NADO), arXiv 2205.14219; with 2410.05559"
    summary: ClassVar[str] = (
        "A tiny model on the target's own states learns where a text is going; risky tokens are lowered. Any scorer."
    )
    detoxifier_type: ClassVar = NadoDetoxifier

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> NadoDetoxifier:
        """Sample, score, and train the auxiliary model."""
        from detoxlm.control.fit import fit_auxiliary  # it imports the contract, and with it all methods

        fitting: dict[str, Any] = {}
        auxiliary, _ = fit_auxiliary(target, data, settings, fitting)
        tensors = {name: tensor.detach().clone() for name, tensor in auxiliary.state_dict().items()}
        return NadoDetoxifier(settings, describe_target(target), tensors, fitting)
