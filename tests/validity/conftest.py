from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, *rows: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return make


@pytest.fixture
def comments(write: Callable[..., Path]) -> Path:
    rows = [{"text": f"{'bad ' * (i % 4)}text {i}", "toxic": i % 4 > 1} for i in range(40)]
    return write("comments.jsonl", *rows)
