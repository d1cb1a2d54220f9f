"""Texts as a target reads them: tokens with the place where what counts begins, in padded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from detoxlm.errors import UsageError
from detoxlm.generation import encode, encode_after, newest
from detoxlm.models import Target
from detoxlm.sizing import BatchSize, Sizes

R = TypeVar("R")


@dataclass(frozen=True)
class Passage:
    """Token ids of a text; the first `start` are its context (a prompt)."""

    ids: list[int]
    start: int


def passages(target: Target, texts: Sequence[tuple[str, str]], max_length: int) -> list[Passage]:
    """Tokenise (context, text) pairs; what is longer loses the context's beginning, then the text's end.

    A context is a text or a conversation, and keeps at least half of the `max_length` tokens, as far as it has them.

    Raises:
        UsageError: a text without tokens.
    """
    made = []
    for context, text in texts:
        before = encode(target, context, None) if context else []
        tokens = encode_after(target, text) if before else list(target.tokenizer(text)["input_ids"])
        if not text.strip() or not tokens:
            raise UsageError("pairs: a text is empty; every pair needs a non-toxic and a toxic text.")
        tokens = tokens[: max_length - min(len(before), max_length // 2)]
        before = newest(target, before, max_length - len(tokens))
        made.append(Passage(before + tokens, len(before)))
    return made


def batches(texts: Sequence[Passage], batch_size: int) -> list[list[int]]:
    """Return the numbers of all texts, up to `batch_size` in each list, those of like length together: less padding."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].ids))
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def read_in_batches(
    device: torch.device, texts: Sequence[Passage], size: BatchSize, read: Callable[[list[int]], R]
) -> Iterator[tuple[list[int], R]]:
    """Yield the numbers of all texts in batches, those of like length together, with what `read` makes of each batch.

    Args:
        device: where they are read.
        texts: all of them.
        size: texts in a batch at most; `auto`: found while it goes on.
        read: takes the numbers of a batch; called again for a part of it where memory ran out.
    """
    order = [i for part in batches(texts, max(1, len(texts))) for i in part]
    return Sizes(size, device).over(order, read, tokens=lambda i: len(texts[i].ids))


def padded(target: Target, texts: Sequence[Passage]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return token ids [B, T], attention mask [B, T], and which predicted tokens count [B, T - 1]: not the context."""
    longest = max(len(p.ids) for p in texts)
    rest = [longest - len(p.ids) for p in texts]
    ids = torch.tensor([p.ids + [0] * n for p, n in zip(texts, rest, strict=True)], device=target.device)
    mask = torch.tensor([[1] * len(p.ids) + [0] * n for p, n in zip(texts, rest, strict=True)], device=target.device)
    counted = mask.clone()
    for row, passage in enumerate(texts):
        counted[row, : max(1, passage.start)] = 0
    return ids, mask, counted[:, 1:].float()


def log_p(target: Target, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities [B, T - 1, V] of each next token."""
    logits = target.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    return logits.float().log_softmax(-1)


def endless(n: int, generator: torch.Generator) -> Iterator[int]:
    """Yield 0 to n - 1 in random order, again and again."""
    while True:
        yield from torch.randperm(n, generator=generator).tolist()
