"""docs/production.md: its commands are commands, with options that exist; the metrics that it names are counted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from detoxlm.cli import app
from detoxlm.serving.metrics import Metrics

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "production.md").read_text("utf-8")
LINES = [line for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
OURS = [line for line in LINES if line.startswith("detoxlm ")]


@pytest.mark.parametrize("line", OURS)
def test_every_command_of_the_page_is_one(line: str) -> None:
    root: Any = typer.main.get_command(app)
    _, name, *arguments = shlex.split(line)
    parsed = root.commands[name].make_context(name, arguments)  # raises on an option or argument that is none
    assert None not in [parsed.params.get(one.name) for one in root.commands[name].params if one.required]


def test_what_other_programs_are_given_is_there() -> None:
    others = [line for line in LINES if line not in OURS]
    assert {line.split()[0] for line in others} == {"docker", "kubectl"}
    for file in re.findall(r"-f (\S+)", " ".join(others)):
        assert (ROOT / file).is_file(), file


def test_the_metrics_that_it_names_are_counted() -> None:
    named = set(re.findall(r"`(detoxlm_\w+)`", PAGE))
    page = Metrics().page("m", "1")
    assert len(named) > 3 and all(re.search(rf"^# TYPE {name} ", page, re.M) for name in named)
