"""The decoding contract: what a detoxifier reads of a text and does to the target's next token, without a host.

A *row* is one text that grows. A *host* runs the target over rows: hooks on a transformers model
(`detoxlm.methods.decoding.attached`), a logits processor (`detoxlm.methods.decoding.processor`), a server. It keeps
rows in any order, adds and drops them, reads several tokens at once, and takes tokens back. A `Steering` knows nothing
of all that: it is the same for every host, holds no state of any text, and may be shared by threads. What has been
read of a text belongs to the host: in the target's cache, or in a `detoxlm.methods.decoding.session.Session`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import nn

from detoxlm.errors import UsageError
from detoxlm.methods.decoding.translation import Translator

#: Where a steering acts: on the logits, on the final hidden states before the head, or on the output of a layer.
Place = Literal["logits", "states"] | int


class Steering(ABC):
    """What one decoding detoxifier does to one model.

    Subclasses set what they read and where they act, and implement `act`.
    """

    #: The method, for messages.
    name: str
    place: Place = "logits"
    #: Decoders that read a row's tokens beside the target; their cache layers are numbered from 0.
    readers: tuple[nn.Module, ...] = ()
    #: Whether it reads the target's own final states in place of its readers'.
    reads_target: bool = False
    #: Turns the target's tokens into the readers'; None: they read the target's tokens as the target does.
    translator: Translator | None = None
    #: Most tokens that the readers can read; None: as many as the target.
    context: int | None = None
    #: Tokens of the text so far whose weights (`weigh`) are summed up for `act`; None: tokens have none.
    window: int | None = None
    #: False shows the readers only what is new, without a past: what some released code does.
    keeps_past: bool = True

    def said(self, states: torch.Tensor) -> torch.Tensor:
        """Return what is kept of the readers' final states [..., D] (side by side) at each position: [..., S]."""
        return states

    def weigh(self, said: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the weight [N] of tokens [N], given what was said [N, S] at the token before each."""
        raise NotImplementedError(f"{self.name} weighs no tokens")

    @abstractmethod
    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return what the target says at N positions, changed; `x` may be changed in place.

        Args:
            x: logits [N, V], or states [N, d], as `place` says.
            said: what the readers (or the target's states) say there [N, S]; with a `window` one number more, the sum
                of the weights of the last tokens.
            strength: float32 [N], of the row of each position; 0 changes nothing but by float rounding.
        """

    def let_go(self) -> None:
        """Drop the decoders, for a host that shows what they would say; the steering can only `act` from now on."""
        self.readers = ()

    def on_logits(self) -> Steering:
        """Return the same steering for a host that sees token ids and logits alone.

        Raises:
            UsageError: there is none; the message names the method and says what to use.
        """
        if self.place != "logits" or self.reads_target:
            raise UsageError(
                f"{self.name}: a logits processor does not see the states that it acts on; use attached()."
            )
        return self
