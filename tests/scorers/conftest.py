"""Held-out texts that Perspective scored, for the tests of what agrees with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rtp(shared_data: Path) -> Callable[[str], tuple[list[str], np.ndarray]]:
    """Return `rtp(name)`: prompts and continuations of the development file of that name, and their toxicities."""

    def read(name: str) -> tuple[list[str], np.ndarray]:
        lines = (shared_data / f"rtp/prompts_{name}.jsonl").read_text(encoding="utf-8").splitlines()
        halves = [row[part] for row in map(json.loads, lines) for part in ("prompt", "continuation")]
        halves = [half for half in halves if half.get("toxicity") is not None]
        return [half["text"] for half in halves], np.array([half["toxicity"] for half in halves])

    return read
