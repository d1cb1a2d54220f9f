"""The host for loops and engines that show token ids and logits alone: a transformers `LogitsProcessor`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import torch
from transformers import LogitsProcessor, PreTrainedModel

from detoxlm.methods.decoding.content import ByContent
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.rule import by_row


class SteeringProcessor(LogitsProcessor):
    """A detoxifier on logits: `model.generate(..., logits_processor=[processor])`; also for beams and assistance.

    Threads may share it: each follows the rows of its own generation.
    """

    def __init__(self, steering: Steering, strengths: Sequence[float], pad_token_id: int | None) -> None:
        """Take what is done, a strength for each request, and the token that pads rows on the left.

        Raises:
            UsageError: the steering needs more than token ids and logits.
        """
        self._steering = steering.on_logits()
        self._strengths, self._pad = list(strengths), pad_token_id
        self._threads = threading.local()

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the detoxified log-probabilities [B, V] of the next token after `input_ids` [B, T].

        Normalised, because beam search adds up what it is given.

        Raises:
            UsageError: B is no multiple of the number of strengths.
        """
        if not hasattr(self._threads, "rows"):
            self._threads.rows = ByContent(self._steering)
        rows: ByContent = self._threads.rows
        session = rows.go_on(rows.see(self._without_padding(input_ids)))
        for row, strength in enumerate(by_row(self._strengths, len(input_ids))):
            session.set_strength(row, strength)
        changed = session.act(range(len(input_ids)), scores.clone()).log_softmax(-1)
        return cast("torch.FloatTensor", changed)

    def _without_padding(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the batch with -1 for what pads it on the left; the last token of a row is never padding."""
        if self._pad is None:
            return ids
        padding = (ids == self._pad).long().cumprod(1).bool()
        padding[:, -1] = False
        return torch.where(padding, -1, ids)


def padding_of(model: PreTrainedModel) -> int | None:
    """Return the token that `model` pads with, as `generate` finds it; None where it has neither that nor an end."""
    for name in ("pad_token_id", "eos_token_id"):
        for config in (model.generation_config, model.config):
            found = getattr(config, name, None)
            if isinstance(found, list):
                found = found[0] if found else None
            if found is not None:
                return int(found)
    return None
