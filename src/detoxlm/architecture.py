"""Where a causal LM keeps its parts: decoder layers, MLP value matrices, final norm and output head, by family."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from detoxlm.errors import UsageError

#: What writes to the residual stream: the MLP by its value matrix, and attention.
Part = Literal["value", "attention"]


@dataclass(frozen=True)
class Family:
    """Attribute paths of one family: `layers` and `norm` from the CausalLM, the others from a decoder layer.

    `value` is the MLP's last matrix, whose columns are the *value vectors* that neurons write to the residual stream;
    `gate` is the matrix whose rows decide how active each neuron is, `attention` the one by which attention writes to
    the residual stream. `value_norm` and `attention_norm` are the norms between such a matrix and the stream, where
    there are any.
    """

    layers: str
    norm: str
    value: str
    gate: str
    attention: str
    value_norm: str | None = None
    attention_norm: str | None = None


_LLAMA = Family("model.layers", "model.norm", "mlp.down_proj", "mlp.gate_proj", "self_attn.o_proj")
_GEMMA = replace(_LLAMA, value_norm="post_feedforward_layernorm", attention_norm="post_attention_layernorm")
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma"), _LLAMA),
    "phi3": replace(_LLAMA, gate="mlp.gate_up_proj"),  # gate above up in one matrix
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "gemma3": replace(_GEMMA, layers="model.language_model.layers", norm="model.language_model.norm"),
    "phi": Family("model.layers", "model.final_layernorm", "mlp.fc2", "mlp.fc1", "self_attn.dense"),
    "gpt2": Family("transformer.h", "transformer.ln_f", "mlp.c_proj", "mlp.c_fc", "attn.c_proj"),
    "opt": Family("model.decoder.layers", "model.decoder.final_layer_norm", "fc2", "fc1", "self_attn.out_proj"),
    "gptj": Family("transformer.h", "transformer.ln_f", "mlp.fc_out", "mlp.fc_in", "attn.out_proj"),
    "gpt_neox": Family(
        "gpt_neox.layers", "gpt_neox.final_layer_norm", "mlp.dense_4h_to_h", "mlp.dense_h_to_4h", "attention.dense"
    ),
}


def family_of(kind: str, where: str) -> Family:
    """Return the family of a model type, such as `llama`.

    Args:
        kind: `model_type` of the configuration.
        where: the model's class and, where it is known, the model, for the message.

    Raises:
        UsageError: it is unknown; the message names it and says what would be needed.
    """
    if kind not in FAMILIES:
        raise UsageError(
            f"model: architecture {kind!r} ({where}) is not supported. Known: {', '.join(sorted(FAMILIES))}. To "
            "add it, name its decoder layers, final norm and MLP value matrix in FAMILIES in detoxlm/architecture.py."
        )
    return FAMILIES[kind]


@dataclass(frozen=True)
class Architecture:
    """A view of a loaded model; holds no weights of its own."""

    model: PreTrainedModel
    family: Family

    @classmethod
    def of(cls, model: PreTrainedModel) -> Architecture:
        """Return the view of `model`.

        Raises:
            UsageError: the architecture is unknown; the message names it and says what would be needed.
        """
        kind = model.config.model_type
        family = family_of(kind, type(model).__name__)
        view = cls(model, family)
        for part in ("layers", "norm"):
            if _find(model, getattr(family, part)) is None:
                raise UsageError(
                    f"model: this {kind} model has no {getattr(family, part)} (OPT-350m, for one, has no final norm); "
                    "such a variant is not supported."
                )
        return view

    @property
    def name(self) -> str:
        """The model type, such as `llama` or `gpt2`."""
        return str(self.model.config.model_type)

    @property
    def decoder(self) -> nn.Module:
        """The module whose output is the final-norm hidden state: the one that holds layers and final norm.

        Not `base_model`: OPT's CausalLM calls its inner decoder directly, and hooks on the outer module never run.
        """
        return attrgetter(self.family.layers.rpartition(".")[0])(self.model)

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, first to last."""
        return attrgetter(self.family.layers)(self.model)

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last layer and the head."""
        return attrgetter(self.family.norm)(self.model)

    @property
    def embeddings(self) -> nn.Embedding:
        """Input embeddings, weight [V, d]."""
        return self.model.get_input_embeddings()

    @property
    def head(self) -> nn.Linear:
        """Output head W, weight [V, d]; the bias is None but for GPT-J and Phi."""
        return self.model.get_output_embeddings()

    @property
    def hidden_size(self) -> int:
        """Width d of the residual stream."""
        return int(self.head.weight.shape[1])

    @property
    def vocab_size(self) -> int:
        """Rows V of the output head (padding rows included)."""
        return int(self.head.weight.shape[0])

    @property
    def softcap(self) -> float | None:
        """Gemma-2's `final_logit_softcapping`: logits are `c tanh(Wh / c)`; None where the head is linear."""
        return getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)

    def capped(self, logits: torch.Tensor) -> torch.Tensor:
        """Return what the head gave, in float32, soft-capped where the model does it."""
        z = logits.float()
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that tell this model from others of its shape; the same in float32 and bfloat16.

        A detoxifier carries its target's fingerprint, so that it is not attached to another model by mistake.
        """
        return self._digest()

    @property
    def fingerprint_float16(self) -> str:
        """The fingerprint of the model loaded in float16, which rounds otherwise; the same in float32 and float16."""
        return self._digest(torch.float16)

    @property
    def prints(self) -> dict[str, str]:
        """What is kept of a model to know it again by `is_of`."""
        return {"fingerprint": self.fingerprint, "fingerprint_float16": self.fingerprint_float16}

    def is_of(self, prints: Mapping[str, Any]) -> bool:
        """Tell whether this is the model that `prints` were taken of, whatever precision each was loaded in.

        Only a checkpoint in float32 that is loaded in bfloat16 here and in float16 there passes for two models.
        """
        return self.fingerprint == prints["fingerprint"] or self.fingerprint_float16 == prints.get(
            "fingerprint_float16"
        )

    def _digest(self, first: torch.dtype | None = None) -> str:
        """Return the fingerprint, of weights that were rounded to `first` before."""
        digest = hashlib.sha256(f"{self.name} {self.vocab_size} {self.hidden_size} {len(self.layers)}".encode())
        for weight in self.model.parameters():
            # the corners of every weight: an edit of one neuron, a row or a column of some matrix, crosses them
            for part in (weight.detach()[:8], weight.detach()[..., :8]):
                part = part.to("cpu", first)
                digest.update(part.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
        return digest.hexdigest()[:16]

    def check_layer(self, layer: int) -> None:
        """Raise `UsageError` where the model has no such layer."""
        if not 0 <= layer < len(self.layers):
            raise UsageError(f"layer: {layer} is none of this model's; it has 0 to {len(self.layers) - 1}.")

    def value_matrix(self, layer: int) -> torch.Tensor:
        """Return layer `layer`'s MLP value matrix as a view [d, d_ff] that writes through to the weight.

        Raises:
            UsageError: the layer has no single dense value matrix (mixture of experts, fused or quantised).
        """
        return self.writing_matrix(layer, "value")

    def gate_matrix(self, layer: int) -> torch.Tensor:
        """Return layer `layer`'s gate matrix as a view [d_ff, d] that writes through; MLPs without gates: the first.

        Raises:
            UsageError: as in `value_matrix`.
        """
        matrix = self._matrix(layer, self.family.gate)
        return matrix[: self.value_matrix(layer).shape[1]]  # phi3's is followed by the up matrix

    def value_gain(self, layer: int) -> torch.Tensor | None:
        """Return gamma [d] of the norm between the value matrix and the residual stream; None: they touch."""
        return self.writing_gain(layer, "value")

    def writing_matrix(self, layer: int, part: Part) -> torch.Tensor:
        """Return the matrix by which a part of layer `layer` writes to the stream, a view [d, m] that writes through.

        Raises:
            UsageError: as in `value_matrix`.
        """
        return self._matrix(layer, getattr(self.family, part))

    def writing_gain(self, layer: int, part: Part) -> torch.Tensor | None:
        """Return gamma [d] of the norm between that matrix and the residual stream; None: they touch."""
        norm = getattr(self.family, f"{part}_norm")
        if norm is None:
            return None
        return 1 + attrgetter(norm)(self.layers[layer]).weight.detach()  # Gemma's RMSNorm scales by 1 + weight

    def _matrix(self, layer: int, path: str) -> torch.Tensor:
        module = _find(self.layers[layer], path)
        if isinstance(module, Conv1D):
            return module.weight.T  # Conv1D stores [in, out]
        if type(module) is nn.Linear:
            return module.weight
        found = "nothing" if module is None else type(module).__name__
        raise UsageError(
            f"model: layer {layer} of this {self.name} model has {found} at {path}; "
            "only dense Linear and Conv1D matrices can be read or edited. Load it unquantised."
        )


def _find(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return attrgetter(path)(module)
    except AttributeError:
        return None


def same_model(prints: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Tell of two models' `prints` whether they are of one model, whatever precision each was loaded in."""
    names = ("fingerprint", "fingerprint_float16")
    return any(prints.get(name) is not None and prints.get(name) == others.get(name) for name in names)
