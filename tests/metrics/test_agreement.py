"""Agreement of scorers: against scipy, by hand, resample by resample, and where it is undefined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from detoxlm.metrics import agreements
from detoxlm.metrics import bootstrap as bootstrap_module
from detoxlm.metrics.bootstrap import draws
from detoxlm.metrics.ranks import rank_correlation
from detoxlm.results import Agreement, Row


def rows(*prompts: tuple[Sequence[float], Sequence[float]], empty: Sequence[int] = ()) -> list[Row]:
    """One row per (scores of a, scores of b); the continuations numbered in `empty`, counted over all, have no text."""
    made, seen = [], 0
    for first, second in prompts:
        n = len(first)
        made.append(
            Row(
                prompt=f"prompt {len(made)}",
                continuations=[" " if seen + i in empty else "text" for i in range(n)],
                scores=list(first),
                tokens=[1] * n,
                nll=[1.0] * n,
                nll_tokens=[1] * n,
                opinions={"b": list(second)},
            )
        )
        seen += n
    return made


def agree(made: list[Row]) -> Agreement:
    (found,) = agreements("a", made)
    assert found.scorers == ("a", "b")
    return found


def random_rows(prompts: int, samples: int) -> list[Row]:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 11, (prompts, samples)) / 10  # many ties
    second = np.clip(first + rng.normal(0, 0.3, first.shape).round(1), 0, 1)
    return rows(*zip(first.tolist(), second.tolist(), strict=True))


def flat(made: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    return np.ravel([row.scores for row in made]), np.ravel([row.opinions["b"] for row in made])


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    seen, chance = np.mean(a == b), np.mean(a) * np.mean(b) + np.mean(~a) * np.mean(~b)
    return float((seen - chance) / (1 - chance))


def test_values_are_those_of_scipy_and_of_the_definitions() -> None:
    made = random_rows(prompts=30, samples=3)
    first, second = flat(made)
    a, b = first >= 0.5, second >= 0.5
    found = agree(made)
    assert found.spearman and found.same_verdict and found.kappa
    assert found.spearman.value == pytest.approx(stats.spearmanr(first, second).statistic)
    assert found.same_verdict.value == pytest.approx((a == b).mean())
    assert found.kappa.value == pytest.approx(kappa(a, b))
    counts = (found.both, found.only_first, found.only_second, found.neither)
    assert counts == ((a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum())
    assert found.spearman.n == found.same_verdict.n == found.kappa.n == 30


@pytest.mark.parametrize("copies", [3, 10])
def test_the_same_prompts_again_are_no_new_evidence(copies: int) -> None:
    made = random_rows(12, 4)
    once, again = agree(made), agree(made * copies)
    for name in ("spearman", "same_verdict", "kappa"):
        ours, theirs = getattr(once, name), getattr(again, name)
        assert theirs.model_dump() == pytest.approx(ours.model_dump(), abs=1e-9), name
    assert again.both == copies * once.both


def test_intervals_resample_whole_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap_module, "RESAMPLES", 60)
    made = random_rows(prompts=12, samples=2)
    found = agree(made)
    spearman, kappas = [], []
    for counts in np.concatenate(list(draws(12, 0))):
        drawn = [row for row, count in zip(made, counts, strict=True) for _ in range(count)]
        first, second = flat(drawn)
        spearman.append(stats.spearmanr(first, second).statistic)
        kappas.append(kappa(first >= 0.5, second >= 0.5))
    for estimate, values in ((found.spearman, spearman), (found.kappa, kappas)):
        assert estimate is not None
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_the_ends_of_the_scale() -> None:
    same = agree(rows(([0.1, 0.9], [0.2, 0.8]), ([0.3, 0.7], [0.3, 0.6])))
    assert same.spearman and same.same_verdict and same.kappa
    assert (same.spearman.value, same.same_verdict.value, same.kappa.value) == (1, 1, 1)
    assert same.same_verdict.low == pytest.approx(1 - (1 - 0.025**0.5))  # two prompts do not prove 100%
    opposite = agree(rows(([0.1, 0.9], [0.8, 0.2]), ([0.3, 0.7], [0.6, 0.3])))
    assert opposite.spearman and opposite.kappa
    assert (opposite.spearman.value, opposite.kappa.value) == (-1, -1)
    assert (opposite.both, opposite.only_first, opposite.only_second, opposite.neither) == (0, 2, 2, 0)


def test_a_constant_scorer_has_no_correlation_and_no_kappa() -> None:
    found = agree(rows(([0.1, 0.9], [0.2, 0.2]), ([0.3, 0.7], [0.2, 0.2])))
    assert found.spearman is None and found.kappa is None
    assert found.same_verdict is not None and found.same_verdict.value == 0.5
    # scores that vary on one side of 0.5 still have ranks
    mild = agree(rows(([0.1, 0.9], [0.2, 0.3]), ([0.3, 0.7], [0.2, 0.4])))
    assert mild.kappa is None and mild.spearman is not None


def test_one_prompt_has_values_without_intervals() -> None:
    found = agree(rows(([0.1, 0.9, 0.6], [0.2, 0.8, 0.3])))
    for estimate in (found.spearman, found.same_verdict, found.kappa):
        assert estimate is not None and estimate.low is None and estimate.n == 1


def test_empty_continuations_are_left_out() -> None:
    silent = [0, 3, 4, 5]  # the whole of the third prompt, which then is no unit
    found = agree(rows(([0.0, 0.9], [0.0, 0.8]), ([0.6, 0.0], [0.1, 0.0]), ([0.0, 0.0], [0.0, 0.0]), empty=silent))
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 1, 0, 0)
    assert found.same_verdict is not None and found.same_verdict.n == 2
    nothing = agree(rows(([0.0], [0.0]), empty=[0]))
    assert nothing.spearman is nothing.same_verdict is nothing.kappa is None
    assert nothing.neither == 0


def test_every_pair_is_compared_once_the_main_one_first() -> None:
    made = [row.model_copy(update={"opinions": row.opinions | {"c": row.scores}}) for row in random_rows(5, 2)]
    found = agreements("a", made)
    assert [pair.scorers for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[1].spearman is not None and found[1].spearman.value == 1
    assert found[0].spearman == found[2].spearman
    assert agreements("a", [row.model_copy(update={"opinions": {}}) for row in made]) == []


def test_rank_correlation_is_scipys_with_ties_and_none_of_a_constant() -> None:
    draw = np.random.default_rng(0)
    for first, second in ((draw.random(50), draw.random(50)), (draw.integers(0, 4, 50) / 4, draw.random(50))):
        found = rank_correlation(first.astype(np.float32), second.astype(np.float32))
        assert found == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
    assert rank_correlation(np.full(5, 0.3), np.arange(5.0)) is None
