"""A weight edit of low rank as a PEFT folder: what engines that serve adapters load."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from detoxlm.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of
from detoxlm.architecture import Architecture, Writer
from detoxlm.errors import UsageError
from detoxlm.files import folder_written_atomically

#: A [k, in] and B [out, k] of the edit W + B A.
Factors = tuple[torch.Tensor, torch.Tensor]


def write_lora(factors: Mapping[str, Factors], model: PreTrainedModel, folder: Path) -> None:
    """Write W + B A of some modules as a LoRA with scale 1; smaller ranks are filled with zeros.

    Args:
        factors: by the module's full name. Modules of one name in several layers must all be there: adapters are
            loaded by the ends of names.
        model: that was edited; the adapter's configuration names as its base where it was loaded from.
        folder: is replaced whole.

    Raises:
        UsageError: the model was loaded from nowhere, or `folder` is something else.
        DetoxError: the disk is full or the place not writable.
    """
    base, revision = base_of(model)
    rank = max(a.shape[0] for a, _ in factors.values())
    every = [name for name, _ in model.named_modules()]
    tensors = {}
    for module, (a, b) in factors.items():
        room = rank - a.shape[0]
        name = f"base_model.model.{module}"
        tensors[f"{name}.lora_A.weight"] = torch.cat([a.cpu(), a.new_zeros(room, a.shape[1]).cpu()]).contiguous()
        tensors[f"{name}.lora_B.weight"] = torch.cat([b.cpu(), b.new_zeros(b.shape[0], room).cpu()], 1).contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": rank,
        "lora_alpha": rank,  # scale alpha / r = 1
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": all(isinstance(model.get_submodule(module), Conv1D) for module in factors),
        "target_modules": sorted({_ending(module, factors, every) for module in factors}),
        "inference_mode": True,
    }
    with folder_written_atomically(folder, replaces=ADAPTER_CONFIG) as temporary:
        save_file(tensors, temporary / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        (temporary / ADAPTER_CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def _ending(module: str, wanted: Collection[str], every: Sequence[str]) -> str:
    """Return the shortest end of a module's name that no unwanted one has: `c_proj`, but GPT-2 has two in a layer."""
    parts = module.split(".")
    for start in reversed(range(len(parts))):
        end = ".".join(parts[start:])
        if all(name in wanted for name in every if f".{name}".endswith(f".{end}")):
            return end
    return module


def refuse_stack(view: Architecture, writer: Writer) -> None:
    """Raise `UsageError` for the matrices of experts that are fused into one tensor: few load LoRAs of those."""
    if writer.matrix.ndim == 3:
        raise UsageError(
            f"adapter: the experts of this {view.name} model are fused into one tensor "
            f"({writer.path}.{writer.parameter}), for which a LoRA loads hardly anywhere; export a checkpoint: --form "
            "checkpoint."
        )


def write_adapter(view: Architecture, edits: Mapping[str, Mapping[int, Factors]], folder: Path) -> None:
    """Write an edit of some modules of some layers (`write_lora`); in the other layers they get an edit of nothing.

    Args:
        view: of the model that was edited.
        edits: by the edited matrix's attribute path within a layer, and by layer.
        folder: is replaced whole.

    Raises:
        UsageError, DetoxError: as `write_lora`.
    """
    every = {}
    for module, factors in edits.items():
        for layer in range(len(view.layers)):
            found = factors.get(layer)
            if found is None:
                try:
                    matrix: Any = view.layers[layer].get_submodule(module)
                except AttributeError:  # a hybrid has other parts there
                    continue
                rows, columns = matrix.weight.T.shape if isinstance(matrix, Conv1D) else matrix.weight.shape
                found = (torch.zeros(0, columns), torch.zeros(rows, 0))
            every[f"{view.layers_path}.{layer}.{module}"] = found
    write_lora(every, view.model, folder)
