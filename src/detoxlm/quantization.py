"""Weights in fewer bits: made while a model is loaded, or found in its checkpoint."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import PreTrainedModel

from detoxlm.errors import UsageError, first_line

#: What `--quantization` knows, and the package that does it.
PACKAGES = {"4bit": "bitsandbytes", "8bit": "bitsandbytes", "int8": "torchao"}


def check_quantization(kind: str | None, device: torch.device) -> None:
    """Refuse what cannot be done here, before anything is read.

    Args:
        kind: `4bit` or `8bit` (bitsandbytes), `int8` (torchao, weights alone); None: nothing is asked for.
        device: where the model goes.

    Raises:
        UsageError: an unknown kind, no GPU for bitsandbytes, or a package that is not installed.
    """
    if kind is None:
        return
    if kind not in PACKAGES:
        raise UsageError(f"quantization: unknown {kind!r}; known: {', '.join(PACKAGES)}.")
    package = PACKAGES[kind]
    if package == "bitsandbytes" and device.type == "cpu":
        raise UsageError(f"quantization: {kind} (bitsandbytes) needs a GPU, and this is a CPU; int8 works on one.")
    if find_spec(package) is None:
        asked = "'detoxlm[quantization]'" if package == "torchao" else package
        raise UsageError(f"quantization: {kind} needs the package {package}: pip install {asked}.")


def check_checkpoint(config: dict[str, Any], name: str, kind: str | None) -> None:
    """Refuse a quantised checkpoint that cannot be loaded here, before its weights are read.

    Args:
        config: what its config.json holds.
        name: what the user calls the model.
        kind: what `--quantization` asks for.

    Raises:
        UsageError: a method that transformers does not know, a package or a device that is not here, or a checkpoint
            that is to be quantised a second time.
    """
    said = config.get("quantization_config")
    if said is None:
        return
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, AutoHfQuantizer

    method = said.get("quant_method") if isinstance(said, dict) else None
    if kind is not None:
        raise UsageError(f"quantization: {name!r} is quantised already ({method}); leave --quantization out.")
    if method != "bitsandbytes" and method not in AUTO_QUANTIZER_MAPPING:
        raise UsageError(f"model: {name!r} is quantised by {method!r}, which transformers cannot load.")
    try:
        with quietly(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            AutoHfQuantizer.from_config(dict(said), pre_quantized=True).validate_environment(device_map=None)
    except Exception as error:  # what the packages of others raise is no closed set
        raise UsageError(
            f"model: {name!r} is quantised by {method}, which cannot be loaded here: {first_line(error)}"
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Let packages say nothing while they are imported: torchao warns of kernels for other machines."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def while_loading(kind: str | None, dtype: torch.dtype) -> dict[str, Any]:
    """Return what `from_pretrained` is told, so that weights become smaller one by one as they are read."""
    if kind is None:
        return {}
    if kind == "int8":
        return {"quantization_config": _int8()}
    from transformers import BitsAndBytesConfig

    if kind == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": four}


def _int8() -> Any:
    """Int8 weights with a scale for each output, read back to the model's own type for every product."""
    from transformers import TorchAoConfig

    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of torch
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig())


def to_int8(model: PreTrainedModel) -> None:
    """Make the weights of a loaded model int8, all of linear modules but the output head, as `int8` does in loading."""
    config = _int8()
    from torchao.quantization import quantize_

    head = model.get_output_embeddings()
    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(model, config.quant_type, filter_fn=lambda one, _: isinstance(one, nn.Linear) and one is not head)
    model.config.quantization_config = config


def quantization_of(model: PreTrainedModel) -> str | None:
    """Return what the weights of a loaded model are quantised to, such as `int8 (torchao)`; None: they are whole.

    A checkpoint that was read back to full precision while it was loaded is whole.
    """
    config = getattr(model.config, "quantization_config", None)
    if config is None:
        return None
    said: dict[str, Any] = config if isinstance(config, dict) else config.to_dict()
    method = str(getattr(said.get("quant_method"), "value", said.get("quant_method")))
    if said.get("dequantize"):
        return None
    if method == "bitsandbytes":
        return f"{'4bit' if said.get('load_in_4bit') else '8bit'} ({method})"
    if method == "torchao":
        kind = str(said["quant_type"]["default"].get("_type", ""))
        return "int8 (torchao)" if kind == "Int8WeightOnlyConfig" else f"{kind or 'weights'} (torchao)"
    return f"{said['bits']}bit ({method})" if "bits" in said else method


@torch.no_grad()
def whole(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight as a plain tensor: what it stands for, where a class of its own keeps it in fewer bits."""
    if is_traceable_wrapper_subclass(weight):
        return weight.dequantize()
    return weight
