"""Where the calibrator's states come from while a target runs: beside its own cache, or by the content of its rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from detoxlm.architecture import Architecture
from detoxlm.calibration.reading import Reader
from detoxlm.errors import UsageError

#: Changes logits [B, T, V] by the calibrator's states [B, T, d] of the same positions.
Act = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Source(Protocol):
    """Follows one model's forward passes."""

    def before(self, arguments: dict[str, Any]) -> None:
        """See the arguments of a forward pass, and change them where it needs to."""

    def states(self, keep: int) -> torch.Tensor:
        """Return the calibrator's states [B, keep, d] at the last `keep` positions of that pass."""


class SharedCache:
    """Decoders made from the target: they read what it reads, their cache layers behind the target's own.

    Whatever happens to the cache object (beams, crops, repeats) happens to all.
    """

    def __init__(self, model: PreTrainedModel, *decoders: nn.Module) -> None:
        """Take the target and decoders, numbered behind the target's layers and behind each other."""
        self._config, self._decoders = model.config, decoders
        self._layers = len(Architecture.of(model).layers)
        self._states = torch.empty(0)

    def before(self, arguments: dict[str, Any]) -> None:
        """Let the decoders read first: they see the length of the past in the target's layers."""
        use_cache = arguments.get("use_cache")
        if arguments.get("past_key_values") is None and (self._config.use_cache if use_cache is None else use_cache):
            arguments["past_key_values"] = DynamicCache(config=self._config)
        cache = arguments.get("past_key_values")
        if cache is not None:
            _make_room(cache, self._layers, self._more)
        passed = ("input_ids", "inputs_embeds", "attention_mask", "position_ids", "past_key_values", "use_cache")
        given = {name: arguments[name] for name in passed if arguments.get(name) is not None}
        self._states = torch.cat([decoder(**given).last_hidden_state for decoder in self._decoders], -1)

    def _more(self) -> list[Any]:
        return [layer for decoder in self._decoders for layer in DynamicCache(config=decoder.config).layers]

    def states(self, keep: int) -> torch.Tensor:
        """Return the states at the last `keep` positions, those of several decoders side by side."""
        return self._states[:, -keep:]


class Recorded:
    """A calibrator of its own: the target's rows are recorded in its cache object and read by content.

    The record is one more cache layer whose "keys" are token ids and whose "values" are the attention mask, so it
    follows beams, crops and repeats as real keys do.
    """

    def __init__(self, model: PreTrainedModel, reader: Reader) -> None:
        """Take the target, and the reader of its rows."""
        self._config, self._reader = model.config, reader
        self._layers = len(Architecture.of(model).layers)
        self._ids = self._mask = torch.empty(0)

    def before(self, arguments: dict[str, Any]) -> None:
        """Record the new tokens."""
        ids = arguments.get("input_ids")
        if ids is None:
            raise UsageError("inputs_embeds: fusion across tokenizers reads tokens; give input_ids.")
        cache, use_cache = arguments.get("past_key_values"), arguments.get("use_cache")
        if cache is None and (self._config.use_cache if use_cache is None else use_cache):
            cache = arguments["past_key_values"] = DynamicCache(config=self._config)
        mask = arguments.get("attention_mask")
        if mask is not None and mask.ndim != 2:
            raise UsageError("attention_mask: fusion across tokenizers needs the usual mask [batch, tokens].")
        new = torch.ones_like(ids) if mask is None else mask[:, -ids.shape[1] :].to(ids)
        if cache is None:
            self._ids, self._mask = ids, new
            return
        _make_room(cache, self._layers, lambda: [DynamicLayer()])
        record = cache.layers[self._layers]
        keys, values = record.update(ids[:, None, :, None], new[:, None, :, None])
        self._ids, self._mask = keys[:, 0, :, 0], values[:, 0, :, 0]

    def states(self, keep: int) -> torch.Tensor:
        """Return the states after each of the last `keep` tokens of every row; those of padding are 0."""
        ids, mask = self._ids.tolist(), self._mask.tolist()
        rows = [[token for token, real in zip(*row, strict=True) if real] for row in zip(ids, mask, strict=True)]
        if keep == 1:
            return self._reader.last_states(rows)[:, None]
        found = []
        for row, real in zip(rows, mask, strict=True):
            kept = real[-keep:]
            states = self._reader.states(row, sum(kept))
            room = states.new_zeros(len(kept), states.shape[1])
            room[torch.tensor(kept, dtype=torch.bool, device=room.device)] = states
            found.append(room)
        return torch.stack(found)


def _make_room(cache: Any, layers: int, more: Callable[[], list[Any]]) -> None:
    """Append our layers behind the target's, once.

    Raises:
        UsageError: another kind of cache, or one that was filled without the calibrator.
    """
    if not isinstance(cache, DynamicCache):
        raise UsageError(
            f"cache: a detoxifier at decoding time needs a DynamicCache, not {type(cache).__name__}; leave out "
            "cache_implementation."
        )
    while len(cache.layers) < layers:  # a cache made without a config grows as it is used
        cache.layers.append(cache.layer_class_to_replicate())
    if len(cache.layers) == layers:
        cache.layers += more()
    if cache.get_seq_length(layers) != cache.get_seq_length():
        raise UsageError("cache: part of it was filled without this detoxifier; start from an empty cache.")


def acting_on_logits(model: PreTrainedModel, source: Source, act: Act) -> AbstractContextManager[None]:
    """Change `model`'s logits within this context; leaving it removes every trace."""
    return _acting(model, "logits", source, act)


def acting_on_states(model: PreTrainedModel, source: Source, act: Act) -> AbstractContextManager[None]:
    """Change `model`'s final hidden states within this context, before its head; leaving it removes every trace."""
    return _acting(Architecture.of(model).decoder, "last_hidden_state", source, act)


@contextmanager
def _acting(module: nn.Module, output_name: str, source: Source, act: Act) -> Iterator[None]:
    """Let `act` change the first output of `module`, which is called `output_name`."""
    names = list(inspect.signature(module.forward).parameters)

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
        if kwargs.get("labels") is not None:
            raise UsageError(
                "labels: the loss is computed before the detoxifier acts; leave them out and use the logits."
            )
        source.before(kwargs)
        return (), kwargs

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        changed = act(output[0], source.states(output[0].shape[1]))
        if isinstance(output, tuple):
            return (changed, *output[1:])
        setattr(output, output_name, changed)
        return output

    handles = [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
