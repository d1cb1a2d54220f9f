"""Requests as jobs: prompts as tokens, how to draw, which detoxifier at which strength."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from detoxlm.conversations import Message, left_out
from detoxlm.errors import UsageError, first_line
from detoxlm.generation import Sampling, decode, encode
from detoxlm.serve.refusals import shown
from detoxlm.serving.errors import ApiError, refused, wrong
from detoxlm.serving.forms import PROMPTS, Body, Chat, Completion
from detoxlm.serving.rows import Job, Piece
from detoxlm.serving.served import Served

#: The longest completion where a request names none, as in OpenAI's API; of a chat it is what the window has room for.
_DEFAULT = 16


@dataclass(frozen=True)
class Asked:
    """One request."""

    #: What it calls the model.
    model: str
    jobs: list[Job]
    strength: float
    stream: bool
    include_usage: bool

    @property
    def count(self) -> int:
        """How many continuations are asked for."""
        return sum(job.count for job in self.jobs)

    @property
    def cached_tokens(self) -> int:
        """Those of them that had been read before; known once something has come."""
        return sum(job.cached for job in self.jobs)

    @property
    def echoed_tokens(self) -> int:
        """Those of them that are told, once in each continuation."""
        told = (job for job in self.jobs if job.echo and job.logprobs is not None)
        return sum(job.prompt_tokens * job.count for job in told)

    @property
    def prompt_tokens(self) -> int:
        """The tokens of its prompts."""
        return sum(job.prompt_tokens for job in self.jobs)


#: Told of a continuation's number in the request, and of what came of it.
Tell = Callable[[int, Piece | Exception], None]


class Asking:
    """Makes jobs of the requests to one model."""

    def __init__(self, served: Served, most: int) -> None:
        """Take what is served, and how many rows a job may have."""
        self._served, self._most = served, most

    def completion(self, body: Completion, tell: Tell) -> Asked:
        """Return what `/v1/completions` is asked for.

        Raises:
            ApiError: it cannot be done; the message names the field.
        """
        prompts = self._prompts(body.prompt)
        longest = _DEFAULT if body.max_tokens is None else body.max_tokens
        if longest == 0 and not (body.echo and body.logprobs is not None and all(len(ids) > 1 for ids, _ in prompts)):
            raise wrong("max_tokens", "0 needs echo and logprobs, and two tokens of each prompt; else 1 is the least.")
        return self._asked(body, prompts, longest, body.logprobs, tell, echo=body.echo)

    def chat(self, body: Chat, tell: Tell) -> Asked:
        """Return what `/v1/chat/completions` is asked for.

        Raises:
            ApiError: as in `completion`; the model has no chat template, or that refuses messages or leaves one out.
        """
        if body.top_logprobs is not None and not body.logprobs:
            raise wrong("top_logprobs", "it needs logprobs: true.")
        tokenizer = self._served.target.tokenizer
        if not tokenizer.chat_template:
            raise wrong("messages", "this model has no chat template; use /v1/completions.")
        messages = [message.plain() for message in body.messages]

        def render(turns: Sequence[Message]) -> str:
            return str(tokenizer.apply_chat_template([*turns], add_generation_prompt=True, tokenize=False))

        try:
            text = render(messages)
        except Exception as error:  # a template raises what it likes; its own messages are about roles
            raise wrong("messages", f"the chat template refuses them: {first_line(error):.200}") from None
        for i, message in enumerate(messages):  # templates leave out roles that they do not know, and some the system's
            if message["role"] not in ("user", "assistant") and left_out(messages, i, text, render):
                role = shown(message["role"])
                raise wrong("messages", f"the chat template leaves out a turn of {role!r}; say it in a user's turn.")
        ids = self._known(list(tokenizer(text, add_special_tokens=False)["input_ids"]))
        longest = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
        if longest == 0:
            raise wrong("max_tokens", "an answer has one token at least.")
        if longest is None:
            longest = max(1, self._served.window - len(ids)) if self._served.window else 512
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        return self._asked(body, [(ids, text)], longest, logprobs, tell)

    def _known(self, ids: list[int]) -> list[int]:
        """Return the tokens of a conversation, all of which the model must have an embedding of.

        Raises:
            ApiError: it has none of one, such as Gemma 3's of a picture, which users can write; or there are no tokens.
        """
        target = self._served.target
        if not ids:
            raise wrong("messages", "the chat template makes no tokens of them.")
        if max(ids) >= target.model.get_input_embeddings().weight.shape[0]:
            token = target.tokenizer.convert_ids_to_tokens(max(ids))
            raise wrong("messages", f"the token {shown(token)!r} in them has no embedding in this model.")
        return ids

    def _prompts(self, given: str | list[str] | list[int] | list[list[int]]) -> list[tuple[list[int], str]]:
        """Return the tokens of each prompt, and its text."""
        target = self._served.target
        several: list[Any] = [given] if isinstance(given, str) or not given or isinstance(given[0], int) else [*given]
        if not 1 <= len(several) <= PROMPTS:
            raise wrong("prompt", f"{len(several):,} prompts; a request has from 1 to {PROMPTS:,}.")
        rows = target.model.get_input_embeddings().weight.shape[0]
        found: list[tuple[list[int], str]] = []
        for one in several:
            if isinstance(one, str):
                try:
                    found.append((encode(target, one, None), one))
                except UsageError as error:
                    raise wrong("prompt", str(error).removeprefix("prompts: ")) from None
            else:
                ids = [int(token) for token in one]
                if not ids or not 0 <= min(ids) <= max(ids) < rows:
                    raise wrong("prompt", f"token ids are from 0 to {rows - 1:,}, at least one.")
                found.append((ids, decode(target, ids)))
        return found

    def _asked(
        self,
        body: Body,
        prompts: list[tuple[list[int], str]],
        longest: int,
        logprobs: int | None,
        tell: Tell,
        echo: bool = False,
    ) -> Asked:
        served = self._served
        model = served.name if body.model is None else body.model
        if model not in served.names:
            known = ", ".join(served.names)
            raise ApiError(
                404, f"model: {shown(model)!r} is not served here; known: {known}.", "model", "model_not_found"
            )
        if body.n > self._most:
            raise wrong("n", f"{body.n} is more than the {self._most} rows that this server writes together.")
        try:
            detoxifier, strength = served.chosen(model, body.strength)
        except UsageError as error:
            raise refused(error) from None
        self._check_window(prompts, longest)
        sampling = Sampling(
            max_new_tokens=max(1, longest),
            samples=body.n,
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=max(0, body.top_k),
        )
        told = echo and logprobs is not None
        jobs = [
            Job(
                ids[:1] if told else ids,
                text,
                sampling.model_copy(update={"seed": _seed(body.seed)}),
                _numbered(tell, i * body.n),
                body.stop,
                detoxifier,
                strength,
                merged=served.merged is not None and served.merged[1] > 0,
                logprobs=logprobs,
                explain=body.detoxlm.explain,
                echo=echo,
                given=ids[1:] if told else (),
                writes=longest > 0,
            )
            for i, (ids, text) in enumerate(prompts)
        ]
        return Asked(model, jobs, strength, body.stream, body.stream_options.include_usage)

    def _check_window(self, prompts: list[tuple[list[int], str]], longest: int) -> None:
        window = self._served.window
        if window is None:
            return
        most = max(len(ids) for ids, _ in prompts)
        if most + longest > window:
            raise ApiError(
                400,
                f"This model's maximum context length is {window:,} tokens; the prompt has {most:,}, and {longest:,} "
                "are asked for. Shorten the prompt, or ask for fewer.",
                "messages" if len(prompts) == 1 and most >= window else "max_tokens",
                "context_length_exceeded",
            )


def _seed(asked: int | None) -> int:
    """Return the seed of a prompt, 0 or more: what is asked for, else a new one for each, as two may be alike."""
    if asked is None:
        return secrets.randbits(63)
    # any whole number is a seed of OpenAI's; it is hashed, so that a negative one needs only to be told apart
    return asked if asked >= 0 else 2**64 - asked


def _numbered(tell: Tell, first: int) -> Callable[[Piece | Exception], None]:
    """Return what tells of a job whose continuations are numbered from `first`."""
    return lambda told: tell(first if isinstance(told, Exception) else first + told.sample, told)
