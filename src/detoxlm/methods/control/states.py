"""What the auxiliary model reads: the model's own final states, which cost nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture


class OwnStates:
    """The final states of the newest forward pass of a model."""

    def __init__(self) -> None:
        """Know nothing yet; `watching` fills it."""
        self._final = torch.empty(0)

    def states(self, keep: int) -> torch.Tensor:
        """Return [B, keep, d], of the last `keep` positions."""
        return self._final[:, -keep:]

    @contextmanager
    def watching(self, model: PreTrainedModel) -> Iterator[None]:
        """Follow the forward passes of `model`; leaving the context removes every trace."""

        def final(_: nn.Module, __: Any, output: Any) -> None:
            self._final = output[0]

        handle = Architecture.of(model).decoder.register_forward_hook(final)
        try:
            yield
        finally:
            self._final = torch.empty(0)
            handle.remove()
