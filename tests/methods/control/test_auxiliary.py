"""The auxiliary model on a toy language that can be enumerated: the exact R, q*, and what training finds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from devices import as_row

from detoxlm.methods.control.auxiliary import Auxiliary, bernoulli_kl, log_satisfied, lowering
from detoxlm.methods.control.training import CLIP, Positions, auxiliary_loss, importance, positions, train
from detoxlm.models import Target
from detoxlm.passages import passages

#: Texts of three tokens over four; every prefix has next-token probabilities of its own.
V, T = 4, 3
Text = tuple[int, ...]
PREFIXES: list[Text] = [prefix for n in range(T) for prefix in itertools.product(range(V), repeat=n)]
TEXTS: list[Text] = list(itertools.product(range(V), repeat=T))


class Toy:
    """A language model p and a constraint C in [0, 1] on whole texts, both random, and the exact R by enumeration."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        rows = 0.7 * torch.randn(len(PREFIXES), V, generator=generator, dtype=torch.float64)
        self.next = dict(zip(PREFIXES, rows.softmax(-1), strict=True))
        scores = torch.rand(len(TEXTS), generator=generator, dtype=torch.float64)
        self.satisfied = dict(zip(TEXTS, scores.tolist(), strict=True))

    def p(self, text: Text, after: Text = ()) -> float:
        """The probability that `text` goes on after its prefix `after`."""
        return math.prod(float(self.next[text[:t]][text[t]]) for t in range(len(after), len(text)))

    def r(self, prefix: Text) -> float:
        """Pr[C | prefix], over every text that starts with it."""
        return sum(self.p(text, prefix) * self.satisfied[text] for text in TEXTS if text[: len(prefix)] == prefix)


@pytest.fixture(params=range(3))
def toy(request: pytest.FixtureRequest) -> Toy:
    return Toy(request.param)


def test_the_token_level_form_is_the_text_level_one_and_its_distance_is_minus_log_r(toy: Toy) -> None:
    whole = toy.r(())
    total = divergence = 0.0
    for text in TEXTS:
        conditioned = toy.p(text) * toy.satisfied[text] / whole
        by_token = 1.0
        for t in range(T):
            log_r = torch.tensor([toy.r((*text[:t], v)) for v in range(V)], dtype=torch.float64).logit().neg()
            weights = toy.next[text[:t]] * log_satisfied(log_r).exp()
            by_token *= float((weights / weights.sum())[text[t]])
        assert by_token == pytest.approx(conditioned, abs=1e-10)
        total += by_token
        divergence += conditioned * math.log(conditioned / toy.p(text))
    assert total == pytest.approx(1, abs=1e-10)
    hard = {text: float(toy.satisfied[text] > 0.5) for text in TEXTS}
    toy.satisfied = hard
    whole = toy.r(())
    divergence = sum(
        toy.p(text) * c / whole * math.log(toy.p(text) * c / whole / toy.p(text)) for text, c in hard.items() if c
    )
    assert divergence == pytest.approx(-math.log(whole), abs=1e-10)


def everything(toy: Toy) -> Positions:
    """Every position of every text, weighted by its probability: what infinitely many samples would teach."""
    rows = [(text, t) for text in TEXTS for t in range(T)]
    place = {prefix: i for i, prefix in enumerate(PREFIXES)}
    return Positions(
        torch.eye(len(PREFIXES))[[place[text[:t]] for text, t in rows]],
        torch.tensor([text[t] for text, t in rows]),
        torch.arange(len(TEXTS)).repeat_interleave(T),
        torch.tensor([t for _, t in rows]),
        torch.tensor([1 - toy.satisfied[text] for text, _ in rows]),
        torch.tensor([toy.p(text) for text, _ in rows]),
        torch.arange(V).repeat(len(rows), 1),
        torch.stack([toy.next[text[:t]].float() for text, t in rows]),
    )


def untrained(rank: int = 64) -> Auxiliary:
    torch.manual_seed(0)
    return Auxiliary(torch.randn(V, len(PREFIXES)), rank).eval()


def test_an_untrained_one_says_the_same_of_every_token_so_that_nothing_changes(toy: Toy) -> None:
    rows = everything(toy)
    s = untrained()(rows.states, rows.likeliest)
    assert (s == s[:, :1]).all()


@pytest.mark.more
@pytest.mark.parametrize("consistency", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_training_finds_the_enumerated_r(toy: Toy, consistency: float) -> None:
    rows, auxiliary = everything(toy), untrained()
    optimiser = torch.optim.Adam(auxiliary.parameters(), lr=3e-2)
    follows = (rows.place > 0).nonzero()[:, 0]
    order = torch.cat([follows, (rows.place == 0).nonzero()[:, 0]])
    for step in range(600):
        for group in optimiser.param_groups:
            group["lr"] = 3e-2 * (1 - step / 600)
        loss = auxiliary_loss(auxiliary, rows[order], rows[follows - 1], consistency)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    exact = torch.tensor([[toy.r((*prefix, v)) for v in range(V)] for prefix in PREFIXES])
    with torch.no_grad():
        found = 1 - auxiliary(torch.eye(len(PREFIXES)), torch.arange(V).repeat(len(PREFIXES), 1)).sigmoid()
    assert (found - exact).abs().max() < 0.01


def test_the_exact_r_has_no_inconsistency_and_another_has(toy: Toy) -> None:
    for prefix in PREFIXES[1:]:
        mean = sum(float(toy.next[prefix][v]) * toy.r((*prefix, v)) for v in range(V))
        assert mean == pytest.approx(toy.r(prefix), abs=1e-12)
    p, q = torch.tensor([0.3, 0.5, 0.0]), torch.tensor([0.3, 0.9, 0.2])
    exact = [0.0, 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1), -math.log(0.8)]
    assert bernoulli_kl(p, q).tolist() == pytest.approx(exact, abs=1e-4)


def test_weights_make_up_for_another_temperature(toy: Toy) -> None:
    hot = 2.0
    total = violation = 0.0
    for text in TEXTS:
        logits = torch.stack([toy.next[text[:t]].log() for t in range(T)])
        drawn = math.prod(float((logits[t] / hot).softmax(-1)[text[t]]) for t in range(T))
        weight = float(importance(logits, torch.tensor(text), hot))
        total += drawn * weight
        violation += drawn * weight * toy.satisfied[text]
    assert total == pytest.approx(1, abs=1e-9)
    assert violation == pytest.approx(toy.r(()), abs=1e-9)
    assert float(importance(logits, torch.tensor(text), 1.0)) == pytest.approx(1)


def test_nothing_is_lowered_up_to_the_tolerance() -> None:
    s = torch.tensor([0.05, 0.2, 0.6, 0.999]).logit()
    assert log_satisfied(s, 0.2).tolist() == pytest.approx([0, 0, math.log(0.5), math.log(0.001 / 0.8)], abs=1e-3)
    assert lowering(s, "published", 3.0, 0.2).tolist() == pytest.approx((-3 * log_satisfied(s, 0.2)).tolist())
    assert lowering(s, "tilt", 0.5, 0.25).tolist() == pytest.approx([0, 0, 12 * 0.35, 12 * 0.749], abs=1e-4)
    assert log_satisfied(s).exp().tolist() == pytest.approx([0.95, 0.8, 0.4, 0.001], abs=1e-5)


def test_positions_are_of_the_continuations_tokens_alone_and_in_order(tiny: Callable[..., Target]) -> None:
    target = tiny()
    texts = passages(target, [("the old", " bridge"), ("x", "yz"), ("a long prompt", "b")], 64)
    rows = positions(target, texts, [0.1, 0.2, 0.3], batch_size=2)
    assert rows.tokens.tolist() == [token for text in texts for token in text.ids[text.start :]]
    assert rows.text.tolist() == [0] * 7 + [1] * 2 + [2]
    assert rows.place.tolist() == [*range(7), 0, 1, 0]
    assert rows.violation.tolist() == pytest.approx([0.1] * 7 + [0.2] * 2 + [0.3])
    assert rows.weight.tolist() == [1] * 10
    with torch.inference_mode():
        found = target.model(as_row(target, texts[1].ids), output_hidden_states=True)
    assert torch.allclose(rows.states[7:9], found.hidden_states[-1][0, :2].cpu(), atol=1e-5)
    top = found.logits[0, :2].cpu().topk(rows.p.shape[1])
    assert torch.equal(rows.likeliest[7:9], top.indices)
    assert torch.allclose(rows.p[7:9], top.values.softmax(-1), atol=1e-5)
    hot = positions(target, texts, [0.1, 0.2, 0.3], batch_size=2, temperature=1.5)
    assert len(set(hot.weight[:7].tolist())) == 1, "a weight is of the whole continuation"
    assert hot.weight.max() <= CLIP


def test_training_is_repeatable_and_says_how_well_it_does_on_texts_it_has_not_seen(toy: Toy) -> None:
    rows = everything(toy)
    held_out = rows.text % 5 == 0
    found = []
    for seed in (0, 0, 1):
        auxiliary = untrained()
        account = train(auxiliary, rows, epochs=40, consistency=0.5, seed=seed, held_out=held_out)
        found.append((auxiliary.token.clone(), account))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not torch.equal(found[0][0], found[2][0])
    curve = found[0][1]["loss_curve"]
    assert curve[-1][1] < curve[0][1]
    assert not found[0][0].requires_grad
    assert -1 <= found[0][1]["held_out_rank_correlation"] <= 1
