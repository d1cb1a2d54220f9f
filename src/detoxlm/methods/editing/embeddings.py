"""Sentence embeddings: the mean of a layer's output over the tokens of a text, for every layer in one reading."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from detoxlm.errors import DetoxError
from detoxlm.models import Target
from detoxlm.passages import Passage, read_in_batches
from detoxlm.progress import track
from detoxlm.sizing import START, BatchSize

#: A position whose state is longer than so many times the text's median state is an attention sink, not a word.
SINK = 8.0
Pooling = Literal["all", "completion"]


@torch.inference_mode()
def sentence_embeddings(
    target: Target,
    texts: Sequence[Passage],
    *,
    pooling: Pooling,
    skip_sinks: bool,
    batch_size: BatchSize = START,
    description: str = "reading pairs",
) -> torch.Tensor:
    """Return embeddings [L, N, d] in float32 on the CPU: the mean over positions of each decoder layer's output.

    Each layer's states are reduced as they are made; no stack of hidden states is held. Padding is never averaged in.

    Args:
        target: the model, untouched.
        texts: what to read.
        pooling: `all` takes every position, as the paper does; `completion` those of the text without its context.
        skip_sinks: leave out attention sinks: positions, mostly the first, whose huge states say nothing of the text.
        batch_size: texts at once.
        description: of the progress bar.

    Raises:
        DetoxError: the model's states are NaN or infinite.
    """
    view = target.architecture
    out = torch.zeros(len(view.layers), len(texts), view.hidden_size)

    def read(chosen: list[int]) -> None:
        part = [texts[i] for i in chosen]
        longest = max(len(p.ids) for p in part)
        ids = torch.tensor([p.ids + [0] * (longest - len(p.ids)) for p in part], device=target.device)
        lengths = torch.tensor([len(p.ids) for p in part], device=target.device)[:, None]
        starts = torch.tensor([p.start if pooling == "completion" else 0 for p in part], device=target.device)
        place = torch.arange(longest, device=target.device)
        real = place < lengths
        pool = partial(_into, out, torch.tensor(chosen), real, real & (place >= starts[:, None]), skip_sinks)
        hooks = [module.register_forward_hook(partial(pool, layer)) for layer, module in enumerate(view.layers)]
        try:
            view.decoder(input_ids=ids, attention_mask=real.long(), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()

    with track(description, len(texts), "texts") as advance:
        for part, _ in read_in_batches(target.device, texts, batch_size, read):
            advance(len(part))
    if not torch.isfinite(out).all():
        raise DetoxError("model: its hidden states are NaN or infinite on the given texts; check its weights or dtype.")
    return out


def _into(
    out: torch.Tensor,
    rows: torch.Tensor,
    real: torch.Tensor,
    counted: torch.Tensor,
    skip_sinks: bool,
    layer: int,
    _: nn.Module,
    __: Any,
    output: Any,
) -> None:
    """Write the means of a layer's output to out[layer, rows]; `real` and `counted` [B, T] say which positions are."""
    states = (output[0] if isinstance(output, tuple) else output).float()
    if skip_sinks:
        norms = states.norm(dim=-1).masked_fill(~real, float("nan"))
        words = counted & (norms <= SINK * norms.nanmedian(dim=1, keepdim=True).values)
        counted = torch.where(words.any(1, keepdim=True), words, counted)
    weights = counted.float() / counted.sum(1, keepdim=True)
    out[layer, rows] = torch.einsum("btd,bt->bd", states, weights).cpu()
