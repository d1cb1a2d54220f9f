"""What fine-tuning leaves: a change of weights, of low rank (an adapter) or of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from detoxlm.editing.detoxifier import WeightDetoxifier
from detoxlm.editing.lora import write_lora
from detoxlm.errors import UsageError

#: Ends of the names of tensors.
A, B, CHANGE = ".lora_A", ".lora_B", ".change"


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

    def save_adapter(self, model: PreTrainedModel, folder: str | Path, strength: float | None = None) -> None:
        """Write the adapter as a PEFT folder."""
        strength = self.check_strength(strength)
        self.check_target(model)
        factors = {name: (a, strength * b) for name, (a, b) in factors_of(self.tensors).items()}
        if not factors:
            raise UsageError("adapter: all weights were tuned (tune=full), which is no adapter; export a checkpoint.")
        write_lora(factors, model, self.target["name"], Path(folder))


def factors_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return A [r, in] and B [out, r] of each adapted module, by its name."""
    names = [name.removesuffix(A) for name in tensors if name.endswith(A)]
    return {name: (tensors[name + A], tensors[name + B]) for name in names}


def changes(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the weights of `model` that tensors as a `FineTunedDetoxifier`'s change, and what is added to each."""
    found = []
    for module, (a, b) in factors_of(tensors).items():
        adapted = model.get_submodule(module)
        weight = adapted.weight.T if isinstance(adapted, Conv1D) else adapted.weight  # Conv1D stores [in, out]
        found.append((weight, b.to(weight.device) @ a.to(weight.device)))
    for name, change in tensors.items():
        if name.endswith(CHANGE):
            weight = model.get_parameter(name.removesuffix(CHANGE))
            found.append((weight, change.to(weight.device)))
    return found
