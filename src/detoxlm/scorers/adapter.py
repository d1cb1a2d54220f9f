"""The weights that turn the sentence encoder into a scorer, small enough to ship: `weights/embedded.safetensors`.

Training changes every matrix of the encoder a little. What is shipped is the change, in four bits a weight with one
scale for every `GROUP` weights of a row, the change of the vectors (biases and norms), and the head: 6 MB, not 90.
"""

from __future__ import annotations

import torch
from torch import nn

from detoxlm.judged import DIMENSION_COLUMNS
from detoxlm.scorers.encoder import HIDDEN, Encoder

#: What the scorer says of a text, in the order of the head's outputs; the first is the headline.
DIMENSIONS = ("toxicity", *DIMENSION_COLUMNS)
#: Weights of a row that share a scale. Every row length of the encoder is a multiple of it.
GROUP = 64
#: Four bits hold -7 … 7; -8 is left out so that a change and its opposite round alike.
LEVELS = 7


class Classifier(nn.Module):
    """Encoder and head: token ids to one logit by dimension."""

    def __init__(self, encoder: Encoder, outputs: int = len(DIMENSIONS)) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(2 * HIDDEN, outputs)

    def pool(self, ids: torch.Tensor, mask: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return mean and maximum over a text's tokens, float32 [texts, 2·HIDDEN].

        The mean carries what a text is about, the maximum a single word in a long one.
        """
        states = self.encoder(ids, mask, dtype).float()
        weight = mask[..., None].float()
        mean = (states * weight).sum(1) / weight.sum(1)
        return torch.cat([mean, states.masked_fill(~mask[..., None], -1e4).amax(1)], -1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return logits, float32 [texts, outputs]."""
        return self.head(self.pool(ids, mask, dtype))


def pack(change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a matrix [rows, columns] to four bits: (two weights a byte, uint8; scales, float16 [rows, groups]).

    Each weight is rounded up or down by chance, in proportion to what is nearer. Rounding to the nearest would undo a
    second training stage: its changes start from rounded weights and are smaller than half a step.
    """
    groups = change.float().reshape(change.shape[0], -1, GROUP)
    scale = (groups.abs().amax(-1) / LEVELS).clamp_min(1e-7).half()
    chance = torch.rand(groups.shape, generator=torch.Generator().manual_seed(0))
    level = (groups / scale.float()[..., None] + chance).floor().clamp(-LEVELS, LEVELS).to(torch.int16) + 8
    level = level.reshape(change.shape).to(torch.uint8)
    return level[:, 0::2] | (level[:, 1::2] << 4), scale


def unpack(packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the matrix that `pack` rounded, float32 [rows, columns]."""
    level = torch.stack([packed & 15, packed >> 4], -1).reshape(packed.shape[0], -1, GROUP)
    return ((level.float() - 8) * scale.float()[..., None]).reshape(packed.shape[0], -1)


def difference(trained: Classifier, base: Encoder) -> dict[str, torch.Tensor]:
    """Return the tensors to ship: the trained classifier as a change of the base encoder."""
    tensors = {f"head.{name}": value.detach().clone() for name, value in trained.head.named_parameters()}
    before = dict(base.named_parameters())
    for name, value in trained.encoder.named_parameters():
        if not value.requires_grad:
            continue
        change = (value - before[name]).detach()
        if change.ndim == 2:
            tensors[f"packed.{name}"], tensors[f"scale.{name}"] = pack(change)
        else:
            tensors[f"change.{name}"] = change.half()
    return tensors


@torch.no_grad()
def apply(encoder: Encoder, tensors: dict[str, torch.Tensor]) -> Classifier:
    """Return the classifier that `difference` described; changes `encoder` in place.

    Raises:
        KeyError: a tensor is missing or names no weight of the encoder.
    """
    weights = dict(encoder.named_parameters())
    for name, tensor in tensors.items():
        kind, _, weight = name.partition(".")
        if kind == "packed":
            weights[weight].add_(unpack(tensor, tensors[f"scale.{weight}"]))
        elif kind == "change":
            weights[weight].add_(tensor.float())
    classifier = Classifier(encoder, len(tensors["head.bias"]))
    classifier.head.load_state_dict({name: tensors[f"head.{name}"] for name in ("weight", "bias")})
    return classifier.eval()
