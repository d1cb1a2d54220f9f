"""Copies of a target's decoder layers, to run beside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError, first_line
from detoxlm.methods.attachment import untouched_weights


def copied(model: PreTrainedModel, layers: int, *, own_embeddings: bool) -> PreTrainedModel:
    """Return a copy of the first `layers` decoder layers of `model`, which may be all, as a model.

    Layers and norm are copies; embeddings and head are the target's own modules unless `own_embeddings`.

    Raises:
        UsageError: an architecture that cannot be cut.
    """
    view = check_copyable(model)
    config = copy.deepcopy(model.config)
    whole = config.num_hidden_layers
    config.num_hidden_layers = layers
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == whole and layers < whole:  # something of each layer
            setattr(config, name, value[:layers])
    weights = untouched_weights(model)  # an edit that is attached now is of its block alone
    try:
        cut = type(model)(config)
        cut.load_state_dict({name: weights[name] for name in cut.state_dict()})
    except Exception as error:  # what models of others raise is no closed set
        raise UsageError(
            f"model: {type(model).__name__} cannot be made again with its first {layers} layers ({first_line(error)}); "
            "take the shipped calibrator, or a method that copies none."
        ) from error
    _give_dtypes(cut, {**dict(model.named_buffers()), **weights}, model.device)
    cut.eval().requires_grad_(False)
    if not own_embeddings:  # last, so that nothing above touches the target's modules
        cut.set_input_embeddings(view.embeddings)
        cut.set_output_embeddings(view.head)
    return cut


def _give_dtypes(cut: PreTrainedModel, theirs: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Put `cut` on a device, every parameter and buffer in the dtype of the model's tensor of its name.

    They differ: a model in bfloat16 has its rotary frequencies in float32; rounded ones turn far positions by radians.
    """
    for name, tensor in (*cut.named_parameters(), *cut.named_buffers()):
        tensor.data = tensor.data.to(device, theirs[name].dtype)


def check_copyable(model: PreTrainedModel) -> Architecture:
    """Return the model's parts; raise `UsageError` where `copied` cannot copy it."""
    view = Architecture.of(model)
    if view.quantization is not None:
        raise UsageError(
            f"model: its layers are quantised, {view.quantization}, and copies of them cannot be trained; fit without "
            "--quantization, or take a method that trains none, such as fusion with its shipped calibrator."
        )
    if model.config.get_text_config() is not model.config:
        raise UsageError(
            f"model: layers of {type(model).__name__} cannot be copied; use the text-only {view.name} model."
        )
    return view
