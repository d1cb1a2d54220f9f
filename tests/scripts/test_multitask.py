"""A method fitted upon what another made of a model, as the benchmark of two tasks measures it."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import fit

from detoxlm.architecture import Architecture
from detoxlm.methods.base import describe_target
from detoxlm.models import Target
from detoxlm.settings import Settings

pytest.importorskip("trl")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import multitask

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(target: Target) -> torch.Tensor:
    with torch.inference_mode():
        return target.model(IDS).logits


@pytest.mark.parametrize("method", ["nado", "sft"])
def test_it_acts_upon_what_the_first_makes_of_the_model_and_leaves_no_trace(
    method: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    before = logits(target)
    first = fit(target, "sft", letter_scorer)
    model = first.merge(copy.deepcopy(target.model), 1.0)
    tuned = Target(model, target.tokenizer, Architecture.of(model), "tuned", target.revision)
    second = fit(tuned, method, letter_scorer, seed=3)
    upon = multitask.Upon(Settings(), describe_target(target), {}, parts=(first, second))
    with second.attached(tuned.model):
        wanted = logits(tuned)
    with upon.attached(target.model, 1.0):
        found = logits(target)
    assert torch.equal(found, wanted) and not torch.equal(found, logits(tuned))
    assert torch.equal(logits(target), before)
    other = multitask.Upon(Settings(), describe_target(target), {}, parts=(first, first))
    assert other.content != upon.content, "a row of other parts is another row"


def test_an_answer_to_the_second_task_is_by_what_gave_it(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(multitask, "judge", lambda _, held_out: asked.append(held_out) or {"auc": len(asked)})
    target, row = tiny(), fit(tiny(), "sft", letter_scorer)

    def told(comments: list[tuple[str, bool]], detoxifier: Any) -> float:
        task = multitask.SecondTask(target, comments, tmp_path / "second-task.json")
        task.told("row", detoxifier)
        return task.found["row"]["auc"]

    some, others = [("a", True), ("b", False)], [("c", True), ("b", False)]
    assert [told(some, None), told(some, None), told(others, None)] == [1, 1, 2]
    assert [told(some, row), told(some, row), told(some, None)] == [3, 3, 1]
    changed = copy.deepcopy(row)
    next(iter(changed.tensors.values())).add_(1)
    assert told(some, changed) == 4
    target.model.bfloat16()
    assert told(some, None) == 5, "in other numbers it is another answer"
    monkeypatch.setattr(multitask, "question", lambda text: f"{text}?")
    assert told(some, None) == 6


def test_strengths_that_no_row_would_heed_are_refused() -> None:
    with pytest.raises(SystemExit, match="--strengths: "):
        multitask.multitask(argparse.Namespace(strengths=[2.0]))
