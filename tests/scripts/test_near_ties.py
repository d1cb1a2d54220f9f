"""The benchmark's judge of texts that part: what is a near-tie, by numbers that can be written down."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import fit

from detoxlm.generation import Sampling, generate
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from near_ties import NEAR, Parting, Request, distance, parting
from served_equal import apart, parted_at

P = [0.5, 0.2, 0.3]
LOGITS = torch.tensor(P).log()
GREEDY, SAMPLED = Sampling(), Sampling(temperature=1.0)


def test_greedy_tokens_are_as_far_apart_as_their_log_probabilities() -> None:
    assert distance(LOGITS, GREEDY, 0.0, [0]) == 0
    assert distance(LOGITS, GREEDY, 0.0, [2]) == pytest.approx(math.log(0.5 / 0.3), abs=1e-6)
    assert distance(LOGITS, GREEDY, 0.0, [1, 2]) == pytest.approx(math.log(0.5 / 0.3), abs=1e-6)
    assert distance(LOGITS, GREEDY, 0.0, []) == math.inf


@pytest.mark.parametrize(
    ("token", "number", "away"),
    [(0, 0.1, 0), (0, 0.6, 0.1), (1, 0.4, 0.1), (1, 0.6, 0), (1, 0.9, 0.2), (2, 0.65, 0.05)],
)
def test_a_sampled_token_is_as_far_as_the_random_number_from_its_part(token: int, number: float, away: float) -> None:
    assert distance(LOGITS, SAMPLED, number, [token]) == pytest.approx(away, abs=1e-6)


def test_a_token_that_cannot_be_drawn_is_infinitely_far() -> None:
    assert distance(torch.tensor([0.0, -math.inf]), SAMPLED, 0.999999, [1]) == math.inf


def test_a_near_tie_is_near_alone_and_in_a_batch() -> None:
    assert Parting(3, NEAR / 2, 0.0).near
    assert not Parting(3, NEAR / 2, 2 * NEAR).near
    assert "token 3, 5.0e-04 from the other token alone and 2.0e-03 batched: NOT a near-tie" in str(
        Parting(3, NEAR / 2, 2 * NEAR)
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_text_that_goes_another_way_is_found_at_its_token_and_far_from_a_tie(
    temperature: float, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, "fusion", letter_scorer)
    assert isinstance(detoxifier, DecodingDetoxifier)
    letters = set(target.tokenizer("abcdefgh", add_special_tokens=False)["input_ids"])
    others = [token for token in range(target.model.config.vocab_size) if token not in letters]

    def letters_alone(_: Any, __: Any, output: Any) -> None:  # a token is a byte, and few bytes are texts
        output.logits[..., others] = -1e4

    target.model.register_forward_hook(letters_alone)
    sampling = Sampling(max_new_tokens=8, temperature=temperature, seed=3)
    request = Request("the old", sampling, 0.5)
    with detoxifier.attached(target.model, 0.5):
        text = next(generate(target, ["the old"], sampling)).generations[0].texts[0]
    beside = [Request("a red sea", sampling, 2.0), Request("x" * 20, sampling, 0.0)]
    other = text[:4] + next(c for c in "abcdefgh" if c != text[4]) + text[5:]
    assert len(text) == 8
    for texts in ((other, text), (text, other)):
        found = parting(target, detoxifier, request, texts, beside)
        assert found.step == 4
        assert not found.near
        assert found.batched == pytest.approx(found.alone, rel=1e-3, abs=1e-5)
    shorter = parting(target, detoxifier, request, (text[:3], text), beside)
    assert shorter.step == 3 and not shorter.near


def test_tokens_that_were_written_are_looked_at_and_not_the_two_likeliest() -> None:
    logits = torch.tensor([0.3, 0.3, 0.2, 0.2]).log()  # a tie, which nobody wrote; 3 ends a text
    assert parted_at([5, 2, 1], [5, 0]) == 1 and parted_at([5], [5, 2]) == 1
    far = pytest.approx(math.log(0.3 / 0.2), abs=1e-6)
    assert apart(logits, ([5, 0], [5, 1]), 1, [3]) == pytest.approx(0, abs=1e-6)
    assert apart(logits, ([5, 2, 1], [5, 0]), 1, [3]) == far
    assert apart(logits, ([5], [5, 0]), 1, [3]) == far
