"""What writes to the residual stream, found in a decoder layer of a family that `detoxlm.architecture` does not list.

A layer is run again with one module's output moved along a random direction v. Where every position of the layer's
output moves along v too, and the modules that write later are held still, that module writes to the stream. A matrix is
its last act: a linear module's own, or of experts that are fused into one tensor [E, ...] the one whose change along v
moves their output along v. What acts on every token by itself is an MLP; what carries something from one token to
another is attention, or what a layer has in its place.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from detoxlm.tracing import Call, close, first_tensor, recorded, some_tokens

#: What writes to the residual stream: the MLP by its value matrix, and attention.
Part = Literal["value", "attention"]
#: Of a movement, how much may lie off its direction, and what is none at all.
OFF, NOTHING = 0.02, 1e-4


@dataclass(frozen=True)
class Place:
    """Where a matrix is: a parameter of a module of a layer, and how to look at it.

    `turned` swaps the last two dimensions, and `rows` are then taken. What is seen is [out, in]; of experts
    [E, out, in].
    """

    path: str
    parameter: str = "weight"
    turned: bool = False
    rows: slice = field(default_factory=lambda: slice(None))

    def see(self, layer: nn.Module) -> torch.Tensor:
        """Return the matrix of `layer` as a view that writes through."""
        weight: torch.Tensor = getattr(layer.get_submodule(self.path), self.parameter)
        return (weight.transpose(-1, -2) if self.turned else weight)[..., self.rows, :]


@dataclass(frozen=True)
class Found:
    """A matrix that writes to the stream; the norm between the two, if any; and, of an MLP, its gates."""

    part: Part
    place: Place
    norm: str | None = None
    gate: Place | None = None


_FOUND: weakref.WeakKeyDictionary[PreTrainedModel, dict[int, tuple[Found, ...]]] = weakref.WeakKeyDictionary()
_ONE = threading.RLock()


def writers_in(model: PreTrainedModel, layers: nn.ModuleList, index: int) -> tuple[Found, ...]:
    """Return what writes to the stream in a layer, in the order in which it runs, found once."""
    with _ONE:
        if model not in _FOUND:
            with torch.inference_mode():  # kept when all are found: a search that was broken off is made again
                _FOUND[model] = {
                    i: _Layer(layers[i], given).writers() for i, given in enumerate(_arguments(model, layers))
                }
        return _FOUND[model][index]


@torch.inference_mode()
def _arguments(model: PreTrainedModel, layers: nn.ModuleList) -> list[tuple[Any, Any]]:
    """Return what each layer is given in one pass."""
    given: list[tuple[Any, Any]] = []
    with ExitStack() as hooks:
        for layer in layers:
            hook = layer.register_forward_pre_hook(
                lambda _, args, kwargs: given.append((args, kwargs)), with_kwargs=True
            )
            hooks.callback(hook.remove)
        model.forward(input_ids=some_tokens(model), use_cache=False)
    return [_cloned(one) for one in given]


def _cloned(values: Any, dtype: torch.dtype | None = None) -> Any:
    """Return arguments with copies of their tensors, those of floating point in `dtype`."""
    if isinstance(values, torch.Tensor):
        return values.to(dtype, copy=True) if dtype and values.is_floating_point() else values.clone()
    if isinstance(values, tuple):
        return tuple(_cloned(one, dtype) for one in values)
    if isinstance(values, dict):
        return {key: _cloned(one, dtype) for key, one in values.items()}
    return values


class _Layer:
    """One decoder layer, to be run again with something moved."""

    def __init__(self, layer: nn.Module, given: tuple[Any, Any]) -> None:
        if any(p.is_floating_point() and p.dtype != torch.float32 for p in layer.parameters()):
            layer = copy.deepcopy(layer).float()  # in half precision a small movement drowns
            given = _cloned(given, torch.float32)
        self.layer, self.given = layer, given
        #: What fused experts are given: beside the states, where each goes.
        self.routed: dict[str, tuple[Any, Any]] = {}
        with recorded(layer) as calls, ExitStack() as hooks:
            for name, module in layer.named_modules():
                if any(p.ndim == 3 for p in module.parameters(recurse=False)):
                    hook = module.register_forward_pre_hook(partial(self._keep, name), with_kwargs=True)
                    hooks.callback(hook.remove)
            self._run()
        self.calls = [call for call in calls if call.name]
        whole = next(call.made for call in reversed(calls) if call.name == "")
        assert whole is not None
        self.output: torch.Tensor = whole
        #: What writers that were found, and the children of the layer that they are in, made.
        self.still: dict[str, torch.Tensor] = {}
        self.places: set[str] = set()  # the writers among them

    def _keep(self, name: str, _: nn.Module, args: Any, kwargs: Any) -> None:
        self.routed[name] = _cloned((args, kwargs))

    def _run(self) -> torch.Tensor:
        args, kwargs = _cloned(self.given)
        output = first_tensor(self.layer(*args, **kwargs))
        assert output is not None
        return output

    def writers(self) -> tuple[Found, ...]:
        """Return the writers in the order in which they run; the experts of a list are found by one of them."""
        found: dict[str, Found] = {}
        for call in reversed(self.calls):
            if call.made is None or call.made.shape[-1] != self.output.shape[-1]:
                continue
            if call.name not in found:
                place = self._matrix(call)
                norm = None if place is None else self._norm_behind(call)
                if place is None or norm is None:
                    continue
                part: Part = "attention" if self._mixes(_child(call.name)) else "value"
                gate = self._gate(call, place) if part == "value" else None
                for path in reversed(_siblings(self.layer, place.path)):
                    beside = None if gate is None else replace(gate, path=_beside(gate.path, place.path, path))
                    found[path] = Found(part, replace(place, path=path), norm or None, beside)
            self.places.add(call.name)
            for name in (call.name, _child(call.name)):
                self.still[name] = next(one.made for one in reversed(self.calls) if one.name == name)  # type: ignore[assignment]
        return tuple(reversed(found.values()))

    # --- where a movement goes ----------------------------------------------------------------------------------------

    def _norm_behind(self, call: Call) -> str | None:
        """Return the norm between a module and the stream, "" for none; None: it does not write to the stream."""
        answer = self._moved(call.name, watched=None)
        if answer is None:
            return None
        if answer:
            return ""
        start = self.calls.index(call)
        for later in self.calls[start + 1 :]:
            small = all(p.ndim < 2 for p in later.module.parameters()) and later.given is not None
            norm = small and later.made is not None and later.made.shape == self.output.shape
            if norm and self._moved(call.name, watched=later.name) and self._moved(later.name, watched=None):
                return later.name
        return None

    def _moved(self, name: str, watched: str | None) -> bool | None:
        """Move what `name` makes along a direction: does what is `watched` (else the layer) move along it alone?

        What writes later is held still: whole children of the layer, else (Bloom's add the stream within) itself.

        Returns:
            whether it does; None where it does not move at all. What is watched is what that module is *given*.
        """
        found = self._moved_while(name, watched, set(self.still))
        if found is None:
            found = self._moved_while(name, watched, {one for one in self.still if one in self.places})
        return found

    def _moved_while(self, name: str, watched: str | None, held: set[str]) -> bool | None:
        made = next(call.made for call in reversed(self.calls) if call.name == name)
        assert made is not None
        generator = torch.Generator().manual_seed(1)
        v = F.normalize(torch.randn(made.shape[-1], generator=generator), dim=0).to(made)
        by = v * self.output.norm(dim=-1).mean()
        seen: list[torch.Tensor] = []
        with ExitStack() as hooks:
            if watched is not None:
                module = self.layer.get_submodule(watched)
                hooks.enter_context(_watching(module, seen))
            for other in held:
                if not f"{name}.".startswith(f"{other}."):  # what it is within cannot be held
                    hooks.enter_context(_instead(self.layer.get_submodule(other), partial(_kept, self.still[other])))
            hooks.enter_context(_instead(self.layer.get_submodule(name), lambda output: output + by))
            output = self._run()
        before = self.output
        if watched is not None:
            before = next(call.given for call in self.calls if call.name == watched)  # type: ignore[assignment]
            output = seen[0]
        change = (output - before).flatten(0, -2)
        size = change.norm(dim=-1)
        touched = size > NOTHING * by.norm()
        if not bool(touched.any()):
            return None
        off = (change - (change @ v)[:, None] * v).norm(dim=-1)
        return bool((off[touched] <= OFF * size[touched]).all())

    def _mixes(self, child: str) -> bool:
        """Tell whether a child of the layer carries something from one token to later ones."""
        module = self.layer.get_submodule(child)
        kept: list[tuple[Any, Any]] = []
        hook = module.register_forward_pre_hook(lambda _, a, k: kept.append(_cloned((a, k))), with_kwargs=True)
        try:
            self._run()
        finally:
            hook.remove()
        args, kwargs = kept[0]
        before = first_tensor(module(*_cloned(args), **_cloned(kwargs)))
        given = first_tensor(args)
        given = first_tensor(kwargs) if given is None else given
        if before is None or given is None or given.flatten(0, -2).shape[0] != before.flatten(0, -2).shape[0]:
            return True
        given.flatten(0, -2)[0] += 1.0  # a view: the first token's state
        after = first_tensor(module(*args, **kwargs))
        assert after is not None
        later = (after - before).flatten(0, -2)[1:]
        return bool(later.abs().max() > NOTHING * before.abs().max())

    # --- which matrix, and which gates --------------------------------------------------------------------------------

    def _matrix(self, call: Call) -> Place | None:
        """Return the matrix that is the last act of a module; None: there is none that can be shown to be."""
        module, given, made = call.module, call.given, call.made
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim == 2 and given is not None and made is not None:
            place = Place(call.name, turned=isinstance(module, Conv1D))  # which stores [in, out]
            matrix = place.see(self.layer)
            if not weight.is_floating_point() or matrix.shape != (made.shape[-1], given.shape[-1]):
                return None
            same = close(F.linear(given, matrix, getattr(module, "bias", None)), made, made.dtype)
            return place if same else None
        for name, stack in module.named_parameters(recurse=False):
            for turned in (False, True):
                place = Place(call.name, name, turned)
                if stack.ndim == 3 and stack.is_floating_point() and self._ends(place):
                    return place
        return None

    def _ends(self, place: Place) -> bool:
        """Tell whether a stack of matrices is the last act of fused experts: they move along v where it does."""
        matrix = place.see(self.layer)
        generator = torch.Generator().manual_seed(2)
        v, r = (F.normalize(torch.randn(n, generator=generator), dim=0).to(matrix) for n in matrix.shape[-2:])
        before, after = (
            self._experts(place, matrix + by * torch.outer(v, r)) for by in (0, matrix.norm(dim=(-2, -1)).mean())
        )
        if before.shape[-1] != len(v):
            return False
        change = (after - before).flatten(0, -2)
        size = change.norm(dim=-1)
        touched = size > NOTHING * size.max()
        off = (change - (change @ v)[:, None] * v).norm(dim=-1)
        return bool(touched.any()) and bool((off[touched] <= OFF * size[touched]).all())

    def _experts(self, place: Place, matrix: torch.Tensor) -> torch.Tensor:
        """Return what fused experts make of what they were given, with another matrix; they stay as they are."""
        module = copy.copy(self.layer.get_submodule(place.path))  # shares all else with the module
        module._parameters = dict(module._parameters)
        module._parameters[place.parameter] = nn.Parameter(matrix.transpose(-1, -2) if place.turned else matrix)
        args, kwargs = _cloned(self.routed[place.path])
        made = first_tensor(module.forward(*args, **kwargs))
        assert made is not None
        return made

    def _gate(self, value: Call, place: Place) -> Place | None:
        """Return the rows that decide how active each neuron is: what a value matrix reads is not linear in them."""
        m = place.see(self.layer).shape[-1]
        if place.parameter == "weight":
            parent = value.name.rpartition(".")[0]
            near = [call for call in self.calls if call.name.rpartition(".")[0] == parent and call.name != value.name]
            found = [one for call in near if (one := self._matrix(call)) is not None]
            change: Callable[[Place, slice, float], torch.Tensor] = partial(self._neurons, value.name)
        else:
            stacks = self.layer.get_submodule(place.path).named_parameters(recurse=False)
            found = [Place(place.path, n, place.turned) for n, p in stacks if p.ndim == 3 and n != place.parameter]
            change = self._stacked
        for one in found:
            rows, width = one.see(self.layer).shape[-2:]
            if width != self.output.shape[-1] or rows not in (m, 2 * m):
                continue
            halves = [slice(0, m), slice(m, None), slice(0, None, 2), slice(1, None, 2)]
            rest = {0: 1, 1: 0, 2: 3, 3: 2}
            if rows == m:
                if not _linear(partial(change, one, slice(None))):
                    return one
                continue
            for at, half in enumerate(halves):
                if not _linear(partial(change, one, half)) and _linear(partial(change, one, halves[rest[at]])):
                    return replace(one, rows=half)
        return None

    def _neurons(self, value: str, gate: Place, rows: slice, by: float) -> torch.Tensor:
        """Return what the value matrix is given when some outputs of a linear module are multiplied."""

        def scaled(output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[..., rows] *= by
            return output

        seen: list[torch.Tensor] = []
        with _instead(self.layer.get_submodule(gate.path), scaled), _watching(self.layer.get_submodule(value), seen):
            self._run()
        return seen[0]

    def _stacked(self, gate: Place, rows: slice, by: float) -> torch.Tensor:
        """Return what fused experts make, linear in their neurons, when some rows of a stack are multiplied."""
        matrix = gate.see(self.layer).clone()
        matrix[..., rows, :] *= by
        return self._experts(gate, matrix)


def _linear(change: Callable[[float], torch.Tensor]) -> bool:
    """Tell whether what is made is linear (with a constant) in what is multiplied."""
    up, none, down = change(1.0), change(0.0), change(-1.0)
    return bool((up - 2 * none + down).abs().max() <= 1e-3 * up.abs().max())


def _kept(value: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    return value if value.shape == output.shape else output  # an expert may get other tokens


def _child(path: str) -> str:
    """Return the name of the layer's child that a module is in."""
    return path.split(".")[0]


@contextmanager
def _instead(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Let a module make something else, within this context."""

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return change(output)
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else output

    hook = module.register_forward_hook(after)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _watching(module: nn.Module, seen: list[torch.Tensor]) -> Iterator[None]:
    """Keep what a module is given, within this context."""

    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        found = first_tensor(args)
        found = first_tensor(kwargs) if found is None else found
        assert found is not None
        seen.append(found.clone())

    hook = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _siblings(layer: nn.Module, path: str) -> list[str]:
    """Return the paths of a module in this expert and in all others of its list; its own alone where it is in none."""
    parts = path.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    if not numbers:
        return [path]
    at = numbers[-1]
    experts = layer.get_submodule(".".join(parts[:at]))
    return [".".join([*parts[:at], name, *parts[at + 1 :]]) for name, _ in experts.named_children()]


def _beside(gate: str, value: str, other: str) -> str:
    """Return the path of the gates of the expert that `other` is in, as `gate` is of the one that `value` is in."""
    numbers = [
        (i, there)
        for i, (here, there) in enumerate(zip(value.split("."), other.split("."), strict=True))
        if here != there
    ]
    parts = gate.split(".")
    for i, number in numbers:
        parts[i] = number
    return ".".join(parts)
