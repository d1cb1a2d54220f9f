"""What the auxiliary model reads: the model's own final states, and beside them those half way up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture


class OwnStates:
    """The states of the newest forward pass of a model, final and half way up: what is read is no work of its own.

    The last layers turn from what a text says to what comes next; half way up more of the former is left.
    """

    def __init__(self) -> None:
        """Know nothing yet; `watching` fills it."""
        self._final = self._middle = torch.empty(0)

    def before(self, arguments: dict[str, Any]) -> None:
        """Change nothing."""

    def states(self, keep: int) -> torch.Tensor:
        """Return [B, keep, width], of the last `keep` positions; `width_of` says how wide."""
        return torch.cat([self._final[:, -keep:], self._middle[:, -keep:]], -1)

    @contextmanager
    def watching(self, model: PreTrainedModel) -> Iterator[None]:
        """Follow the forward passes of `model`; leaving the context removes every trace."""

        def final(_: nn.Module, __: Any, output: Any) -> None:
            self._final = output[0]

        def middle(_: nn.Module, __: Any, output: Any) -> None:
            self._middle = output[0] if isinstance(output, tuple) else output

        view = Architecture.of(model)
        handles = [
            view.decoder.register_forward_hook(final),
            view.layers[len(view.layers) // 2].register_forward_hook(middle),
        ]
        try:
            yield
        finally:
            self._final = self._middle = torch.empty(0)
            for handle in handles:
                handle.remove()


def width_of(model: PreTrainedModel) -> int:
    """Return the width of `OwnStates.states`."""
    return 2 * Architecture.of(model).hidden_size
