"""Where a causal LM keeps its parts: decoder layers, matrices that write to the stream, final norm and output head.

The table says it of some families; of others it is found by running them (`detoxlm.tracing`, `detoxlm.writers`).
Nothing is looked for before it is asked for: what needs text and logits alone works whatever the parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from detoxlm.errors import UsageError
from detoxlm.quantization import quantization_of, whole
from detoxlm.tracing import Parts, parts_of, softcap_of
from detoxlm.writers import Found, Part, Place, writers_in

__all__ = ["FAMILIES", "Architecture", "Family", "Part", "Writer", "same_model"]


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


@dataclass(frozen=True)
class Writer:
    """A matrix that writes to the residual stream of one layer."""

    path: str  # of its module, from the layer
    module: nn.Module
    parameter: str  # of the module
    #: W [d, m], or [E, d, m] of E experts: a view that writes through.
    matrix: torch.Tensor
    #: gamma [d] of the norm between the matrix and the stream; None: they touch.
    gain: torch.Tensor | None


@dataclass(frozen=True)
class Architecture:
    """A view of a loaded model; holds no weights of its own."""

    model: PreTrainedModel

    @classmethod
    def of(cls, model: PreTrainedModel) -> Architecture:
        """Return the view of `model`."""
        return cls(model)

    @property
    def name(self) -> str:
        """The model type, such as `llama` or `gpt2`."""
        return str(self.model.config.model_type)

    @property
    def quantization(self) -> str | None:
        """What the weights are quantised to, such as `int8 (torchao)`; None: they are whole, and can be edited."""
        return quantization_of(self.model)

    @property
    def family(self) -> Family | None:
        """What the table says of this model; None: it is not listed, or a variant (OPT-350m has no final norm)."""
        family = FAMILIES.get(self.name)
        if family is None or _find(self.model, family.layers) is None or _find(self.model, family.norm) is None:
            return None
        return family

    @property
    def _found(self) -> Parts:
        return parts_of(self.model)

    def why_not(self, part: str) -> str | None:
        """Return why this model has no `decoder` or no `layers` that could be shown to be; None: it has."""
        return None if self.family is not None else self._found.why.get(part)

    def _path(self, part: str) -> str:
        """Return the path of `decoder`, `layers` or `norm` from the model.

        Raises:
            UsageError: there is none that could be shown to be.
        """
        family = self.family
        if family is not None:
            return family.layers.rpartition(".")[0] if part == "decoder" else str(getattr(family, part))
        path = getattr(self._found, part)
        if path is None:
            why = self.why_not("decoder" if part == "decoder" else "layers")
            raise UsageError(
                f"model: the {part} of this {self.name} model cannot be told: {why}. Methods that read text and logits "
                "alone, such as fusion, work with it."
            )
        return str(path)

    @property
    def decoder(self) -> nn.Module:
        """The module whose output is the final-norm hidden state: the one that holds layers and final norm.

        Not `base_model`: OPT's CausalLM calls its inner decoder directly, and hooks on the outer module never run.

        Raises:
            UsageError: there is none that could be shown to be; so of `layers` and `final_norm`.
        """
        return self.model.get_submodule(self._path("decoder"))

    @property
    def layers_path(self) -> str:
        """Where the decoder layers are, from the model."""
        return self._path("layers")

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, first to last."""
        return attrgetter(self.layers_path)(self.model)

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last layer and the head; of a model without one, what changes nothing."""
        path = self._path("norm")
        return self.model.get_submodule(path) if path else nn.Identity()

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
        return int((self.embeddings if self.head is None else self.head).weight.shape[1])

    @property
    def vocab_size(self) -> int:
        """Rows V of the output head (padding rows included)."""
        return int((self.embeddings if self.head is None else self.head).weight.shape[0])

    @property
    def softcap(self) -> float | None:
        """Gemma-2's `final_logit_softcapping`: logits are `c tanh(Wh / c)`; None where the head is linear."""
        return softcap_of(self.model)

    @property
    def scale(self) -> float:
        """By what the logits are more than the head gives: 1 but for Granite, Cohere and their kin."""
        return 1.0 if self.family is not None else self._found.scale

    def capped(self, logits: torch.Tensor) -> torch.Tensor:
        """Return what the head gave, in float32, scaled and soft-capped where the model does it."""
        z = logits.float()
        if self.scale != 1:
            z = self.scale * z
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that tell this model from others of its shape; the same in float32 and bfloat16.

        A detoxifier carries its target's fingerprint, so that it is not attached to another model by mistake. A
        quantised model is another one.
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
        family = self.family
        depth = (
            getattr(self.model.config.get_text_config(), "num_hidden_layers", 0) if family is None else len(self.layers)
        )
        digest = hashlib.sha256(f"{self.name} {self.vocab_size} {self.hidden_size} {depth}".encode())
        for weight in (*self.model.parameters(), *self._packed):
            # the corners of every weight: an edit of one neuron, a row or a column of some matrix, crosses them
            for part in _corners(whole(weight).detach()):
                if part.is_floating_point():
                    part = part.to("cpu", first).to(torch.bfloat16)
                digest.update(part.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def _packed(self) -> list[torch.Tensor]:
        """What quantised layers keep in place of weights, packed into integers."""
        if self.quantization is None:
            return []
        return [one for one in self.model.buffers() if not one.is_floating_point() and one.ndim > 1]

    def check_layer(self, layer: int) -> None:
        """Raise `UsageError` where the model has no such layer."""
        if not 0 <= layer < len(self.layers):
            raise UsageError(f"layer: {layer} is none of this model's; it has 0 to {len(self.layers) - 1}.")

    def writers(self, layer: int, part: Part) -> tuple[Writer, ...]:
        """Return the matrices by which a part of layer `layer` writes to the stream: an MLP's value matrix, the last.

        A mixture has several, of experts and of those that all tokens share; where a hybrid has no such part, none.

        Raises:
            UsageError: the matrices are not dense: fused or quantised.
        """
        self._refuse_quantised()
        module = self.layers[layer]
        family = self.family
        if family is None:
            found = [one for one in writers_in(self.model, self.layers, layer) if one.part == part]
            return tuple(_writer(module, one, _gain(module, one.norm)) for one in found)
        place = self._listed(layer, getattr(family, part))
        norm = getattr(family, f"{part}_norm")
        # Gemma's RMSNorm scales by 1 + weight
        gain = None if norm is None else 1 + attrgetter(norm)(module).weight.detach()
        return (_writer(module, Found(part, place), gain),)

    def gates(self, layer: int) -> tuple[torch.Tensor, ...]:
        """Return the matrices [m, d], of experts [E, m, d], whose rows decide how active a layer's neurons are.

        Views that write through. Of an MLP without gates it is the first matrix.

        Raises:
            UsageError: as in `writers`; or the gates of an MLP cannot be told from its other matrices.
        """
        self._refuse_quantised()
        module = self.layers[layer]
        family = self.family
        if family is not None:
            matrix = self._listed(layer, family.gate).see(module)
            neurons = self._listed(layer, family.value).see(module).shape[1]
            return (matrix[:neurons],)  # phi3's is followed by the up matrix
        values = [one for one in writers_in(self.model, self.layers, layer) if one.part == "value"]
        for one in values:
            if one.gate is None:
                raise UsageError(
                    f"model: layer {layer} of this {self.name} model has an MLP, {one.place.path}, whose gates cannot "
                    "be told from its other matrices; use a method that does not edit them, such as subspace or fusion."
                )
        return tuple(one.gate.see(module) for one in values if one.gate is not None)

    def _refuse_quantised(self) -> None:
        if self.quantization is not None:
            raise UsageError(
                f"model: its matrices are quantised, {self.quantization}, and can be neither read nor edited as they "
                "are. Load it unquantised."
            )

    def _listed(self, layer: int, path: str) -> Place:
        """Return the place of a matrix that the table names.

        Raises:
            UsageError: there is none, or it is not dense.
        """
        module = _find(self.layers[layer], path)
        if isinstance(module, Conv1D):
            return Place(path, turned=True)  # Conv1D stores [in, out]
        if type(module) is nn.Linear:
            return Place(path)
        found = "nothing" if module is None else type(module).__name__
        raise UsageError(
            f"model: layer {layer} of this {self.name} model has {found} at {path}; "
            "only dense Linear and Conv1D matrices can be read or edited. Load it unquantised."
        )


def _writer(layer: nn.Module, found: Found, gain: torch.Tensor | None) -> Writer:
    place = found.place
    return Writer(place.path, layer.get_submodule(place.path), place.parameter, place.see(layer), gain)


@torch.no_grad()
def _gain(layer: nn.Module, path: str | None) -> torch.Tensor | None:
    """Return gamma of a norm y -> gamma * y / rms(y), whichever way it keeps it.

    Raises:
        UsageError: it is another kind of norm.
    """
    if path is None:
        return None
    norm = layer.get_submodule(path)
    weight = next(norm.parameters())
    d = weight.shape[-1]
    gain = norm(torch.full((1, d), 1e3, dtype=weight.dtype, device=weight.device))[
        0
    ].float()  # so large that no eps counts
    y = torch.randn(4, d, generator=torch.Generator().manual_seed(0)).to(weight.device) * 1e2
    expected = gain * y / y.square().mean(-1, keepdim=True).sqrt()
    if not torch.allclose(norm(y.to(weight.dtype)).float(), expected, rtol=2e-2, atol=2e-2 * float(gain.abs().max())):
        raise UsageError(
            f"model: {path} between a matrix and the residual stream is no RMSNorm, so it cannot be edited."
        )
    return gain


def _corners(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first rows and the first columns of a weight; of a stack of matrices, of each of them."""
    if weight.ndim == 0:
        weight = weight[None]
    return (weight[..., :8, :] if weight.ndim == 3 else weight[:8]), weight[..., :8]


def _find(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return attrgetter(path)(module)
    except AttributeError:
        return None


def same_model(prints: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Tell of two models' `prints` whether they are of one model, whatever precision each was loaded in."""
    names = ("fingerprint", "fingerprint_float16")
    return any(prints.get(name) is not None and prints.get(name) == others.get(name) for name in names)
