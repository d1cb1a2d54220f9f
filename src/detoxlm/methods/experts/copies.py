"""Copies of the target with what training changed in them, to run beside it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.methods.decoding.copies import copied
from detoxlm.methods.weights.changes import CHANGE, changes


def expert(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """Return a copy of `model` changed by the tensors of a `FineTunedDetoxifier`.

    Embeddings and head are the target's own modules, unless all weights were trained.

    Raises:
        KeyError, AttributeError, RuntimeError: the tensors are not for this model.
    """
    layers = len(Architecture.of(model).layers)
    whole = any(name.endswith(CHANGE) for name in tensors)
    made = copied(model, layers, own_embeddings=whole)
    with torch.no_grad():
        for weight, change in changes(made, tensors):
            weight.copy_((weight.float() + change).to(weight.dtype))
    return made


def logits_of(view: Architecture, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits [N, K] in float32 of `tokens` [N, K] alone, for final states [N, d]."""
    rows = F.embedding(tokens, view.head.weight)
    logits = (rows @ states[..., None].to(rows.dtype))[..., 0]
    return view.capped(logits if view.head.bias is None else logits + view.head.bias[tokens])
