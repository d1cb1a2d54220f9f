"""Batched, KV-cached generation: the only place that samples.

Every continuation draws from its own random stream, keyed by (seed, prompt, sample number), so a result depends neither
on the batch size nor on the order of the prompts (but for float rounding between batch shapes).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from detoxlm.conversations import Conversation, check_template, conversation_ids, shortened
from detoxlm.errors import DetoxError, UsageError, list_of_texts
from detoxlm.models import Target
from detoxlm.passes import extend, prefill
from detoxlm.progress import track
from detoxlm.repetition import penalised, seen_in
from detoxlm.settings import Settings
from detoxlm.sizing import START, BatchSize, Sizes, asked

#: Nucleus sampling looks at this many likeliest tokens first: a full sort of 49k logits costs as much as the model
#: at batch 32, and the 0.9 nucleus nearly always ends earlier. Rows where it does not are sorted in full.
_CANDIDATES = 512
#: Below this temperature the likeliest token is taken: divided by less, logits would leave what float32 can hold.
_COLDEST = 1e-5


class Sampling(Settings):
    """How continuations are drawn."""

    max_new_tokens: int = Field(20, ge=1, description="Longest continuation, tokens.")
    samples: int = Field(1, ge=1, description="Continuations per prompt.")
    temperature: float = Field(0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus mass in (0, 1].")
    top_k: int = Field(0, ge=0, description="Only the k likeliest tokens; 0: no such limit.")
    seed: int = Field(0, ge=0)
    repetition_penalty: float = Field(
        1.0, gt=0, description="Tokens that were read or written have their logits divided by it, negative ones times."
    )
    one_line: bool = Field(False, description="A continuation ends at the end of its line.")

    @model_serializer(mode="wrap")
    def _as_known(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What few recipes set is left out where it is not set: measurements of others keep their names."""
        rare = {"repetition_penalty": 1.0, "one_line": False}
        return {name: value for name, value in plain(self).items() if name not in rare or value != rare[name]}


@dataclass(frozen=True)
class Generation:
    """The continuations of one prompt; `index` is the prompt's place in the caller's list."""

    index: int
    prompt: str
    texts: list[str]
    token_ids: list[list[int]]  # without the end token


@dataclass(frozen=True)
class Batch:
    """One batch's generations and the seconds that it took."""

    generations: list[Generation]
    seconds: float

    @property
    def tokens(self) -> int:
        """Generated tokens, end tokens not counted."""
        return sum(len(ids) for generation in self.generations for ids in generation.token_ids)


def planned(target: Target, prompts: Sequence[str]) -> list[int]:
    """Return the numbers of all prompts, those of like length together: less padding."""
    lengths = [len(encode(target, prompt, 0)) for prompt in prompts]
    return sorted(range(len(prompts)), key=lambda i: (lengths[i], prompts[i]))


def plan_batches(target: Target, prompts: Sequence[str], samples: int, batch_size: BatchSize) -> list[list[int]]:
    """Return the prompts of each batch, in the order of `planned`, for several processes to share; never `auto`."""
    order, size = planned(target, prompts), asked(batch_size, target.device)
    if size == "auto":
        raise ValueError("batch_size: auto has no plan")
    per_batch = max(1, size // samples)
    return [order[start : start + per_batch] for start in range(0, len(order), per_batch)]


def generate(
    target: Target,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    batch_size: BatchSize = START,
    description: str = "generating",
    skip: int = 0,
) -> Iterator[Batch]:
    """Stream the continuations of `prompts`, batch by batch, in the order of `planned`.

    Args:
        target: the model; a detoxifier may be attached.
        prompts: texts to continue, as they are, and conversations to answer; "" starts from the token that begins all
            texts. A plain text that ends in a space asks for a continuation that models were not taught, and they fall
            silent or change the subject: `trimmed` takes it off, and what measures or harvests does so.
        sampling: how to draw.
        batch_size: sequences (prompts x samples) at once, but at least one prompt; `auto`: found while it goes on.
        description: what the progress bar says.
        skip: prompts, in their order, that an earlier run has finished.

    Raises:
        UsageError: a prompt is no text, is empty where no token begins texts, or the tokenizer drops all of it; one
            text is given in place of a list.
        DetoxError: the model's logits are NaN or infinite.
    """
    prompts = list_of_texts("prompts", prompts)
    return _batches(target, prompts, sampling, Sizes(batch_size, target.device), description, skip)


def _batches(
    target: Target, prompts: list[str], sampling: Sampling, sizes: Sizes, description: str, skip: int
) -> Iterator[Batch]:
    order = planned(target, prompts)[skip:]
    per_prompt = sampling.samples * sampling.max_new_tokens

    def continued(indices: list[int]) -> tuple[list[list[list[int]]], float]:
        started = time.perf_counter()
        return sample_batch(target, [prompts[i] for i in indices], sampling), time.perf_counter() - started

    with track(description, len(prompts) * per_prompt, "tokens", done=skip * per_prompt) as advance:
        for indices, (token_ids, seconds) in sizes.over(order, continued, each=sampling.samples):
            texts = [[decode(target, ids) for ids in row] for row in token_ids]
            if sampling.one_line:  # the last token may hold more than the line's end
                texts = [[text.partition("\n")[0] for text in row] for row in texts]
            yield Batch(
                [Generation(i, prompts[i], t, ids) for i, t, ids in zip(indices, texts, token_ids, strict=True)],
                seconds,
            )
            advance(len(indices) * per_prompt)


def trimmed(prompts: Sequence[str]) -> list[str]:
    """Return the prompts without outer white space: the white space after one is the continuation's to write.

    Conversations stay as they are: their template says what is between turns.

    Raises:
        UsageError: a prompt is white space alone.
    """
    for i, prompt in enumerate(prompts):
        if prompt and not prompt.strip():
            raise UsageError(f'prompts: prompt {i + 1} is white space alone; give "" to start from nothing.')
    return [prompt if isinstance(prompt, Conversation) else prompt.strip() for prompt in prompts]


def describe_prompts(target: Target, prompts: Sequence[str], sampling: Sampling) -> list[str]:
    """Return what a reader must know of how prompts are read, `trimmed`, a sentence each; [] where all are as given.

    Raises:
        UsageError: as `trimmed` and `generate`; no chat template for conversations, or one that refuses any of them.
    """
    total, notes = len(prompts), []
    check_template(target.tokenizer, target.name, prompts)
    read = trimmed(prompts)
    if spaced := sum(prompt != kept for prompt, kept in zip(prompts, read, strict=True)):
        notes.append(
            f"{spaced:,} of {total:,} prompts had white space around them: it was left to the continuation, where the "
            "model writes its own."
        )
    window = window_of(target)
    if window is None:
        return notes
    room = window - sampling.max_new_tokens
    long = [prompt for prompt in read if len(encode(target, prompt, None)) > room]
    why = f"the window of {target.name} has {window:,}, and {sampling.max_new_tokens:,} are the continuation's."
    if turned := sum(isinstance(prompt, Conversation) for prompt in long):
        notes.append(
            f"{turned:,} of {total:,} conversations lost their oldest turns (not the system turn), or the beginning of "
            f"one that is too long alone, so as to have {room:,} tokens: {why}"
        )
    if cut := len(long) - turned:
        notes.append(f"{cut:,} of {total:,} prompts were cut to their last {room:,} tokens: {why}")
    return notes


@torch.inference_mode()
def sample_batch(target: Target, prompts: Sequence[str], sampling: Sampling) -> list[list[list[int]]]:
    """Continue a few prompts in one batch; returns token ids [prompt][sample][token], without the end token."""
    n, steps = sampling.samples, sampling.max_new_tokens
    read = [encode(target, prompt, steps) for prompt in prompts]
    state = prefill(target, read).repeated(n)
    ends = torch.tensor(end_tokens(target), device=target.device)
    rows = len(prompts) * n
    noise = noise_of(prompts, sampling).to(target.device)  # [rows, steps]
    out = torch.empty(rows, steps, dtype=torch.long, device=target.device)
    finished = torch.zeros(rows, dtype=torch.bool, device=target.device)
    length = torch.full((rows,), steps, device=target.device)
    seen = None if sampling.repetition_penalty == 1 else seen_in(read, n, state.logits)
    for step in range(steps):
        logits = state.logits if seen is None else penalised(state.logits, seen, sampling.repetition_penalty)
        token = next_token(logits, sampling, noise[:, step])
        if seen is not None:
            seen.scatter_(1, token[:, None], True)
        ended = torch.isin(token, ends) & ~finished
        length[ended] = step
        finished |= ended
        if sampling.one_line:
            finished |= _end_lines(target, token, step, length, finished)
        out[:, step] = token
        if step + 1 == steps or bool(finished.all()):
            break
        state = extend(target.model, state, token[:, None])
    kept = [out[row, : length[row]].tolist() for row in range(rows)]
    return [kept[start : start + n] for start in range(0, rows, n)]


def _end_lines(
    target: Target, token: torch.Tensor, step: int, length: torch.Tensor, finished: torch.Tensor
) -> torch.Tensor:
    """Tell which rows end their line with this token, bool [R]; `length` keeps a token that has text before that."""
    written = target.tokenizer.batch_decode(token[:, None].tolist(), skip_special_tokens=True)
    ended = torch.tensor(["\n" in text for text in written], device=token.device) & ~finished
    for row in ended.nonzero()[:, 0].tolist():
        length[row] = step + bool(written[row].partition("\n")[0])
    return ended


def next_token(logits: torch.Tensor, sampling: Sampling, noise: torch.Tensor) -> torch.Tensor:
    """Draw one token a row: logits [R, V], uniform noise [R] in [0, 1) -> token ids [R].

    The order is the usual one: temperature, top-k, then the smallest set of likeliest tokens whose mass reaches top_p.

    Raises:
        DetoxError: NaN or infinite logits.
    """
    if sampling.temperature < _COLDEST:
        best, token = logits.max(-1)  # NaN wins a max, so it is seen here
        check_finite(best)
        return token
    scaled = logits.float() / sampling.temperature
    if sampling.top_p == 1 and not sampling.top_k:
        check_finite(scaled.amax(-1))
        return _draw(scaled.softmax(-1).double().cumsum(-1), noise)
    k = min(sampling.top_k or _CANDIDATES, scaled.shape[-1])
    top, token = scaled.topk(k)  # sorted, likeliest first
    check_finite(top[:, 0])
    total = (top if sampling.top_k else scaled).logsumexp(-1, keepdim=True)
    mass = (top - total).exp().double().cumsum(-1)
    drawn = token.gather(-1, _draw(mass, noise, sampling.top_p)[:, None])[:, 0]
    if not sampling.top_k and k < scaled.shape[-1]:
        wide = mass[:, -1] < sampling.top_p  # the nucleus reaches past the candidates
        if bool(wide.any()):
            p, order = scaled[wide].softmax(-1).sort(-1, descending=True)
            place = _draw(p.double().cumsum(-1), noise[wide], sampling.top_p)
            drawn[wide] = order.gather(-1, place[:, None])[:, 0]
    return drawn


def _draw(mass: torch.Tensor, noise: torch.Tensor, top_p: float = 1.0) -> torch.Tensor:
    """Inverse-CDF sample: cumulative mass [R, K], noise [R] -> place [R], within the nucleus of mass top_p."""
    last = (mass < top_p).sum(-1).clamp(max=mass.shape[-1] - 1)  # the token that reaches top_p belongs to the nucleus
    reached = mass.gather(-1, last[:, None])
    place = torch.searchsorted(mass, noise.double()[:, None] * reached, right=True)[:, 0]
    return place.minimum(last)


def check_finite(best: torch.Tensor) -> None:
    """Raise `DetoxError` where the largest logit of a row, or a loss, is NaN or infinite."""
    if not bool(torch.isfinite(best).all()):
        raise DetoxError(
            "model: its logits are NaN or infinite. Load it with --dtype float32; if it was edited or fine-tuned, "
            "the edit broke it."
        )


def noise_of(prompts: Sequence[str], sampling: Sampling) -> torch.Tensor:
    """One uniform stream per continuation [prompts x samples, steps], the same in any batch and any process."""
    rows = [
        stream(sampling.seed, sample, prompt).random(sampling.max_new_tokens)
        for prompt in prompts
        for sample in range(sampling.samples)
    ]
    return torch.from_numpy(np.stack(rows))


def stream(seed: int, sample: int, prompt: str) -> np.random.Generator:
    """Return the random stream of one continuation: a number in [0, 1) for each token."""
    key = hashlib.blake2b(f"{seed}\0{sample}\0{prompt}".encode("utf-8", "replace"), digest_size=16)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.digest(), "little")))


def encode(target: Target, text: str, room: int | None) -> list[int]:
    """Tokenise a prompt as the model was trained to see it; keep its end where it leaves no `room` for new tokens.

    "" is the token that begins texts; a conversation is what the model's template makes of it, and loses its oldest
    turns. Without a `room` (None) nothing is cut.

    Raises:
        UsageError: no template for a conversation, or one that refuses it; no tokens, one that the model has no
            embedding of, or a context window that is too short for the new tokens alone.
    """
    if isinstance(text, Conversation):
        ids = conversation_ids(target.tokenizer, target.name, text)
    else:
        ids = target.tokenizer(text)["input_ids"] if text else [_begin_token(target)]
    if not ids:  # the text is all characters that the tokenizer drops
        raise UsageError(f"prompts: {text!r} has no tokens in this model's tokenizer.")
    if max(ids) >= (rows := target.model.get_input_embeddings().weight.shape[0]):  # such as Gemma 3's of a picture
        token = target.tokenizer.convert_ids_to_tokens(max(ids))
        raise UsageError(
            f"prompts: the token {token!r} in {text!r:.40} has no embedding in this model ({rows:,} rows)."
        )
    window = window_of(target)
    if window is None or room is None:
        return ids
    if room >= window:
        raise UsageError(
            f"max_new_tokens: {room} after a prompt do not fit the {window} tokens of {target.name}; ask for fewer."
        )
    if isinstance(text, Conversation):
        return shortened(target.tokenizer, target.name, text, window - room)
    return newest(target, ids, window - room)


def window_of(target: Target) -> int | None:
    """Return how many tokens the model can read; None: it does not say."""
    return getattr(target.model.config.get_text_config(), "max_position_embeddings", None) or None


def _begin_token(target: Target) -> int:
    """Return the token that begins all texts; GPT-2's kin know the end of the text before it alone.

    Raises:
        UsageError: the model has neither.
    """
    config = target.model.config.get_text_config()
    known = (target.tokenizer.bos_token_id, config.bos_token_id, target.tokenizer.eos_token_id)
    found = next((token for token in known if isinstance(token, int)), None)
    if found is None:
        raise UsageError(f"prompts: {target.name} has no token that begins texts; give a prompt that is not empty.")
    return found


def newest(target: Target, ids: list[int], count: int) -> list[int]:
    """Return the last `count` tokens of a text, of which the token that begins all texts, if there is one, stays."""
    if len(ids) <= count:
        return ids
    first = ids[:1] if ids[0] == target.tokenizer.bos_token_id else []  # Gemma reads a text without it badly
    return first + ids[len(ids) - count + len(first) :]


def encode_after(target: Target, text: str) -> list[int]:
    """Tokenise a text that goes on from another one: no special tokens, and no space that is not there."""
    return encode_all_after(target.tokenizer, [text])[0]


def encode_all_after(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokenise texts, at least one, each of which goes on from another one, as `encode_after` does.

    SentencePiece tokenizers (Llama 2, Mistral) put a space before every text: there texts are read behind an anchor,
    which is cut off again. Where the newline grows together with a text into one token, the letter is the anchor.
    """

    def ids(texts: list[str]) -> list[list[int]]:
        return [list(row) for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    found = ids(list(texts))
    both, left, right = ids(["a,", "a", ","])
    if both == left + right:
        return found
    for anchor in ("a", "\n"):
        before, *behind = ids([anchor, *(anchor + text for text in texts)])
        n = len(before)
        found = [row[n:] if row[:n] == before else kept for row, kept in zip(behind, found, strict=True)]
    return found


def decode(target: Target, ids: list[int], *, special: bool = False) -> str:
    """Turn generated ids into text, spaces kept as they are; `special` tokens are dropped, or kept where it is true."""

    def text(ids: list[int]) -> str:
        return str(target.tokenizer.decode(ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False))

    # SentencePiece decoders (Llama 2, Mistral) drop a leading space: decode behind an anchor and cut it off
    anchor = target.tokenizer("a", add_special_tokens=False)["input_ids"]
    return text(anchor + ids)[len(text(anchor)) :]


def end_tokens(target: Target) -> list[int]:
    """Return the tokens that end a text, of the model and of its tokenizer, smallest first."""
    configured = target.model.generation_config.eos_token_id if target.model.generation_config else None
    ends = {target.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return sorted(end for end in ends if end is not None)
