"""What is decoded together: requests, their rows, and the cache of all rows.

The cache of a batch is padded on the left, so that all rows end at its last column. A row that joins brings a cache of
its own; one that leaves takes its own away, and columns that are then padding in all rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import DynamicCache

from detoxlm.generation import Sampling, stream
from detoxlm.passes import Prefill
from detoxlm.serving.text import Text


@dataclass(frozen=True)
class Drawn:
    """A token, its log-probability, and the likeliest tokens with theirs; None: nobody asked."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    #: The token that the same random number draws from what the untouched model says after the same text, where it is
    #: another; None also where nobody asked.
    instead: int | None = None


@dataclass(frozen=True)
class Piece:
    """What came of one row since the last piece: text that is final, and the tokens that it is of."""

    sample: int
    text: str
    drawn: list[Drawn]
    #: Why the row has ended: `stop` or `length`. None: it goes on.
    finish: str | None = None


@dataclass(eq=False)
class Job:
    """A prompt to continue, `sampling.samples` times."""

    ids: list[int]
    #: The prompt as text: with the seed it decides the random stream, as in `detoxlm.generation`.
    prompt: str
    sampling: Sampling
    #: Told of pieces, and of an error after which nothing comes; called in the engine's thread.
    tell: Callable[[Piece | Exception], None]
    stops: Sequence[str] = ()
    #: The name of the detoxifier that acts, and its strength; at 0 none does.
    detoxifier: str | None = None
    strength: float = 0.0
    #: Whether a method is in the model's weights: then no token is the untouched model's.
    merged: bool = False
    #: How many of the likeliest tokens are told with each; None: no log-probabilities.
    logprobs: int | None = None
    #: Whether tokens are told with what would have been drawn without the detoxifier.
    explain: bool = False
    #: Whether the prompt is told before the continuation, with its tokens where log-probabilities are asked for.
    echo: bool = False
    #: Tokens that follow `ids` and are not drawn but given: a prompt whose log-probabilities are told has all but its
    #: first here, so that a detoxifier acts on each as it would have on a drawn one.
    given: Sequence[int] = ()
    #: Whether anything is written after them; without, they are to be told, and there is one at least.
    writes: bool = True
    #: Tokens of the prompt that had been read before; the engine says so.
    cached: int = 0
    #: Set by those who no longer want it, in any thread.
    cancelled: bool = False
    #: When it was asked for.
    asked: float = field(default_factory=time.perf_counter)

    @property
    def count(self) -> int:
        """How many rows it has."""
        return self.sampling.samples

    @property
    def prompt_tokens(self) -> int:
        """How many tokens its prompt has."""
        return len(self.ids) + len(self.given)


class Row:
    """One continuation."""

    def __init__(self, job: Job, sample: int, text: Text) -> None:
        """Begin one that is empty."""
        self.job, self.sample, self.text = job, sample, text
        self.tokens = 0
        #: Whether its detoxifier has acted on the logits that are next drawn from.
        self.acted = False
        #: What the untouched model says of that token, logits [V]; None: nobody asks, or this host does not see it.
        self.plain: torch.Tensor | None = None
        self.given = deque(job.given)
        self._echo = job.prompt if job.echo else ""
        #: Of the first token of a text there is no probability.
        self._drawn = [Drawn(job.ids[0])] if job.echo and job.logprobs is not None else []
        self._noise: np.random.Generator = stream(job.sampling.seed, sample, job.prompt)

    @property
    def steered(self) -> bool:
        """Whether a detoxifier is to act."""
        return self.job.strength > 0

    @property
    def untouched(self) -> bool:
        """Whether its tokens are the untouched model's."""
        return not (self.steered or self.job.merged)

    def noise(self) -> float:
        """Return the next number of its random stream; a given token takes none."""
        return 0.0 if self.given else float(self._noise.random())

    def add(self, drawn: Drawn, ends: frozenset[int]) -> Piece | None:
        """Take the next token; return a piece where there is text to send, or the row ends."""
        if self.given:
            self.given.popleft()
            self._drawn.append(drawn)
            return None if self.given or self.job.writes else self._piece("", "length")
        self.tokens += 1
        finish = None
        if drawn.token in ends:
            text, finish = self.text.end(), "stop"
        else:
            self._drawn.append(drawn)
            text = self.text.add(drawn.token)
            if self.text.stopped:
                finish = "stop"
            elif self.tokens == self.job.sampling.max_new_tokens:
                text, finish = text + self.text.end(), "length"
                if self.text.stopped:  # a stop that only the last characters, kept back until now, made whole
                    finish = "stop"
        if not text and finish is None:
            return None
        return self._piece(text, finish)

    def _piece(self, text: str, finish: str | None) -> Piece:
        found, self._drawn = self._drawn, []
        text, self._echo = self._echo + text, ""
        return Piece(self.sample, text, found, finish)


def joined(a: Prefill, b: Prefill) -> Prefill:
    """Return one state of the rows of both, those of `a` first. Both end at a token."""
    assert a.cache is not None and b.cache is not None  # the host serves no model without one
    width = max(a.mask.shape[1], b.mask.shape[1])
    cache = DynamicCache()
    for i, (one, other) in enumerate(zip(a.cache.layers, b.cache.layers, strict=True)):
        keys = torch.cat([_widened(one.keys, width), _widened(other.keys, width)])
        cache.update(keys, torch.cat([_widened(one.values, width), _widened(other.values, width)]), i)
    pairs = ((a.mask, b.mask), (a.ids, b.ids))
    mask, ids = (torch.cat([F.pad(one, (width - one.shape[1], 0)) for one in pair]) for pair in pairs)
    return Prefill(torch.cat([a.logits, b.logits]), cache, mask, ids)


def kept(state: Prefill, rows: Sequence[int]) -> Prefill:
    """Return the state of some rows, without the columns that are padding in all of them."""
    if len(rows) == len(state.mask):
        return state
    chosen = torch.tensor(rows, device=state.mask.device)
    mask = state.mask[chosen]
    start = int(mask.any(0).int().argmax())
    assert state.cache is not None
    for layer in state.cache.layers:
        layer.keys = layer.keys[chosen, :, start:]
        layer.values = layer.values[chosen, :, start:]
    return Prefill(state.logits[chosen], state.cache, mask[:, start:], state.ids[chosen, start:])


def _widened(x: Any, width: int) -> torch.Tensor:
    """Put zeros before the columns of keys or values [B, H, T, D]: [B, H, width, D]."""
    return F.pad(x, (0, 0, width - x.shape[2], 0))
