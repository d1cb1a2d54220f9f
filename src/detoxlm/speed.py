"""What a detoxifier does to the speed of a model: both write on from the same prompts, in turns.

Timings of different runs do not compare: a machine is busier at one time than at another. Here one generation follows
the other at once, so that what slows one slows its neighbour too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch

from detoxlm.generation import Sampling, encode, newest, next_token
from detoxlm.methods.base import Detoxifier
from detoxlm.metrics.bootstrap import bootstrap
from detoxlm.models import Target
from detoxlm.passes import extend, prefill
from detoxlm.progress import track
from detoxlm.results import Estimate

#: Pairs of generations; one more of each warms up.
PAIRS = 6
#: Of a generation: rows, new tokens of each, and the longest prompt. All together: seconds on the embedded model.
ROWS, TOKENS, PROMPT = 4, 8, 64


def measure_speed(
    target: Target, detoxifier: Detoxifier, strength: float, prompts: Sequence[str], sampling: Sampling
) -> Estimate:
    """Return the detoxified model's speed over the untouched one's: 0.9 is 90% of its tokens per second.

    Both write the same number of tokens, whatever they say: no row ends early.

    Args:
        target: the untouched model.
        detoxifier: attached in every other generation; attaching itself is not timed.
        strength: its strength.
        prompts: at least one; the first few are continued.
        sampling: how tokens are drawn.

    Returns:
        The ratio of the total times, and its 95% bootstrap interval over the pairs of generations.

    Raises:
        UsageError: a detoxifier for another model, a strength out of its range.
        DetoxError: the logits are NaN.
    """
    ids = [newest(target, encode(target, prompt, TOKENS), PROMPT) for prompt in prompts[:ROWS]]
    seconds = np.zeros((PAIRS + 1, 2))  # untouched, detoxified
    with track("comparing speeds", seconds.size * len(ids) * TOKENS, "tokens") as advance:
        for i, pair in enumerate(seconds):
            for which in (i % 2, 1 - i % 2):  # neither is always the first
                context = detoxifier.attached(target.model, strength) if which else nullcontext()
                with context:
                    pair[which] = _seconds(target, ids, sampling)
                advance(len(ids) * TOKENS)
    untouched, detoxified = seconds[1:].T
    return bootstrap(untouched, detoxified)


@torch.inference_mode()
def _seconds(target: Target, ids: Sequence[Sequence[int]], sampling: Sampling) -> float:
    """Return how long it takes to write `TOKENS` tokens after each of the token sequences."""
    noise = torch.full((len(ids),), 0.5, device=target.device)
    started = time.perf_counter()
    state = prefill(target, ids)
    for step in range(TOKENS):
        token = next_token(state.logits, sampling, noise)
        if step + 1 < TOKENS:
            state = extend(target.model, state, token[:, None])
    token.tolist()  # waits for the device
    return time.perf_counter() - started
