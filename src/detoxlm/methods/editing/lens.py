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
    head = view.head.weight
    v = 100 * direction.to(head)[None]  # so long that the norm's epsilon does not count
    # asked of the norm itself, as some multiply by their weight and others, such as Gemma's, by 1 + weight
    normed = (view.final_norm(v) - view.final_norm(-v)).to(head)[0]  # without its bias
    best = ((head - head.mean(0)) @ normed).topk(min(count, len(head))).indices.tolist()
    return [str(target.tokenizer.decode([token])).strip() for token in best]
