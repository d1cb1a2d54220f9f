"""NADO, decoding under a learned constraint (arXiv 2205.14219): a small auxiliary model beside the target.

From the target's own continuations and what a scorer says of them, an auxiliary model learns how likely a text is to
violate the constraint once it goes on with each next token, v = 1 - R (`detoxlm.control.auxiliary`). Decoding lowers
the logits of the likeliest tokens by

    24 strength max(0, v - tolerance)        (rule=tilt, the default), or
    -strength log R                          (rule=published; at strength 1 it is the published q ~ p R),

and gives what they lose to the others. Any scorer can be the constraint, not toxicity alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from transformers import PreTrainedModel

from detoxlm.calibration.sources import acting_on_logits
from detoxlm.calibration.steering import lower
from detoxlm.control.auxiliary import lowering
from detoxlm.control.settings import AuxiliarySettings
from detoxlm.control.states import OwnStates
from detoxlm.control.storage import unpacked
from detoxlm.methods.base import Detoxifier, FitData, Method, describe_target
from detoxlm.models import Target


class NadoSettings(AuxiliarySettings):
    """Settings of `nado`."""

    candidates: int = Field(256, ge=1, description="How many of the target's likeliest tokens are judged.")

    @property
    def of_its_own(self) -> list[str]:
        """As of all auxiliary models, and the samples, which are for nothing else here."""
        return sorted({*super().of_its_own, *({"samples"} & self.model_fields_set)})


@dataclass
class NadoDetoxifier(Detoxifier):
    """An auxiliary model for one target."""

    method: ClassVar[str] = "nado"
    kind: ClassVar = "decoding"
    settings_type: ClassVar = NadoSettings

    @property
    def default_strength(self) -> float:
        """1."""
        return 1.0

    @property
    def max_strength(self) -> float:
        """Where a token that is more likely than not to end in a violation is as good as banned."""
        return 50.0 if self._options.rule == "published" else 4.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (1.0, 6.0, 12.0) if self._options.rule == "published" else (0.5, 1.0, 2.0)

    @property
    def _options(self) -> NadoSettings:
        assert isinstance(self.settings, NadoSettings)
        return self.settings

    @contextmanager
    def _attach(self, model: PreTrainedModel, strength: float) -> Iterator[None]:
        options = self._options
        auxiliary = unpacked(self.tensors, model)

        def act(logits: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
            top, tokens = logits.topk(min(options.candidates, logits.shape[-1]), dim=-1)
            s = auxiliary(states.flatten(0, 1), tokens.flatten(0, 1)).view(tokens.shape)
            return lower(logits, tokens, top.float(), lowering(s, options.rule, strength, options.tolerance))

        own = OwnStates()
        with own.watching(model), acting_on_logits(model, own, act):
            yield


class Nado(Method):
    """Learn which tokens keep the constraint, and lower the others."""

    name: ClassVar[str] = "nado"
    paper: ClassVar[str] = "Neurally-decomposed oracle (NADO), arXiv 2205.14219; with 2410.05559"
    summary: ClassVar[str] = (
        "A tiny model on the target's own states learns where a text is going; risky tokens are lowered. Any scorer."
    )
    detoxifier_type: ClassVar = NadoDetoxifier
    reads: ClassVar[frozenset[str]] = frozenset({"prompts"})

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> NadoDetoxifier:
        """Sample, score, and train the auxiliary model."""
        from detoxlm.control.fit import fit_auxiliary  # it imports the contract, and with it all methods

        fitting: dict[str, Any] = {}
        return NadoDetoxifier(
            settings, describe_target(target), fit_auxiliary(target, data, settings, fitting), fitting
        )
