"""One language model of two classes, clean and toxic text, and what it says of a text that a target is writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from detoxlm.architecture import Architecture
from detoxlm.calibration.sources import SharedCache
from detoxlm.errors import UsageError
from detoxlm.experts.copies import expert, logits_of
from detoxlm.experts.steering import CHUNK
from detoxlm.finetuning.changes import B


def toxic_class(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the change W - B A of the class of toxic text, where `tensors` are W + B A of the clean one."""
    return {name: -tensor if name.endswith(B) else tensor for name, tensor in tensors.items()}


def classes(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> list[PreTrainedModel]:
    """Return the models of clean and of toxic text, their caches behind the target's and each other's.

    Raises:
        KeyError, AttributeError, RuntimeError: the tensors are not for this model.
    """
    return [expert(model, tensors, 1), expert(model, toxic_class(tensors), 2)]


class ClassRatio(SharedCache):
    """What two classes say of the text so far, and of every next token.

    For each position t: final states h+ and h- [d], the difference n of their log-normalisers, and

        R_t = sum over the last `window` tokens x_i of  log p(x_i | x_<i, clean) - log p(x_i | x_<i, toxic).

    The terms of that sum wait in one more cache layer, with the newest states, so that they follow beams and crops.
    """

    def __init__(self, model: PreTrainedModel, made: list[PreTrainedModel], window: int) -> None:
        """Take the target, the two of `classes`, and how many tokens back are counted."""
        self._views = [Architecture.of(one) for one in made]
        self._window = window
        super().__init__(model, *(view.decoder for view in self._views))

    def _more(self) -> list[Any]:
        return [*super()._more(), DynamicLayer()]

    def before(self, arguments: dict[str, Any]) -> None:
        """Let both classes read the new tokens, and weigh them."""
        ids = arguments.get("input_ids")
        if ids is None:
            raise UsageError("inputs_embeds: gedi weighs tokens; give input_ids.")
        super().before(arguments)
        new = torch.cat([self._states, self._normalisers(self._states)[..., None]], -1)
        cache, mask = arguments.get("past_key_values"), arguments.get("attention_mask")
        record = None if cache is None else cache.layers[3 * self._layers]
        old = record.get_seq_length() if record is not None else 0
        before = record.keys[:, 0, -1:] if record is not None and old else torch.zeros_like(new[:, :1])
        said = torch.cat([before, new[:, :-1]], 1)  # at the token before each
        ratio = self.ratios(said.flatten(0, 1), ids.reshape(-1, 1)).view(ids.shape)
        total = old + ids.shape[1]
        real = ids.new_ones(len(ids), total) if mask is None else mask[:, -total:]
        real = torch.cat([real.new_zeros(len(ids), 1), real], 1)  # nothing stands before the first token
        ratio = ratio * (real[:, -ids.shape[1] :] * real[:, -ids.shape[1] - 1 : -1])
        if record is not None:
            _, values = record.update(new[:, None], ratio[:, None, :, None])
            ratio = values[:, 0, :, 0]
        sums = torch.cat([ratio.new_zeros(len(ids), 1), ratio.cumsum(1)], 1)
        start = (torch.arange(1, total + 1, device=ids.device) - self._window).clamp(min=0)
        weight = (sums[:, 1:] - sums[:, start])[:, -ids.shape[1] :]
        self._states = torch.cat([new, weight[..., None]], -1)

    def ratios(self, said: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return log p(v | clean) - log p(v | toxic) [N, K].

        Args:
            said: both classes' states and the difference of their log-normalisers [N, 2d + 1 or more].
            tokens: v [N, K].
        """
        width = self._views[0].hidden_size
        first, second = (
            logits_of(view, said[:, place : place + width], tokens)
            for view, place in zip(self._views, (0, width), strict=True)
        )
        return first - second - said[:, 2 * width, None]

    def _normalisers(self, states: torch.Tensor) -> torch.Tensor:
        """Return log Z+ - log Z- [B, T] in float32."""
        flat = states.flatten(0, 1)
        found = [torch.empty(0, device=flat.device)]
        for part in flat.split(CHUNK):
            clean, toxic = (
                view.capped(view.head(h)).logsumexp(-1) for view, h in zip(self._views, part.chunk(2, -1), strict=True)
            )
            found.append(clean - toxic)
        return torch.cat(found).view(states.shape[:2])
