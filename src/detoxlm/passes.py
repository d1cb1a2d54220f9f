"""Passes of a model over tokens: a batch is read into a cache and then grows, whatever the model keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from detoxlm.caching import cached_as, new_cache, parameters_of, step_arguments
from detoxlm.models import Target


@dataclass
class Prefill:
    """A left-padded batch that the model has read: what the next step needs."""

    logits: torch.Tensor  # [B, V] at each row's last token
    cache: DynamicCache | None  # None: the model keeps nothing in one, and reads all `ids` again
    mask: torch.Tensor  # [B, T], 0 on padding
    ids: torch.Tensor  # [B, T]

    def repeated(self, n: int) -> Prefill:
        """Return n copies of each row, in place of reading the prompt n times."""
        if n > 1 and self.cache is not None:
            # not batch_repeat_interleave, which layers that keep a state do not have
            self.cache.reorder_cache(torch.arange(len(self.mask), device=self.mask.device).repeat_interleave(n))
        logits, mask, ids = (one.repeat_interleave(n, 0) for one in (self.logits, self.mask, self.ids))
        return Prefill(logits, self.cache, mask, ids)


@torch.inference_mode()
def prefill(target: Target, token_ids: Sequence[Sequence[int]]) -> Prefill:
    """Read a batch of token sequences, padded on the left; logits only at each last token (the head costs a fifth)."""
    longest = max(len(ids) for ids in token_ids)
    pad = target.tokenizer.pad_token_id
    inputs = torch.tensor([[pad] * (longest - len(ids)) + list(ids) for ids in token_ids], device=target.device)
    lengths = torch.tensor([len(ids) for ids in token_ids], device=target.device)
    mask = (torch.arange(longest, device=target.device) >= longest - lengths[:, None]).long()
    cache = None if cached_as(target.model) is None else new_cache(target.model)
    empty = Prefill(torch.empty(0), cache, mask[:, :0], inputs[:, :0])
    return extend(target.model, empty, inputs, mask)


@torch.inference_mode()
def extend(
    model: PreTrainedModel, state: Prefill, inputs: torch.Tensor, mask: torch.Tensor | None = None, keep: int = 1
) -> Prefill:
    """Feed [B, t] more tokens after `state`; `mask` [B, t] is 0 on padding.

    Returns the new state, logits [B, V] of the last position, or [B, keep, V] of the last `keep` where keep > 1.
    """
    mask = torch.cat([state.mask, torch.ones_like(inputs) if mask is None else mask], 1)
    ids = torch.cat([state.ids, inputs], 1)
    if state.cache is None:
        logits = _read_whole(model, ids, mask, keep)
    else:
        logits = forward(model, step_arguments(model, state.cache, inputs, mask), keep)
    return Prefill(logits[:, -1] if keep == 1 else logits, state.cache, mask, ids)


def _read_whole(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, keep: int) -> torch.Tensor:
    """Return the logits [B, keep, V] of a model without a cache, row by row: some read padding as if it were text."""
    rows = []
    for row, real in zip(ids, mask.bool(), strict=True):
        counted = real[-keep:]
        read = forward(model, {"input_ids": row[real][None], "use_cache": False}, int(counted.sum()))[0]
        rows.append(read.new_zeros(keep, read.shape[-1]))
        rows[-1][counted] = read
    return torch.stack(rows)


def forward(model: PreTrainedModel, arguments: dict[str, Any], keep: int) -> torch.Tensor:
    """Return the logits [B, keep, V] of the last `keep` positions, sparing the head the others where it can be told."""
    told = {"logits_to_keep": keep} if "logits_to_keep" in parameters_of(model) else {}
    logits: torch.Tensor = model(**arguments, **told).logits
    return logits[:, -keep:]
