"""The losses of the fine-tuning methods against their formulas in float64, and the limit on drift."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from detoxlm.methods.finetuning.contrastive import ContrastivePerplexity
from detoxlm.methods.finetuning.emd import emd_lower_bound, smoothed, unit_rows
from detoxlm.methods.finetuning.sft import CleanLikelihood
from detoxlm.methods.finetuning.tasft import Avoidance
from detoxlm.methods.finetuning.unlikelihood import UnlikelihoodLoss
from detoxlm.methods.training.anchors import coarse_kl, surprise, tail
from detoxlm.methods.training.course import HIGHEST, LOWEST, PRICE, RANGE, Course
from detoxlm.methods.training.objectives import CHUNK, Tokens

V, D, N, TEXTS = 11, 5, CHUNK + 40, 3


def tokens(seed: int) -> Tokens:
    """More tokens than one chunk holds, of three texts, with weights of their own."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(V, D, generator=generator, dtype=torch.float64)
    return Tokens(
        torch.randn(N, D, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.randint(V, (N,), generator=generator),
        torch.arange(N) * TEXTS // N,
        torch.rand(N, generator=generator, dtype=torch.float64),
        torch.arange(4).repeat(N, 1),
        torch.randn(N, 5, generator=generator, dtype=torch.float64).log_softmax(-1),
        lambda states: states @ table.T,
    )


@pytest.fixture
def clean() -> Tokens:
    return tokens(0)


@pytest.fixture
def harmful() -> Tokens:
    return tokens(1)


def probabilities(side: Tokens) -> torch.Tensor:
    return side.head(side.states).softmax(-1)


def of_tokens(side: Tokens) -> torch.Tensor:
    return probabilities(side)[torch.arange(N), side.ids]


def weighted(side: Tokens, values: torch.Tensor) -> torch.Tensor:
    return sum(w * v for w, v in zip(side.weights, values, strict=True)) / side.weights.sum()


def test_tasft_is_the_negative_mean_transport_to_the_harmful_tokens(clean: Tokens, harmful: Tokens) -> None:
    units = unit_rows(torch.randn(V, D, generator=torch.Generator().manual_seed(2))).double()
    cost = 1 - units @ units.T
    expected = weighted(harmful, (probabilities(harmful) * cost[harmful.ids]).sum(-1))
    loss = Avoidance(units, 6.0).loss(clean, harmful, TEXTS)
    assert loss.item() == pytest.approx(-6 * expected.item(), rel=1e-12)
    assert -12 <= loss.item() <= 0


def test_its_gradient_leaves_tokens_without_weight_alone(clean: Tokens, harmful: Tokens) -> None:
    harmful.weights[::2] = 0
    units = unit_rows(torch.randn(V, D, generator=torch.Generator().manual_seed(2))).double()
    (gradient,) = torch.autograd.grad(Avoidance(units, 6.0).loss(clean, harmful, TEXTS), harmful.states)
    assert (gradient[::2] == 0).all()
    assert (gradient[1::2].norm(dim=1) > 0).all()


def soft(smoothing: float) -> Avoidance:
    units = unit_rows(torch.randn(V, D, generator=torch.Generator().manual_seed(2))).double()
    return Avoidance(units, 6.0, smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
def test_with_soft_targets_it_is_the_negative_mean_of_the_bound_whatever_the_chunks(
    smoothing: float, clean: Tokens, harmful: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = soft(smoothing)
    q = smoothed(harmful.ids, harmful.top, harmful.base[:, :-1], smoothing, V)
    expected = weighted(harmful, emd_lower_bound(probabilities(harmful), q, objective.units))
    assert objective.reads_base
    loss = objective.loss(clean, harmful, TEXTS)
    assert loss.item() == pytest.approx(-6 * expected.item(), rel=1e-12)
    assert -12 <= loss.item() < 0
    (chunked,) = torch.autograd.grad(loss, harmful.states)
    monkeypatch.setattr("detoxlm.methods.training.objectives.CHUNK", N)
    (whole,) = torch.autograd.grad(objective.loss(clean, harmful, TEXTS), harmful.states)
    assert torch.allclose(chunked, whole, rtol=1e-12, atol=0)


def test_its_gradient_with_soft_targets_is_that_of_finite_differences(clean: Tokens, harmful: Tokens) -> None:
    def loss(states: torch.Tensor) -> torch.Tensor:
        few = {name: getattr(harmful, name)[:6] for name in ("ids", "text", "weights", "top", "base")}
        return soft(0.4).loss(clean, replace(harmful, states=states, **few), TEXTS)

    assert torch.autograd.gradcheck(loss, (harmful.states[:6].detach().requires_grad_(),))


def test_the_base_alone_would_be_a_target_that_teaches_nothing(clean: Tokens, harmful: Tokens) -> None:
    top = probabilities(harmful).detach().log().topk(V - 1)
    base = torch.cat([top.values, tail(top.values)], -1)
    start = replace(harmful, top=top.indices, base=base)  # a model that says what its base says, as training starts

    def size(smoothing: float) -> float:
        (gradient,) = torch.autograd.grad(soft(smoothing).loss(clean, start, TEXTS), start.states)
        return gradient.norm().item()

    full = size(0.0)
    assert full > 0.01
    assert size(0.5) == pytest.approx(0.5 * full, rel=0.05), "the cells but for the least likely token"
    assert size(1.0) < 0.05 * full


def test_lambda_is_constant_or_rises_or_falls_in_equal_steps() -> None:
    units = torch.zeros(V, D)
    weights = {
        schedule: [Avoidance(units, 6.0, None, schedule, 4).weight(step / 4) for step in range(4)]
        for schedule in ("constant", "rise", "fall")
    }
    assert weights == {"constant": [1.0] * 4, "rise": [0.25, 0.5, 0.75, 1.0], "fall": [1.0, 0.75, 0.5, 0.25]}
    assert CleanLikelihood().weight(0.5) == 1


def test_unlikelihood(clean: Tokens, harmful: Tokens) -> None:
    expected = weighted(harmful, -(1 - of_tokens(harmful)).log())
    assert UnlikelihoodLoss(2.0).loss(clean, harmful, TEXTS).item() == pytest.approx(2 * expected.item(), rel=1e-9)


def test_sft_is_the_cross_entropy_of_the_clean_side(clean: Tokens, harmful: Tokens) -> None:
    clean.weights[:] = 1
    expected = F.cross_entropy(clean.head(clean.states), clean.ids)
    assert CleanLikelihood().loss(clean, harmful, TEXTS).item() == pytest.approx(expected.item(), rel=1e-9)


def test_contrastive_perplexity(clean: Tokens, harmful: Tokens) -> None:
    def shares(side: Tokens) -> list[float]:
        made = []
        for text in range(TEXTS):
            mine = side.text == text
            w, log_p = side.weights[mine], of_tokens(side)[mine].log()
            made.append(math.exp((w * log_p).sum().item() / w.sum().item() / 0.5))
        return made

    good, bad = sum(shares(clean)), sum(shares(harmful))
    expected = -math.log(good / (good + 3 * bad))
    assert ContrastivePerplexity(0.5, 3.0).loss(clean, harmful, TEXTS).item() == pytest.approx(expected, rel=1e-6)


def test_drift_over_the_kept_tokens_is_no_more_than_over_the_vocabulary_and_nothing_without_a_change() -> None:
    generator = torch.Generator().manual_seed(0)
    base, now = (3 * torch.randn(50, V, generator=generator, dtype=torch.float64) for _ in range(2))
    full = F.kl_div(now.log_softmax(-1), base.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    for k in (1, 4, V - 1):
        top = base.log_softmax(-1).topk(k)
        cells = torch.cat([top.values, tail(top.values)], -1)
        coarse = coarse_kl(now, top.indices, cells)
        assert (coarse <= full + 1e-9).all()
        assert coarse.mean() > 0.1
        assert coarse_kl(base, top.indices, cells).abs().max() < 1e-5
    assert torch.allclose(coarse, full, atol=1e-2), "with all but one token kept, nothing is coarse any more"


def test_the_penalty_is_drift_and_what_samples_surprise_the_base_more(clean: Tokens, harmful: Tokens) -> None:
    priced, drift = UnlikelihoodLoss(1.0).penalty(clean, harmful, lambda x: x)
    z = clean.head(clean.states)
    assert drift.item() == pytest.approx(weighted(clean, coarse_kl(z, clean.top, clean.base)).item(), rel=1e-9)
    more = weighted(clean, surprise(z, clean.top, clean.base)).item()
    assert priced.item() == pytest.approx(drift.item() + max(0.0, more), rel=1e-9)
    assert [x.item() for x in CleanLikelihood().penalty(clean, harmful, lambda x: x)] == [0, 0]


def test_surprise_is_the_rise_of_cross_entropy_and_sees_what_divergence_hardly_does() -> None:
    base = 3 * torch.randn(200, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, flatter = base.softmax(-1), (base / 1.05)
    top = base.log_softmax(-1).topk(V - 1)
    cells = torch.cat([top.values, tail(top.values)], -1)
    found = surprise(flatter, top.indices, cells)
    exact = -(flatter.softmax(-1) * p.log()).sum(-1) + (p * p.log()).sum(-1)
    assert torch.allclose(found, exact, atol=1e-2)
    assert found.mean() > 10 * coarse_kl(flatter, top.indices, cells).mean()
    assert surprise(base * 1.05, top.indices, cells).mean() < 0
    assert surprise(base, top.indices, cells).abs().max() < 1e-6


def test_a_weight_follows_the_share_of_violations_to_delta() -> None:
    fixed, led = Course(weight=3.0), Course(weight=3.0, delta=0.05)
    for course in (fixed, led):
        course.follow(0.2)
        course.look({"toxic_fraction": 0.2})
    assert fixed.price == 3
    assert led.price == pytest.approx(3 * math.exp(0.5)), "no more than this in one look"
    led.look({"toxic_fraction": 0.05})
    assert led.price == pytest.approx(3 * math.exp(0.5)), "satisfied, it stands still"
    led.look({"toxic_fraction": 0.025})
    assert led.price == pytest.approx(3 * math.exp(0.25))
    for _ in range(100):
        led.look({"toxic_fraction": 0.2})
    assert led.price == 3 * RANGE
    again = Course.from_state(led.state())
    assert (again.price, again.weight, again.delta, again.watched) == (led.price, 3, 0.05, led.watched)


def test_the_price_of_drift_rises_above_the_limit_falls_below_it_and_stays_within_bounds() -> None:
    above, below = Course(0.05), Course(0.05)
    for _ in range(200):
        above.follow(0.2)
        below.follow(0.0)
    assert above.price == HIGHEST
    assert below.price == LOWEST < PRICE
    course = Course(0.05)
    course.follow(0.05)
    early = course.price
    for _ in range(100):
        course.follow(0.05)
    settled = course.price
    course.follow(0.05)
    assert course.price == pytest.approx(settled, rel=1e-6), "at the limit it stands still"
    assert early < PRICE
