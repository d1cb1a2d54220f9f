"""The distribution q that a regularised model is to learn on text where violations are likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detoxlm.methods.control.auxiliary import Auxiliary, Rule, lowering
from detoxlm.methods.control.states import OwnStates
from detoxlm.methods.decoding.rule import lower
from detoxlm.methods.training.anchors import TOP, Anchor, tail
from detoxlm.models import Target
from detoxlm.passages import Passage, padded, read_in_batches
from detoxlm.progress import track
from detoxlm.sizing import BatchSize


@torch.no_grad()
def teachers(
    target: Target,
    auxiliary: Auxiliary,
    texts: Sequence[Passage],
    *,
    rule: Rule,
    guidance: float,
    tolerance: float,
    batch_size: BatchSize,
) -> list[Anchor]:
    """Return q, p lowered by `lowering` at strength `guidance`, for the counted tokens of each text, on the CPU.

    R is asked of the likeliest `TOP` tokens, whose probability in all stays what it is; so the tail does.
    """
    strength = torch.tensor(guidance, device=target.device)
    own = OwnStates()

    def read(part: list[int]) -> list[Anchor]:
        ids, mask, counted = padded(target, [texts[i] for i in part])
        every = target.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        states = own.states(ids.shape[1])[:, :-1]
        found = []
        for row, state, keep in zip(every, states, counted.bool(), strict=True):
            logits = row[keep].float()
            top, tokens = logits.topk(min(TOP, logits.shape[-1] - 1))
            s = auxiliary(state[keep], tokens)
            q = lower(logits, tokens, top, lowering(s, rule, strength, tolerance)).log_softmax(-1)
            kept = q.gather(-1, tokens)
            found.append(Anchor(tokens.cpu(), torch.cat([kept, tail(kept)], -1).cpu()))
        return found

    made: dict[int, Anchor] = {}
    with track("asking the auxiliary model", len(texts), "texts") as advance, own.watching(target.model):
        for part, found in read_in_batches(target.device, texts, batch_size, read):
            made |= zip(part, found, strict=True)
            advance(len(part))
    return [made[i] for i in range(len(texts))]
