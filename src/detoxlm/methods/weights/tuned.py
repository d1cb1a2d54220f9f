"""What fine-tuning leaves: a change of weights, of low rank (an adapter) or of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from transformers import PreTrainedModel

from detoxlm.errors import UsageError
from detoxlm.methods.weights.changes import changes, factors_of
from detoxlm.methods.weights.detoxifier import WeightDetoxifier
from detoxlm.methods.weights.lora import write_lora


@dataclass
class FineTunedDetoxifier(WeightDetoxifier):
    """W + strength * B A for each adapted matrix, or W + strength * change for each weight.

    Tensors by module: `lora_A` [r, in] and `lora_B` [out, r]; or by parameter: `change`.
    """

    kind: ClassVar[Literal["decoding", "weights", "adapter"]] = "adapter"

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for: more than was trained, which costs less than training on."""
        return (1.0, 1.5, 2.0)

    def _changes(self, model: PreTrainedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return changes(model, self.tensors)

    def check_form(self, form: Literal["checkpoint", "adapter"]) -> None:
        """Refuse, as an adapter, what changes all weights."""
        super().check_form(form)
        if form == "adapter" and not factors_of(self.tensors):
            raise UsageError("adapter: all weights were tuned (tune=full), which is no adapter; export a checkpoint.")

    def save_adapter(self, model: PreTrainedModel, folder: str | Path, strength: float | None = None) -> None:
        """Write the adapter as a PEFT folder."""
        strength = self.check_strength(strength)
        self.check_target(model)
        self.check_form("adapter")
        factors = {name: (a, strength * b) for name, (a, b) in factors_of(self.tensors).items()}
        write_lora(factors, model, Path(folder))
