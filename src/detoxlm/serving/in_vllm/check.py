"""`detoxlm vllm-check`: proves that the vLLM that is installed writes what DetoxLM writes, and no token untouched."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from detoxlm.data import builtin_prompts
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling, encode, end_tokens, generate, window_of
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target
from detoxlm.serving.in_vllm import loading
from detoxlm.settings import VllmCheckSettings
from detoxlm.vllm_installed import FOLDER, installed_version
from detoxlm.workflows import target_of

#: Below this difference of log-probabilities two tokens are as good as equally likely: batches of other sizes, which
#: add up in another order, may choose either.
NEAR = 1e-3
#: Share of texts that must be the same to the last token.
SAME = 0.95
#: vLLM gets little room, so that what happens to a busy server happens here: so few positions in a step that prompts
#: are read in parts, and so few blocks of cache that requests push each other out and come back.
_POSITIONS, _ROWS, _BLOCK, _BLOCKS, _WINDOW = 64, 16, 32, 24, 512
#: Every so many prompts, one begins with the same text of some blocks, which vLLM then reads once.
_PREFACED = 3


@dataclass(frozen=True)
class Parting:
    """Where a text of vLLM's goes another way than ours."""

    prompt: int
    strength: float
    place: int
    #: What they chose there, and by how much ours is the likelier, in nats: log-probabilities of one pass, attached.
    ours: int | None
    theirs: int | None
    margin: float

    @property
    def near(self) -> bool:
        """Whether the two tokens are as good as equally likely."""
        return abs(self.margin) < NEAR


@dataclass(frozen=True)
class Checked:
    """What came of a check."""

    version: str
    method: str
    #: `inside` vLLM's model, or `beside` it.
    route: str
    texts: int
    tokens: int
    partings: list[Parting] = field(default_factory=list)
    #: Tokens of requests with a strength above 0, and how many of them no row was acted on for.
    drawn: int = 0
    untouched: int = 0
    #: Rows that the detoxifier acted on, those too that no token is drawn from; the same at strength 0, unchanged.
    acted: int = 0
    plain: int = 0
    #: Requests that vLLM pushed out and brought back, and tokens of prompts that it had read for another request.
    preempted: int = 0
    cached: int = 0

    @property
    def passed(self) -> bool:
        """Whether texts are the same but for near-ties, and no token went untouched."""
        same = (self.texts - len(self.partings)) / self.texts
        return same >= SAME and all(one.near for one in self.partings) and not self.untouched

    def lines(self) -> list[str]:
        """Return the outcome for people, without a word of the texts."""
        said = [
            f"vLLM {self.version}, {self.method} {self.route} its model: {self.texts - len(self.partings)} of "
            f"{self.texts} texts the same, {self.tokens} tokens"
        ]
        for one in self.partings:
            why = "a near-tie" if one.near else "NOT a near-tie"
            said.append(
                f"  prompt {one.prompt}, strength {one.strength:g}, token {one.place}: {one.ours} and {one.theirs}, "
                f"{one.margin:+.1e} nats apart: {why}"
            )
        said.append(f"On the way {self.preempted} requests were preempted and {self.cached} prompt tokens shared")
        said.append(f"Tokens of detoxified requests that were drawn untouched: {self.untouched} of {self.drawn}")
        return said


def check(model: str, settings: VllmCheckSettings) -> Checked:
    """Continue prompts greedily, by DetoxLM and by vLLM, each at one of four strengths, and compare the tokens.

    Raises:
        UsageError: vLLM is missing or of another version; no detoxifier, or what cannot be served, by name.
    """
    version = installed_version("vllm-check", "`detoxlm serve` needs none")
    if settings.detoxifier is None:
        raise UsageError("detoxifier: name one with --detoxifier DIR.")
    os.environ[FOLDER] = settings.detoxifier
    os.environ.pop(loading.STRENGTH, None)
    loading.detoxifier.cache_clear()
    detoxifier = loading.detoxifier()
    strength = detoxifier.check_strength(settings.strength)
    if not strength:
        raise UsageError("strength: 0 is the untouched model; there is nothing to compare.")
    if settings.device is None and settings.device_map is None:
        settings = settings.model_copy(update={"device": "cpu"})
    target = target_of(model, settings, detoxifier)
    prompts = chosen_prompts(settings.check_prompts)
    # four strengths that go round, so that prompts of every kind meet each of them
    some = (strength, min(2 * strength, detoxifier.max_strength), strength / 2, 0.0)
    strengths = [some[i % len(some)] for i in range(len(prompts))]
    ours = written_by_us(target, detoxifier, prompts, strengths, settings.max_new_tokens)
    theirs, processor, seen = written_by_vllm(target, prompts, strengths, settings)
    drawn = [count for _, count in theirs]
    lengths = [len(encode(target, prompt, settings.max_new_tokens)) for prompt in prompts]
    partings = parted(target, detoxifier, prompts, strengths, ours, [ids for ids, _ in theirs], settings.max_new_tokens)
    return Checked(
        version,
        detoxifier.method,
        processor.route,
        len(prompts),
        sum(drawn),
        partings,
        drawn=sum(count for count, one in zip(drawn, strengths, strict=True) if one),
        untouched=untouched(lengths, drawn, strengths, processor.counts.places),
        acted=processor.counts.acted,
        plain=processor.counts.plain,
        preempted=seen.get("vllm:num_preemptions", 0),
        cached=seen.get("vllm:prefix_cache_hits", 0),
    )


def untouched(
    lengths: Sequence[int], drawn: Sequence[int], strengths: Sequence[float], places: Collection[tuple[int | None, int]]
) -> int:
    """Return how many tokens at a strength above 0 were drawn at a place where no row was acted on.

    Args:
        lengths: of the prompts, tokens.
        drawn: tokens that each prompt was continued by, the end token too.
        strengths: of the requests.
        places: of each row that was acted on, the number of the request and how many tokens are before the next. vLLM's
            runner V1 does not say of a prompt how far it is read, so a part of one counts for its first token there.
    """
    return sum(
        (number, length + place) not in places
        for number, (length, count, strength) in enumerate(zip(lengths, drawn, strengths, strict=True))
        if strength
        for place in range(count)
    )


def chosen_prompts(count: int) -> list[str]:
    """Return so many prompts: built-in ones, later with a number before them; some begin with the same long text."""
    known = builtin_prompts("measure")
    preface = " ".join(f"{one}." for one in known[:10]) + " "
    prompts = [known[i] if i < len(known) else f"{i}. {known[i % len(known)]}" for i in range(count)]
    return [preface + one if i % _PREFACED == 1 else one for i, one in enumerate(prompts)]


def written_by_us(
    target: Target,
    detoxifier: DecodingDetoxifier,
    prompts: Sequence[str],
    strengths: Sequence[float],
    most: int,
) -> list[list[int]]:
    """Return the greedy continuation of each prompt at its strength, without the end token."""
    found: list[list[int]] = [[] for _ in prompts]
    for strength in dict.fromkeys(strengths):
        places = [i for i, one in enumerate(strengths) if one == strength]
        with detoxifier.attached(target.model, strength):
            for batch in generate(target, [prompts[i] for i in places], Sampling(max_new_tokens=most)):
                for one in batch.generations:
                    found[places[one.index]] = one.token_ids[0]
    return found


def written_by_vllm(
    target: Target, prompts: Sequence[str], strengths: Sequence[float], settings: VllmCheckSettings
) -> tuple[list[tuple[list[int], int]], Any, dict[str, int]]:
    """Return of each prompt vLLM's tokens without the end token and how many it drew; the processor; vLLM's counters.

    It runs in this process, where the processor's counts can be read.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams

    from detoxlm.serving.in_vllm.processor import LIVE

    engine = LLM(
        str(target.model.config.name_or_path),
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        dtype=str(target.model.dtype).removeprefix("torch."),
        max_model_len=min(_WINDOW, window_of(target) or _WINDOW),
        max_num_seqs=_ROWS,
        max_num_batched_tokens=_POSITIONS,
        enable_chunked_prefill=True,
        enable_prefix_caching=True,
        block_size=_BLOCK,
        num_gpu_blocks_override=_BLOCKS,
        enforce_eager=True,
        logits_processors=["detoxlm.serving.vllm:Detoxifier"],
        disable_log_stats=False,  # its counters are read
    )
    if len(LIVE) != 1:
        raise DetoxError("vllm-check: vLLM runs the detoxifier in another process, where its counts cannot be read.")
    (processor,) = LIVE
    processor.counts.places = set()
    ends, most = end_tokens(target), settings.max_new_tokens
    same = {"temperature": 0, "max_tokens": most, "stop_token_ids": ends, "detokenize": False}
    params = [
        SamplingParams(**same, extra_args={"strength": strength, "number": number})
        for number, strength in enumerate(strengths)
    ]
    given = [{"prompt_token_ids": encode(target, prompt, most)} for prompt in prompts]
    made = [list(one.outputs[0].token_ids) for one in engine.generate(given, params, use_tqdm=False)]
    seen = {one.name: int(one.value) for one in engine.get_metrics() if isinstance(getattr(one, "value", None), int)}
    return [(ids[:-1] if ids and ids[-1] in ends else ids, len(ids)) for ids in made], processor, seen


@torch.inference_mode()
def parted(
    target: Target,
    detoxifier: DecodingDetoxifier,
    prompts: Sequence[str],
    strengths: Sequence[float],
    ours: Sequence[list[int]],
    theirs: Sequence[list[int]],
    most: int,
) -> list[Parting]:
    """Return where texts part, with how much likelier our token is there than theirs, by one pass over the text."""
    found = []
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a == b:
            continue
        place = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        one, other = (ids[place] if place < len(ids) else None for ids in (a, b))
        read = torch.tensor([[*encode(target, prompts[i], most), *a[:place]]], device=target.device)
        with detoxifier.attached(target.model, strengths[i]):
            said = target.model(read, use_cache=False).logits[0, -1].float().log_softmax(-1)
        ends = end_tokens(target)
        least, best = (said[ends if token is None else [token]].max() for token in (other, one))
        found.append(Parting(i, strengths[i], place, one, other, float(best - least)))
    return found
