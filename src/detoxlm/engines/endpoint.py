"""A model behind an address that speaks the OpenAI API's protocol: completions for texts, chat for conversations.

Such an endpoint says little of itself. What it does not say is not guessed: it is left out, by name (`left_out`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detoxlm.api import Api, RefusedError
from detoxlm.conversations import Conversation
from detoxlm.engines.answers import Choices, choices_of, log_probabilities_of
from detoxlm.engines.base import Engine, Written
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Generation, Sampling, stream
from detoxlm.likelihood import windows_of
from detoxlm.progress import track
from detoxlm.reading import Reading, read_apart, read_continuations
from detoxlm.results import DetoxifierInfo, ModelInfo, Row, Window
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import START, BatchSize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Of how texts are drawn, what not every server knows. It is sent also where it does nothing: else vLLM takes what the
#: model's makers have put into `generation_config.json`.
_SAID = ("top_k", "repetition_penalty", "min_p")
#: Fields that some endpoints refuse, and that a request can do without. (Of `max_tokens` they name the successor.)
OPTIONAL = ("logprobs", "seed", *_SAID)


@dataclass
class Endpoint(Engine):
    """One served model. Requests go out several at a time; each asks for all samples of a prompt."""

    api: Api
    #: The address, as results record it.
    url: str
    #: What requests call the model, and what results do.
    served: str
    name: str
    #: Asked of our server for every request; None: what it was started with.
    strength: float | None = None
    #: Whether a model of this machine judges the continuations.
    judged: bool = False
    #: The model's tokenizer and how many tokens it reads, for model perplexity; None: that is not measured.
    cutting: tuple[PreTrainedTokenizerBase, int | None] | None = None
    #: What the endpoint says of the detoxifier that acts; None: it says nothing.
    says: dict[str, Any] | None = None
    #: Whether it says nothing, and yet heeds the strength that is asked for, as vLLM with our processor does.
    heeded: bool = False
    _refused: set[str] = field(default_factory=set)
    #: Whether it has answered in chat (True), and else (False): what it refuses then is no unknown field.
    _answered: set[bool] = field(default_factory=set)
    _thoughts: dict[int, list[str | None]] = field(default_factory=dict)

    def try_out(self, prompts: Sequence[str]) -> None:
        """Ask for a token in each form that the prompts have, and learn what the endpoint is and takes.

        Raises:
            UsageError: it cannot be asked so, or a strength is asked for and it does not say that one acts.
            DetoxError: it does not answer.
        """
        first = {isinstance(prompt, Conversation): prompt for prompt in reversed(prompts)}
        for chat, prompt in first.items():
            try:
                found = self._ask(prompt, Sampling(max_new_tokens=1, samples=1), 0)
            except RefusedError as error:
                missing = error.status == 404 and not chat and "model" not in error.said
                fix = "Without completions there, ask with --chat." if missing else "Check address, name and options."
                raise UsageError(f"{error}. {fix}") from None
            self.says = found.detoxifier
        if self.strength is not None and not self._takes(self.strength, next(iter(first.values()))):
            raise UsageError(
                f"strength: {self.url} does not say that a detoxifier acts at {self.strength:g}; leave it out, or "
                "serve the model with `detoxlm serve --detoxifier DIR`."
            )

    def _takes(self, strength: float, prompt: str) -> bool:
        """Tell whether the strength of a request is heeded. A server that does not say so must refuse one below 0."""
        if self.says is not None:
            return self.says.get("strength") == strength
        self.strength = -1.0
        try:
            self._ask(prompt, Sampling(max_new_tokens=1), 0)
        except RefusedError:
            self.heeded = True
        finally:
            self.strength = strength
        return self.heeded

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    @property
    def info(self) -> ModelInfo:
        """The model's name and address; the rest is not known."""
        unknown = "not known"
        return ModelInfo(
            name=self.name, revision=unknown, architecture=unknown, parameters=0, dtype=unknown, device=self.url
        )

    @property
    def acting(self) -> DetoxifierInfo | None:
        """What the endpoint says of its detoxifier; None also where it does not know the question."""
        said: dict[str, Any] = {"method": "served", "strength": self.strength} if self.heeded else self.says or {}
        if not said.get("method") or not said.get("strength"):
            return None
        return DetoxifierInfo(method=str(said["method"]), folder=None, strength=float(said["strength"]), settings={})

    @property
    def identity(self) -> dict[str, Any]:
        """See `Engine`. What is behind the address can change without a sign."""
        return {
            "model": [self.url, self.served],
            "detoxifier": self.says or self.strength,
            "refused": [name for name in ("seed", *_SAID) if name in self._refused],
        }

    @property
    def settings(self) -> dict[str, Any]:
        """See `Engine`."""
        return {"engine": f"openai:{self.url}#{self.served}"}

    @property
    def template_sha256(self) -> str | None:
        """Not known."""
        return None

    @property
    def left_out(self) -> list[str]:
        """See `Engine`."""
        what = "is KL" if self.cutting else "are model perplexity (--fluency-tokens asks for it) and KL"
        said = [
            f"Measured through {self.url}: not measured {what}, which need the model's probabilities of given text, "
            "and its memory. How prompts are cut is the endpoint's."
        ]
        if not self.judged:
            said.append("Nor is continuation perplexity: --fluency-judge names a model of this machine for it.")
        if "seed" in self._refused:
            said.append("The endpoint takes no seed: another run gets other texts.")
        if own := [name for name in _SAID if name in self._refused]:
            said.append(f"The endpoint takes no {', '.join(own)}: values of its own may act there, and are not known.")
        if self.says is None and not self.heeded:
            said.append("The endpoint does not say whether a detoxifier acts.")
        return said

    def noted(self, rows: Sequence[Row]) -> list[str]:
        """Say so where some answers have a part that was thought, and some have none."""
        thought = [one is not None for row in rows for one in row.thinking]
        if all(thought) or not any(thought):
            return []
        return [
            f"{thought.count(False):,} of {len(thought):,} answers came without thinking before them, the others with. "
            "If the server's chat template opens the thinking, those are thoughts that did not end, scored as answers: "
            "give more --max-new-tokens, or let the server part thoughts and answers."
        ]

    def described(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        """Nothing is known of how it reads them.

        Raises:
            UsageError: a repetition penalty, which the protocol cannot say.
        """
        if sampling.repetition_penalty != 1:
            raise UsageError(
                "recipe: it has a repetition penalty, which the OpenAI API cannot say; leave --engine out, or take "
                "another recipe."
            )
        return []

    def windows(self, text: str, tokens: int, share: float) -> list[tuple[list[int], int]]:
        """See `Engine`."""
        return [] if self.cutting is None else windows_of(*self.cutting, text, tokens, share)

    def measured(self, ids: list[int], scored: int) -> Window:
        """Return what the endpoint says of given tokens: the prompt's own log-probabilities, by `echo`.

        Raises:
            DetoxError: it does not give them, or reads other tokens.
        """
        body = {**self._asked(), "prompt": ids, "max_tokens": 0, "temperature": 0.0, "echo": True, "logprobs": 0}
        found = log_probabilities_of(self.api.post("/completions", body))
        if len(found) != len(ids) or None in found[1:]:
            raise DetoxError(
                f"engine: {len(ids)} tokens were sent, and {len(found)} log-probabilities came; is MODEL the model "
                f"that is served there as {self.served}?"
            )
        return Window(nll=-sum(one or 0.0 for one in found[len(ids) - scored :]), tokens=scored)

    def write(self, prompts: Sequence[str], sampling: Sampling, batch_size: BatchSize, skip: int) -> Iterator[Written]:
        """See `Engine`; the requests of a batch are sent at once: of `auto` 32, for the server to batch."""
        size = max(1, (batch_size if isinstance(batch_size, int) else START) // sampling.samples)
        starts = range(skip, len(prompts), size)
        each = sampling.samples * sampling.max_new_tokens
        done = skip * each
        with (
            ThreadPoolExecutor(size) as threads,
            track("generating", len(prompts) * each, "tokens", done=done) as advance,
        ):
            for start in starts:
                began, here = time.perf_counter(), range(start, min(start + size, len(prompts)))
                found = list(threads.map(lambda i: self._numbered(i, prompts[i], sampling), here))
                seconds = time.perf_counter() - began
                self._thoughts = {i: one.thoughts for i, one in zip(here, found, strict=True)}
                generations = [Generation(i, prompts[i], one.texts, []) for i, one in zip(here, found, strict=True)]
                yield Written(generations, [one.lengths for one in found], seconds, None)
                advance(len(here) * each)

    def read(self, generations: Sequence[Generation], scorers: Sequence[Scorer], answers: bool) -> Reading:
        """See `Engine`; no KL is known."""
        if not answers:
            return read_continuations(generations, scorers)
        texts = [text for one in generations for text in one.texts]
        return read_apart(texts, [thought for one in generations for thought in self._thoughts[one.index]], scorers)

    def _numbered(self, index: int, prompt: str, sampling: Sampling) -> Choices:
        """Return the continuations of a prompt; an error names it by its number, from 1."""
        try:
            found = self._ask(prompt, sampling, 0)
            while len(found.texts) < sampling.samples:  # some servers know no `n`, and answer once
                left = sampling.model_copy(update={"samples": sampling.samples - len(found.texts)})
                found = found.and_more(self._ask(prompt, left, len(found.texts)))
        except RefusedError as error:
            raise DetoxError(f"prompt {index + 1}: {error}") from None
        if found.detoxifier != self.says:
            raise DetoxError(
                f"prompt {index + 1}: another detoxifier acted than at the start ({found.detoxifier}, not "
                f"{self.says}). Start over when the server no longer changes."
            )
        return found

    def _ask(self, prompt: str, sampling: Sampling, later: int) -> Choices:
        """Return what one request gives; `later` is how many samples of the prompt there are already."""
        while True:
            body = self._body(prompt, sampling, later)
            chat = "messages" in body
            try:
                response = self.api.post("/chat/completions" if chat else "/completions", body)
            except RefusedError as error:
                fields = {"max_completion_tokens": "max_tokens", **{name: name for name in OPTIONAL}}
                words = error.said.lower()
                named = next((name for name, ours in fields.items() if name in words and ours in body), None)
                unknown = set(_SAID) - self._refused
                if named is None and (chat in self._answered or not unknown or error.status not in (400, 422)):
                    raise
                # a strict server may not say which field it does not know
                self._refused |= unknown if named is None else {named}
                continue
            self._answered.add(chat)
            return choices_of(response, chat, sampling.samples)

    def _asked(self) -> dict[str, Any]:
        """Return what every request names: the model, and the strength if one is asked for."""
        steer = {} if self.strength is None else {"vllm_xargs": {"strength": self.strength}}
        return {"model": self.served, **steer}

    def _body(self, prompt: str, sampling: Sampling, later: int) -> dict[str, Any]:
        """Return the request."""
        longest = "max_completion_tokens" if "max_completion_tokens" in self._refused else "max_tokens"
        body: dict[str, Any] = {
            **self._asked(),
            longest: sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,  # older servers refuse 0 for no limit
            "repetition_penalty": 1.0,
            "min_p": 0.0,
        }
        for name in self._refused & set(_SAID):
            del body[name]
        if sampling.one_line:
            body["stop"] = ["\n"]
        if sampling.samples > 1:
            body["n"] = sampling.samples
        if "seed" not in self._refused:
            body["seed"] = self._seed(prompt, sampling, later)
        chat = isinstance(prompt, Conversation)
        if sampling.samples > 1 and "logprobs" not in self._refused:  # else the tokens of each are not known
            body["logprobs"] = True if chat else 0
        if not isinstance(prompt, Conversation):
            return {**body, "prompt": prompt}
        body["messages"] = [dict(turn) for turn in prompt.messages]
        if prompt.template_args:
            body["chat_template_kwargs"] = prompt.template_args  # vLLM's name for them
        return body

    def _seed(self, prompt: str, sampling: Sampling, later: int) -> int:
        """Return the seed of a request. Our server draws by seed and prompt, as this process does.

        Others draw by the seed alone: with one for all prompts, all would share their luck, and intervals would be too
        narrow.
        """
        if self.says is not None:
            return sampling.seed + later
        return int(stream(sampling.seed, later, prompt).integers(2**31))
