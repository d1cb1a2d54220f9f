"""One continuation, piece by piece as it is written: the same tokens that `generate` would return at the end."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from detoxlm.generation import Sampling, decode, encode, end_tokens, next_token, noise_of
from detoxlm.models import Target
from detoxlm.passes import extend, prefill


def stream(target: Target, prompt: str, sampling: Sampling) -> Iterator[str]:
    """Yield the first sample of a prompt, text or conversation, in pieces that make up its text.

    A piece is held back while its last character is not whole: a token may be a part of one.

    Raises:
        UsageError, DetoxError: as `detoxlm.generation.generate`.
    """
    ids: list[int] = []
    said = ""
    for token in _tokens(target, prompt, sampling):
        ids.append(token)
        text = decode(target, ids)
        if not text.endswith("\ufffd") and text.startswith(said):
            yield text[len(said) :]
            said = text
    yield decode(target, ids)[len(said) :]


def _tokens(target: Target, prompt: str, sampling: Sampling) -> Iterator[int]:
    """Yield the tokens of the first sample, up to the end token, which is not among them."""
    noise = noise_of([prompt], sampling.model_copy(update={"samples": 1})).to(target.device)  # [1, steps]
    ends = set(end_tokens(target))
    state = prefill(target, [encode(target, prompt, sampling.max_new_tokens)])
    for step in range(sampling.max_new_tokens):
        with torch.inference_mode():
            token = next_token(state.logits, sampling, noise[:, step])
        if int(token) in ends:
            return
        yield int(token)
        if step + 1 < sampling.max_new_tokens:
            state = extend(target.model, state, token[:, None])
