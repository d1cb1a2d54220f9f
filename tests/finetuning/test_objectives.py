"""The losses of the fine-tuning methods against their formulas in float64, and the limit on drift."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from detoxlm.finetuning.anchors import Anchor, coarse_kl, tail, without
from detoxlm.finetuning.course import HIGHEST, LOWEST, PRICE, RANGE, Course
from detoxlm.finetuning.emd import unit_rows
from detoxlm.finetuning.objectives import CHUNK, Tokens
from detoxlm.methods.contrastive import ContrastivePerplexity
from detoxlm.methods.sft import CleanLikelihood
from detoxlm.methods.tasft import Avoidance
from detoxlm.methods.unlikelihood import UnlikelihoodLoss

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


def test_without_some_tokens_only_the_proportions_of_the_others_count() -> None:
    generator = torch.Generator().manual_seed(0)
    base = 2 * torch.randn(40, V, generator=generator, dtype=torch.float64)
    left_out = torch.arange(V) % 4 == 1
    top = base.log_softmax(-1).topk(V - 2)
    made = without(Anchor(top.indices, torch.cat([top.values, tail(top.values)], -1)), left_out)
    lower = base - 5.0 * left_out
    moved = coarse_kl(lower, made.ids, made.log_p)
    inside = left_out.expand_as(base).gather(1, top.indices).sum(1) == left_out.sum()
    assert inside.any()
    assert moved[inside].abs().max() < 1e-9, "what is taken from them goes to the others in proportion, at no cost"
    other = base + torch.randn(40, V, generator=generator, dtype=torch.float64)
    rest = [
        base.masked_fill(left_out, -torch.inf).log_softmax(-1),
        other.masked_fill(left_out, -torch.inf).log_softmax(-1),
    ]
    exact = (rest[0].exp() * (rest[0] - rest[1]).masked_fill(left_out, 0)).sum(-1)
    found = coarse_kl(other, made.ids, made.log_p)[inside]
    assert (found <= exact[inside] + 1e-9).all()
    assert torch.allclose(found, exact[inside], atol=0.05)
    other.requires_grad_()
    coarse_kl(other, made.ids, made.log_p).sum().backward()
    assert other.grad is not None
    assert other.grad.isfinite().all()
    assert other.grad[inside][:, left_out].abs().max() < 1e-12


def test_the_penalty_is_drift_on_clean_text_and_on_the_harmless_rest(clean: Tokens, harmful: Tokens) -> None:
    priced, drift = UnlikelihoodLoss(1.0).penalty(clean, harmful)
    parts = [weighted(side, coarse_kl(side.head(side.states), side.top, side.base)) for side in (clean, harmful)]
    assert drift.item() == pytest.approx(parts[0].item(), rel=1e-9)
    assert priced.item() == pytest.approx(sum(parts).item(), rel=1e-9)
    assert [x.item() for x in CleanLikelihood().penalty(clean, harmful)] == [0, 0]


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
