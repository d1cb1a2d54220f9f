"""Where two texts of one request part, and whether that is a near-tie: the two tokens as good as equally likely there.

Batches of different sizes add up in another order, so the last digits of their logits differ, and a near-tie may fall
either way. Nothing else may.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from detoxlm.generation import Sampling, decode, encode, end_tokens, noise_of, sample_batch
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target
from detoxlm.passes import prefill

#: Below this a parting counts as a near-tie: nats between the two tokens of a greedy text; of a sampled one how far,
#: in probability, its random number was from drawing the other token.
NEAR = 1e-3


@dataclass(frozen=True)
class Request:
    """What a text was asked for with."""

    prompt: str
    sampling: Sampling
    strength: float


@dataclass(frozen=True)
class Parting:
    """The step (from 0) at which a text parts from what the request alone got."""

    step: int
    #: How far the other token was from being chosen there: with the request alone, and in a batch with others.
    alone: float
    batched: float

    @property
    def near(self) -> bool:
        """Whether it is a near-tie by both."""
        return max(self.alone, self.batched) < NEAR

    def __str__(self) -> str:
        """In words."""
        what = "a near-tie" if self.near else "NOT a near-tie"
        return (
            f"at token {self.step}, {self.alone:.1e} from the other token alone and {self.batched:.1e} batched: {what}"
        )


def parting(
    target: Target, detoxifier: DecodingDetoxifier, request: Request, texts: Sequence[str], beside: Sequence[Request]
) -> Parting:
    """Return where the texts that a request got part, by a pass over what it gets here, alone.

    Args:
        target: the model.
        detoxifier: the one that acted.
        request: asked more than once.
        texts: two that it got, which differ.
        beside: requests that are read in one batch with it, for the numbers of a batch.
    """
    with _attached(target, detoxifier, [request.strength]):
        ids = sample_batch(target, [request.prompt], request.sampling)[0][0]
    other = next(text for text in texts if text != decode(target, ids))
    step = next((k for k in range(len(ids)) if not _begins(decode(target, ids[: k + 1]), other)), len(ids))
    rows = [[*encode(target, request.prompt, request.sampling.max_new_tokens), *ids[:step]]]
    strengths = [request.strength]
    with _attached(target, detoxifier, strengths):
        alone = prefill(target, rows).logits[0]
    for one in beside:
        rows.append(encode(target, one.prompt, one.sampling.max_new_tokens))
        strengths.append(one.strength)
    with _attached(target, detoxifier, strengths):
        batched = prefill(target, rows).logits[0]
    number = float(noise_of([request.prompt], request.sampling)[0, min(step, request.sampling.max_new_tokens - 1)])
    tokens = _going_on(target, alone, ids[:step], other)
    return Parting(step, *(distance(logits, request.sampling, number, tokens) for logits in (alone, batched)))


def distance(logits: torch.Tensor, sampling: Sampling, number: float, tokens: Sequence[int]) -> float:
    """Return how far the nearest of some tokens was from being drawn; 0: one of them is what is drawn.

    Args:
        logits: [V], of one step.
        sampling: how it draws: greedy, or at a temperature from all tokens.
        number: the random number in [0, 1).
        tokens: any of which would have done; none: infinitely far.

    Returns:
        Greedy: nats below the likeliest token. Sampled: probability between the random number and the token's part of
        [0, 1), in which tokens lie in the order of their ids.
    """
    if not tokens:
        return float("inf")
    chosen = torch.tensor(list(tokens), device=logits.device)
    if sampling.temperature == 0:
        said = logits.float().log_softmax(-1)
        return float(said.max() - said[chosen].max())
    ends = (logits.float() / sampling.temperature).softmax(-1).double().cumsum(-1)
    place = number * float(ends[-1])
    upper = ends[chosen]
    lower = torch.where(chosen > 0, ends[(chosen - 1).clamp(min=0)], 0.0)
    real = upper > lower
    away = torch.maximum(lower - place, place - upper).clamp(min=0)[real]
    return float(away.min()) if len(away) else float("inf")


def _attached(target: Target, detoxifier: DecodingDetoxifier, strengths: list[float]) -> AbstractContextManager[None]:
    return detoxifier.attached(target.model, strengths) if any(strengths) else nullcontext()


def _going_on(target: Target, logits: torch.Tensor, ids: list[int], other: str) -> list[int]:
    """Return all tokens with which the text of `ids` goes on as `other` does; end tokens where that ends."""
    if decode(target, ids) == other:
        return end_tokens(target)
    ends = {*end_tokens(target), *target.tokenizer.all_special_ids}  # the others of these have no text
    # a sampled token may be any of the vocabulary, however unlikely
    tokens = [token for token in range(min(len(logits), len(target.tokenizer))) if token not in ends]
    return [token for token in tokens if _begins(decode(target, [*ids, token]), other)]


def _begins(text: str, other: str) -> bool:
    """Tell whether a text is a beginning of another; a character whose bytes have not all come is no difference."""
    return other.startswith(text.rstrip("\ufffd"))
