"""What methods of kind `weights` share: new values for some matrices, written in place or put back."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.methods.attachment import lent
from detoxlm.methods.base import Detoxifier
from detoxlm.methods.weights.replacing import replaced, whole


@dataclass
class WeightDetoxifier(Detoxifier):
    """A detoxifier that is a change of some weights, in proportion to its strength."""

    kind: ClassVar[Literal["decoding", "weights", "adapter"]] = "weights"

    @abstractmethod
    def _changes(self, model: PreTrainedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return weights (views that write through) and what strength 1 adds to each, in float32 on its device."""

    @property
    def default_strength(self) -> float:
        """1, the edit as it was fitted."""
        return 1.0

    @property
    def max_strength(self) -> float:
        """2, the edit twice over."""
        return 2.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (0.5, 1.0, 1.5)

    def _lent(self, model: PreTrainedModel, strength: float) -> AbstractContextManager[None]:
        originals: dict[str, torch.Tensor] = {}

        def enter(_: object) -> AbstractContextManager[None]:
            new = self._new(model, strength)
            originals.update(whole(model, [weight for weight, _ in new]))
            return replaced(new)

        label, prints = f"{self.method} at strength {strength:g}", Architecture.of(model).prints
        return lent(model, "weights", label, enter, originals=originals, prints=prints)

    def _attach(self, model: PreTrainedModel, strength: float) -> AbstractContextManager[None]:
        return replaced(self._new(model, strength))

    def merge(self, model: PreTrainedModel, strength: float | None = None) -> PreTrainedModel:
        """Edit `model` in place and return it."""
        strength = self.check_strength(strength)
        self.check_target(model)
        with torch.no_grad():
            for weight, values in self._new(model, strength):
                weight.copy_(values)
        return model

    def _new(self, model: PreTrainedModel, strength: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
        changes = self._changes(model)
        return [(weight, (weight.detach().float() + strength * change).to(weight.dtype)) for weight, change in changes]
