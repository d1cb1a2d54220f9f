"""What experts do to the target's logits: a change within its own nucleus."""

from __future__ import annotations

from collections.abc import Callable

import torch

#: Positions whose candidates are looked up at once.
CHUNK = 512
#: Changes [n, K] of the log-probabilities of `tokens` [n, K], given their logits [n, K], at positions `at` [n].
Change = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def change_nucleus(logits: torch.Tensor, change: Change, *, candidates: int, nucleus: float) -> torch.Tensor:
    """Change the logits of the target's nucleus, in place; return them.

    The nucleus (the likeliest tokens that together have `nucleus` of the mass) keeps its mass as a whole, so the tail
    keeps every token's probability: experts know little of tokens that the target would not say.

    Args:
        logits: the target's [B, T, V].
        change: says what is added to the candidates' logits at the flat positions (0 to BT - 1) that it is asked for.
        candidates: at most so many tokens are in the nucleus.
        nucleus: its mass, in (0, 1].
    """
    flat = logits.view(-1, logits.shape[-1])
    for start in range(0, len(flat), CHUNK):
        part = flat[start : start + CHUNK]
        top, tokens = part.topk(min(candidates, part.shape[-1]), dim=-1)
        before = top.float()
        p = (before - part.float().logsumexp(-1, keepdim=True)).exp()
        inside = p.cumsum(-1) - p < nucleus
        at = torch.arange(start, start + len(part), device=part.device)
        after = before + change(tokens, before, at)
        mass, now = (x.masked_fill(~inside, -torch.inf).logsumexp(-1, keepdim=True) for x in (before, after))
        part.scatter_(-1, tokens, torch.where(inside, after + mass - now, before).to(part.dtype))
    return logits
