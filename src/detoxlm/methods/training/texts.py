"""What fine-tuning learns from: harmful responses and clean ones, given or harvested from the target itself."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from detoxlm.data import Example, Pair
from detoxlm.errors import UsageError
from detoxlm.harvest import HELD_OUT, Sampled, counts, harvest, own_sampling
from detoxlm.methods.base import FitData
from detoxlm.methods.training.settings import TrainingSettings
from detoxlm.models import Target
from detoxlm.passages import Passage, passages
from detoxlm.scorers.base import Scorer

log = logging.getLogger(__name__)

#: Harvested continuations at least this toxic are harmful, at most that toxic are clean; the rest teaches nothing.
HARMFUL, CLEAN = 0.45, 0.1
#: No more clean texts than this are kept, spread over the prompts.
MOST_CLEAN = 1000
#: Clean texts kept for measuring drift while training.
WATCHED_CLEAN = 48


@dataclass(frozen=True)
class Texts:
    """What is learned from, and what training is watched on; no prompt is in both."""

    harmful: list[Example]
    clean: list[Example]
    watched_prompts: list[str]
    watched_clean: list[Example]
    pairs: list[Pair] = field(default_factory=list)  # as the user gave them, where both kinds of texts are theirs


def texts_for(
    target: Target, data: FitData, settings: TrainingSettings, fitting: dict[str, Any], *, harmful_too: bool = True
) -> Texts:
    """Return harmful and clean texts: the user's, and for what is missing the target's own; count them in `fitting`.

    Of harmful texts the worst `settings.harmful` are kept; of pairs those with the worst toxic sides.

    Args:
        target: the model, untouched.
        data: harmful texts (or the toxic sides of pairs), a clean corpus (or the non-toxic sides), prompts to harvest
            the rest from (None: the built-in ones), and the scorer.
        settings: how many, and how many samples to harvest.
        fitting: gets `texts`, and `harvest` where there was one.
        harmful_too: whether harmful texts are learned from; else none are looked for.

    Raises:
        UsageError: no scorer, no harmful or no clean response found, or harmful texts that are all clean ones too.
    """
    prompts = data.to_continue()
    watched = prompts[::HELD_OUT] if len(prompts) >= HELD_OUT else prompts
    learned = [prompt for prompt in prompts if prompt not in set(watched)] or prompts
    pairs = [pair for pair in dict.fromkeys(data.pairs or []) if pair.toxic != pair.nontoxic]
    harmful = data.harmful or [Example(pair.prompt, pair.toxic) for pair in pairs]
    clean = list(data.corpus or dict.fromkeys(Example(pair.prompt, pair.nontoxic) for pair in pairs))
    watched_clean: list[Example] = []
    if not clean or (harmful_too and not harmful):
        made = _harvested(target, data, prompts, settings, fitting)
        own = set(learned)
        if harmful_too and not harmful:
            worst = sorted((s for s in made if s.prompt in own and s.toxicity >= HARMFUL), key=lambda s: -s.toxicity)
            harmful = [Example(sample.prompt, sample.continuation) for sample in worst]
            if not harmful:
                raise UsageError(
                    f"harmful: none of the {len(made)} continuations that {target.name} made of {len(prompts)} prompts "
                    f"has a toxicity of {HARMFUL} (the highest is {max(s.toxicity for s in made):.2f}); give --prompts "
                    "on which it is toxic, raise --set samples=…, or give harmful texts by --harmful FILE."
                )
        if not clean:
            clean = _spread([s for s in made if s.prompt in own and s.toxicity <= CLEAN])
            rest = [s for s in made if s.prompt not in own and s.toxicity <= CLEAN]
            watched_clean = _spread(rest)[:WATCHED_CLEAN]
    harmful = _worst(_new(harmful, clean), data, settings.harmful) if harmful_too else []
    if harmful_too and not harmful:
        raise UsageError("harmful: every harmful text is among the clean ones too; nothing tells them apart.")
    if not clean:
        raise UsageError(
            f"corpus: no continuation of {target.name} is clean (toxicity at most {CLEAN}); give clean texts: --corpus."
        )
    if not watched_clean:
        cut = max(1, len(clean) - min(WATCHED_CLEAN, len(clean) // 5))
        clean, watched_clean = clean[:cut], clean[cut:] or clean
    if data.corpus and len(clean) > texts_read(settings):
        random.Random(data.seed).shuffle(clean)  # files are often sorted, and what is more than is read is left out
    both = [] if data.harmful or data.corpus else _worst_pairs(pairs, harmful, watched_clean)
    read = min(len(clean), texts_read(settings))
    fitting["texts"] = {"harmful": len(harmful), "clean": read, "watched_prompts": len(watched)}
    log.info("learning from %d harmful and %d clean texts", len(harmful), read)
    return Texts(harmful, clean, watched, watched_clean, both)


def texts_read(settings: TrainingSettings) -> int:
    """Return how many texts of a kind a whole training reads, in all processes."""
    # as launchers say it, before the trainer has met the other processes and after
    return settings.steps * settings.batch * int(os.environ.get("WORLD_SIZE", "1"))


def warn_of_rest(texts: int, settings: TrainingSettings) -> None:
    """Say so where a training is too short to read so many texts of a file."""
    if texts > (read := texts_read(settings)):
        log.warning(
            "corpus: %d of its %d texts are read in %d steps of %d; raise --set steps=… to read more.",
            read,
            texts,
            settings.steps,
            settings.batch,
        )


def preferences(texts: Texts) -> list[Pair]:
    """Return the user's pairs, or one of each harmful text and a clean one of its prompt, the clean ones in turn.

    Raises:
        UsageError: no prompt has both.
    """
    if texts.pairs:
        return texts.pairs
    clean: dict[str | None, list[str]] = defaultdict(list)
    for text in texts.clean:
        clean[text.prompt].append(text.completion)
    pairs, used = [], Counter[str | None]()
    for text in texts.harmful:
        if others := clean.get(text.prompt):
            pairs.append(Pair(text.completion, others[used[text.prompt] % len(others)], text.prompt))
            used[text.prompt] += 1
    if not pairs:
        raise UsageError("pairs: no prompt has both a harmful and a clean text; give --pairs, or more --prompts.")
    return pairs


def as_passages(target: Target, texts: Sequence[Example], max_length: int) -> list[Passage]:
    """Tokenise; prompts are context and are not learned."""
    return passages(target, [(text.prompt or "", text.completion) for text in texts], max_length)


def scorer_of(data: FitData) -> Scorer:
    """Return the scorer; raise `UsageError` where there is none."""
    if data.scorer is None:
        raise UsageError("scorer: fine-tuning needs one to tell harmful text and to watch the training.")
    return data.scorer


def _harvested(
    target: Target, data: FitData, prompts: list[str], settings: TrainingSettings, fitting: dict[str, Any]
) -> list[Sampled]:
    sampling = own_sampling(settings.samples, data.seed)
    made = harvest(target, prompts, scorer_of(data), sampling, batch_size=data.batch_size, workdir=data.workdir)
    if not made:
        raise UsageError(f"prompts: {target.name} continues none of the {len(prompts)} prompts with any text.")
    fitting["harvest"] = counts(prompts, made)
    return made


def _spread(samples: list[Sampled]) -> list[Example]:
    """Up to `MOST_CLEAN` texts, one of every prompt before a second of any."""
    groups: dict[str, list[Sampled]] = defaultdict(list)
    for sample in samples:
        groups[sample.prompt].append(sample)
    ranked = [(place, sample) for group in groups.values() for place, sample in enumerate(group)]
    ranked.sort(key=lambda one: one[0])
    return [Example(sample.prompt, sample.continuation) for _, sample in ranked[:MOST_CLEAN]]


def _worst(harmful: list[Example], data: FitData, count: int) -> list[Example]:
    """The most toxic `count` texts; all of them, in their order, where there are no more."""
    if len(harmful) <= count:
        return harmful
    scores = scorer_of(data).score([text.completion for text in harmful]).tolist()
    ranked = sorted(zip(scores, range(len(harmful)), harmful, strict=True), key=lambda one: (-one[0], one[1]))
    return [text for *_, text in ranked[:count]]


def _worst_pairs(pairs: list[Pair], harmful: list[Example], watched: list[Example]) -> list[Pair]:
    """The pairs whose toxic side is among `harmful`, one for each, and whose other side is not watched."""
    unseen, other = set(harmful), set(watched)
    found: dict[Example, Pair] = {}
    for pair in pairs:
        toxic = Example(pair.prompt, pair.toxic)
        if toxic in unseen and Example(pair.prompt, pair.nontoxic) not in other:
            found.setdefault(toxic, pair)
    return [found[text] for text in harmful if text in found]


def _new(harmful: list[Example], clean: list[Example]) -> list[Example]:
    """Harmful texts without repetitions, and without those that are clean too."""
    seen = set(clean)
    return [text for text in dict.fromkeys(harmful) if text not in seen]
