"""What a model makes of given text: losses and drift on windows of neutral text, likelihood of continuations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch

from detoxlm.errors import UsageError
from detoxlm.generation import check_finite, encode, encode_after, window_of
from detoxlm.mentions import Mention
from detoxlm.models import Target
from detoxlm.passes import extend, forward, prefill
from detoxlm.results import Window

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Tokens of context of one window, and by how much it moves: each token is scored once, with 512 to 1,023 before it.
CONTEXT, STRIDE = 1024, 512
#: Positions whose log-probabilities are held at once: [128, 49k] float32 is 25 MB.
_CHUNK = 128
#: Tokens of whole texts that are read at once: their logits are [512, V].
_TOGETHER = 512


def fluency_windows(target: Target, text: str, max_tokens: int, share: float = 1.0) -> list[tuple[list[int], int]]:
    """Cut a text into windows for a target; see `windows_of`."""
    limit = getattr(target.model.config.get_text_config(), "max_position_embeddings", None)
    return windows_of(target.tokenizer, limit, text, max_tokens, share)


def windows_of(
    tokenizer: PreTrainedTokenizerBase, limit: int | None, text: str, max_tokens: int, share: float = 1.0
) -> list[tuple[list[int], int]]:
    """Cut a text into (token ids, how many of the last are scored); `max_tokens` 0 takes the whole text.

    Of these tokens the first `share` is taken, in (0, 1], but a window's worth at least. Follows the fixed-length
    recipe of WikiText perplexity with stride 512; short contexts (`limit`, tokens; None: not known) shrink the window.
    """
    ids: list[int] = tokenizer(text)["input_ids"]
    ids = ids[: max_tokens or None]
    ids = ids[: max(CONTEXT, int(len(ids) * share))]
    context = min(CONTEXT, limit or CONTEXT)
    stride = min(STRIDE, context // 2)
    # a model whose texts begin with a special token (Gemma) reads a window without it badly
    first = ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []
    windows, scored = [], 1  # the first token has no context
    for end in range(min(stride, len(ids)), len(ids) + stride, stride):
        end = min(end, len(ids))
        if end > scored:
            start = max(0, end - context)
            windows.append((first + ids[start + len(first) : end] if start else ids[:end], end - scored))
            scored = end
    return windows


@torch.inference_mode()
def measure_window(
    target: Target, ids: list[int], scored: int, attach: Callable[[], AbstractContextManager[None]] | None
) -> Window:
    """Measure one window: negative log-likelihood of its last `scored` tokens and, if detoxified, KL(base || model).

    Args:
        target: the untouched model.
        ids: the window's tokens [T].
        scored: how many of the last tokens count, below T.
        attach: a context in which the model is detoxified; None measures the untouched model, and no KL.

    Raises:
        DetoxError: the model's logits are NaN or infinite.
    """
    base = logits = _scored_logits(target, ids, scored)
    if attach is not None:
        with attach():
            logits = _scored_logits(target, ids, scored)
    labels = torch.tensor(ids[-scored:], device=target.device)
    nll = kl = 0.0
    for start in range(0, scored, _CHUNK):
        part = slice(start, start + _CHUNK)
        log_p = logits[part].float().log_softmax(-1)
        nll -= float(log_p.gather(-1, labels[part, None]).double().sum())
        if attach is not None:
            log_base = base[part].float().log_softmax(-1)
            kl += float((log_base.exp() * (log_base - log_p)).sum(-1).double().sum())
    check_finite(torch.tensor([nll, kl]))
    return Window(nll=nll, tokens=scored, kl=max(kl, 0.0) if attach is not None else None)


def _scored_logits(target: Target, ids: list[int], scored: int) -> torch.Tensor:
    """Logits [scored, V] that predict the last `scored` tokens.

    From the whole model, head included: a method may act on any part of it.
    """
    inputs = torch.tensor([ids], device=target.device)
    return forward(target.model, {"input_ids": inputs, "use_cache": False}, scored + 1)[0, :-1]


def mention_tokens(target: Target, mentions: Sequence[Mention]) -> list[list[int]]:
    """Return the tokens of each text as the model reads a text from its beginning: the first `CONTEXT` at most.

    Raises:
        UsageError: as `encode`; a text of a single token, of which nothing could be predicted.
    """
    limit = min(CONTEXT, window_of(target) or CONTEXT)
    found = [encode(target, one.text, None)[:limit] for one in mentions]
    for one, ids in zip(mentions, found, strict=True):
        if len(ids) < 2:
            raise UsageError(f"who_pays: {one.text!r:.40} is one token in this model's tokenizer; leave it out.")
    return found


def text_batches(texts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the numbers of texts (token ids) that are read together: of one length, so that none is padded.

    Up to `_TOGETHER` tokens in each list, but at least one text.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found: list[list[int]] = []
    for i in order:
        last = found[-1] if found else []
        if last and len(texts[last[0]]) == len(texts[i]) and (len(last) + 1) * len(texts[i]) <= _TOGETHER:
            last.append(i)
        else:
            found.append([i])
    return found


def measure_texts(
    target: Target, ids: Sequence[Sequence[int]], attach: Callable[[], AbstractContextManager[None]] | None
) -> list[Window]:
    """Measure whole texts: of each its first token is context, the others count.

    Args:
        target: the untouched model.
        ids: tokens of texts of one length T, at least 2.
        attach: as for `measure_window`; where something is attached, `base_nll` is the untouched model's.

    Raises:
        DetoxError: the model's logits are NaN or infinite.
    """
    base = now = text_logits(target, ids)
    if attach is not None:
        with attach():
            now = text_logits(target, ids)
    return text_windows(ids, now, None if attach is None else base)


@torch.inference_mode()
def text_logits(target: Target, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the logits [B, T - 1, V] that predict all but the first token of texts of one length T [B, T]."""
    inputs = torch.tensor([list(row) for row in ids], device=target.device)
    return forward(target.model, {"input_ids": inputs, "use_cache": False}, inputs.shape[1])[:, :-1]


@torch.inference_mode()
def text_windows(ids: Sequence[Sequence[int]], logits: torch.Tensor, base: torch.Tensor | None) -> list[Window]:
    """Return what logits [B, T - 1, V] make of texts of one length T; `base` are the untouched model's, if known.

    Raises:
        DetoxError: logits are NaN or infinite.
    """
    found = []
    for row, text in enumerate(ids):
        labels = torch.tensor(text[1:], device=logits.device)[:, None]
        log_p = logits[row].float().log_softmax(-1)
        nll = -float(log_p.gather(-1, labels).double().sum())
        base_nll = kl = None
        if base is not None:
            log_base = base[row].float().log_softmax(-1)
            base_nll = -float(log_base.gather(-1, labels).double().sum())
            kl = max(float((log_base.exp() * (log_base - log_p)).sum(-1).double().sum()), 0.0)
        check_finite(torch.tensor([nll, kl or 0.0]))
        found.append(Window(nll=nll, tokens=len(labels), kl=kl, base_nll=base_nll))
    return found


@torch.inference_mode()
def continuation_nll(
    judge: Target, prompts: Sequence[str], continuations: Sequence[Sequence[str]]
) -> Iterator[tuple[list[float | None], list[int]]]:
    """Yield per prompt the summed nats and token counts of its continuations under `judge` (None for an empty one).

    Text is re-tokenised for the judge, prompt and continuation apart; each prompt is read once for all its samples.
    All prompts here form one batch and must have equally many continuations.

    Raises:
        DetoxError: the judge's logits are NaN or infinite.
    """
    n = len(continuations[0])
    ids = [encode_after(judge, text) if text.strip() else [] for texts in continuations for text in texts]
    longest = max((len(row) for row in ids), default=0)
    totals: list[float | None] = [None] * len(ids)
    if longest:
        state = prefill(judge, [encode(judge, prompt, longest) for prompt in prompts]).repeated(n)
        first = state.logits[:, None]  # predicts each continuation's first token
        inputs = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=judge.device)
        lengths = torch.tensor([len(row) for row in ids], device=judge.device)
        mask = (torch.arange(longest, device=judge.device) < lengths[:, None]).long()
        after = extend(judge.model, state, inputs, mask, keep=longest).logits
        if longest == 1:  # keep=1 returns [B, V]
            after = after[:, None]
        for row, length in enumerate(lengths.tolist()):
            if length:
                logits = torch.cat([first[row], after[row, : length - 1]]).float()
                log_p = logits.log_softmax(-1).gather(-1, inputs[row, :length, None])
                check_finite(log_p)
                totals[row] = -float(log_p.double().sum())
    for start in range(0, len(ids), n):
        yield totals[start : start + n], [len(row) for row in ids[start : start + n]]
