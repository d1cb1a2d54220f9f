"""Where the tests run their models: on the CPU, or on what DETOXLM_TEST_DEVICE names (`cuda`); and tokens there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import BatchEncoding

from detoxlm.models import Target

DEVICE = os.environ.get("DETOXLM_TEST_DEVICE", "cpu")

#: For tests whose subject is the CPU: its memory, its threads, processes that share it.
cpu_only = pytest.mark.skipif(DEVICE != "cpu", reason="about the CPU alone")


def encoded(target: Target, texts: str | Sequence[str]) -> BatchEncoding:
    """What a model takes of texts, padded to one length, on the target's device."""
    tokenizer: Any = target.tokenizer
    return tokenizer(texts, return_tensors="pt", padding=True).to(target.device)


def as_row(target: Target, ids: Sequence[int]) -> torch.Tensor:
    """Token ids as a batch of one row [1, T], on the target's device."""
    return torch.tensor([list(ids)], device=target.device)
