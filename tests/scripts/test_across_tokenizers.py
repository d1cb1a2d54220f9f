"""The benchmark of fusion across tokenizers makes batches of the size that it says, odd ones too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detoxlm.models import Target

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from across_tokenizers import DRAWN, Rows, texts_of


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_a_batch_has_as_many_rows_as_asked_for(batch: int, tiny: Callable[..., Target]) -> None:
    target = tiny()
    rows = Rows(target, None, texts_of(target, 8, batch), batch, DRAWN)
    assert rows.step() > 0
    assert len(rows._state.mask) == batch
