"""What a fine-tuning method asks of the harmful and of the clean tokens of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from detoxlm.methods.training.anchors import coarse_kl, kl_and_surprise

#: Tokens whose logits [n, V] exist at once; the rest is computed again when gradients need it.
CHUNK = 128
Mean = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Tokens:
    """The n tokens of some texts of a batch that count, and the states that predict them."""

    states: torch.Tensor  # [n, d]
    ids: torch.Tensor  # [n]
    text: torch.Tensor  # [n], which text of the batch
    weights: torch.Tensor  # [n]
    top: torch.Tensor  # [n, k], the tokens of their anchors
    base: torch.Tensor  # [n, k + 1], the log-probabilities of those and of the tail
    head: Callable[[torch.Tensor], torch.Tensor]  # states [c, d] to logits [c, V] in float32

    def each(self, of: Callable[..., torch.Tensor], *rows: torch.Tensor) -> torch.Tensor:
        """Return `of(logits [c, V], *rows [c, ...]) -> [c]` for all n tokens, a chunk at a time."""

        def part(states: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
            return of(self.head(states), *given)

        chunks = [
            checkpoint(part, self.states[i : i + CHUNK], *(row[i : i + CHUNK] for row in rows), use_reentrant=False)
            for i in range(0, len(self.ids), CHUNK)
        ]
        return torch.cat(chunks)

    def log_p(self) -> torch.Tensor:
        """Return the log-probability of each token [n]."""

        def of(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]

        return self.each(of, self.ids)

    def drift(self) -> torch.Tensor:
        """Return KL(anchor || model) of each token [n], in nats (`detoxlm.methods.training.anchors`)."""
        return self.each(coarse_kl, self.top, self.base)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the weighted mean of values [n]."""
        return (self.weights * values).sum() / self.weights.sum().clamp(min=1e-9)

    def per_text(self, values: torch.Tensor, texts: int) -> torch.Tensor:
        """Return the weighted mean of values [n] for each text of the batch [texts]."""
        sums = values.new_zeros(2, texts)
        sums = sums.index_add(1, self.text, torch.stack([self.weights * values, self.weights]))
        return sums[0] / sums[1].clamp(min=1e-9)


class Objective(ABC):
    """The loss of a method: a loss of its own, and a penalty that `Course` prices."""

    @property
    def reads_harmful(self) -> bool:
        """Whether it asks anything of harmful texts; where not, none are looked for."""
        return True

    @property
    def reads_base(self) -> bool:
        """Whether the harmful tokens must carry what the untouched model says there (`Tokens.top`, `Tokens.base`)."""
        return False

    @property
    def anchored(self) -> bool:
        """Whether the clean tokens must carry it."""
        return False

    def weight(self, done: float) -> float:
        """Return what a step's loss is multiplied by, in [0, 1], after a share `done` in [0, 1) of all steps."""
        return 1.0

    @abstractmethod
    def loss(self, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        """Return the loss of a batch of `texts` clean and as many harmful texts."""

    def penalty(self, clean: Tokens, harmful: Tokens, mean: Mean) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is priced, and the drift, in nats per token, that the price may follow: nothing.

        Args:
            clean: of this process's batch.
            harmful: of this process's batch.
            mean: takes the mean of a number over the batches of all processes, without gradients.
        """
        nothing = torch.zeros_like(clean.states[0, 0])
        return nothing, nothing


class Anchored(Objective):
    """An objective that stays near the base on clean text: in distribution, and in how likely its samples are."""

    @property
    def anchored(self) -> bool:
        """Return True."""
        return True

    def penalty(self, clean: Tokens, harmful: Tokens, mean: Mean) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the drift and what samples surprise the base more, both in nats per token; and the drift alone."""
        each = clean.each(kl_and_surprise, clean.top, clean.base)
        drift, more = clean.mean(each[:, 0]), clean.mean(each[:, 1])
        return drift + more * (mean(more) > 0), drift
