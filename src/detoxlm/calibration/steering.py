"""What the calibrator's states do to the target's logits or hidden states: the two rules of fusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from detoxlm.calibration.calibrator import RiskHead

#: How far a logit falls at strength 1 for each unit of log-odds above the floor. At one price in perplexity a steep
#: slope above a high threshold was worth more than a gentle one above a low one (docs/methods/fusion.md).
SLOPE = 8.0
#: One strength, or one for each request of a batch.
Strength = float | Sequence[float]


def by_row(strength: Strength, like: torch.Tensor) -> torch.Tensor:
    """Return the strengths [B, 1, 1] of the rows of `like` [B, …]; each request's beams or samples share its own.

    Raises:
        ValueError: the rows are no multiple of the strengths.
    """
    given = torch.tensor([strength] if isinstance(strength, int | float) else list(strength))
    if len(like) % len(given):
        raise ValueError(f"strength: {len(given)} strengths do not fit a batch of {len(like)} rows.")
    return given.to(like.device, torch.float32).repeat_interleave(len(like) // len(given))[:, None, None]


def penalties(
    risk: torch.Tensor, p: torch.Tensor, strength: torch.Tensor, threshold: float, ceiling: float
) -> torch.Tensor:
    """Return SLOPE * strength * max(0, s(v) - floor) for candidates, floor = E_p[s] kept in [threshold, ceiling].

    A token must be risky in itself (`threshold`), so that neutral text is left alone, and riskier than what the target
    would say here anyway (E_p[s]), so that what it is sure of stays; but above `ceiling` being sure is no excuse.

    Args:
        risk: s(v) of the candidates.
        p: the target's probabilities of the candidates, summing to 1 over them.
        strength: broadcast to the others.
        threshold: log-odds.
        ceiling: log-odds, not below `threshold`.

    Shapes: all [..., K].
    """
    floor = (p * risk).sum(-1, keepdim=True).clamp(threshold, ceiling)
    return SLOPE * strength * (risk - floor).clamp(min=0)


def contrast(
    logits: torch.Tensor,
    states: torch.Tensor,
    head: RiskHead,
    strength: Strength,
    *,
    threshold: float,
    ceiling: float,
    candidates: int,
    vocabulary: torch.Tensor | None = None,
) -> torch.Tensor:
    """Lower the logits of risky tokens among the likeliest `candidates`, in place; return them.

    Args:
        logits: the target's [B, T, V].
        states: the calibrator's final states at the same positions [B, T, d].
        head: the calibrator's risk head.
        strength: 0 changes nothing.
        threshold: log-odds of toxicity below which no token is touched.
        ceiling: log-odds above which every token is, however sure the target is of it.
        candidates: how many of the likeliest tokens are looked at; a nucleus rarely reaches past them.
        vocabulary: the calibrator's token for each of the target's [V], -1 for none; None where they are the same.
    """
    top, tokens = logits.topk(min(candidates, logits.shape[-1]), dim=-1)
    known = tokens if vocabulary is None else vocabulary[tokens]
    batch, steps, k = known.shape
    risk = head(states.flatten(0, 1), known.clamp(min=0).flatten(0, 1)).view(batch, steps, k)
    p = top.float().softmax(-1)
    if vocabulary is not None:  # a token that the calibrator cannot read is as risky as the rest on average
        read = (known >= 0).float()
        mean = (p * read * risk).sum(-1, keepdim=True) / (p * read).sum(-1, keepdim=True).clamp(min=1e-9)
        risk = torch.where(known >= 0, risk, mean)
    lowered = top.float() - penalties(risk, p, by_row(strength, logits), threshold, ceiling)
    return logits.scatter_(-1, tokens, lowered.to(logits.dtype))


def fuse(h: torch.Tensor, g: torch.Tensor, alpha: Strength) -> torch.Tensor:
    """Return h~ = alpha g + (1 - alpha) h, all [B, T, d] (arXiv 2506.01266)."""
    share = by_row(alpha, h).to(h.dtype)
    return share * g + (1 - share) * h


def mapped(states: torch.Tensor, alignment: torch.Tensor | None) -> torch.Tensor:
    """Return z~: g itself [..., d], or LayerNorm(g A) with A [d_c, d] (weight 1, bias 0, untrained)."""
    if alignment is None:
        return states
    z = states.float() @ alignment.to(states.device)
    return F.layer_norm(z, z.shape[-1:]).to(states.dtype)
