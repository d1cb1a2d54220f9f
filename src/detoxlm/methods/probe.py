"""Subtracting a toxicity probe from the residual stream ("A Mechanistic Understanding of Alignment", arXiv 2401.01967).

The study trains a linear probe w on the states of a layer and generates with

    x <- x - alpha w

at that layer. Here alpha is in units of the mean length of the states that the probe was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.editing.pairs import PairSettings, embedded_pairs
from detoxlm.editing.probes import probe_direction, separation
from detoxlm.methods.base import Detoxifier, FitData, Method, describe_target
from detoxlm.models import Target


class ProbeSettings(PairSettings):
    """Settings of `probe`."""

    layer: int | None = Field(None, ge=0, description="Layer after which it is subtracted, from 0 [default: the last].")


@dataclass
class ProbeDetoxifier(Detoxifier):
    """A direction that is subtracted from one layer's output."""

    method: ClassVar[str] = "probe"
    kind: ClassVar = "decoding"
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

    def _attach(self, model: PreTrainedModel, strength: float) -> AbstractContextManager[None]:
        ((name, direction),) = self.tensors.items()
        layer = Architecture.of(model).layers[int(name.split(".")[0])]
        probe = (strength * direction).to(model.device, model.dtype)

        def after(_: torch.nn.Module, __: Any, output: Any) -> Any:
            return (output[0] - probe, *output[1:]) if isinstance(output, tuple) else output - probe

        @contextmanager
        def attached() -> Iterator[None]:
            handle = layer.register_forward_hook(after)
            try:
                yield
            finally:
                handle.remove()

        return attached()


class Probe(Method):
    """Train a toxicity probe on one layer's states, and subtract it from them while generating."""

    name: ClassVar[str] = "probe"
    paper: ClassVar[str] = "A mechanistic understanding of alignment algorithms, arXiv 2401.01967"
    summary: ClassVar[str] = "A toxicity probe is subtracted from one layer's states. No weights change."
    detoxifier_type: ClassVar = ProbeDetoxifier
    reads: ClassVar[frozenset[str]] = frozenset({"pairs", "prompts"})

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: ProbeSettings) -> ProbeDetoxifier:
        """Embed pairs and train the probe."""
        layer = len(target.architecture.layers) - 1 if settings.layer is None else settings.layer
        target.architecture.check_layer(layer)
        fitting: dict[str, Any] = {"layer": layer}
        pairs = embedded_pairs(target, data, settings.samples, settings.max_length, fitting)
        positive, negative = pairs.positive[layer], pairs.negative[layer]
        w = probe_direction(positive, negative)
        fitting["probe_auc_on_its_pairs"] = round(separation(positive, negative, w), 3)
        tensors = {f"{layer}.probe": w * torch.cat([positive, negative]).norm(dim=1).mean()}
        return ProbeDetoxifier(settings, describe_target(target), tensors, fitting)
