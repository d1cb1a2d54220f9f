"""Changing a model's weights in place, and putting back exactly what was there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


def whole(model: nn.Module, views: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return copies of all parameters that some tensors are views of, by name."""
    touched = {view.untyped_storage().data_ptr() for view in views}
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.untyped_storage().data_ptr() in touched
    }


@contextmanager
def replaced(new: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[None]:
    """Write new values into weights within this context; leaving it, also by an exception, restores every bit.

    Args:
        new: weights (or views of them that write through), each with its new values of the same shape.
    """
    old = [(weight, weight.detach().clone()) for weight, _ in new]
    try:
        with torch.no_grad():
            for weight, values in new:
                weight.copy_(values)
        yield
    finally:
        with torch.no_grad():
            for weight, values in old:
                weight.copy_(values)
