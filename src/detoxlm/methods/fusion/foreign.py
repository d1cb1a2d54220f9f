"""Calibrators that are trained already: for the target that they were trained on, or aligned to another."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError
from detoxlm.files import refuse_pointers
from detoxlm.methods.base import describe_target
from detoxlm.methods.fusion.alignment import align
from detoxlm.methods.fusion.calibrator import cut_calibrator
from detoxlm.methods.fusion.detoxifier import FusionDetoxifier
from detoxlm.methods.fusion.settings import FusionSettings
from detoxlm.methods.fusion.storage import SHIPPED, tokenizer_to_json, whole_trunk
from detoxlm.methods.fusion.texts import FEWEST_TEXTS
from detoxlm.methods.fusion.vocabulary import common_tokens, same_tokens, spellings, stand_ins
from detoxlm.models import Target, load_target


def shipped(target: Target, settings: FusionSettings) -> FusionDetoxifier:
    """The calibrator that comes with detoxlm, for the model it was trained on or aligned to another."""
    refuse_pointers("calibrator", SHIPPED)
    tensors = load_file(SHIPPED)
    facts = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
    settings = settings.model_copy(update={"layers": facts["layers"]})
    origin = {"source": "shipped", "base": facts["base"]}
    if target.architecture.is_of(facts["base"]):
        return FusionDetoxifier(settings, describe_target(target), tensors, {"calibrator": origin})
    base = load_target(facts["base"]["name"], device="cpu", dtype="float32")
    return _aligned(base, tensors, target, settings, origin, 0)


def realigned(found: FusionDetoxifier, target: Target, settings: FusionSettings, seed: int) -> FusionDetoxifier:
    """A fitted calibrator from its folder, for its own target or aligned to another."""
    if found.foreign:
        raise UsageError(
            f"calibrator: {found.folder} is itself aligned from another model's; give the folder of the calibrator "
            "that was trained for that model (`fitting` in its detoxifier.json names it), or calibrator=shipped."
        )
    if "variant" in settings.model_fields_set and settings.variant != found.options.variant:
        raise UsageError(
            f"variant: the calibrator in {found.folder} is of variant {found.options.variant}; leave variant out, or "
            "train another: --set calibrator=own."
        )
    kept = {name: getattr(found.options, name) for name in ("variant", "layers", "train_embeddings")}
    settings = settings.model_copy(update=kept)
    origin = {"source": str(found.folder), "base": {key: found.target[key] for key in ("name", "fingerprint")}}
    if target.architecture.is_of(found.target):
        return FusionDetoxifier(settings, found.target, found.tensors, {"calibrator": origin})
    base = load_target(found.target["name"], device="cpu", dtype="float32")
    found.check_target(base.model)
    if settings.variant == "contrast":
        return _aligned(base, found.tensors, target, settings, origin, seed)
    trunk = found.calibrator(base.model)
    assert isinstance(trunk, PreTrainedModel)
    return _with_base(trunk, {}, base, target, settings, origin, seed)


def _aligned(
    base: Target,
    tensors: dict[str, torch.Tensor],
    target: Target,
    settings: FusionSettings,
    origin: dict[str, Any],
    seed: int,
) -> FusionDetoxifier:
    cut = cut_calibrator(base.model, settings.layers, own_embeddings=True)
    return _with_base(cut, tensors, base, target, settings, origin, seed)


def _with_base(
    cut: PreTrainedModel,
    tensors: dict[str, torch.Tensor],
    base: Target,
    target: Target,
    settings: FusionSettings,
    origin: dict[str, Any],
    seed: int,
) -> FusionDetoxifier:
    """A detoxifier that carries its calibrator whole, with what ties the two vocabularies together."""
    config = cut.config.to_dict() | {"model_type": cut.config.model_type}
    files = {"calibrator_config": json.dumps(config)}
    tensors = {**tensors, **whole_trunk(cut)}
    fitting: dict[str, Any] = {"calibrator": origin}
    theirs = spellings(base.tokenizer, base.architecture.vocab_size)
    same = same_tokens(base.tokenizer, target.tokenizer)
    if not same:
        files |= {
            "target_tokenizer": tokenizer_to_json(target.tokenizer),
            "calibrator_tokenizer": tokenizer_to_json(base.tokenizer),
        }
    ours = spellings(target.tokenizer, target.architecture.vocab_size)
    pairs = common_tokens(theirs, ours)
    if settings.variant == "paper":
        from_rows, rows = (  # of the calibrator itself, which may have trained its own
            view.embeddings.weight if settings.alignment == "input" else view.head.weight
            for view in (Architecture.of(cut), target.architecture)
        )
        tensors["alignment"], fitting["alignment"] = align(from_rows, rows, pairs, seed=seed)
    elif not same or base.architecture.vocab_size != target.architecture.vocab_size:  # rows of padding differ
        vocabulary = stand_ins(ours, theirs, base.tokenizer)
        spelled = sum(spelling is not None for spelling in ours)
        covered = int((vocabulary >= 0).sum())
        if covered < FEWEST_TEXTS:
            raise UsageError(
                f"calibrator: {base.name} and {target.name} have no tokens in common, so its risks say nothing about "
                "this target's tokens; train one for it: --set calibrator=own."
            )
        tensors["vocabulary"] = vocabulary.int()
        fitting["vocabulary"] = {
            "tokens": spelled,
            "same_spelling": round(len(pairs) / spelled, 4),
            "covered": round(covered / spelled, 4),
        }
    return FusionDetoxifier(settings, describe_target(target), tensors, fitting, files=files)
