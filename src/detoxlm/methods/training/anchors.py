"""What the untouched model says on given text, kept once, so that drift is cheap to measure at every step.

Of each next-token distribution the `TOP` likeliest tokens are kept, and the mass of all others as one. By the
log-sum inequality the KL divergence over those TOP + 1 cells is no more than that over the vocabulary; within the
tail, where single tokens are too unlikely to matter, the model is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from detoxlm.models import Target
from detoxlm.passages import Passage, padded, read_in_batches
from detoxlm.progress import track
from detoxlm.sizing import BatchSize

TOP = 256
#: Least mass of the tail, so that its logarithm is finite.
_TAIL = 1e-6


@dataclass(frozen=True)
class Anchor:
    """For the n counted tokens of a text: the likeliest tokens' ids [n, k], and log-probabilities [n, k + 1]."""

    ids: torch.Tensor
    log_p: torch.Tensor


@torch.no_grad()  # what inference mode makes could take no part in gradients
def anchors(
    target: Target, texts: Sequence[Passage], batch_size: BatchSize, description: str = "reading clean text"
) -> list[Anchor]:
    """Read texts with the untouched target; one `Anchor` each, on the CPU."""

    def read(part: list[int]) -> list[Anchor]:
        ids, mask, counted = padded(target, [texts[i] for i in part])
        logits = target.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        found = []
        for row, keep in zip(logits, counted.bool(), strict=True):
            top = row[keep].float().log_softmax(-1).topk(min(TOP, row.shape[-1] - 1))
            found.append(Anchor(top.indices.cpu(), torch.cat([top.values, tail(top.values)], -1).cpu()))
        return found

    made: dict[int, Anchor] = {}
    with track(description, len(texts), "texts") as advance:
        for part, found in read_in_batches(target.device, texts, batch_size, read):
            made |= zip(part, found, strict=True)
            advance(len(part))
    return [made[i] for i in range(len(texts))]


def tail(log_p: torch.Tensor) -> torch.Tensor:
    """Return the log-mass [..., 1] that the given log-probabilities [..., k] leave."""
    return (1 - log_p.exp().sum(-1, keepdim=True)).clamp(min=_TAIL).log()


def coarse_kl(logits: torch.Tensor, ids: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Return KL(base || model) [n] in nats over the kept tokens and the tail.

    Args:
        logits: the model's [n, V].
        ids: the kept tokens [n, k].
        base: log-probabilities [n, k + 1] of those and of the tail.
    """
    return (base.exp() * (base - coarse_log_p(logits, ids))).sum(-1)


def surprise(logits: torch.Tensor, ids: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Return by how many nats the model's next token surprises the base more than its own [n], over the same cells.

    It is what the perplexity of sampled text, as the base judges it, rises by. A model that is a little flatter than
    its base has hardly any KL divergence, which is of second order in the change; this is of first order.
    """
    return ((base.exp() - coarse_log_p(logits, ids).exp()) * base).sum(-1)


def kl_and_surprise(logits: torch.Tensor, ids: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Return `coarse_kl` and `surprise` [n, 2] from logits that are computed once."""
    return torch.stack([coarse_kl(logits, ids, base), surprise(logits, ids, base)], -1)


def coarse_log_p(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities [n, k + 1] of the tokens `ids` [n, k] and of the tail, for logits [n, V]."""
    top = logits.log_softmax(-1).gather(-1, ids)
    return torch.cat([top, tail(top)], -1)
