"""What a direction of the residual stream means in words: read through the vocabulary head (logit lens)."""

from __future__ import annotations

import torch

from detoxlm.models import Target


@torch.inference_mode()
def reads_as(target: Target, direction: torch.Tensor, count: int = 8) -> list[str]:
    """Return the `count` tokens that a direction [d] raises most above the average token.

    Deep layers speak the vocabulary's language, early ones hardly: an early direction may read as nothing in
    particular and still matter.
    """
    view = target.architecture
    gain = getattr(view.final_norm, "weight", None)
    scaled = direction.to(view.head.weight) * (1 if gain is None else gain)
    rows = view.head.weight - view.head.weight.mean(0)
    best = (rows @ scaled).topk(min(count, len(rows))).indices.tolist()
    return [str(target.tokenizer.decode([token])).strip() for token in best]
