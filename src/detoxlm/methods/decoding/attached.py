"""The host `attached`: hooks on a transformers model, whoever calls it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.caching import cached_as
from detoxlm.errors import UsageError
from detoxlm.methods.decoding.beside import Following, Says, following
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.rule import by_row


class _Pass(threading.local):
    """What one thread has read beside the forward pass that it is in: threads may run one model at the same time."""

    says: Says | None = None


@contextmanager
def attached(
    model: PreTrainedModel,
    steering: Steering,
    strengths: Sequence[float],
    covers: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    """Let a steering act within this context; leaving it removes every trace.

    Args:
        model: the target.
        steering: what is done.
        strengths: one for each request of the batches to come.
        covers: tells whether a pass, in its thread, is to be acted on.

    Raises:
        UsageError: at the start or at the first pass, what this host cannot serve, by name.
    """
    view, now = Architecture.of(model), _Pass()
    cached_as(model)  # of a family that is not known it is tried, once, and not under hooks
    place, name = _place_of(view, steering)
    with ExitStack() as hooks:
        if steering.readers:
            hooks.enter_context(_reading(place, following(model, steering), now, covers))
        elif steering.reads_target:
            hooks.enter_context(_reading_target(view, steering, now))

        def act(_: nn.Module, __: Any, output: Any) -> Any:
            if not covers():
                return output
            x = output if isinstance(output, torch.Tensor) else output[0]
            rows, length = x.shape[:2]
            flat = x.flatten(0, 1)
            strength = torch.tensor(by_row(strengths, rows), dtype=torch.float32, device=x.device)
            said = flat[:, :0] if now.says is None else now.says(length).flatten(0, 1)
            now.says = None
            changed = steering.act(flat, said, strength.repeat_interleave(length)).view(x.shape)
            if isinstance(output, torch.Tensor):
                return changed
            if isinstance(output, tuple):
                return (changed, *output[1:])
            setattr(output, name, changed)
            return output

        hooks.callback(place.register_forward_hook(act).remove)
        yield


def _place_of(view: Architecture, steering: Steering) -> tuple[nn.Module, str]:
    """Return the module whose first output a steering changes, and what that output is called."""
    if steering.place == "logits":
        return view.model, "logits"
    if steering.place == "states":
        return view.decoder, "last_hidden_state"
    return view.layers[steering.place], "hidden_states"


@contextmanager
def _reading(module: nn.Module, reader: Following, now: _Pass, covers: Callable[[], bool]) -> Iterator[None]:
    """Read beside `module`, before every pass of it."""
    names = list(inspect.signature(module.forward).parameters)

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
        if not covers():
            return (), kwargs
        _refuse_labels(kwargs)
        now.says = reader.read(kwargs)
        return (), kwargs

    handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _reading_target(view: Architecture, steering: Steering, now: _Pass) -> Iterator[None]:
    """Keep the target's own final states of every pass."""

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _refuse_labels(kwargs)

    def after(_: nn.Module, __: Any, output: Any) -> None:
        states = output[0]
        now.says = lambda keep: steering.said(states[:, -keep:])

    handles = [
        view.model.register_forward_pre_hook(before, with_kwargs=True),
        view.decoder.register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_labels(arguments: dict[str, Any]) -> None:
    if arguments.get("labels") is not None:
        raise UsageError("labels: the loss is computed before the detoxifier acts; leave them out and use the logits.")
