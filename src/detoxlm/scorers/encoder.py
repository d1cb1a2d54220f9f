"""The sentence encoder behind the scorer `embedded`: six BERT layers, in PyTorch alone.

transformers has the same network, but importing it costs more than a second and 150 MB, which a command like
`detoxlm score` spends on nothing. `tests/scorers/test_scorer_embedded.py` holds the two against each other.
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


class Places:
    """Where the tokens of a padded batch [texts, longest] are, to drop the padding and to put it back.

    Everything but attention works on single tokens, so padding is carried through attention alone: a fifth less work on
    texts of mixed length.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        """Take the mask [texts, longest]: True where a token is text and False where it is padding."""
        self.shape = mask.shape
        whole = bool(mask.all())
        self.padding = None if whole else ~mask
        self._index = None if whole else mask.flatten().nonzero().squeeze(1)

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """[texts, longest, …] to [tokens, …]."""
        flat = padded.flatten(0, 1)
        return flat if self._index is None else flat[self._index]

    def pad(self, packed: torch.Tensor) -> torch.Tensor:
        """[tokens, features] to [texts, longest, features]; padding is 0."""
        if self._index is not None:
            room = packed.new_zeros(self.shape[0] * self.shape[1], packed.shape[1])
            packed = room.index_copy(0, self._index, packed)
        return packed.unflatten(0, self.shape)


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

    def forward(self, x: torch.Tensor, places: Places) -> torch.Tensor:
        """Map the hidden states of a batch's tokens [tokens, HIDDEN] to the same shape."""
        q, k, v = places.pad(_linear(self.qkv, x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        # Written out: the fused CPU kernel's backward pass takes half of a training step on texts as short as these.
        logits = (q @ k.transpose(-1, -2)) * (HIDDEN // HEADS) ** -0.5
        if places.padding is not None:
            logits = logits.masked_fill(places.padding[:, None, None, :], -1e4)
        mixed = places.pack((torch.softmax(logits, -1) @ v).transpose(1, 2).flatten(2))
        x = _norm(self.norm_attention, x + _linear(self.out, mixed))
        return _norm(self.norm_output, x + _linear(self.down, F.gelu(_linear(self.up, x))))


def _linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    # Parameters stay float32; training computes in bfloat16 where the CPU is faster with it.
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
        """Return hidden states [texts, longest, HIDDEN] in `dtype`; those of padding, where `mask` is False, are 0."""
        places = Places(mask)
        positions = self.positions[: ids.shape[1]].expand(len(ids), -1, -1)
        x = _norm(self.norm, F.embedding(places.pack(ids), self.words) + places.pack(positions)).to(dtype)
        for layer in self.layers:
            x = layer(x, places)
        return places.pad(x)


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
