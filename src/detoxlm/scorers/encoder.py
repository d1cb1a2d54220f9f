"""The sentence encoder behind the scorer `embedded`: six BERT layers, in PyTorch alone.

transformers has the same network, but importing it costs more than a second and 150 MB, which a command like
`detoxlm score` spends on nothing. `tests/scorers/test_scorer_encoder.py` holds the two against each other.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from detoxlm.errors import DetoxError
from detoxlm.scorers.package import INSTALL, WEIGHTS_SHA256

HIDDEN, HEADS, LAYERS, INNER = 384, 12, 6, 1536
VOCABULARY, POSITIONS, NORM_EPSILON = 30522, 512, 1e-12


class Layer(nn.Module):
    """One post-norm transformer layer; the three input projections are one matrix, in the order query, key, value."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.norm_attention = nn.LayerNorm(HIDDEN, NORM_EPSILON)
        self.up = nn.Linear(HIDDEN, INNER)
        self.down = nn.Linear(INNER, HIDDEN)
        self.norm_output = nn.LayerNorm(HIDDEN, NORM_EPSILON)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Map hidden states [texts, tokens, HIDDEN] to the same shape; `bias` is added to the attention logits."""
        texts, tokens, _ = x.shape
        q, k, v = _linear(self.qkv, x).view(texts, tokens, 3, HEADS, HIDDEN // HEADS).permute(2, 0, 3, 1, 4)
        # Written out: the fused CPU kernel's backward pass takes half of a training step on texts as short as these.
        logits = (q @ k.transpose(-1, -2)) * (HIDDEN // HEADS) ** -0.5
        if bias is not None:
            logits = logits + bias
        mixed = (torch.softmax(logits, -1) @ v).transpose(1, 2).reshape(texts, tokens, HIDDEN)
        x = _norm(self.norm_attention, x + _linear(self.out, mixed))
        return _norm(self.norm_output, x + _linear(self.down, F.gelu(_linear(self.up, x))))


def _linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    # Parameters stay float32; training computes in bfloat16 where the CPU is three times faster with it.
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _norm(layer: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, (HIDDEN,), layer.weight.to(x.dtype), layer.bias.to(x.dtype), NORM_EPSILON)


class Encoder(nn.Module):
    """all-MiniLM-L6-v2 without its pooling: token ids [texts, tokens] to hidden states [texts, tokens, HIDDEN]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.empty(VOCABULARY, HIDDEN), requires_grad=False)
        self.positions = nn.Parameter(torch.empty(POSITIONS, HIDDEN), requires_grad=False)
        self.norm = nn.LayerNorm(HIDDEN, NORM_EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return hidden states in `dtype`. `mask` is True where a token is text and False where it is padding."""
        x = _norm(self.norm, F.embedding(ids, self.words) + self.positions[: ids.shape[1]]).to(dtype)
        bias = None if bool(mask.all()) else (~mask[:, None, None, :]).to(dtype) * -1e4
        for layer in self.layers:
            x = layer(x, bias)
        return x


def load_encoder(folder: Path) -> Encoder:
    """Return the pre-trained encoder from the package's folder.

    Raises:
        DetoxError: model.safetensors is missing or is not the file that the adapter was trained on.
    """
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise DetoxError(
            f"scorer embedded: {path} is not the encoder it was trained on (SHA-256 {found[:12]}…). Run: {INSTALL}"
        )
    return from_bert(load_file(path))


def from_bert(tensors: dict[str, torch.Tensor]) -> Encoder:
    """Return the encoder with the weights of a BERT checkpoint, by their names in it."""
    state = {
        "words": tensors["embeddings.word_embeddings.weight"],
        # One text at a time: every token is of type 0, so its vector is part of the position's.
        "positions": tensors["embeddings.position_embeddings.weight"]
        + tensors["embeddings.token_type_embeddings.weight"][0],
    }
    names = {
        "out": "attention.output.dense",
        "norm_attention": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm_output": "output.LayerNorm",
    }
    for kind in ("weight", "bias"):
        state[f"norm.{kind}"] = tensors[f"embeddings.LayerNorm.{kind}"]
        for i in range(LAYERS):
            prefix = f"encoder.layer.{i}"
            parts = [tensors[f"{prefix}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"layers.{i}.qkv.{kind}"] = torch.cat(parts)
            for ours, theirs in names.items():
                state[f"layers.{i}.{ours}.{kind}"] = tensors[f"{prefix}.{theirs}.{kind}"]
    with torch.device("meta"):
        encoder = Encoder()
    encoder.load_state_dict(state, assign=True)
    return encoder
