"""Data that the target makes itself: continuations of prompts, with their toxicity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from detoxlm import processes
from detoxlm.conversations import Conversation, as_data, form_of, template_sha256
from detoxlm.generation import Sampling, describe_prompts, generate, plan_batches, trimmed
from detoxlm.journal import Journal, digest_of
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import BatchSize, asked

log = logging.getLogger(__name__)

#: Every so many prompts, one is kept for looking at the edited or trained model and not learned from.
HELD_OUT = 5


@dataclass(frozen=True)
class Sampled:
    """One continuation of the target's own, with its toxicity in [0, 1]."""

    prompt: str
    continuation: str
    toxicity: float
    #: The prompt's place among those that were given to `harvest`; None: it is from elsewhere. Files keep that in place
    #: of the text, for a conversation reads like the text that it is a turn of.
    number: int | None = None


def own_sampling(samples: int, seed: int) -> Sampling:
    """How a target makes its own data: so many continuations of a prompt, 20 tokens, nucleus 0.9, temperature 1."""
    return Sampling(max_new_tokens=20, samples=samples, temperature=1.0, top_p=0.9, seed=seed)


def counts(prompts: Sequence[str], made: Sequence[Sampled]) -> dict[str, Any]:
    """What a detoxifier records of a harvest: of all, and where a part of the prompts is in chat, of that part."""
    found: dict[str, Any] = {
        "prompts": len(prompts),
        "continuations": len(made),
        "toxic": sum(sample.toxicity >= 0.5 for sample in made),
        "mean_toxicity_all": round(sum(sample.toxicity for sample in made) / max(1, len(made)), 4),
    }
    asked = [prompt for prompt in prompts if isinstance(prompt, Conversation)]
    if 0 < len(asked) < len(prompts):
        found["in_chat"] = counts(asked, [sample for sample in made if isinstance(sample.prompt, Conversation)])
    return found


def harvest(
    target: Target,
    prompts: Sequence[str],
    scorer: Scorer,
    sampling: Sampling,
    *,
    batch_size: BatchSize,
    workdir: Path | None = None,
    check: Callable[[Sequence[float]], None] | None = None,
) -> list[Sampled]:
    """Sample continuations of `prompts` from the untouched target and score each; empty ones are left out.

    Args:
        target: the model.
        prompts: texts to continue, and conversations to answer; `detoxlm.processes` share them, and each gets all.
        scorer: who judges them.
        sampling: how to draw; `samples` continuations per prompt.
        batch_size: sequences at once; `auto`: found while it goes on.
        workdir: where finished batches are kept, so that a killed harvest continues; None keeps nothing.
        check: sees the toxicity of every batch's continuations, of batches kept in `workdir` too, and may raise before
            the rest is made.
    """
    for note in describe_prompts(target, prompts, sampling):
        log.warning("harvest: %s", note)
    prompts = trimmed(prompts)
    digest = _digest(target, prompts, scorer, sampling, batch_size)
    # a fit may sample in more than one way, and none must wipe out another
    journal = Journal(processes.own_path(workdir / f"harvest-{digest[:12]}.jsonl"), digest) if workdir else None
    rows = [[tuple(row) for row in entry["rows"]] for entry in journal.entries] if journal else []
    if check is not None:
        for kept in rows:  # else it would judge a harvest that goes on by its last part
            check([score for *_, score in kept])
    own = _own(target, prompts, sampling, batch_size)
    batches = generate(
        target,
        [prompts[i] for i in own],
        sampling,
        batch_size=batch_size,
        description="harvesting",
        skip=sum(entry["prompts"] for entry in journal.entries) if journal else 0,
    )
    for batch in batches:
        pairs = [(own[g.index], text) for g in batch.generations for text in g.texts if text.strip()]
        scores = scorer.score([text for _, text in pairs]).tolist()
        made = [(*pair, score) for pair, score in zip(pairs, scores, strict=True)]
        rows.append(made)
        if check is not None:
            check(scores)
        if journal:
            journal.append({"rows": made, "prompts": len(batch.generations)})
    if journal:
        journal.close()
    whole = processes.in_turn(processes.gathered(rows))
    return [Sampled(prompts[i], text, score, i) for batch in whole for i, text, score in batch]


def _digest(target: Target, prompts: list[str], scorer: Scorer, sampling: Sampling, batch_size: BatchSize) -> str:
    """Return what names the journal of a harvest: all that decides its entries, and their form."""
    return digest_of(
        {
            "fingerprint": target.architecture.fingerprint,
            "dtype": str(target.model.dtype),
            "prompts": digest_of(as_data(prompts)),
            "sampling": sampling.model_dump(),
            "scorer": [scorer.name, scorer.version, scorer.revision],
            "batch_size": asked(batch_size, target.device),
            **({"template": template_sha256(target.tokenizer)} if form_of(prompts) == "chat" else {}),
            "version": metadata.version("detoxlm"),
            "entries": "with how many prompts, and each prompt's number",
        }
    )


def _own(target: Target, prompts: list[str], sampling: Sampling, batch_size: BatchSize) -> list[int]:
    """Return the numbers of the prompts that this process continues: all of them where it is alone."""
    number, count = processes.place()
    if count == 1:
        return list(range(len(prompts)))
    return processes.dealt(plan_batches(target, prompts, sampling.samples, batch_size), number, count)
