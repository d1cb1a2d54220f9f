"""The regularised objective of attribute-controlled fine-tuning (arXiv 2410.05559)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from detoxlm.methods.training.anchors import coarse_log_p
from detoxlm.methods.training.objectives import Mean, Objective, Tokens

#: q || model: always well defined, and what the released code descends; model || q: mode-seeking.
Direction = Literal["forward", "reverse"]


@dataclass(frozen=True)
class ConstraintLoss(Objective):
    """A language-modelling loss on the corpus, and the distance from q where violations are likely.

    On the target's own text the cross-entropy with the whole distributions that it was drawn from is the mean of that
    with the drawn tokens, at less variance.
    """

    direction: Direction
    own: bool  # whether the corpus is the target's own text

    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return the loss on the corpus per token, in nats."""
        return clean.mean(clean.drift()) if self.own else -clean.mean(clean.log_p())

    def penalty(self, clean: Tokens, harmful: Tokens, mean: Mean) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean distance per token from q, in nats, twice: it is the one that is shown too."""
        if self.direction == "forward":
            distance = harmful.mean(harmful.drift())
        else:
            distance = harmful.mean(harmful.each(reverse_kl, harmful.top, harmful.base))
        return distance, distance


def reverse_kl(logits: torch.Tensor, ids: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return KL(model || q) [n] in nats over kept tokens and the tail; arguments as in `anchors.coarse_kl`."""
    model = coarse_log_p(logits, ids)
    return (model.exp() * (model - q)).sum(-1)
