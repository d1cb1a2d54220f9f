"""Speeds are compared in turns: the detoxified model against the untouched one, on the same work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fits import PROMPTS, fit

from detoxlm import speed
from detoxlm.generation import Sampling
from detoxlm.models import Target
from detoxlm.passes import prefill


def measured(target: Target, detoxifier: Any, strength: float = 1.0) -> Any:
    return speed.measure_speed(target, detoxifier, strength, PROMPTS, Sampling(temperature=1.0, top_p=0.9))


def test_the_ratio_is_of_times_of_the_two_models_in_turns(
    tiny: Callable[..., Target], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()
    detoxifier = fit(target, "surgery", letter_scorer)
    untouched = prefill(target, [[97, 98]]).logits
    turns: list[bool] = []

    def timed(model: Target, ids: Any, _: Sampling) -> float:
        assert len(ids) == len(PROMPTS)
        turns.append(not torch.equal(prefill(model, [[97, 98]]).logits, untouched))
        warming = len(turns) <= 2
        return 100.0 if warming else (2.0 if turns[-1] else 1.0)

    monkeypatch.setattr(speed, "_seconds", timed)
    found = measured(target, detoxifier)
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.5, 0.5, speed.PAIRS)
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    assert len(pairs) == speed.PAIRS + 1 and set(pairs) == {(False, True), (True, False)}
    assert torch.equal(prefill(target, [[97, 98]]).logits, untouched)


def test_times_that_vary_have_an_interval_around_their_ratio(
    tiny: Callable[..., Target], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()
    times = iter([1.0, 1.0, 1.0, 1.2, 1.3, 1.0, 1.0, 1.1, 1.2, 1.1, 1.0, 1.3, 1.4, 1.0, 1.0, 1.0])
    monkeypatch.setattr(speed, "_seconds", lambda *_: next(times))
    found = measured(target, fit(target, "surgery", letter_scorer))
    assert found.low is not None and found.high is not None and found.low < found.value < found.high


def test_both_write_as_many_tokens_whatever_they_say(
    tiny: Callable[..., Target], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()
    detoxifier = fit(target, "probe", letter_scorer)
    assert target.model.generation_config is not None
    target.model.generation_config.eos_token_id = list(range(300))  # every token ends a text
    steps: list[int] = []
    counted = speed.extend

    def extend(model: Any, state: Any, inputs: torch.Tensor) -> Any:
        steps.append(inputs.shape[0])
        return counted(model, state, inputs)

    monkeypatch.setattr(speed, "extend", extend)
    measured(target, detoxifier)
    assert steps == [len(PROMPTS)] * (speed.TOKENS - 1) * 2 * (speed.PAIRS + 1)
