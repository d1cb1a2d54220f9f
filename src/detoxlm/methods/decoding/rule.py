"""By how much the logits of risky tokens fall, and who gets what they lose."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detoxlm.errors import UsageError

#: How far a logit falls at strength 1 for a token that is certain to end in a toxic text.
SLOPE = 24.0


def by_row(strengths: Sequence[float], rows: int) -> list[float]:
    """Return the strength of each row of a batch; a request's beams or samples stand together and share its own.

    Raises:
        UsageError: the rows are no multiple of the strengths.
    """
    if rows % len(strengths):
        raise UsageError(f"strength: {len(strengths)} strengths do not fit a batch of {rows} rows; give one for each.")
    return [strength for strength in strengths for _ in range(rows // len(strengths))]


def penalties(toxicity: torch.Tensor, strength: torch.Tensor | float, threshold: float) -> torch.Tensor:
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
