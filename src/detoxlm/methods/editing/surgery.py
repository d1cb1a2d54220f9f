"""Model Surgery (arXiv 2407.08770): make the neurons that shut off at toxic states respond to them instead.

A linear probe w of a layer's states tells toxic from non-toxic texts. Of all gate rows g_i (the rows of the MLP's
first matrix, that decide how active neuron i is) those most opposed to w are moved towards it:

    g_i <- g_i + alpha w    for the rows with the smallest cos(g_i, w), over all layers.

Here w is of each layer's own input, and alpha is in units of the median row length of the layer, so that one strength
means the same on every model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.editing.pairs import PairSettings, check_pairs, embedded_pairs
from detoxlm.methods.editing.probes import probe_direction, separation
from detoxlm.methods.needs import Need
from detoxlm.methods.weights.detoxifier import WeightDetoxifier
from detoxlm.models import Target


class SurgerySettings(PairSettings):
    """Settings of `surgery`."""

    alpha: float = Field(0.4, gt=0, description="Length of what is added to a row, in median row lengths of its layer.")
    rows: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Share of all gate rows that is moved (the paper: 16,384 of 352,256).",
    )


@dataclass
class SurgeryDetoxifier(WeightDetoxifier):
    """What is added to some gate rows of one model."""

    method: ClassVar[str] = "surgery"
    settings_type: ClassVar = SurgerySettings

    def _changes(self, model: PreTrainedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
        view = Architecture.of(model)
        changes = []
        layers = range(1, len(view.layers))
        for layer in (one for one in layers if f"{one}.chosen" in self.tensors):  # a hybrid's may have no MLP
            start = 0
            for weight in view.gates(layer):
                rows = weight.shape[:-1].numel()  # of all experts
                chosen = self.tensors[f"{layer}.chosen"][start : start + rows].to(weight)
                w = self.tensors[f"{layer}.added"].to(weight)
                changes.append((weight, torch.outer(chosen.float(), w.float()).view(weight.shape)))
                start += rows
        return changes


def _rows(view: Architecture, layer: int) -> torch.Tensor:
    """All gate rows of a layer [m, d], of all its experts; a hybrid's layer may have none."""
    found = [gates.detach().float().cpu().flatten(0, -2) for gates in view.gates(layer)]
    return torch.cat(found) if found else torch.zeros(0, view.hidden_size)


class Surgery(Method):
    """Train a probe of each layer's input, and add it to the gate rows most opposed to it."""

    name: ClassVar[str] = "surgery"
    paper: ClassVar[str] = "Model Surgery, arXiv 2407.08770"
    summary: ClassVar[str] = "A toxicity probe is added to the MLP gate rows most opposed to it. A plain checkpoint."
    detoxifier_type: ClassVar = SurgeryDetoxifier
    needs: ClassVar[Need] = "gates"
    reads: ClassVar[frozenset[str]] = frozenset({"pairs", "prompts"})

    @classmethod
    def check(cls, data: FitData, settings: SurgerySettings, target: Target | None = None) -> None:
        """Refuse pairs too few, and an MLP whose gates cannot be edited."""
        super().check(data, settings, target)
        check_pairs(data)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: SurgerySettings) -> SurgeryDetoxifier:
        """Embed pairs, train the probes, and choose the rows."""
        cls.check(data, settings, target)
        view = target.architecture
        fitting: dict[str, Any] = {}
        pairs = embedded_pairs(target, data, settings.samples, settings.max_length, fitting)
        positive, negative = pairs.positive, pairs.negative
        # the input of layer l is the output of layer l - 1; the first layer reads single tokens, not texts
        gates = {layer: rows for layer in range(1, len(view.layers)) if len(rows := _rows(view, layer))}
        layers = list(gates)
        probes = {layer: probe_direction(positive[layer - 1], negative[layer - 1]) for layer in layers}
        cosines = {layer: F.cosine_similarity(gates[layer], probes[layer][None], dim=1) for layer in layers}
        every = torch.cat(list(cosines.values()))
        limit = every.kthvalue(max(1, round(settings.rows * len(every)))).values
        tensors = {}
        for layer in layers:
            tensors[f"{layer}.chosen"] = (cosines[layer] <= limit).float()
            tensors[f"{layer}.added"] = settings.alpha * gates[layer].norm(dim=1).median() * probes[layer]
        aucs = [separation(positive[layer - 1], negative[layer - 1], probes[layer]) for layer in layers]
        fitting |= {
            "rows": int(sum(tensors[f"{layer}.chosen"].sum() for layer in layers)),
            "probe_auc_on_its_pairs": [round(min(aucs), 3), round(max(aucs), 3)],
        }
        return SurgeryDetoxifier(settings, describe_target(target), tensors, fitting)
