"""How calibrators are stored: as a change of the model that they were cut from, four bits a weight, or whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from detoxlm.methods.fusion.calibrator import Calibrator
from detoxlm.scorers.adapter import GROUP, pack, unpack

#: The calibrator that ships with detoxlm, trained by scripts/train_calibrator.py on the embedded model's first layers.
SHIPPED = Path(__file__).parent / "weights" / "calibrator.safetensors"


def pack_change(calibrator: Calibrator, base: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors that turn the untrained cut `base` into `calibrator`'s trunk, and its risk head.

    Matrices are rounded to four bits where their rows allow (`detoxlm.scorers.adapter.pack`), the rest to float16.
    """
    tensors: dict[str, torch.Tensor] = {}
    before = dict(base.named_parameters())
    for name, value in calibrator.trained().items():
        kind, _, weight = name.partition(".")
        change = value.detach().float().cpu()
        if kind == "trunk":
            change = change - before[weight].detach().float().cpu()
        if kind == "trunk" and change.ndim == 2 and change.shape[1] % GROUP == 0:
            tensors[f"packed.{weight}"], tensors[f"scale.{weight}"] = pack(change)
        else:
            tensors[f"change.{weight}" if kind == "trunk" else name] = change.half()
    return tensors


@torch.no_grad()
def unpack_change(trunk: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> Calibrator:
    """Return the calibrator that `pack_change` described; changes `trunk`, an untrained cut, in place.

    Raises:
        KeyError: a tensor is missing or names no weight of the trunk.
        RuntimeError: a tensor has another shape than the trunk's.
    """
    weights = dict(trunk.named_parameters())
    for name, tensor in tensors.items():
        kind, _, weight = name.partition(".")
        if kind == "packed":
            change = unpack(tensor, tensors[f"scale.{weight}"])
        elif kind == "change":
            change = tensor.float()
        else:
            continue
        weights[weight].copy_(weights[weight].float().cpu() + change)
    calibrator = Calibrator(trunk)
    head = {name.removeprefix("risk."): t.float() for name, t in tensors.items() if name.startswith("risk.")}
    calibrator.risk.load_state_dict(head)
    return calibrator.to(trunk.device).eval().requires_grad_(False)


def whole_trunk(trunk: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return all weights of a trunk, embeddings included, in float16 and each once."""
    return {f"base.{name}": p.detach().half().cpu() for name, p in trunk.named_parameters()}


def trunk_from(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> PreTrainedModel:
    """Return the trunk that `whole_trunk` described, in float32."""
    kind = config["model_type"]
    trunk = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **{name: value for name, value in config.items() if name != "model_type"})
    )
    own = {name.removeprefix("base."): t.float() for name, t in tensors.items() if name.startswith("base.")}
    missing, unexpected = trunk.load_state_dict(own, strict=False)
    trunk.tie_weights()
    left = set(missing) - {name for name in trunk.state_dict() if name not in dict(trunk.named_parameters())}
    if unexpected or left:
        raise KeyError(f"{(list(unexpected) or sorted(left))[0]} does not fit the calibrator's configuration")
    return trunk.to(torch.float32).eval().requires_grad_(False)


def tokenizer_to_json(tokenizer: Any) -> str:
    """Return a fast tokenizer as text: its data and its special tokens, nothing to execute."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    return json.dumps({"tokenizer": json.loads(tokenizer.backend_tokenizer.to_str()), "special": special})


def tokenizer_from_json(text: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer that `tokenizer_to_json` described."""
    stored = json.loads(text)
    inner = Tokenizer.from_str(json.dumps(stored["tokenizer"]))
    inner.no_truncation()
    inner.no_padding()
    return PreTrainedTokenizerFast(tokenizer_object=inner, **{k: v for k, v in stored["special"].items() if v})
