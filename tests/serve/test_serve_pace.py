"""Batches as large as they should be."""

from __future__ import annotations

import random

import pytest

from detoxlm.serve.pace import BUDGET, FIRST, WORTH, Pace


def settled(fixed: float, rate: float, noise: float = 0.0, batches: int = 60) -> Pace:
    """Return the pace of a scorer whose batches take `fixed + rate * cost` seconds, with more waiting than fits."""
    rng = random.Random(0)
    pace = Pace()
    for _ in range(batches):
        cost = pace.limit * rng.uniform(0.6, 1.0)
        pace.add(cost, (fixed + rate * cost) * rng.uniform(1 - noise, 1 + noise))
    return pace


@pytest.mark.parametrize(("fixed", "rate"), [(0.0, 1e-4), (0.01, 5e-5), (0.03, 1e-5)])
def test_a_batch_takes_its_time(fixed: float, rate: float) -> None:
    limit = settled(fixed, rate).limit
    assert fixed + rate * limit == pytest.approx(BUDGET, rel=1e-6)


def test_where_the_fixed_part_is_large_a_batch_takes_longer_but_does_not_shrink_to_nothing() -> None:
    fixed, rate = 0.5, 1e-3  # two and a half times the budget
    limit = settled(fixed, rate).limit
    assert fixed / (fixed + rate * limit) == pytest.approx(1 / WORTH, rel=1e-6)


def test_a_busy_machine_makes_batches_smaller_and_a_quiet_one_larger_again() -> None:
    pace = settled(0.01, 5e-5)
    for _ in range(60):
        pace.add(cost := pace.limit, 7 * (0.01 + 5e-5 * cost))
    busy = pace.limit
    assert 0.06 < 7 * (0.01 + 5e-5 * busy) < 0.45, "the same size again and again: the parts cannot be told apart"
    for _ in range(60):
        pace.add(cost := pace.limit, 0.01 + 5e-5 * cost)
    assert busy < pace.limit < 2 * BUDGET / 5e-5


def test_noise_moves_it_little() -> None:
    for noise in (0.1, 0.3):
        assert 0.5 < (0.01 + 5e-5 * settled(0.01, 5e-5, noise).limit) / BUDGET < 2


def test_before_the_first_batch_it_is_a_guess_and_growth_is_in_steps() -> None:
    pace = Pace()
    assert pace.limit == FIRST
    pace.add(100.0, 1e-6)
    assert pace.limit == 2 * FIRST
    pace.add(2 * FIRST, 1e-4)
    assert pace.limit == 4 * FIRST


def test_how_long_a_queue_takes() -> None:
    pace = settled(0.02, 1e-4)
    batch = pace.limit
    assert pace.seconds(10 * batch) == pytest.approx(10 * (0.02 + 1e-4 * batch), rel=1e-6)
