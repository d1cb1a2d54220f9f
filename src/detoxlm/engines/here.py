"""A model in this process, by transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from detoxlm import memory
from detoxlm.conversations import template_sha256
from detoxlm.engines.base import Engine, Written
from detoxlm.generation import Generation, Sampling, describe_prompts, generate
from detoxlm.likelihood import fluency_windows, measure_texts, measure_window, mention_tokens
from detoxlm.mentions import Mention
from detoxlm.methods.base import Detoxifier
from detoxlm.models import Target
from detoxlm.reading import Reading, read_answers, read_continuations
from detoxlm.results import DetoxifierInfo, ModelInfo, Window
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import BatchSize


@dataclass(frozen=True)
class Here(Engine):
    """A target, and the detoxifier that is attached while it writes and reads, and only then."""

    target: Target
    detoxifier: Detoxifier | None = None
    #: None where there is no detoxifier.
    strength: float | None = None

    @property
    def info(self) -> ModelInfo:
        """See `Engine`."""
        return self.target.info

    @property
    def acting(self) -> DetoxifierInfo | None:
        """See `Engine`."""
        return None if self.detoxifier is None else self.detoxifier.info(self.strength)

    @property
    def identity(self) -> dict[str, Any]:
        """See `Engine`."""
        return {
            "model": self.target.architecture.fingerprint,
            "dtype": str(self.target.model.dtype),
            "detoxifier": None if self.detoxifier is None else [self.detoxifier.content, self.strength],
        }

    @property
    def settings(self) -> dict[str, Any]:
        """See `Engine`."""
        return {"fingerprint": self.target.architecture.fingerprint}

    @property
    def template_sha256(self) -> str | None:
        """See `Engine`."""
        return template_sha256(self.target.tokenizer)

    @property
    def left_out(self) -> list[str]:
        """Nothing."""
        return []

    def described(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        """See `describe_prompts`; and how the target was loaded."""
        return [*describe_prompts(self.target, prompts, sampling), *self.target.notes]

    def windows(self, text: str, tokens: int, share: float) -> list[tuple[list[int], int]]:
        """See `fluency_windows`."""
        return fluency_windows(self.target, text, tokens, share)

    def measured(self, ids: list[int], scored: int) -> Window:
        """See `measure_window`."""
        return measure_window(self.target, ids, scored, self._attach)

    def mention_tokens(self, mentions: Sequence[Mention]) -> list[list[int]]:
        """See `detoxlm.likelihood.mention_tokens`."""
        return mention_tokens(self.target, mentions)

    def texts(self, ids: Sequence[list[int]]) -> list[Window]:
        """See `measure_texts`."""
        return measure_texts(self.target, ids, self._attach)

    def write(self, prompts: Sequence[str], sampling: Sampling, batch_size: BatchSize, skip: int) -> Iterator[Written]:
        """See `Engine`; batches are of prompts of like length."""
        batches = generate(self.target, prompts, sampling, batch_size=batch_size, skip=skip)
        devices = self.target.devices
        attach = self._attach or nullcontext
        while True:
            memory.begin(*devices)
            with attach():  # around the generation of one batch only: scorer and judge must see an untouched model
                batch = next(batches, None)
            peak = memory.peak(*devices) / 1e6
            if batch is None:
                return
            lengths = [[len(ids) for ids in one.token_ids] for one in batch.generations]
            yield Written(batch.generations, lengths, batch.seconds, peak)

    def read(self, generations: Sequence[Generation], scorers: Sequence[Scorer], answers: bool) -> Reading:
        """See `Engine`."""
        if answers:
            return read_answers(self.target, generations, scorers, self._attach)
        return read_continuations(generations, scorers)

    @property
    def _attach(self) -> Callable[[], AbstractContextManager[None]] | None:
        """What makes the target the model that is measured; None: it is so already."""
        detoxifier = self.detoxifier
        return None if detoxifier is None else lambda: detoxifier.attached(self.target.model, self.strength)
