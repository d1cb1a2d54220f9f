"""How readers follow a target's own passes: their cache layers stand behind the target's, in the target's cache object.

Whatever happens to that object (beams, crops, repeats, copies) happens to what was read beside it, and two generations
have two of them: the state of a generation is in its cache, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from detoxlm.caching import cache_name, cached_as, new_cache, parameters_of
from detoxlm.errors import UsageError
from detoxlm.methods.decoding.content import ByContent
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.reading import side_by_side

#: Of the last `keep` positions of a pass, what `Steering.act` takes as `said`: [B, keep, S].
Says = Callable[[int], torch.Tensor]
_PASSED = ("input_ids", "inputs_embeds", "attention_mask", "position_ids", "use_cache")


class Following(Protocol):
    """Reads what a target reads."""

    def read(self, arguments: dict[str, Any]) -> Says:
        """Read the new tokens of a pass, given the arguments of the target's forward, which may be changed."""


def following(model: PreTrainedModel, steering: Steering) -> Following:
    """Return how the readers of a steering follow `model`.

    Raises:
        UsageError: the model is set to generate with a cache that holds no more layers than its own.
    """
    kind = getattr(model.generation_config, "cache_implementation", None)
    if kind not in (None, "dynamic", "dynamic_full") and steering.keeps_past:
        raise UsageError(
            f"cache_implementation: {steering.name} needs a dynamic cache beside this model, whose generation_config "
            f"asks for {kind!r}; set it to None."
        )
    if steering.translator is not None:
        return Recorded(model, steering)
    return SharedCache(model, steering) if steering.keeps_past else NewestOnly(steering)


class SharedCache:
    """Readers of the target's own tokens: they get the arguments that it gets."""

    def __init__(self, model: PreTrainedModel, steering: Steering) -> None:
        """Take the target and what is done beside it."""
        self._model, self._steering = model, steering
        self._layers = len(new_cache(model).layers)

    def read(self, arguments: dict[str, Any]) -> Says:
        """Let the readers read first: the cache is as it was before the target's pass."""
        if self._steering.window is not None and arguments.get("input_ids") is None:
            raise UsageError(f"inputs_embeds: {self._steering.name} weighs tokens; give input_ids.")
        cache = _cache_of(arguments, self._model, self._steering.name)
        views: list[DynamicCache | None] = [None] * len(self._steering.readers)
        if cache is not None:
            _make_room(cache, self._layers, self._more)
            views = list(self._views(cache))
        states = []
        for reader, view in zip(self._steering.readers, views, strict=True):
            takes = parameters_of(reader)
            own = {name: arguments[name] for name in _PASSED if name in takes and arguments.get(name) is not None}
            if view is not None and (called := cache_name(reader)) is not None:
                own[called] = view
            states.append(reader(**own).last_hidden_state)
        said = self._steering.said(side_by_side(states))
        if self._steering.window is not None:
            record = None if cache is None else cache.layers[-1]
            said = self._weighed(said, arguments["input_ids"], arguments.get("attention_mask"), record)
        return lambda keep: said[:, -keep:]

    def _more(self) -> list[Any]:
        own = [layer for reader in self._steering.readers for layer in DynamicCache(config=reader.config).layers]
        return own if self._steering.window is None else [*own, DynamicLayer()]

    def _views(self, cache: DynamicCache) -> list[DynamicCache]:
        """A cache object for each reader that holds its own of the shared layers, numbered from 0."""
        views, start = [], self._layers
        for reader in self._steering.readers:
            view = DynamicCache(config=reader.config)
            end = start + len(view.layers)
            view.layers = cache.layers[start:end]
            views.append(view)
            start = end
        return views

    def _weighed(
        self, new: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor | None, record: DynamicLayer | None
    ) -> torch.Tensor:
        """Put the sum of the weights of the last tokens behind what is said [B, T, S]: [B, T, S + 1].

        What was said and the weights wait in one more cache layer, so that they follow beams and crops.
        """
        window = self._steering.window
        assert window is not None
        old = record.get_seq_length() if record is not None else 0
        before = record.keys[:, 0, -1:] if record is not None and old else torch.zeros_like(new[:, :1])
        said = torch.cat([before, new[:, :-1]], 1)  # at the token before each
        weight = self._steering.weigh(said.flatten(0, 1), ids.flatten()).view(ids.shape)
        total = old + ids.shape[1]
        real = ids.new_ones(len(ids), total) if mask is None else mask[:, -total:]
        real = torch.cat([real.new_zeros(len(ids), 1), real], 1)  # nothing stands before the first token
        weight = weight * (real[:, -ids.shape[1] :] * real[:, -ids.shape[1] - 1 : -1])
        if record is not None:
            _, values = record.update(new[:, None], weight[:, None, :, None])
            weight = values[:, 0, :, 0]
        sums = torch.cat([weight.new_zeros(len(ids), 1), weight.cumsum(1)], 1)
        start = (torch.arange(1, total + 1, device=ids.device) - window).clamp(min=0)
        summed = (sums[:, 1:] - sums[:, start])[:, -ids.shape[1] :]
        return torch.cat([new, summed[..., None]], -1)


class NewestOnly:
    """What some released code shows its readers: the prompt once, then each new token alone, without a past."""

    def __init__(self, steering: Steering) -> None:
        """Take what is done."""
        self._steering = steering

    def read(self, arguments: dict[str, Any]) -> Says:
        """Read the tokens of this pass as a text of their own."""
        given = {name: arguments[name] for name in ("input_ids", "inputs_embeds") if arguments.get(name) is not None}
        ids, mask = next(iter(given.values())), arguments.get("attention_mask")
        if mask is not None and ids.shape[1] == mask.shape[-1]:
            given["attention_mask"] = mask
        states = [reader(**given, use_cache=False).last_hidden_state for reader in self._steering.readers]
        said = self._steering.said(side_by_side(states))
        return lambda keep: said[:, -keep:]


class Record(DynamicLayer):
    """A cache layer whose "keys" are token ids, -1 for padding; and what was read of them."""

    rows: ByContent


class Recorded:
    """Readers of other tokens: the target's rows are recorded in its cache object and read by content."""

    def __init__(self, model: PreTrainedModel, steering: Steering) -> None:
        """Take the target and what is done beside it."""
        self._model, self._steering = model, steering
        self._layers = len(new_cache(model).layers)

    def read(self, arguments: dict[str, Any]) -> Says:
        """Record the new tokens."""
        ids, mask = arguments.get("input_ids"), arguments.get("attention_mask")
        if ids is None:
            raise UsageError(f"inputs_embeds: {self._steering.name} across tokenizers reads tokens; give input_ids.")
        if mask is not None and mask.ndim != 2:
            raise UsageError(
                f"attention_mask: {self._steering.name} across tokenizers needs the usual mask [batch, tokens]."
            )
        new = torch.ones_like(ids) if mask is None else mask[:, -ids.shape[1] :].to(ids)
        cache = _cache_of(arguments, self._model, self._steering.name)
        row = torch.where(new.bool(), ids, -1)
        if cache is None:
            return self._says(ByContent(self._steering), row)
        _make_room(cache, self._layers, self._more)
        record = cache.layers[self._layers]
        keys, _ = record.update(row[:, None, :, None], row[:, None, :, None])
        return self._says(record.rows, keys[:, 0, :, 0])

    def _more(self) -> list[Any]:
        record = Record()
        record.rows = ByContent(self._steering)
        return [record]

    def _says(self, rows: ByContent, batch: torch.Tensor) -> Says:
        seen = rows.see(batch)  # before the target's pass: a GPU that makes it need not be waited for

        def says(keep: int) -> torch.Tensor:
            """What is said after each of the last `keep` tokens of every row; at padding, 0."""
            if keep == 1:
                return rows.go_on(seen).says(range(len(batch)))[:, None]
            found = []
            for row in batch:
                real = row >= 0
                kept = real[-keep:]
                said = rows.session.says_of(row[real].tolist(), int(kept.sum()))
                found.append(said.new_zeros(keep, said.shape[-1]))
                found[-1][kept] = said
            return torch.stack(found)

        return says


def _cache_of(arguments: dict[str, Any], model: PreTrainedModel, method: str) -> Any:
    """Return the cache of a pass, made here where the target would make one; None: it goes without.

    Raises:
        UsageError: the target keeps what it has read somewhere else, where nothing can follow it.
    """
    config, use_cache, name = model.config, arguments.get("use_cache"), cached_as(model)
    used = getattr(config, "use_cache", True) if use_cache is None else use_cache
    if name is None:
        if used:
            raise UsageError(
                f"use_cache: {method} cannot follow what this {config.model_type} model keeps of its text; give "
                "use_cache=False."
            )
        return None
    if arguments.get(name) is None and used:
        arguments[name] = new_cache(model)
    return arguments.get(name)


def _make_room(cache: Any, layers: int, more: Callable[[], list[Any]]) -> None:
    """Append our layers behind the target's, once.

    Raises:
        UsageError: another kind of cache, or one that was filled without the detoxifier.
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
