"""Whether a model keeps what it has read in a cache object that we hand it, and under which name.

Families of the table do, as `past_key_values`. Of others it is tried: a text read in two steps, with another text read
in between, must give the logits that it gives in one. A model that fails (RecurrentGemma keeps states in its modules,
RWKV a list of its own, Mamba without its kernels errs) is read without a cache, whole at every step: slow, and right.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from detoxlm.architecture import FAMILIES
from detoxlm.tracing import close, some_tokens

_NAMES = ("past_key_values", "cache_params")
_KNOWN: weakref.WeakKeyDictionary[PreTrainedModel, str | None] = weakref.WeakKeyDictionary()
_ONE = threading.RLock()


def parameters_of(module: nn.Module) -> frozenset[str]:
    """Return the names of what a module's forward takes."""
    return frozenset(inspect.signature(type(module).forward).parameters)


def cache_name(module: nn.Module) -> str | None:
    """Return what a module's forward calls its cache; None: it takes none."""
    return next((name for name in _NAMES if name in parameters_of(module)), None)


def cached_as(model: PreTrainedModel) -> str | None:
    """Return the name of the argument for a cache in which `model` keeps all that it has read; None: there is none."""
    if model.config.model_type in FAMILIES:
        return "past_key_values"
    with _ONE:
        if model not in _KNOWN:
            name = cache_name(model)
            _KNOWN[model] = name if name is not None and _holds(model) else None
        return _KNOWN[model]


def new_cache(model: PreTrainedModel) -> DynamicCache:
    """Return an empty cache for `model`."""
    return DynamicCache(config=model.config.get_text_config(decoder=True))


def keeps_states(config: Any) -> bool:
    """Tell whether some layers of a decoder keep a state, not the past itself: nothing can be taken out of it again."""
    try:
        layers = DynamicCache(config=config).layers
    except Exception:  # a configuration that transformers' caches do not know
        return True
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def step_arguments(
    model: PreTrainedModel, cache: DynamicCache, inputs: torch.Tensor, mask: torch.Tensor
) -> dict[str, Any]:
    """Return what `model` is given to read more tokens [B, t] into a cache; `mask` [B, T] is of all, 0 on padding."""
    takes = parameters_of(model)
    arguments: dict[str, Any] = {"input_ids": inputs, "attention_mask": mask, "use_cache": True}
    arguments[next(name for name in _NAMES if name in takes)] = cache
    if "position_ids" in takes:
        arguments["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
    return arguments


@torch.inference_mode()
def _holds(model: PreTrainedModel) -> bool:
    """Try it. Not by calls of the module: what hangs on the model itself is none of this."""
    ids = some_tokens(model)[:, :8]
    ones = torch.ones_like(ids)
    first, second = new_cache(model), new_cache(model)
    try:
        whole = model.forward(input_ids=ids, use_cache=False).logits[:, -3:]
        for cache, tokens in ((first, ids[:, :6]), (second, ids[:, :5]), (new_cache(model), ids.flip(1))):
            model.forward(**step_arguments(model, cache, tokens, ones[:, : tokens.shape[1]]))
        rest = [model.forward(**step_arguments(model, first, ids[:, i : i + 1], ones[:, : i + 1])) for i in (6, 7)]
        # several at once too, as likelihoods are read: some hybrids forget their state there
        rest.append(model.forward(**step_arguments(model, second, ids[:, 5:], ones)))
    except Exception:  # what models of others raise is no closed set; without a cache they may work
        return False
    read = torch.cat([one.logits for one in rest], 1)
    return close(read, torch.cat([whole[:, -2:], whole], 1), model.dtype)
