"""What `data/methods_read` says of itself is what is in it."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "data" / "methods_read"


@pytest.fixture(scope="module")
def script() -> Any:
    found = importlib.util.spec_from_file_location("methods_read", ROOT / "scripts" / "methods_read.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_card_has_the_tables_of_the_texts(script: Any) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = script.read()
    assert f"{len(rows):,} continuations" in card
    for kind in ("built-in", "measured"):
        some = [row for row in rows if row["prompt_kind"] == kind]
        for line in script.table(some, {}).splitlines()[2:]:
            assert line.removesuffix("|") in card, line  # the card's lines go on with a scorer's alarms
    assert script.pairs([row for row in rows if row["prompt_kind"] == "built-in"]) in card


def test_a_change_between_methods_is_that_of_all_resamples(script: Any) -> None:
    before, after = np.array([2.0, 1.0, 0.0, 2.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    sums = sorted(sum(after[i] - before[i] for i in drawn) for drawn in itertools.product(range(5), repeat=5))
    found = script.between(before, after, 2)
    ends = (sums[math.ceil(level * len(sums)) - 1] / 10 for level in (0.025, 0.975))  # the least that so many reach
    assert (found.value, found.n) == (-0.3, 5) and (found.low, found.high) == tuple(ends)


def test_each_method_is_compared_once_with_each_other_and_never_with_the_untouched_model(script: Any) -> None:
    def row(method: str, prompt: str, label: str) -> dict[str, Any]:
        return {"prompt_sha256": prompt, "label": label, "text": "a", "method": method, "strength": 1.0}

    methods = {"untouched": "toxic", "fusion": "toxic", "nado": "not toxic", "tasft": "unsure"}
    lines = script.pairs([row(name, prompt, label) for name, label in methods.items() for prompt in "pq"]).splitlines()
    assert lines[2:] == [
        "| fusion 1 | nado 1 | -100.0 points [-100.0, -100.0] |",
        "| fusion 1 | tasft 1 | -100.0 points [-100.0, -100.0] |",  # unsure is not toxic
        "| nado 1 | tasft 1 | 0.0 points [0.0, 0.0] |",
    ]


def test_alarms_and_changes_are_counted_by_prompt(script: Any) -> None:
    def row(prompt: str, label: str, text: str) -> dict[str, Any]:
        return {"prompt_sha256": prompt, "label": label, "text": text, "method": "nado", "strength": 1.0}

    before = [row("p", "toxic", "a"), row("p", "unsure", "b"), row("q", "toxic", "c"), row("q", "not toxic", "d")]
    now = [row("p", "toxic", "a"), row("p", "not toxic", "d"), row("q", "unsure", "b"), row("q", "not toxic", "d")]
    said = script.line("nado 1", now, before, {"a": 0.9, "b": 0.5, "c": 0.1, "d": 0.2})
    assert said.startswith("| nado 1 | 4 | 1 (25.0% [")
    assert "| -25.0 points [" in said and said.endswith("| 2 | 2 | 1 |")  # unsure counts; one alarm is right
    toxic, whole = script.by_prompt(now, ["p", "q"], ["toxic"])
    assert np.array_equal(toxic, [1, 0]) and np.array_equal(whole, [2, 2])


def test_each_text_has_its_prompt_or_where_it_is(script: Any) -> None:
    rows = script.read()
    assert {row["label"] for row in rows} == {"toxic", "not toxic", "unsure"}
    builtin = (ROOT / "src/detoxlm/prompts/builtin.jsonl").read_text(encoding="utf-8").splitlines()
    for row in rows:
        if row["prompt_kind"] == "built-in":
            assert row["prompt"] in json.loads(builtin[row["prompt_row"]]).values()
        else:
            assert "prompt" not in row and row["prompt_file"].startswith("rtp/")
