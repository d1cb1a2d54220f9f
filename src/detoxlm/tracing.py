"""A model's parts found by one forward pass, for families that `detoxlm.architecture` does not list; each is proved.

What runs says what it is: the *decoder* is the module whose output the head turns into the model's own logits, the
*decoder layers* hand the residual stream from one to the next, and the *final norm* turns the last one's output into
the decoder's. A part that does not prove itself is not there, and the reason is kept for whoever asks.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

#: Tokens of the text that is read: random ones, enough for most experts of a layer to get some.
TOKENS = 16
#: How far what is recomputed may lie from what the model says, relative to its largest value.
CLOSE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Parts:
    """Where a model keeps its parts, as paths from the model; None where it has none that proves itself."""

    decoder: str | None = None
    layers: str | None = None
    #: "" where the last layer's output meets the head as it is.
    norm: str | None = None
    #: The logits are cap(scale * head(states)).
    scale: float = 1.0
    #: Why a part is None, by its name.
    why: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """What a module was given and gave back, the first tensor of each."""

    name: str
    module: nn.Module
    given: torch.Tensor | None
    made: torch.Tensor | None


_PARTS: weakref.WeakKeyDictionary[PreTrainedModel, Parts] = weakref.WeakKeyDictionary()
_ONE = threading.RLock()


def parts_of(model: PreTrainedModel) -> Parts:
    """Return the parts of a model, found once."""
    with _ONE:
        if model not in _PARTS:
            _PARTS[model] = _find(model)
        return _PARTS[model]


def some_tokens(model: PreTrainedModel) -> torch.Tensor:
    """Return token ids [1, TOKENS] that the model can read, always the same."""
    rows = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, rows, (1, TOKENS), generator=generator).to(model.device)


def first_tensor(values: Any) -> torch.Tensor | None:
    """Return the first tensor of floating point among arguments or outputs; None: there is none."""
    if isinstance(values, torch.Tensor):
        return values if values.is_floating_point() else None
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return next((found for one in values if (found := first_tensor(one)) is not None), None)
    return None


@contextmanager
def recorded(root: nn.Module) -> Iterator[list[Call]]:
    """Yield a list that gets every call of the modules within `root`, in the order in which they end."""
    calls: list[Call] = []
    given: dict[int, torch.Tensor | None] = {}

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        found = first_tensor(args)
        found = first_tensor(kwargs) if found is None else found
        given[id(module)] = None if found is None else found.clone()  # some layers add in place

    def after(name: str, module: nn.Module, _: Any, __: Any, output: Any) -> None:
        made = first_tensor(output)
        calls.append(Call(name, module, given.get(id(module)), None if made is None else made.clone()))

    with ExitStack() as hooks:
        for name, module in root.named_modules():
            hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(partial(after, name), with_kwargs=True).remove)
        yield calls


def close(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> bool:
    """Tell whether two tensors are the same but for the rounding of `dtype`."""
    if a.shape != b.shape:
        return False
    a, b = a.float(), b.float()
    return bool((a - b).abs().max() <= CLOSE.get(dtype, 5e-2) * b.abs().max().clamp(min=1e-6))


@torch.inference_mode()
def _find(model: PreTrainedModel) -> Parts:
    head = model.get_output_embeddings()
    if head is None:
        why = "it names no output head"
        return Parts(why={"decoder": why, "layers": why})
    try:
        with recorded(model) as calls:
            # not a call of the module: what hangs on the model itself is none of this
            output = model.forward(input_ids=some_tokens(model), use_cache=False)
    except Exception as error:  # what models of others raise is no closed set
        why = f"it does not read plain token ids ({type(error).__name__})"
        return Parts(why={"decoder": why, "layers": why})
    logits = output.logits.float()
    found = _decoder(model, head, calls, logits)
    if found is None:
        why = "no module's output gives the model's own logits through its output head"
        return Parts(why={"decoder": why, "layers": why})
    decoder, states, scale = found
    path = _layers(decoder, calls)
    if path is None:
        return Parts(
            decoder, scale=scale, why={"layers": "no list of layers hands a stream of states from one to the next"}
        )
    last = _call_of(calls, f"{path}.{len(model.get_submodule(path)) - 1}")
    norm = _norm(path, calls, last, states)
    if norm is None:
        return Parts(
            decoder, scale=scale, why={"layers": "the last layer's output does not lead to the head by one norm"}
        )
    normed = last if norm == "" else model.get_submodule(norm)(last)
    if not close(_capped(model, scale * head(normed).float()), logits, model.dtype):
        return Parts(
            decoder, scale=scale, why={"layers": "logits recomputed from the last layer are not the model's own"}
        )
    return Parts(decoder, path, norm, scale)


def softcap_of(model: PreTrainedModel) -> float | None:
    """Return the c of logits that are `c tanh(z / c)`; None where the model does not cap them."""
    return getattr(model.config.get_text_config(), "final_logit_softcapping", None)


def _capped(model: PreTrainedModel, z: torch.Tensor) -> torch.Tensor:
    cap = softcap_of(model)
    return z if cap is None else cap * torch.tanh(z / cap)


def _decoder(
    model: PreTrainedModel, head: nn.Module, calls: list[Call], logits: torch.Tensor
) -> tuple[str, torch.Tensor, float] | None:
    """Return the innermost module whose output the head makes the logits of, that output, and the scale."""
    cap = softcap_of(model)
    # what tanh has flattened says nothing exact of the scale any more
    uncapped = logits if cap is None else cap * torch.atanh((logits / cap).clamp(-0.99, 0.99))
    clear = torch.ones_like(logits, dtype=torch.bool) if cap is None else logits.abs() < 0.9 * cap
    rows: Any = head.weight
    width = rows.shape[1] if rows.ndim == 2 else None
    for call in sorted(calls, key=lambda one: -one.name.count(".")):
        holds_layers = any(isinstance(module, nn.ModuleList) for module in call.module.modules())
        if call.module is model or not holds_layers or call.made is None or call.made.shape[-1] != width:
            continue
        raw = head(call.made).float()
        if raw.shape != logits.shape:
            continue
        scale = _scale(model, float((raw * uncapped)[clear].sum() / raw[clear].square().sum()))
        if close(_capped(model, scale * raw), logits, model.dtype):
            return call.name, call.made, scale
    return None


def _scale(model: PreTrainedModel, measured: float) -> float:
    """Return the scale exactly: 1, or a number of the configuration or its inverse, where one is what was measured."""
    numbers = [value for value in vars(model.config.get_text_config()).values() if type(value) in (int, float)]
    for exact in (1.0, *numbers, *(1 / value for value in numbers if value)):
        if abs(measured - exact) <= 5e-3 * abs(exact):
            return float(exact)
    return measured


def _call_of(calls: list[Call], name: str) -> torch.Tensor:
    made = next(call.made for call in calls if call.name == name)
    assert made is not None
    return made


def _layers(decoder: str, calls: list[Call]) -> str | None:
    """Return the longest list within the decoder whose modules hand on one stream."""
    lists: dict[str, list[Call]] = {}
    for call in calls:
        parent, _, number = call.name.rpartition(".")
        if number.isdigit() and (decoder == "" or parent.startswith(f"{decoder}.")):
            lists.setdefault(parent, []).append(call)
    best: str | None = None
    for parent, members in lists.items():
        in_order = [int(call.name.rpartition(".")[2]) for call in members] == list(range(len(members)))
        streams = all(call.given is not None and call.made is not None for call in members)
        if not in_order or not streams:
            continue
        pairs = pairwise(members)
        if all(torch.equal(a.made, b.given) for a, b in pairs if a.made is not None and b.given is not None) and (
            best is None or len(members) > len(lists[best])
        ):
            best = parent
    return best


def _norm(layers: str, calls: list[Call], last: torch.Tensor, states: torch.Tensor) -> str | None:
    """Return the module that makes the decoder's output of the last layer's; "" where they are the same."""
    for call in reversed(calls):
        outside = not f"{call.name}.".startswith(f"{layers}.")
        # no matrix: OPT-350m's layers are wider than its head, with a projection between them
        own = outside and all(weight.ndim < 2 for weight in call.module.parameters())
        if own and call.given is not None and call.made is not None and torch.equal(call.made, states):
            return call.name if torch.equal(call.given, last) else None
    return "" if torch.equal(last, states) else None
