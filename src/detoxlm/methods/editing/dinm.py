"""DINM, detoxifying with intraoperative neural monitoring (arXiv 2403.14472): tune one layer's value matrix briefly.

The *toxic layer* is where the states of non-toxic and toxic continuations of one prompt lie furthest apart. Its value
matrix W, and nothing else, is trained for a few steps on

    -log p(non-toxic | prompt) + c KL(base || edited on harmless text).

The distances are taken relative to the length of the states, which grows from layer to layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture, Writer
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.editing.learning import mean_kl
from detoxlm.methods.editing.pairs import PairSettings, check_pairs, embedded_pairs, harmless_texts
from detoxlm.methods.needs import Need
from detoxlm.methods.weights.detoxifier import WeightDetoxifier
from detoxlm.models import Target
from detoxlm.passages import Passage, endless, log_p, padded
from detoxlm.progress import track


class DinmSettings(PairSettings):
    """Settings of `dinm`."""

    layer: int | None = Field(
        None, ge=0, description="The tuned layer, from 0 [default: where texts lie furthest apart]."
    )
    steps: int = Field(10, ge=1, description="Training steps.")
    batch: int = Field(8, ge=1, description="Non-toxic texts, and harmless texts, in a step.")
    learning_rate: float = Field(5e-4, gt=0, lt=1, description="Adam's.")
    locality: float = Field(0.1, ge=0, description="c, the weight of the KL term (the paper's own).")


@dataclass
class DinmDetoxifier(WeightDetoxifier):
    """A change of one value matrix."""

    method: ClassVar[str] = "dinm"
    settings_type: ClassVar = DinmSettings

    def _changes(self, model: PreTrainedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
        layer = int(next(iter(self.tensors)).split(".")[0])
        writers = Architecture.of(model).writers(layer, "value")
        return [(one.matrix, self.tensors[name].to(one.matrix.device)) for name, one in _named(layer, writers).items()]


def _named(layer: int, writers: Sequence[Writer]) -> dict[str, Writer]:
    """The value matrices of a layer by the names of their changes; a mixture has several."""
    if len(writers) == 1:
        return {f"{layer}.change": writers[0]}
    return {f"{layer}.{one.path}.change": one for one in writers}


class Dinm(Method):
    """Find the toxic layer, and tune its value matrix on the non-toxic sides of pairs."""

    name: ClassVar[str] = "dinm"
    paper: ClassVar[str] = "Detoxifying LLMs via knowledge editing (DINM), arXiv 2403.14472"
    summary: ClassVar[str] = "One layer's value matrix is tuned briefly on clean continuations. A plain checkpoint."
    detoxifier_type: ClassVar = DinmDetoxifier
    needs: ClassVar[Need] = "values"
    reads: ClassVar[frozenset[str]] = frozenset({"pairs", "prompts"})

    @classmethod
    def check(cls, data: FitData, settings: DinmSettings, target: Target | None = None) -> None:
        """Refuse pairs too few, and a layer that cannot be edited."""
        super().check(data, settings, target)
        check_pairs(data)
        if target is not None and settings.layer is not None:
            target.architecture.check_layer(settings.layer)
            if not target.architecture.writers(settings.layer, "value"):
                raise UsageError(f"layer: layer {settings.layer} of this model has no MLP; give another.")

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: DinmSettings) -> DinmDetoxifier:
        """Locate and tune. The target is restored."""
        cls.check(data, settings, target)
        fitting: dict[str, Any] = {}
        pairs = embedded_pairs(target, data, settings.samples, settings.max_length, fitting)
        apart = (pairs.positive - pairs.negative).norm(dim=-1) / pairs.positive.norm(dim=-1)
        view = target.architecture
        layers = [one for one in range(len(view.layers)) if view.writers(one, "value")]  # a hybrid's may have no MLP
        layer = layers[int(apart.mean(1)[layers].argmax())] if settings.layer is None else settings.layer
        harmless = harmless_texts(target, pairs.clean, settings.max_length)
        changes, curve = tuned(target, layer, pairs.clean, harmless, settings, data.seed)
        fitting |= {"layer": layer, "loss_curve": curve}
        tensors = {name: change.cpu() for name, change in changes.items()}
        return DinmDetoxifier(settings, describe_target(target), tensors, fitting)


def tuned(
    target: Target, layer: int, clean: list[Passage], harmless: list[Passage], settings: DinmSettings, seed: int
) -> tuple[dict[str, torch.Tensor], list[list[float]]]:
    """Return the changes [d, d_ff] of a layer's value matrices that the training makes, and the loss curve.

    Raises:
        DetoxError: the loss became NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = [endless(len(texts), generator) for texts in (clean, harmless)]
    writers = _named(layer, target.architecture.writers(layer, "value"))
    changes = {n: torch.zeros_like(w.matrix, dtype=torch.float32, requires_grad=True) for n, w in writers.items()}
    optimiser = torch.optim.Adam(list(changes.values()), lr=settings.learning_rate)
    curve = []
    with track("tuning one layer", settings.steps, "steps") as advance, torch.enable_grad():
        for step in range(settings.steps):
            good, rest = (
                padded(target, [texts[next(order)] for _ in range(min(settings.batch, len(texts)))])
                for texts, order in zip((clean, harmless), orders, strict=True)
            )
            with torch.no_grad():
                base = log_p(target, *rest[:2])
            with ExitStack() as stack:
                for name, writer in writers.items():
                    stack.enter_context(_changed(writer, changes[name]))
                likely = log_p(target, *good[:2]).gather(-1, good[0][:, 1:, None])[..., 0]
                kl = mean_kl(base, log_p(target, *rest[:2]), rest[2])
            nll = -(likely * good[2]).sum() / good[2].sum()
            loss = nll + settings.locality * kl
            if not math.isfinite(loss.item()):
                raise DetoxError(f"dinm: the loss is {loss.item()} at step {step}; lower --set learning_rate.")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            curve.append([step + 1, round(loss.item(), 4)])
            advance(1)
    return {name: change.detach() for name, change in changes.items()}, curve


@contextmanager
def _changed(writer: Writer, change: torch.Tensor) -> Iterator[None]:
    """Let a matrix be W + change within this context, differentiably and without touching W."""
    module = writer.module
    if writer.matrix.ndim == 2:
        handle = module.register_forward_hook(lambda _, given, y: y + F.linear(given[0], change.to(y.dtype)))
        try:
            yield
        finally:
            handle.remove()
        return
    kept = module._parameters.pop(writer.parameter)  # fused experts read their tensor themselves
    assert kept is not None
    same_way = kept.shape == writer.matrix.shape and kept.stride() == writer.matrix.stride()
    new = writer.matrix + change.to(kept.dtype)
    try:
        setattr(module, writer.parameter, new if same_way else new.transpose(-1, -2))
        yield
    finally:
        delattr(module, writer.parameter)
        module._parameters[writer.parameter] = kept
