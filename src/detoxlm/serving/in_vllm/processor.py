"""The host inside vLLM: follows the requests of its batch, and acts on the logits that they are drawn from.

vLLM has two interfaces for this, of its model runners V1 and V2. Both add requests, reorder them, let them wait and
bring them back, read prompts in chunks and keep what prompts have in common; the one says how its batch changes, the
other tells at each step who is in it. What is known of a request is found by the request, not by its place.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from detoxlm.errors import DetoxError
from detoxlm.serving.in_vllm import loading

if TYPE_CHECKING:
    from detoxlm.methods.decoding.contract import Steering
    from detoxlm.methods.decoding.session import Session


@dataclass(eq=False)
class Request:
    """A request in vLLM's batch."""

    strength: float
    prompt: list[int] = field(default_factory=list)
    #: What was written so far: vLLM's own list, to which it appends.
    written: list[int] = field(default_factory=list)
    #: What a check knows it by; None: it is no check's.
    number: int | None = None

    @property
    def ids(self) -> list[int]:
        """All tokens, the next of which is about to be drawn."""
        return [*self.prompt, *self.written]


@dataclass
class Counts:
    """Rows of logits: those that the detoxifier acted on, and those of requests at strength 0."""

    acted: int = 0
    plain: int = 0
    #: Number of the request, and tokens before the next, of each row that was acted on; None: nobody asks for them.
    places: set[tuple[int | None, int]] | None = None


class Acts(Protocol):
    """Lets a detoxifier act on the logits of some rows."""

    def __call__(self, batch: Sequence[Request], chosen: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, V] of the N chosen requests of a batch, changed; in place or not."""


class Beside:
    """The detoxifier reads the requests' tokens itself, with a cache of its own: for any method and tokenizer."""

    def __init__(self, steering: Steering) -> None:
        """Take what is done.

        Raises:
            UsageError: it needs more than token ids and logits; the message names the method.
        """
        from detoxlm.methods.decoding.session import Session

        self.session: Session = Session(steering.on_logits())

    def __call__(self, batch: Sequence[Request], chosen: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """Read what is new, and act. Requests that are not here now are forgotten, and read if they return."""
        requests = [batch[i] for i in chosen]
        here = set(requests)
        if any(row not in here for row in self.session.rows):
            self.session.arrange({row: row for row in self.session.rows if row in here})
        for request in requests:
            if request not in self.session:
                self.session.add(request, request.strength)
        self.session.show({request: request.ids for request in requests})
        return self.session.act(requests, logits)


class Inside:
    """vLLM's own model says what the detoxifier reads, from its own cache."""

    def __init__(self, steering: Steering) -> None:
        """Take what is done."""
        self._steering = steering
        self._states: torch.Tensor | None = None

    def give(self, states: torch.Tensor) -> None:
        """Take the states [rows of logits, D] of this step: called by the model, before the logits are acted on."""
        self._states = states

    def __call__(self, batch: Sequence[Request], chosen: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """Act on the rows with the states that the model has given in this step, which are then used up."""
        states, self._states = self._states, None
        if states is None or len(states) != len(batch):
            raise DetoxError("vllm: the model gave no states to the detoxifier; no token was drawn without it.")
        strength = torch.tensor([batch[i].strength for i in chosen], dtype=torch.float32, device=logits.device)
        said = self._steering.said(states if len(chosen) == len(batch) else states[list(chosen)])
        return self._steering.act(logits, said, strength)


#: The processors that live in this process: `detoxlm vllm-check` reads their counts.
LIVE: weakref.WeakSet[Processor] = weakref.WeakSet()


class Processor:
    """Both of vLLM's interfaces at once; `detoxlm.serving.vllm` gives it their base classes."""

    def __init__(self, vllm_config: Any, state_or_device: Any, is_pin_memory: bool | None = None) -> None:
        """Load the detoxifier.

        Args:
            vllm_config: vLLM's configuration.
            state_or_device: V1 gives a device, V2 its states of requests.
            is_pin_memory: V1's.

        Raises:
            UsageError: what cannot be served, by name.
        """
        loading.check_config(vllm_config)
        loading.default_strength()  # one that is wrong is to be known now, not at the first request
        self._state = None if isinstance(state_or_device, torch.device | str) else state_or_device
        device = torch.device(state_or_device if self._state is None else self._state.device)
        self._requests: dict[int, Request] = {}
        self._acts = self._host(vllm_config, device)
        self.counts = Counts()
        LIVE.add(self)

    def _host(self, vllm_config: Any, device: torch.device) -> Acts:
        from detoxlm.serving.in_vllm.model import installed

        steering, decoder = loading.steering_for(vllm_config, device)
        if os.environ.get(loading.ROUTE) != "beside":
            inside = Inside(steering)
            if installed(vllm_config, steering, decoder, inside.give):
                return inside
        return Beside(steering)

    @property
    def route(self) -> str:
        """`inside` or `beside`."""
        return type(self._acts).__name__.lower()

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse a strength that is out of range.

        Raises:
            ValueError: it is; vLLM answers 400.
        """
        try:
            loading.strength_of(sampling_params)
        except DetoxError as error:
            raise ValueError(str(error)) from error

    # --- V1 -----------------------------------------------------------------------------------------------------------

    def is_argmax_invariant(self) -> bool:
        """False: the likeliest token may be another one."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the batch: requests leave, then come, then move."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._requests.pop(index, None)
        for index, params, prompt, written in batch_update.added:
            if prompt is None:
                raise DetoxError("vllm: a request came without tokens; the detoxifier cannot read it.")
            self._requests[index] = Request(loading.strength_of(params), prompt, written, loading.number_of(params))
        for first, second, how in batch_update.moved:
            one, other = self._requests.pop(first, None), self._requests.pop(second, None)
            if one is not None:
                self._requests[second] = one
            if other is not None and how.name == "SWAP":
                self._requests[first] = other

    # --- V2 -----------------------------------------------------------------------------------------------------------

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Begin a request in a slot; say whether it is to be acted on."""
        strength, number = loading.strength_of(sampling_params), loading.number_of(sampling_params)
        self._requests[req_idx] = request = Request(strength, number=number)
        return request.strength > 0

    def apply_staged_writes(self) -> None:
        """Nothing is staged."""

    def _slots(self, ctx: Any) -> list[int]:
        """Return the slot of each row of a V2 step, after bringing their requests' tokens up to date."""
        assert self._state is not None
        slots = [int(slot) for slot in ctx.idx_mapping_np]
        if isinstance(self._acts, Beside) or self.counts.places is not None:
            lengths = [int(length) for length in ctx.seq_lens_upper_bound_np[: len(slots)]]
            # the one place that waits for the device: whoever reads tokens by himself must have them
            tokens = self._state.all_token_ids.gpu[ctx.idx_mapping.long(), : max(lengths)].tolist()
            for slot, length, ids in zip(slots, lengths, tokens, strict=True):
                self._requests[slot].prompt = ids[:length]
        return slots

    # --- both ---------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        """Return the logits [rows, V], float32, acted on in place; rows at strength 0 stay as they are, bit for bit.

        What others have forbidden (minus infinity) stays forbidden.

        Raises:
            DetoxError: a row is of no request that is known, so it would go through untouched.
        """
        places = range(len(logits)) if ctx is None else self._slots(ctx)
        batch = [self._requests[place] for place in places if place in self._requests]
        if len(batch) != len(logits):
            raise DetoxError(f"vllm: {len(logits)} rows of logits are not those of the requests that were announced.")
        chosen = [i for i, one in enumerate(batch) if one.strength > 0]
        self.counts.plain += len(batch) - len(chosen)
        self.counts.acted += len(chosen)
        if self.counts.places is not None:
            self.counts.places.update((batch[i].number, len(batch[i].ids)) for i in chosen)
        if not chosen:
            return logits
        whole = len(chosen) == len(logits)
        rows = logits if whole else logits[chosen]
        forbidden = rows == -torch.inf
        rows = self._acts(batch, chosen, rows).masked_fill_(forbidden, -torch.inf)
        if whole:
            return rows
        logits[chosen] = rows
        return logits
