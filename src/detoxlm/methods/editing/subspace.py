"""Toxic-subspace projection (DeTox/ProFS, arXiv 2405.13967): take what toxic text has in common out of MLP weights.

For each layer, embeddings X+, X- [N, d] of N pairs of a non-toxic and a toxic text, C what all texts share, and

    T = (X+ - X-) / 2,    T (I - C^T C) = U S V^T,    W <- (I - V_k^T diag(s) V_k) W,

W the MLP's value matrix, V_k [k, d] the first k right singular vectors. `paper` removes them whole (s = 1) and takes
one direction for C. `learned`, the default, finds out how much of each to remove (`learning.py`): most
carry fluency too. `search` takes the same share of all, and searches for share, C, k and layers
(`search.py`). `attention` edits the matrix by which attention writes as well. The edit is exactly a LoRA
of rank k, and costs nothing at run time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from detoxlm import processes
from detoxlm.architecture import Architecture, Part, Writer
from detoxlm.errors import UsageError
from detoxlm.harvest import HELD_OUT
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.editing.learning import learn_shares
from detoxlm.methods.editing.lens import reads_as
from detoxlm.methods.editing.pairs import EmbeddedPairs, PairSettings, check_pairs, embedded_pairs, harmless_texts
from detoxlm.methods.editing.search import Removal, Space, Trial, best_of, check_installed, frontier, search_removals
from detoxlm.methods.editing.subspaces import both_ends, low_rank, rank_of, toxic_directions
from detoxlm.methods.needs import Need
from detoxlm.methods.training.anchors import anchors
from detoxlm.methods.training.watch import Watch
from detoxlm.methods.weights.detoxifier import WeightDetoxifier
from detoxlm.methods.weights.lora import refuse_stack, write_adapter
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import asked

log = logging.getLogger(__name__)


class SubspaceSettings(PairSettings):
    """Settings of `subspace`."""

    variant: Literal["learned", "search", "paper"] = Field(
        "learned",
        description="learned: how much of each direction to remove is trained, the default; search: one share of all, "
        "chosen with context, rank and layers by trying (needs optuna); paper: all of the first.",
    )
    rank: int | None = Field(
        None,
        ge=1,
        description="Directions removed in each layer [default: learned 8; search 1 to 10; paper: as many singular "
        "values as stand out of the noise, at most 10].",
    )
    context: int | None = Field(
        None,
        ge=0,
        description="Directions that all texts share, which stay [default: learned 10, search 0 to 30, paper 1].",
    )
    first_layer: int | None = Field(
        None,
        ge=0,
        description="First edited layer, from 0 [default: 0; paper a third of the way up]; search: none below it.",
    )
    last_layer: int | None = Field(
        None, ge=0, description="Last edited layer [default: the last]; search: none above it."
    )
    attention: bool = Field(
        False,
        description="Edit the matrices by which attention writes too, along the same directions; else MLPs alone.",
    )
    pooling: Literal["all", "completion"] | None = Field(
        None,
        description="Tokens whose mean is a text's embedding: all, or those after the prompt [default: completion; "
        "paper all].",
    )
    skip_sinks: bool | None = Field(
        None,
        description="Leave attention sinks out of the mean: positions with huge states that say nothing of the text "
        "[default: learned true, paper false].",
    )
    drift: float = Field(
        0.05,
        gt=0,
        description="KL(base || edited) on harmless text, nats per token; learned: aimed at, search: the limit.",
    )
    steps: int = Field(40, ge=1, description="learned: training steps of the shares.")
    trials: int = Field(24, ge=1, description="search: how many removals are tried.")


#: The paper's ranks are 2 (GPT-2 medium) and 10 (the others).
PAPER_RANK = 10


#: By the part of a layer that is edited, the name of its shares.
SHARES: dict[Part, str] = {"value": "shares", "attention": "attention_shares"}


@dataclass
class SubspaceDetoxifier(WeightDetoxifier):
    """Directions to remove from what some layers of one model write: `N.directions`, and `N.` each of `SHARES`."""

    method: ClassVar[str] = "subspace"
    settings_type: ClassVar = SubspaceSettings

    def _changes(self, model: PreTrainedModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
        view = Architecture.of(model)
        return [(writer.matrix, up @ down) for part in SHARES for _, writer, down, up in self._factors(view, part)]

    def save_adapter(self, model: PreTrainedModel, folder: str | Path, strength: float | None = None) -> None:
        """Write the same edit as a LoRA of the same rank."""
        strength = self.check_strength(strength)
        self.check_target(model)
        view = Architecture.of(model)
        edits: dict[str, dict[int, tuple[torch.Tensor, torch.Tensor]]] = {}
        for part in SHARES:
            for layer, writer, down, up in self._factors(view, part):
                refuse_stack(view, writer)
                edits.setdefault(writer.path, {})[layer] = (down, strength * up)
        write_adapter(view, edits, Path(folder))

    def _factors(self, view: Architecture, part: Part) -> Iterator[tuple[int, Writer, torch.Tensor, torch.Tensor]]:
        """Yield layer, matrix, A [k, m] and B [d, k] of the edits W + B A, in float32; of experts A is [E, k, m]."""
        for layer in sorted(int(name.split(".")[0]) for name in self.tensors if name.endswith(f".{SHARES[part]}")):
            for writer in view.writers(layer, part):
                weight = writer.matrix.detach().float()
                directions, shares = (self.tensors[f"{layer}.{n}"].to(weight) for n in ("directions", SHARES[part]))
                yield layer, writer, *low_rank(weight, directions, shares, writer.gain)


class Subspace(Method):
    """Find the toxic subspace of each layer from pairs, and project the MLP's value matrix out of it."""

    name: ClassVar[str] = "subspace"
    paper: ClassVar[str] = "DeTox / ProFS: model editing as a denoising step, arXiv 2405.13967"
    summary: ClassVar[str] = (
        "Directions that tell toxic from non-toxic text are removed from MLP weights. A plain checkpoint."
    )
    detoxifier_type: ClassVar = SubspaceDetoxifier
    needs: ClassVar[Need] = "values"
    reads: ClassVar[frozenset[str]] = frozenset({"pairs", "prompts"})

    @classmethod
    def check(cls, data: FitData, settings: SubspaceSettings, target: Target | None = None) -> None:
        """Refuse pairs too few, to search without Optuna or a scorer, and layers that cannot be edited."""
        super().check(data, settings, target)
        check_pairs(data)
        if settings.variant == "search":
            check_installed()
            _scorer_of(data)
        if target is not None:
            _layers(target.architecture, settings)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: SubspaceSettings) -> SubspaceDetoxifier:
        """Embed pairs, find directions in every layer and, if learned, how much of each to remove."""
        cls.check(data, settings, target)
        view = target.architecture
        layers = _layers(view, settings)
        learned, searched, paper = (settings.variant == name for name in ("learned", "search", "paper"))
        parts = _parts(settings)
        fitting: dict[str, Any] = {}
        pairs = embedded_pairs(
            target,
            data,
            settings.samples,
            settings.max_length,
            fitting,
            pooling=settings.pooling or ("all" if paper else "completion"),
            skip_sinks=not paper if settings.skip_sinks is None else settings.skip_sinks,
            held_out=_watched(data) if searched else (),
        )
        width = settings.context if settings.context is not None else 1 if paper else 10
        most, share = settings.rank or (8 if learned else PAPER_RANK), 1.0
        if searched:
            chosen = _searched(target, data, settings, pairs, layers, parts, fitting)
            layers = [layer for layer in layers if chosen.first_layer <= layer <= chosen.last_layer]
            width, most, share = chosen.context, chosen.rank, chosen.share
        found = []
        for layer in layers:
            directions, values = toxic_directions(pairs.positive[layer], pairs.negative[layer], width, most)
            by_noise = paper and settings.rank is None
            rank = rank_of(values, (len(pairs.clean), view.hidden_size), most) if by_noise else most
            found.append(directions[:rank])
        shares = {part: [torch.full((len(directions),), share) for directions in found] for part in parts}
        if learned:
            learnt, facts = learn_shares(
                target,
                [
                    [
                        (writer.module, both_ends(v.to(target.device), writer.gain))
                        for writer in view.writers(layer, part)
                    ]
                    for part in parts
                    for layer, v in zip(layers, found, strict=True)
                ],
                list(zip(pairs.clean, pairs.toxic, strict=True)),
                harmless_texts(target, pairs.clean, settings.max_length),
                drift=settings.drift,
                steps=settings.steps,
                seed=data.seed,
                checkpoint=None if data.workdir is None else processes.own_path(data.workdir / "shares.safetensors"),
            )
            shares = {part: list(some) for part, some in zip(parts, learnt.chunk(len(parts)), strict=True)}
            fitting |= facts
        fitting |= {"layers": [layers[0], layers[-1]], "rank": max(map(len, found))}
        for part, name in zip(parts, ("removed", "removed_from_attention"), strict=False):
            by_layer = zip(layers, shares[part], strict=True)
            fitting[name] = {str(layer): round(float(s.sum()), 3) for layer, s in by_layer}
        fitting["removed_directions"] = _read(target, pairs, layers, found, shares["value"])
        _warn_of_harmless(fitting["removed_directions"], data.scorer)
        return SubspaceDetoxifier(settings, describe_target(target), _tensors(layers, found, shares), fitting)


def _tensors(
    layers: Sequence[int], directions: Sequence[torch.Tensor], shares: dict[Part, list[torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """What a detoxifier saves of directions [k, d], and shares [k] of each edited part, of each layer."""
    tensors = {}
    for at, layer in enumerate(layers):
        tensors[f"{layer}.directions"] = directions[at].contiguous()
        tensors |= {f"{layer}.{SHARES[part]}": some[at].contiguous() for part, some in shares.items()}
    return tensors


#: Most directions that a search leaves alone as shared by all texts.
WIDEST_CONTEXT = 30
#: Pieces of neutral text on which a search measures drift.
NEUTRAL_PIECES = 48


def _watched(data: FitData) -> list[str]:
    return data.to_continue()[::HELD_OUT]


def _scorer_of(data: FitData) -> Scorer:
    if data.scorer is None:
        raise UsageError("scorer: variant=search needs one to tell how toxic the model still is.")
    return data.scorer


def _searched(
    target: Target,
    data: FitData,
    settings: SubspaceSettings,
    pairs: EmbeddedPairs,
    layers: list[int],
    parts: list[Part],
    fitting: dict[str, Any],
) -> Removal:
    """Search for the best removal and write all that was tried to `fitting`.

    Looks are at prompts that gave no pairs, and at the built-in neutral text, which none of the edits has seen.
    """
    scorer = _scorer_of(data)
    neutral = harmless_texts(target, [], settings.max_length)[:NEUTRAL_PIECES]
    watch = Watch(
        target,
        scorer,
        _watched(data),
        neutral,
        anchors(target, neutral, data.batch_size, "reading neutral text"),
        batch_size=data.batch_size,
        seed=data.seed,
    )
    most = min(len(pairs.clean), target.architecture.hidden_size)

    def judge(removal: Removal) -> dict[str, float]:
        edited = [layer for layer in layers if removal.first_layer <= layer <= removal.last_layer]
        found = [
            toxic_directions(pairs.positive[layer], pairs.negative[layer], removal.context, removal.rank)[0]
            for layer in edited
        ]
        shares = {part: [torch.full((len(directions),), removal.share) for directions in found] for part in parts}
        edit = SubspaceDetoxifier(settings, describe_target(target), _tensors(edited, found, shares))
        with edit.attached(target.model, 1.0):
            return watch(target.model)

    trials = search_removals(
        Space(
            context=(0, min(WIDEST_CONTEXT, most - 1)) if settings.context is None else (settings.context,) * 2,
            rank=(1, min(PAPER_RANK, most)) if settings.rank is None else (settings.rank,) * 2,
            layers=(layers[0], layers[-1]),
        ),
        judge,
        limit=settings.drift,
        trials=settings.trials,
        seed=data.seed,
        key=[
            [target.architecture.fingerprint, str(target.model.dtype)],  # a fingerprint tells no dtype
            [scorer.name, scorer.version, scorer.revision],
            [[passage.ids for passage in side] for side in (pairs.clean, pairs.toxic)],
            [settings.pooling, settings.skip_sinks, settings.max_length, parts, _watched(data)],
            asked(data.batch_size, target.device),
        ],
        journal=processes.own_path(data.workdir / "search.jsonl") if data.workdir is not None else None,
    )
    chosen = best_of(trials, settings.drift)
    fitting["chosen"] = asdict(chosen.removal)
    fitting["search"] = {"untouched": {**watch(target.model), "choice": "–"}, **_tried(trials, chosen)}
    return chosen.removal


def _tried(trials: Sequence[Trial], chosen: Trial) -> dict[str, dict[str, Any]]:
    """What the report shows of a search: every trial by its number, those with the least drift first."""
    best = frontier(trials)
    return {
        f"trial {number}": {
            **asdict(trial.removal),
            **trial.look,
            "choice": "chosen" if trial is chosen else "frontier" if trial in best else "–",
        }
        for number, trial in sorted(enumerate(trials, 1), key=lambda one: one[1].look["drift"])
    }


def _layers(view: Architecture, settings: SubspaceSettings) -> list[int]:
    count = len(view.layers)
    first = settings.first_layer
    if first is None:
        first = count // 3 if settings.variant == "paper" else 0
    last = count - 1 if settings.last_layer is None else settings.last_layer
    if not first <= last < count:
        raise UsageError(
            f"first_layer, last_layer: {first} to {last} are no layers of this model; it has 0 to {count - 1}."
        )
    found = [layer for layer in range(first, last + 1) if view.writers(layer, "value")]  # a hybrid's may have no MLP
    if not found:
        raise UsageError(f"first_layer, last_layer: no layer from {first} to {last} has an MLP; give others.")
    return found


def _parts(settings: SubspaceSettings) -> list[Part]:
    return ["value", "attention"] if settings.attention else ["value"]


#: So many directions are read through the vocabulary head.
SHOWN = 6


def _read(
    target: Target, pairs: EmbeddedPairs, layers: list[int], directions: list[torch.Tensor], shares: list[torch.Tensor]
) -> dict[str, str]:
    """What was removed most from the upper third of the layers, in words; lower ones do not speak the vocabulary.

    Directions are ranked by how far the pairs lie apart along them times their share.
    """
    every = []
    for layer, v, s in zip(layers, directions, shares, strict=True):
        if 3 * layer < 2 * len(target.architecture.layers):
            continue
        apart = (pairs.negative[layer] - pairs.positive[layer]).mean(0) @ v.T  # [k]
        weight = apart.abs() * s / pairs.positive[layer].norm(dim=1).mean()  # states grow from layer to layer
        every += [(weight[k].item(), layer, k, s[k].item(), v[k] * apart[k].sign()) for k in range(len(v))]
    every.sort(key=lambda one: -one[0])
    return {
        f"layer {layer}, direction {k}": f"{share:.0%} of: {', '.join(reads_as(target, direction))}"
        for _, layer, k, share, direction in every[:SHOWN]
    }


def _warn_of_harmless(read: dict[str, str], scorer: Scorer | None) -> None:
    if scorer is None or not read:
        return
    toxicity = scorer.score([text.partition(" of: ")[2] or "?" for text in read.values()])
    if toxicity.max() < 0.3:
        log.warning(
            "subspace: the directions that are removed most from the upper layers do not read as toxic (%s); the pairs "
            "may differ in something besides toxicity. See `removed_directions` in detoxifier.json.",
            ", ".join(f"{score:.2f}" for score in toxicity),
        )
