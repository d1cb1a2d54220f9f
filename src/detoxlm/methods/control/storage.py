"""How auxiliary models are stored: in float16, without the embeddings that they share with the target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError, first_line
from detoxlm.files import refuse_pointers
from detoxlm.methods.control.auxiliary import Auxiliary

#: The auxiliary model of toxicity that ships with detoxlm, trained by scripts/train_auxiliary.py on the embedded model.
SHIPPED = Path(__file__).parent / "weights" / "auxiliary.safetensors"


def packed(auxiliary: Auxiliary) -> dict[str, torch.Tensor]:
    """Return its tensors by name."""
    return {name: tensor.detach().half().cpu() for name, tensor in auxiliary.state_dict().items()}


def unpacked(tensors: dict[str, torch.Tensor], model: PreTrainedModel) -> Auxiliary:
    """Return the auxiliary model of these tensors, tied to the output head of `model`, on its device.

    Raises:
        UsageError: they do not fit.
    """
    try:
        made = Auxiliary(Architecture.of(model).head.weight.detach(), len(tensors["read.bias"]))
        made.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, RuntimeError) as error:
        raise UsageError(f"detoxifier: its weights do not fit this model: {first_line(error)}") from error
    return made.to(model.device).eval().requires_grad_(False)


def shipped() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors of the shipped one, and facts about its training (`base`, `scorer`, counts, validity)."""
    refuse_pointers("auxiliary", SHIPPED)
    return load_file(SHIPPED), json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
