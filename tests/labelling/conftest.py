from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sessions import Page, Terminal


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Return `terminal(*arguments)`: a session of `detoxlm label`."""
    opened: list[Terminal] = []

    def open_terminal(*arguments: Any) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Return `page(*arguments)`: a session of `detoxlm label --page`."""
    opened: list[Page] = []

    def open_page(*arguments: Any) -> Page:
        opened.append(Page(tmp_path / f"log{len(opened)}", *arguments))
        return opened[-1]

    yield open_page
    for one in opened:
        one.close()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Five texts; the third is of the kind that steers terminals and pages."""
    rows = [
        {"prompt": "She said:", "text": "you fool"},
        {"text": "a quiet day"},
        {"text": "<b>&bold</b> \x1b[2J\u202e <script>alert(1)</script>"},
        {"prompt": "<i>He</i> said:", "text": "you fool", "toxicity": 0.875},
        {"text": "line one\nline two"},
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
