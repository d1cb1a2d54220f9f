"""The tensors that fine-tuning leaves, and the weights that they change."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from detoxlm.methods.weights.replacing import replaced

#: Ends of the names of tensors: by module, `lora_A` [r, in] and `lora_B` [out, r]; or by parameter, `change`.
A, B, CHANGE = ".lora_A", ".lora_B", ".change"


def factors_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return A [r, in] and B [out, r] of each adapted module, by its name."""
    names = [name.removesuffix(A) for name in tensors if name.endswith(A)]
    return {name: (tensors[name + A], tensors[name + B]) for name in names}


def changes(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the weights of `model` that tensors change, and what is added to each."""
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


def changed(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> AbstractContextManager[None]:
    """Return a context in which the weights of `model` are changed by `tensors`; leaving it puts them back."""
    found = changes(model, tensors)
    return replaced([(weight, (weight.detach().float() + change).to(weight.dtype)) for weight, change in found])
