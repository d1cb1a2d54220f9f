"""NADO, decoding under a learned constraint (arXiv 2205.14219): a small auxiliary model beside the target.

From the target's own continuations and what a scorer says of them, an auxiliary model learns how likely a text is to
violate the constraint once it goes on with each next token, v = 1 - R (`auxiliary.py`). Decoding lowers
the logits of the likeliest tokens by

    24 strength max(0, v - tolerance)        (rule=tilt, the default), or
    -strength log R                          (rule=published; at strength 1 it is the published q ~ p R),

and gives what they lose to the others. Any scorer can be the constraint, not toxicity alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.control.auxiliary import Auxiliary, Rule, lowering
from detoxlm.methods.control.fit import check_auxiliary, fit_auxiliary
from detoxlm.methods.control.settings import AuxiliarySettings
from detoxlm.methods.control.storage import unpacked
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.methods.decoding.rule import lower
from detoxlm.methods.needs import Need
from detoxlm.models import Target


class NadoSettings(AuxiliarySettings):
    """Settings of `nado`."""

    candidates: int = Field(256, ge=1, description="How many of the target's likeliest tokens are judged.")

    @property
    def of_its_own(self) -> list[str]:
        """As of all auxiliary models, and the samples, which are for nothing else here."""
        return sorted({*super().of_its_own, *({"samples"} & self.model_fields_set)})


class Guidance(Steering):
    """Lowers the tokens after which the auxiliary model sees a violation coming."""

    name = "nado"
    reads_target = True

    def __init__(self, auxiliary: Auxiliary, decoder: nn.Module, rule: Rule, tolerance: float, candidates: int) -> None:
        """Take the auxiliary model, the target's decoder, whose states it reads, and the settings."""
        self._auxiliary = auxiliary
        self._decoder: nn.Module | None = decoder
        self._rule, self._tolerance, self._candidates = rule, tolerance, candidates

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, V], lowered after texts with the target's states `said` [N, d]."""
        top, tokens = x.topk(min(self._candidates, x.shape[-1]), dim=-1)
        s = self._auxiliary(said, tokens)
        return lower(x, tokens, top.float(), lowering(s, self._rule, strength[:, None], self._tolerance))

    def let_go(self) -> None:
        """Drop the target's decoder, which is read with where its states are not shown."""
        self._decoder = None

    def on_logits(self) -> Steering:
        """Return a steering that reads the text with the target a second time: its states are not shown there."""
        assert self._decoder is not None
        again = Guidance(self._auxiliary, self._decoder, self._rule, self._tolerance, self._candidates)
        again.reads_target, again.readers = False, (self._decoder,)
        return again


@dataclass
class NadoDetoxifier(DecodingDetoxifier):
    """An auxiliary model for one target."""

    method: ClassVar[str] = "nado"
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

    def _steer(self, model: PreTrainedModel) -> Steering:
        options = self._options
        auxiliary = unpacked(self.tensors, model)
        decoder = Architecture.of(model).decoder
        return Guidance(auxiliary, decoder, options.rule, options.tolerance, options.candidates)


class Nado(Method):
    """Learn which tokens keep the constraint, and lower the others."""

    name: ClassVar[str] = "nado"
    paper: ClassVar[str] = "Neurally-decomposed oracle (NADO), arXiv 2205.14219; with 2410.05559"
    summary: ClassVar[str] = (
        "A tiny model on the target's own states learns where a text is going; risky tokens are lowered. Any scorer."
    )
    detoxifier_type: ClassVar = NadoDetoxifier
    needs: ClassVar[Need] = "states"
    reads: ClassVar[frozenset[str]] = frozenset({"prompts"})

    @classmethod
    def check(cls, data: FitData, settings: Any, target: Target | None = None) -> None:
        """Refuse to go without a scorer, and the shipped auxiliary model where it does not fit."""
        super().check(data, settings, target)
        check_auxiliary(data, settings, target)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> NadoDetoxifier:
        """Sample, score, and train the auxiliary model."""
        cls.check(data, settings, target)
        fitting: dict[str, Any] = {}
        return NadoDetoxifier(
            settings, describe_target(target), fit_auxiliary(target, data, settings, fitting), fitting
        )
