"""Subtracting a toxicity probe from the residual stream ("A Mechanistic Understanding of Alignment", arXiv 2401.01967).

The study trains a linear probe w on the states of a layer and generates with

    x <- x - alpha w

at that layer. Here alpha is in units of the mean length of the states that the probe was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from transformers import PreTrainedModel

from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.methods.editing.pairs import PairSettings, check_pairs, embedded_pairs
from detoxlm.methods.editing.probes import probe_direction, separation
from detoxlm.methods.needs import Need
from detoxlm.models import Target


class ProbeSettings(PairSettings):
    """Settings of `probe`."""

    layer: int | None = Field(None, ge=0, description="Layer after which it is subtracted, from 0 [default: the last].")


class Subtraction(Steering):
    """Subtracts a direction from a layer's states."""

    name = "probe"

    def __init__(self, layer: int, direction: torch.Tensor) -> None:
        """Take the layer, from 0, and the direction [d]."""
        self.place, self._direction = layer, direction

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return the states [N, d] without so much of the direction."""
        return x - (strength[:, None] * self._direction).to(x.dtype)


@dataclass
class ProbeDetoxifier(DecodingDetoxifier):
    """A direction that is subtracted from one layer's output."""

    method: ClassVar[str] = "probe"
    settings_type: ClassVar = ProbeSettings

    @property
    def default_strength(self) -> float:
        """0.2: the probe is a fifth as long as the states."""
        return 0.2

    @property
    def max_strength(self) -> float:
        """2: twice as long as the states."""
        return 2.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (0.1, 0.2, 0.4)

    def _steer(self, model: PreTrainedModel) -> Steering:
        ((name, direction),) = self.tensors.items()
        return Subtraction(int(name.split(".")[0]), direction.to(model.device))


class Probe(Method):
    """Train a toxicity probe on one layer's states, and subtract it from them while generating."""

    name: ClassVar[str] = "probe"
    paper: ClassVar[str] = "A mechanistic understanding of alignment algorithms, arXiv 2401.01967"
    summary: ClassVar[str] = "A toxicity probe is subtracted from one layer's states. No weights change."
    detoxifier_type: ClassVar = ProbeDetoxifier
    needs: ClassVar[Need] = "layers"
    reads: ClassVar[frozenset[str]] = frozenset({"pairs", "prompts"})

    @classmethod
    def check(cls, data: FitData, settings: ProbeSettings, target: Target | None = None) -> None:
        """Refuse pairs too few, and a layer that is not there."""
        super().check(data, settings, target)
        check_pairs(data)
        if target is not None:
            target.architecture.check_layer(_layer(target, settings))

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: ProbeSettings) -> ProbeDetoxifier:
        """Embed pairs and train the probe."""
        cls.check(data, settings, target)
        layer = _layer(target, settings)
        fitting: dict[str, Any] = {"layer": layer}
        pairs = embedded_pairs(target, data, settings.samples, settings.max_length, fitting)
        positive, negative = pairs.positive[layer], pairs.negative[layer]
        w = probe_direction(positive, negative)
        fitting["probe_auc_on_its_pairs"] = round(separation(positive, negative, w), 3)
        tensors = {f"{layer}.probe": w * torch.cat([positive, negative]).norm(dim=1).mean()}
        return ProbeDetoxifier(settings, describe_target(target), tensors, fitting)


def _layer(target: Target, settings: ProbeSettings) -> int:
    return len(target.architecture.layers) - 1 if settings.layer is None else settings.layer
