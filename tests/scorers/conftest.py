"""Held-out texts that Perspective scored, for the tests of what agrees with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture
def missing_from() -> Callable[[str, dict[str, Any]], list[str]]:
    """Return `missing_from(card, stored)`: what of a scorer's validity on file is not in its row of the card."""

    def find(card: str, stored: dict[str, Any]) -> list[str]:
        rows = [(name, metrics, ("accuracy",)) for name, metrics in stored["validity"].items()]
        for name, dimensions in stored.get("dimensions", {}).items():
            if not name.endswith("_continuations"):  # those are on file only
                rows += [(f"{dimension} | {name}", metrics, ()) for dimension, metrics in dimensions.items()]
        missing = []
        for start, metrics, more in rows:
            (row,) = [line for line in card.splitlines() if line.startswith(f"| {start} |")]
            for metric in ("auc", "spearman", "calibration_error", *more):
                if metric in metrics and "{value:.3f} [{low:.3f}, {high:.3f}]".format(**metrics[metric]) not in row:
                    missing.append(f"{start}: {metric}")
        return missing

    return find
