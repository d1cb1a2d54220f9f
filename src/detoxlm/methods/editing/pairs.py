"""Pairs of texts that differ in toxicity: given, or the target's own continuations of one prompt; and embedded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field

from detoxlm.data import Pair, neutral_text
from detoxlm.errors import UsageError
from detoxlm.harvest import Sampled, counts, harvest, own_sampling
from detoxlm.methods.base import FitData
from detoxlm.methods.editing.embeddings import Pooling, sentence_embeddings
from detoxlm.models import Target
from detoxlm.passages import Passage, passages
from detoxlm.settings import Settings

#: The two continuations of a harvested pair differ in toxicity by so much at least.
GAP = 0.4
#: No prompt gives more pairs than this: one obscene prompt must not be the whole subspace.
PER_PROMPT = 4
#: Fewer pairs than this span no subspace worth the name.
FEWEST_PAIRS = 4


class PairSettings(Settings):
    """What every method that learns from pairs asks for."""

    samples: int = Field(16, ge=2, description="Without pairs: continuations of each prompt that they are drawn from.")
    max_length: int = Field(64, ge=8, description="Longest text, in tokens; longer ones are cut at the end.")


@dataclass(frozen=True)
class EmbeddedPairs:
    """N pairs: their tokens, and their embeddings after every layer [L, N, d], X+ of the clean and X- of the toxic."""

    clean: list[Passage]
    toxic: list[Passage]
    positive: torch.Tensor
    negative: torch.Tensor


def embedded_pairs(
    target: Target,
    data: FitData,
    samples: int,
    max_length: int,
    fitting: dict[str, Any],
    *,
    pooling: Pooling = "completion",
    skip_sinks: bool = True,
    held_out: Collection[str] = (),
) -> EmbeddedPairs:
    """Get pairs (`pairs_for`) and read them (`sentence_embeddings`).

    Raises:
        UsageError: too few pairs, pairs whose texts do not differ, or an empty text.
    """
    pairs = pairs_for(target, data, samples, fitting, held_out)
    clean, toxic = (
        passages(target, [(pair.prompt or "", text) for pair, text in zip(pairs, side, strict=True)], max_length)
        for side in ([pair.nontoxic for pair in pairs], [pair.toxic for pair in pairs])
    )
    positive, negative = (
        sentence_embeddings(target, texts, pooling=pooling, skip_sinks=skip_sinks, batch_size=data.batch_size)
        for texts in (clean, toxic)
    )
    return EmbeddedPairs(clean, toxic, positive, negative)


def pairs_for(
    target: Target, data: FitData, samples: int, fitting: dict[str, Any], held_out: Collection[str] = ()
) -> list[Pair]:
    """Return the user's pairs, else pairs harvested from the target; count them in `fitting`.

    Args:
        target: the model, untouched.
        data: pairs, or prompts to harvest them from (None: the built-in ones) and the scorer that tells them apart.
        samples: continuations of each prompt.
        fitting: gets `pairs`, and `harvest` where there was one.
        held_out: prompts whose pairs are left out.

    Raises:
        UsageError: too few pairs, or pairs whose texts do not differ.
    """
    check_pairs(data)
    if data.pairs is not None:
        pairs = [pair for pair in data.pairs if pair.toxic != pair.nontoxic]
    else:
        pairs, fitting["harvest"] = _harvested(target, data, samples)
        pairs = [pair for pair in pairs if pair.prompt not in held_out]
        if len(pairs) < FEWEST_PAIRS:
            raise UsageError(
                f"prompts: {target.name} gave only {len(pairs)} pairs of a toxic and a non-toxic continuation of one "
                "prompt (perhaps it is not toxic on these); raise --set samples=…, or give more --prompts or --pairs; "
                f"at least {FEWEST_PAIRS} are needed."
            )
    fitting["pairs"] = len(pairs)
    return pairs


def check_pairs(data: FitData) -> None:
    """Refuse what `pairs_for` can make nothing of, before there is a model.

    Raises:
        UsageError: too few pairs, pairs whose texts do not differ, or neither pairs nor a scorer to harvest some with.
    """
    if data.pairs is None and data.scorer is None:
        raise UsageError(
            "scorer: harvesting pairs needs a scorer to tell which continuations are toxic; or give pairs."
        )
    if data.pairs is not None:
        differing = sum(pair.toxic != pair.nontoxic for pair in data.pairs)
        if data.pairs and not differing:
            raise UsageError(f"pairs: the two texts are identical in all {len(data.pairs)} pairs; nothing to learn.")
        if differing < FEWEST_PAIRS:
            raise UsageError(
                f"pairs: {differing} with two different texts are too few; at least {FEWEST_PAIRS} are needed."
            )


def _harvested(target: Target, data: FitData, samples: int) -> tuple[list[Pair], dict[str, Any]]:
    assert data.scorer is not None  # `check_pairs`
    prompts = data.to_continue()
    sampling = own_sampling(samples, data.seed)
    made = harvest(target, prompts, data.scorer, sampling, batch_size=data.batch_size, workdir=data.workdir)
    groups: dict[str, list[Sampled]] = {}
    for sample in made:
        groups.setdefault(sample.prompt, []).append(sample)
    pairs = []
    for prompt, group in groups.items():
        ordered = sorted(group, key=lambda sample: sample.toxicity)
        ends = list(zip(ordered[: len(ordered) // 2], reversed(ordered), strict=False))[:PER_PROMPT]
        pairs += [
            Pair(bad.continuation, good.continuation, prompt)
            for good, bad in ends
            if bad.toxicity - good.toxicity >= GAP
        ]
    return pairs, counts(prompts, made)


def harmless_texts(target: Target, clean: list[Passage], max_length: int) -> list[Passage]:
    """Return texts that should stay as likely as they are: clean sides of pairs, and as much built-in neutral text."""
    ids = target.tokenizer(neutral_text())["input_ids"]
    pieces = [ids[i : i + max_length] for i in range(0, len(ids), max_length)][:-1] or [ids]
    return [*clean[: len(pieces)], *(Passage(piece, 0) for piece in pieces)]
