"""The calibrator: the first layers of a language model, and the head that says where a text is going.

For a text x with state g (the last layer's, after the final norm) and a token v, the *risk* of v is

    s(v | x) = log-odds that the continuation is toxic once it goes on with v
             = e_v · M g + b_v + u · g + c,

with e_v the embedding of v, scaled to rows of mean length 1. By Bayes' rule differences of s between tokens are the
contrast of two language models, one of toxic and one of non-toxic text,

    s(v | x) − s(w | x) = log p_tox(v)/p_non(v) − log p_tox(w)/p_non(w),

which is why one trunk and one small head serve as the pair of experts (DExperts, arXiv 2105.03023; GeDi, arXiv
2009.06367) at the price of a fraction of one: no softmax over the vocabulary is needed, and only the tokens that the
target may choose are looked up. Trained on where texts end up, as FUDGE (arXiv 2104.05218) is.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError
from detoxlm.methods.decoding.copies import copied


def cut_calibrator(model: PreTrainedModel, layers: int, *, own_embeddings: bool = False) -> PreTrainedModel:
    """Return the first `layers` decoder layers of `model` under its embeddings, final norm and head, as a model.

    Layers and norm are copies; embeddings and head are the target's own modules unless `own_embeddings`.

    Raises:
        UsageError: the target has no more layers than that, or an architecture that cannot be cut.
    """
    view = Architecture.of(model)
    if not layers < len(view.layers):
        raise UsageError(f"layers: {layers} is not below the target's {len(view.layers)} decoder layers.")
    return copied(model, layers, own_embeddings=own_embeddings)


class RiskHead(nn.Module):
    """The head s(v | x) = e_v · M g + b_v + u · g + c."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        """Take the calibrator's input embeddings [V, d], which stay as they are; M, b and u start at 0."""
        super().__init__()
        vocabulary, width = embeddings.shape
        self.embeddings = [embeddings]  # in a list: neither trained nor saved with the head
        self.length = float(embeddings.float().pow(2).sum(-1).mean().sqrt())
        self.contrast = nn.Linear(width, width, bias=False)
        self.token = nn.Parameter(torch.zeros(vocabulary))
        self.text = nn.Linear(width, 1)
        for parameter in (self.contrast.weight, self.text.weight):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.text.bias, -2.0)  # about the share of toxic text

    def forward(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the risks [N, K] of `tokens` [N, K] after texts with final states [N, d]."""
        states = states.to(self.contrast.weight.dtype)
        direction = self.contrast(states) / self.length
        rows = F.embedding(tokens, self.embeddings[0]).to(direction.dtype)
        return (rows @ direction[..., None])[..., 0] + self.token[tokens] + self.text(states)


class Calibrator(nn.Module):
    """A trunk cut from a language model, and its risk head."""

    def __init__(self, trunk: PreTrainedModel) -> None:
        """Take the trunk that `cut_calibrator` returned."""
        super().__init__()
        self.trunk = trunk
        view = Architecture.of(trunk)
        self.decoder = view.decoder
        self.risk = RiskHead(view.embeddings.weight).to(trunk.device)

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that training changes, by name: layers, final norm and risk head."""
        view = Architecture.of(self.trunk)
        frozen = {id(view.embeddings.weight), id(view.head.weight), id(view.head.bias)}
        found = {f"trunk.{name}": p for name, p in self.trunk.named_parameters() if id(p) not in frozen}
        return found | {f"risk.{name}": p for name, p in self.risk.named_parameters()}
