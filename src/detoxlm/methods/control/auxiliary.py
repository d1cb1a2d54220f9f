"""The auxiliary model of NADO (arXiv 2205.14219; 2410.05559): how likely is a text to satisfy a constraint?

For a constraint C on whole texts and a language model p,

    R(y_<=t) = Pr_{y ~ p}[C(y) = 1 | y_<=t],        q*(y | x) = p(y | x) C(x, y) / R(x),
    q*(y_t | y_<t) = p(y_t | y_<t) R(y_<=t) / R(y_<t):

q* is the distribution nearest to p, KL(q* || p) = -log R(x), all of whose texts satisfy C. What is learned here are the
log-odds s of a *violation*, R = 1 - sigmoid(s), for every next token v at once from the model's own final state h, in
which the model's attention has already read the context:

    s(v | h) = ê_v . g(h) + b_v + u(h),    g and u two layers over h, ê_v the model's embedding of v (tied).

A head of its own, V x d, would be most of a small model. g, b and u start at 0: R is the same for all tokens, q = p.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from detoxlm.methods.decoding.rule import penalties

#: How q is made of p and R: a tilt by the probability of a violation, or R itself.
Rule = Literal["tilt", "published"]

#: Share of a state's numbers that training leaves out: samples are few, and many of one prompt.
DROPOUT = 0.2
#: Probabilities are kept so far from 0 and 1 where their logarithms are taken.
_ROOM = 1e-6


class Auxiliary(nn.Module):
    """The log-odds s that a text violates the constraint, for any next token."""

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, embeddings: torch.Tensor, rank: int) -> None:
        """Make an untrained one.

        Args:
            embeddings: the model's [V, d], d the width of its final states too; they stay as they are.
            rank: of the hidden layer.
        """
        super().__init__()
        vocabulary, width = embeddings.shape
        self.embeddings = [embeddings]  # in a list: neither trained nor saved with the rest
        self.length = float(embeddings.float().pow(2).sum(-1).mean().sqrt())
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.drop = nn.Dropout(DROPOUT)
        self.read = nn.Linear(width, rank)
        self.meaning = nn.Linear(rank, width)
        self.text = nn.Linear(rank, 1)
        self.token = nn.Parameter(torch.zeros(vocabulary))
        for layer in (self.meaning, self.text):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def standardise(self, states: torch.Tensor) -> None:
        """Learn where the states [n, d] lie and how far they spread: some of their numbers are far larger."""
        self.centre.copy_(states.mean(0))
        self.scale.copy_(states.std(0).clamp(min=1e-3))

    def forward(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return s [n, k] of `tokens` [n, k] after texts with final states [n, d]."""
        hidden = F.gelu(self.read(self.drop((states.to(self.centre.dtype) - self.centre) / self.scale)))
        rows = F.embedding(tokens, self.embeddings[0]).to(hidden.dtype)
        direction = self.meaning(hidden) / self.length
        return (rows @ direction[..., None])[..., 0] + self.token[tokens] + self.text(hidden)


def bernoulli_kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return KL(Bernoulli(p) || Bernoulli(q)) in nats, elementwise."""
    p, q = (x.clamp(_ROOM, 1 - _ROOM) for x in (p, q))
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def lowering(s: torch.Tensor, rule: Rule, strength: torch.Tensor | float, tolerance: float) -> torch.Tensor:
    """Return by how much logits fall, of the shape of s; `strength` is broadcast to it.

    tilt: 24 strength max(0, v - tolerance), v = sigmoid(s) the probability of a violation; of all q it has the least
    E_q[v] for its KL(q || p). published: -strength log min(1, R / (1 - tolerance)); strength 1 and no tolerance give
    q*, and the larger the strength, the more it is about differences between violations that are all but certain.
    """
    if rule == "tilt":
        return penalties(s.sigmoid(), strength, tolerance)
    return -strength * log_satisfied(s, tolerance)


def log_satisfied(s: torch.Tensor, tolerance: float = 0.0) -> torch.Tensor:
    """Return log min(1, R / (1 - tolerance)), R = 1 - sigmoid(s): 0 where a violation is at most so likely.

    With a tolerance above 0 small differences between texts that are all likely to satisfy the constraint, which are
    mostly noise of the auxiliary model, move nothing.
    """
    return (F.logsigmoid(-s) - torch.log1p(torch.tensor(-tolerance))).clamp(max=0)
