"""The earth-mover distances of `tasft`, against linear programmes over all ways to move the mass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch.nn import functional as F

from detoxlm.methods.finetuning.emd import emd_lower_bound, emd_to_token, emd_upper_bound, smoothed, unit_rows

V, D, CASES = 7, 4, 200


def transport(p: torch.Tensor, q: torch.Tensor, cost: torch.Tensor) -> float:
    """The cheapest way to move p to q, over every plan [V, V] with those marginals."""
    n = len(p)
    rows = np.kron(np.eye(n), np.ones(n))
    columns = np.kron(np.ones(n), np.eye(n))
    marginals = np.concatenate([p.numpy(), q.numpy()])
    solved = linprog(cost.numpy().ravel(), A_eq=np.vstack([rows, columns])[:-1], b_eq=marginals[:-1])
    assert solved.success
    return float(solved.fun)


@pytest.fixture(params=range(4))
def case(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fifty pairs of distributions, from nearly uniform to nearly one token, over embeddings with a common part."""
    generator = torch.Generator().manual_seed(request.param)
    table = torch.randn(V, D, generator=generator, dtype=torch.float64) + request.param / 2
    sharp = torch.logspace(-1, 0.7, CASES // 4, dtype=torch.float64)[:, None]
    p, q = (
        torch.softmax(sharp * torch.randn(CASES // 4, V, generator=generator, dtype=torch.float64), -1)
        for _ in range(2)
    )
    units = table / table.norm(dim=1, keepdim=True)
    return p, q, units, 1 - units @ units.T


def test_the_distance_to_one_token_is_the_cheapest_transport(case: tuple[torch.Tensor, ...]) -> None:
    p, _, units, cost = case
    tokens = torch.arange(len(p)) % V
    found = emd_to_token(p, tokens, units)
    for row, token in enumerate(tokens):
        assert found[row].item() == pytest.approx(transport(p[row], torch.eye(V, dtype=p.dtype)[token], cost), abs=1e-6)


def test_soft_targets_lie_between_their_bounds(case: tuple[torch.Tensor, ...]) -> None:
    p, q, units, cost = case
    low, high = emd_lower_bound(p, q, units), emd_upper_bound(p, q, units)
    exact = torch.tensor([transport(a, b, cost) for a, b in zip(p, q, strict=True)], dtype=torch.float64)
    assert (low <= exact + 1e-6).all()
    assert (exact <= high + 1e-6).all()
    assert (high - low).max() > 0.1, "bounds that agree would make this test say nothing"
    assert (low >= 0).all()
    assert (high <= 2).all()


def test_the_upper_bound_is_the_mean_over_drawn_tokens_and_both_meet_at_one_token(
    case: tuple[torch.Tensor, ...],
) -> None:
    p, q, units, _ = case
    every = torch.stack([emd_to_token(p, torch.full((len(p),), v), units) for v in range(V)], -1)
    assert torch.allclose((every * q).sum(-1), emd_upper_bound(p, q, units), atol=1e-12)
    same = torch.eye(V, dtype=p.dtype)
    assert torch.allclose(emd_lower_bound(same, same, units), torch.zeros(V, dtype=p.dtype), atol=1e-12)
    assert torch.allclose(emd_to_token(same, torch.arange(V), units), torch.zeros(V, dtype=p.dtype), atol=1e-12)


def test_smoothed_targets_are_distributions_and_their_bound_is_below_the_cheapest_transport(
    case: tuple[torch.Tensor, ...],
) -> None:
    p, said, units, cost = case
    tokens, top = torch.arange(len(p)) % V, said.log().topk(4)
    soft = {eps: smoothed(tokens, top.indices, top.values, eps, V) for eps in (0.0, 0.3, 0.9)}
    for eps, q in soft.items():
        assert torch.allclose(q.sum(-1), torch.ones(len(q), dtype=q.dtype))
        spread = torch.zeros_like(q).scatter(-1, top.indices, top.values.exp() / top.values.exp().sum(-1, keepdim=True))
        assert torch.allclose(q, (1 - eps) * torch.eye(V, dtype=q.dtype)[tokens] + eps * spread)
    low = emd_lower_bound(p, soft[0.3], units)
    exact = torch.tensor([transport(a, b, cost) for a, b in zip(p, soft[0.3], strict=True)], dtype=torch.float64)
    assert (low <= exact + 1e-6).all()
    assert low.max() > 0.1, "a bound of nothing would make this test say nothing"


def test_with_all_on_one_token_the_bound_lacks_the_spread_of_the_model(case: tuple[torch.Tensor, ...]) -> None:
    p, said, units, _ = case
    tokens, top = torch.arange(len(p)) % V, said.log().topk(4)
    low = emd_lower_bound(p, smoothed(tokens, top.indices, top.values, 0.0, V), units)
    spread = (1 - (p @ units).square().sum(-1)) / 2
    assert torch.allclose(low, emd_to_token(p, tokens, units) - spread, atol=1e-12)
    assert (spread > 0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    units = unit_rows(torch.randn(V, D, generator=generator)).double()
    logits = torch.randn(5, V, generator=generator, dtype=torch.float64, requires_grad=True)
    q = torch.softmax(torch.randn(5, V, generator=generator, dtype=torch.float64), -1)
    tokens = torch.tensor([0, 3, 6, 2, 2])
    assert torch.autograd.gradcheck(lambda z: emd_to_token(z.softmax(-1), tokens, units), (logits,))
    assert torch.autograd.gradcheck(lambda z: emd_lower_bound(z.softmax(-1), q, units), (logits,))
    assert torch.autograd.gradcheck(lambda z: emd_upper_bound(z.softmax(-1), q, units), (logits,))


def test_unit_rows_have_length_one_and_empty_rows_stay_empty() -> None:
    table = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-3.0, 0.0]], dtype=torch.bfloat16)  # the mean of the others: (0, 2)
    assert unit_rows(table).tolist() == [
        pytest.approx([0.832, 0.555], abs=1e-3),
        [0, 0],
        pytest.approx([-0.832, -0.555], abs=1e-3),
    ]


def test_what_embeddings_have_in_common_does_not_count_as_meaning() -> None:
    generator = torch.Generator().manual_seed(0)
    words, dimension = 3000, 200
    meaning = torch.randn(words, dimension, generator=generator)
    meaning[1] = meaning[0] + 0.3 * meaning[1]  # two synonyms
    frequency = torch.linspace(-1, 1, words)[:, None] * 40 * F.normalize(torch.ones(dimension), dim=0)
    table = meaning + frequency + 1.0
    plain = F.normalize(table, dim=-1)
    assert plain[0] @ plain[2] > 0.7, "neighbours in frequency look alike"
    assert plain[0] @ plain[-1] < -0.2
    units = unit_rows(table)
    assert units[0] @ units[1] > 0.9
    assert (units[0] @ units[2:].T).abs().max() < 0.4
