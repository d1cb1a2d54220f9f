"""Trains a calibration model of the target's own, for the paper's mixture: on non-toxic text."""

from __future__ import annotations

from typing import Any

from detoxlm.data import Example
from detoxlm.errors import UsageError
from detoxlm.generation import encode, encode_after
from detoxlm.harvest import Sampled
from detoxlm.methods.base import FitData, describe_target
from detoxlm.methods.fusion import mixing
from detoxlm.methods.fusion.calibrator import cut_calibrator
from detoxlm.methods.fusion.detoxifier import FusionDetoxifier
from detoxlm.methods.fusion.settings import FusionSettings
from detoxlm.methods.fusion.texts import harvested
from detoxlm.models import Target


def own_mixture(target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
    """Train the paper's calibration model on `data.corpus`, or on the target's own least toxic continuations."""
    fitting: dict[str, Any] = {"calibrator": {"source": "own"}}
    ended = data.corpus is not None  # harvested text stops mid-sentence: no end token belongs there
    corpus = data.corpus if data.corpus is not None else own_corpus(target, data, settings, fitting)
    sequences = [tokens for example in corpus if (tokens := tokenised(target, example, settings, ended))]
    if len(sequences) < 2 * settings.train_batch:
        needed = f"at least {2 * settings.train_batch} (twice train_batch) are needed"
        if data.corpus is None:
            raise UsageError(
                f"prompts: only {len(sequences)} of the target's own continuations are clean enough to learn from; "
                f"{needed}. Raise --set samples=…, give more --prompts, or give clean text with --corpus."
            )
        raise UsageError(f"corpus: {len(sequences)} usable texts (of two tokens or more) are too few; {needed}.")
    calibrator = cut_calibrator(target.model, settings.layers, own_embeddings=settings.train_embeddings)
    fitting |= mixing.train(
        calibrator,
        sequences,
        steps=settings.steps,
        batch=settings.train_batch,
        learning_rate=settings.learning_rate,
        own_embeddings=settings.train_embeddings,
        seed=data.seed,
    )
    own = mixing.own_tensors(calibrator, settings.train_embeddings)
    tensors = {f"mixture.{name}": value.detach().clone() for name, value in own.items()}
    return FusionDetoxifier(settings, describe_target(target), tensors, fitting)


def own_corpus(target: Target, data: FitData, settings: FusionSettings, fitting: dict[str, Any]) -> list[Example]:
    """Keep the least toxic of the target's own continuations of each prompt."""
    groups: dict[str, list[Sampled]] = {}
    for sample in harvested(target, data, settings, fitting):
        groups.setdefault(sample.prompt, []).append(sample)
    kept = [
        sample
        for group in groups.values()
        for sample in sorted(group, key=lambda s: s.toxicity)[: max(1, round(settings.keep * len(group)))]
        if sample.toxicity < 0.5
    ]
    fitting["harvest"] |= {
        "kept": len(kept),
        "mean_toxicity_kept": sum(s.toxicity for s in kept) / max(1, len(kept)),
    }
    return [Example(sample.prompt, sample.continuation) for sample in kept]


def tokenised(
    target: Target, example: Example, settings: FusionSettings, ended: bool
) -> tuple[list[int], list[int]] | None:
    """Return (token ids, labels) of prompt + completion (+ end token); labels are -100 on the prompt."""
    prompt, completion = example.prompt or "", example.completion
    if prompt and not (prompt[-1].isspace() or completion[:1].isspace()) and ended:
        prompt += "\n"  # the paper's form for question and answer; text that continues brings its own space
    before = encode(target, prompt, None) if prompt else []
    tokens = encode_after(target, completion) if prompt else target.tokenizer(completion)["input_ids"]
    if ended and target.tokenizer.eos_token_id is not None:
        tokens = [*tokens, target.tokenizer.eos_token_id]
    ids = (before + tokens)[: settings.max_length]
    labels = ([-100] * len(before) + tokens)[: settings.max_length]
    return (ids, labels) if any(label != -100 for label in labels[1:]) else None
