"""A weight edit of low rank as a PEFT folder: what engines that serve adapters load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.pytorch_utils import Conv1D

from detoxlm.architecture import Architecture
from detoxlm.files import folder_written_atomically


def write_adapter(
    view: Architecture,
    module: str,
    factors: Mapping[int, tuple[torch.Tensor, torch.Tensor]],
    base_model: str,
    folder: Path,
) -> None:
    """Write W + B A of some layers as a LoRA with scale 1; layers without an edit get zeros, so that all have one rank.

    Args:
        view: of the model that was edited.
        module: attribute path of the edited matrix within a layer.
        factors: by layer A [k, in] and B [out, k].
        base_model: what the adapter's configuration names as its base.
        folder: is replaced whole.
    """
    down, up = next(iter(factors.values()))
    rank = max(a.shape[0] for a, _ in factors.values())
    prefix = f"base_model.model.{view.family.layers}"
    tensors = {}
    for layer in range(len(view.layers)):
        a, b = factors.get(layer, (torch.zeros(0, down.shape[1]), torch.zeros(up.shape[0], 0)))
        room = rank - a.shape[0]
        name = f"{prefix}.{layer}.{module}"
        tensors[f"{name}.lora_A.weight"] = torch.cat([a.cpu(), a.new_zeros(room, a.shape[1]).cpu()]).contiguous()
        tensors[f"{name}.lora_B.weight"] = torch.cat([b.cpu(), b.new_zeros(b.shape[0], room).cpu()], 1).contiguous()
    edited = view.layers[0].get_submodule(module)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": rank,
        "lora_alpha": rank,  # scale alpha / r = 1
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": isinstance(edited, Conv1D),
        "target_modules": [module],
        "inference_mode": True,
    }
    with folder_written_atomically(folder) as temporary:
        save_file(tensors, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
        (temporary / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
