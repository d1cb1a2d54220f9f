"""What the calibrator's states do to the target's logits or hidden states: the two rules of fusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from detoxlm.calibration.calibrator import RiskHead

#: How far a logit falls at strength 1 for a token that is certain to end in a toxic text.
SLOPE = 24.0
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


def penalties(toxicity: torch.Tensor, strength: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return SLOPE * strength * max(0, toxicity - threshold).

    Of all distributions q, the one that maximises -E_q[toxicity] - KL(q || p) / beta is q ~ p exp(-beta toxicity): no
    other pays less divergence for as little toxicity. It is linear in the *probability* of a toxic text, not in its
    log-odds, so that among tokens that are all bad the target's own preferences still count. Below `threshold` small
    differences are noise, and neutral text is left alone.

    Args:
        toxicity: expected toxicity of the text once it goes on with each candidate, in [0, 1].
        strength: broadcast to it.
        threshold: in [0, 1].
    """
    return SLOPE * strength * (toxicity - threshold).clamp(min=0)


def contrast(
    logits: torch.Tensor,
    states: torch.Tensor,
    head: RiskHead,
    strength: Strength,
    *,
    threshold: float,
    candidates: int,
    vocabulary: torch.Tensor | None = None,
) -> torch.Tensor:
    """Lower the logits of risky tokens among the likeliest `candidates`, in place; return them.

    What they lose goes to the other candidates alone: the tail beyond them keeps its probability.

    Args:
        logits: the target's [B, T, V].
        states: the calibrator's final states at the same positions [B, T, d].
        head: the calibrator's risk head.
        strength: 0 changes nothing.
        threshold: expected toxicity in [0, 1] below which no token is touched.
        candidates: how many of the likeliest tokens are looked at; a nucleus rarely reaches past them.
        vocabulary: the calibrator's token for each of the target's [V], -1 for none; None where they are the same.
    """
    top, tokens = logits.topk(min(candidates, logits.shape[-1]), dim=-1)
    known = tokens if vocabulary is None else vocabulary[tokens]
    batch, steps, k = known.shape
    toxicity = head(states.flatten(0, 1), known.clamp(min=0).flatten(0, 1)).view(batch, steps, k).sigmoid()
    before = top.float()
    if vocabulary is not None:  # a token that the calibrator cannot read is as risky as the rest on average
        p = before.softmax(-1) * (known >= 0)
        mean = (p * toxicity).sum(-1, keepdim=True) / p.sum(-1, keepdim=True).clamp(min=1e-9)
        toxicity = torch.where(known >= 0, toxicity, mean)
    return lower(logits, tokens, before, penalties(toxicity, by_row(strength, logits), threshold))


def lower(logits: torch.Tensor, tokens: torch.Tensor, before: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """Take penalties from the logits of some tokens and give them their mass back in proportion, in place; return them.

    Args:
        logits: [B, T, V].
        tokens: ids [B, T, k], of which each row has no two alike.
        before: their logits in float32.
        penalty: [B, T, k].
    """
    lowered = before - penalty
    lowered += before.logsumexp(-1, keepdim=True) - lowered.logsumexp(-1, keepdim=True)
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
