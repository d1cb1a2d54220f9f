"""One language model of two classes, clean and toxic text, and what it says of a text that a target is writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.experts.copies import expert, logits_of
from detoxlm.methods.experts.steering import CHUNK, change_nucleus
from detoxlm.methods.weights.changes import B


def toxic_class(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the change W - B A of the class of toxic text, where `tensors` are W + B A of the clean one."""
    return {name: -tensor if name.endswith(B) else tensor for name, tensor in tensors.items()}


def classes(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> list[PreTrainedModel]:
    """Return the models of clean and of toxic text.

    Raises:
        KeyError, AttributeError, RuntimeError: the tensors are not for this model.
    """
    return [expert(model, tensors), expert(model, toxic_class(tensors))]


class Posterior(Steering):
    """Adds how likely each token of the target's nucleus leaves the text to be clean, by Bayes' rule.

    For each position t: final states h+ and h- [d] of the two classes, and the difference n of their log-normalisers.
    A token's weight is its log p(x_i | x_<i, clean) - log p(x_i | x_<i, toxic).
    """

    name = "gedi"

    def __init__(self, made: Sequence[PreTrainedModel], window: int, candidates: int, nucleus: float) -> None:
        """Take the two of `classes`, how many tokens back are counted, and the settings."""
        self._views = [Architecture.of(one) for one in made]
        self.readers, self.window = tuple(view.decoder for view in self._views), window
        self._candidates, self._nucleus = candidates, nucleus

    def said(self, states: torch.Tensor) -> torch.Tensor:
        """Return both classes' states [..., 2d] and the difference of their log-normalisers: [..., 2d + 1]."""
        return torch.cat([states, self._normalisers(states)[..., None]], -1)

    def weigh(self, said: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return log p(x | clean) - log p(x | toxic) [N] of tokens [N]."""
        return self.ratios(said, tokens[:, None])[:, 0]

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, V], changed within the nucleus by the posterior of the clean class."""

        def change(tokens: torch.Tensor, before: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            so_far = said[at, -1, None]
            return strength[at, None] * F.logsigmoid(so_far + self.ratios(said[at], tokens))

        return change_nucleus(x, change, candidates=self._candidates, nucleus=self._nucleus)

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
        """Return log Z+ - log Z- [...] in float32."""
        flat = states.flatten(0, -2)
        found = [torch.empty(0, device=flat.device)]
        for part in flat.split(CHUNK):
            clean, toxic = (
                view.capped(view.head(h)).logsumexp(-1) for view, h in zip(self._views, part.chunk(2, -1), strict=True)
            )
            found.append(clean - toxic)
        return torch.cat(found).view(states.shape[:-1])
