"""The repetition penalty: tokens that a row has read or written become less likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def seen_in(read: Sequence[Sequence[int]], samples: int, logits: torch.Tensor) -> torch.Tensor:
    """Which tokens each row has read, bool [R, V], for rows of `samples` a prompt."""
    seen = torch.zeros(len(read) * samples, logits.shape[-1], dtype=torch.bool, device=logits.device)
    for i, ids in enumerate(read):
        seen[i * samples : (i + 1) * samples, list(ids)] = True
    return seen


def penalised(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return logits [R, V] with those of tokens in `seen`, bool [R, V], made less likely (CTRL, arXiv 1909.05858).

    As transformers has it: a positive logit is divided by the penalty, a negative one multiplied.
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
