"""Copies of a target's layers, to run beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from detoxlm.methods.decoding.copies import copied
from detoxlm.models import Target


@pytest.mark.parametrize("shape", ["llama", "gemma2", "gemma3_text", "gpt_neox", "gptj", "gpt2"])
def test_in_two_bytes_an_unchanged_copy_says_what_its_target_says_at_far_positions(
    shape: str, tiny: Callable[..., Target]
) -> None:
    model = tiny(shape, dtype="bfloat16").model
    far = 100 if shape in ("gpt2", "gptj") else 1000  # theirs are rows of a table
    positions = torch.tensor([0, *range(far, far + 11)])  # far from the first token too: what turns is the distance
    inputs = {
        name: row[None].to(model.device)
        for name, row in (("input_ids", torch.arange(60, 72)), ("position_ids", positions))
    }
    for own_embeddings in (False, True):
        copy = copied(model, 4, own_embeddings=own_embeddings)
        with torch.inference_mode():
            assert torch.equal(copy(**inputs).logits, model(**inputs).logits)
    kept = {name: buffer.dtype for name, buffer in model.named_buffers()}
    assert {name: buffer.dtype for name, buffer in copy.named_buffers()} == kept
