"""Fine-tuning under a constraint: the teacher, the two distances from it, the domains, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from devices import as_row, encoded
from torch.nn import functional as F

from detoxlm.data import Example, Pair
from detoxlm.errors import DetoxError, UsageError
from detoxlm.harvest import Sampled
from detoxlm.methods import FitData
from detoxlm.methods.control.auxiliary import Auxiliary, log_satisfied
from detoxlm.methods.control.constrained import Constrained
from detoxlm.methods.control.constraint import ConstraintLoss, reverse_kl
from detoxlm.methods.control.fit import ENOUGH, fit_auxiliary
from detoxlm.methods.control.nado import Nado, NadoSettings
from detoxlm.methods.control.settings import ConstrainedSettings
from detoxlm.methods.control.states import OwnStates
from detoxlm.methods.control.teacher import teachers
from detoxlm.methods.control.tuning import corpus_texts
from detoxlm.methods.training.anchors import coarse_kl, tail
from detoxlm.methods.training.objectives import Tokens
from detoxlm.models import Target
from detoxlm.passages import passages
from detoxlm.scorers.base import Scorer

pytestmark = pytest.mark.usefixtures("short_looks")
PROMPTS = ["the old", "over the hills", "x", "we walked", "in the evening", "bread", "green trees"]
SMALL: dict[str, Any] = {
    "steps": 6, "check_every": 2, "batch": 4, "rank": 4, "learning_rate": 1e-2, "drift": 99.0, "samples": 6,
    "auxiliary_rank": 8, "auxiliary_epochs": 5, "tolerance": 0.0,
}  # fmt: skip


class HighBytes(Scorer):
    """Violated by texts that start with a byte from 128 on, as half of what a random byte model says does."""

    name, version, revision = "high", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([float(ord(text.lstrip()[0]) > 127) for text in texts])


class Odd(Scorer):
    """A scorer that goes wrong."""

    name, version, revision = "odd", "1", "test"

    def __init__(self, answer: Callable[[str], float]) -> None:
        self.answer = answer
        self.asked = 0

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        self.asked += len(texts)
        return np.array([self.answer(text) for text in texts])


def random_auxiliary(target: Target) -> Auxiliary:
    torch.manual_seed(3)
    made = Auxiliary(target.architecture.head.weight.detach(), 8)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval().requires_grad_(False).to(target.device)


def test_the_teacher_is_the_base_reweighted_by_r(tiny: Callable[..., Target]) -> None:
    target = tiny()
    auxiliary = random_auxiliary(target)
    texts = passages(target, [("the old", " bridge"), ("", "green trees"), ("x", " y")], 64)
    found = teachers(target, auxiliary, texts, rule="published", guidance=3.0, tolerance=0.1, batch_size=2)
    for text, anchor in zip(texts, found, strict=True):
        with torch.inference_mode():
            run = target.model(as_row(target, text.ids), output_hidden_states=True)
        states = run.hidden_states[-1][0]
        assert len(anchor.ids) == len(text.ids) - max(1, text.start)
        for row, position in enumerate(range(max(1, text.start), len(text.ids))):
            p = run.logits[0, position - 1].softmax(-1).cpu()
            ids = anchor.ids[row]
            s = auxiliary(states[position - 1 : position], ids[None].to(target.device))[0].cpu()
            weights = p[ids] * log_satisfied(s, 0.1).exp() ** 3
            assert torch.allclose(anchor.log_p[row, :-1].exp(), weights / weights.sum() * p[ids].sum(), atol=1e-5)
            assert float(anchor.log_p[row, -1].exp()) == pytest.approx(1 - float(p[ids].sum()), abs=1e-5)


def test_what_is_watched_is_the_newest_pass_and_leaves_no_trace(tiny: Callable[..., Target]) -> None:
    target, own = tiny("gpt2"), OwnStates()

    def hooks() -> int:
        return sum(len(m._forward_hooks) for m in target.model.modules())

    with torch.inference_mode():
        target.model(as_row(target, [1]), output_hidden_states=True)  # the library leaves hooks of its own
    before = hooks()
    with own.watching(target.model), torch.inference_mode():
        target.model(as_row(target, [1, 2, 3]))
        second = target.model(as_row(target, [4, 5]), output_hidden_states=True)
        assert torch.equal(own.states(1), second.hidden_states[-1][:, -1:])
    assert hooks() == before
    assert own._final.numel() == 0


V = 9


def side(seed: int) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(V, 4, generator=generator, dtype=torch.float64)
    q = (2 * torch.randn(6, V, generator=generator, dtype=torch.float64)).log_softmax(-1)
    top = q.topk(5)
    return Tokens(
        torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.arange(6) % V,
        torch.arange(6) // 3,
        torch.rand(6, generator=generator, dtype=torch.float64) + 0.1,
        top.indices,
        torch.cat([top.values, tail(top.values)], -1),
        lambda states: states @ table.T,
    )


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("own", [True, False])
def test_gradients_are_those_of_finite_differences(direction: Any, own: bool) -> None:
    objective = ConstraintLoss(direction, own)

    def total(clean_states: torch.Tensor, prone_states: torch.Tensor) -> torch.Tensor:
        clean, prone = side(0), side(1)
        object.__setattr__(clean, "states", clean_states)
        object.__setattr__(prone, "states", prone_states)
        return objective.loss(clean, prone, 2) + 3.0 * objective.penalty(clean, prone, lambda x: x)[0]

    assert torch.autograd.gradcheck(total, (side(0).states, side(1).states))


def test_both_directions_are_divergences_over_the_kept_tokens_and_the_tail() -> None:
    prone = side(2)
    logits = prone.head(prone.states).detach()
    p, q = logits.softmax(-1), prone.base.exp()
    cells = torch.cat([p.gather(1, prone.top), 1 - p.gather(1, prone.top).sum(1, keepdim=True)], 1)
    forward = F.kl_div(cells.log(), q, reduction="none").sum(1)
    reverse = F.kl_div(q.log(), cells, reduction="none").sum(1)
    assert torch.allclose(coarse_kl(logits, prone.top, prone.base), forward, atol=1e-9)
    assert torch.allclose(reverse_kl(logits, prone.top, prone.base), reverse, atol=1e-9)
    weights = prone.weights / prone.weights.sum()
    for direction, expected in (("forward", forward), ("reverse", reverse)):
        found, _ = ConstraintLoss(direction, False).penalty(side(0), prone, lambda x: x)  # type: ignore[arg-type]
        assert found.item() == pytest.approx(float((weights * expected).sum()), abs=1e-9)


# --- domains ----------------------------------------------------------------------------------------------------------


CORPUS = [Example("the old", f" bridge no. {i}") for i in range(20)] + [Example("x", f"ééééé{i}") for i in range(6)]


def settings(**more: Any) -> ConstrainedSettings:
    return ConstrainedSettings(**{**SMALL, **more})


def test_adaptivity_holds_only_the_prone_part_of_a_corpus_and_learns_all_of_it() -> None:
    fitting: dict[str, Any] = {}
    data = FitData(corpus=CORPUS, prompts=PROMPTS, scorer=HighBytes())
    many = settings(steps=20)
    texts = corpus_texts(data, many, fitting)
    assert set(texts.harmful) == set(CORPUS[20:])
    assert set(texts.clean) | set(texts.watched_clean) == set(CORPUS)
    assert not set(texts.clean) & set(texts.watched_clean)
    assert set(CORPUS[20:]) <= set(texts.clean), "the prone part is learned too"
    assert texts.clean != sorted(texts.clean, key=CORPUS.index), "files are often sorted"
    assert fitting["texts"] == {"corpus": 26, "prone": 6, "learned": len(texts.clean)}
    assert corpus_texts(data, settings(steps=20, adaptive=False), {}).harmful == texts.clean
    assert len(corpus_texts(data, settings(steps=2), {}).clean) == 2 * SMALL["batch"]


def test_a_corpus_that_never_violates_or_a_scorer_that_sees_no_difference_is_refused() -> None:
    few = [Example("x", f"a{i}") for i in range(9)]
    rising = Odd(lambda text: int(text[1:]) / 20)
    with pytest.raises(UsageError, match=r"corpus: none of its 9 texts violates the constraint .*adaptive=false"):
        corpus_texts(FitData(corpus=few, scorer=rising), settings(), {})
    with pytest.raises(UsageError, match=r"scorer: high says 0 of all of 20 continuations"):
        corpus_texts(FitData(corpus=CORPUS[:20], scorer=HighBytes()), settings(), {})


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.more
@pytest.mark.parametrize("more", [{}, pytest.param({"corpus": CORPUS}, marks=pytest.mark.slow)])
def test_training_moves_towards_the_teacher_on_prone_text(tiny: Callable[..., Target], more: dict[str, Any]) -> None:
    target = tiny()
    data = FitData(prompts=PROMPTS, scorer=HighBytes(), **more)
    options = settings(
        steps=16, check_every=8, weight=20.0, guidance=3.0, samples=32, learning_rate=2e-2, auxiliary_epochs=60
    )
    made = Constrained.fit(target, data, options)

    def high() -> float:
        found = []
        for prompt in PROMPTS:
            ids = encoded(target, prompt)["input_ids"]
            with torch.inference_mode():
                found.append(target.model(ids).logits[0, -1].softmax(-1))
        bad = [i for i in range(256) if not target.tokenizer.decode([i]).isascii()]
        return float(torch.stack(found)[:, :256][:, bad].sum(-1).mean())

    before = high()
    with made.attached(target.model):
        after = high()
    assert after < before - 0.01
    assert made.fitting["auxiliary"]["parameters_share"] > 0
    assert [look["step"] for look in made.fitting["watched"]] == [0, 8, 16]
    if more:
        assert made.fitting["best_step"] == 16, "a corpus is learned to the end"


@pytest.mark.more
def test_an_interrupted_fit_continues_to_the_same_weights(
    tiny: Callable[..., Target], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detoxlm.methods.training.trainer import AvoidanceTrainer

    def fit(name: str) -> Any:
        data = FitData(prompts=PROMPTS, scorer=HighBytes(), workdir=tmp_path / name)
        return Constrained.fit(tiny(), data, settings(delta=0.2))

    whole = fit("whole")
    loss, calls = AvoidanceTrainer.compute_loss, 0

    def killed(self: AvoidanceTrainer, *args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise KeyboardInterrupt
        return loss(self, *args, **more)

    monkeypatch.setattr(AvoidanceTrainer, "compute_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        fit("cut")
    monkeypatch.setattr(AvoidanceTrainer, "compute_loss", loss)
    again = fit("cut")
    assert all(torch.equal(again.tensors[name], whole.tensors[name]) for name in whole.tensors)
    assert again.fitting == whole.fitting


def test_a_delta_that_is_out_of_reach_is_said_and_loses_nothing(
    tiny: Callable[..., Target], caplog: pytest.LogCaptureFixture
) -> None:
    class Half(HighBytes):
        def _score_batch(self, texts: list[str]) -> np.ndarray:
            return 0.6 + 0.4 * super()._score_batch(texts)

    with caplog.at_level(logging.WARNING):
        corpus = [Example("x", f"a{i}") for i in range(8)] + [Example("x", f"é{i}") for i in range(8)]
        data = FitData(corpus=corpus, prompts=PROMPTS, scorer=Half())
        made = Constrained.fit(tiny(), data, settings(steps=2, delta=0.01))
    assert made.tensors
    assert "delta: 100.0% of the watched continuations violate the constraint, not the 1.0% asked for" in caplog.text


# --- the constraint ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("always", [0.0, 1.0])
def test_a_constraint_that_is_always_or_never_met_is_refused_early(tiny: Callable[..., Target], always: float) -> None:
    scorer = Odd(lambda _: always)
    many = NadoSettings(samples=64, auxiliary_rank=4)
    with pytest.raises(UsageError, match=rf"scorer: odd says {always:g} of all of \d+ continuations"):
        Nado.fit(tiny(), FitData(prompts=[f"{p} {i}" for p in PROMPTS for i in range(4)], scorer=scorer), many)
    assert scorer.asked < 2 * ENOUGH, "long before all 1,792 are made"


def test_a_scorer_that_answers_nan_or_throws_is_named(tiny: Callable[..., Target]) -> None:
    few = NadoSettings(samples=2, auxiliary_rank=4)
    with pytest.raises(DetoxError, match="scorer odd: score nan for text 0 is not in"):
        Nado.fit(tiny(), FitData(prompts=PROMPTS, scorer=Odd(lambda _: float("nan"))), few)
    with pytest.raises(UsageError, match="scorer: the constraint is what a scorer says"):
        Nado.fit(tiny(), FitData(prompts=PROMPTS), few)


@pytest.mark.more
def test_a_corpus_and_pairs_are_learned_and_the_targets_own_text_is_where_it_stays_what_it_is(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ConstraintLoss] = []

    def loss(*arguments: Any) -> ConstraintLoss:
        made.append(ConstraintLoss(*arguments))
        return made[-1]

    monkeypatch.setattr("detoxlm.methods.control.tuning.ConstraintLoss", loss)
    corpus = [Example(None, f"{'é' if i % 2 else 'e'} {i}") for i in range(20)]
    pairs = [Pair(f"é {i}", f"e {i}", None) for i in range(20)]
    settings = ConstrainedSettings(**{**SMALL, "steps": 2})
    for data in ({}, {"corpus": corpus}, {"pairs": pairs}):
        Constrained.fit(tiny(), FitData(prompts=PROMPTS, scorer=HighBytes(), **data), settings)
    assert [one.own for one in made] == [True, False, False]
    with pytest.raises(UsageError, match="pairs: with --corpus the texts held to the constraint"):
        given = FitData(prompts=PROMPTS, scorer=HighBytes(), corpus=corpus, pairs=pairs)
        Constrained.fit(tiny(), given, settings)


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("given", "version", "source"),
    [
        ({}, "2", "shipped"),
        ({"rule": "published"}, "2", "shipped"),
        ({}, "3", "shipped"),
        ({}, "4", "own"),
        ({"consistency": 1.0}, "2", "own"),
        ({"samples": 2}, "2", "own"),
    ],
)
def test_the_shipped_auxiliary_model_serves_where_nothing_else_was_asked_for(
    given: dict[str, Any], version: str, source: str, embedded: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Known(HighBytes):
        name = "embedded"

    Known.version = version
    monkeypatch.setattr("detoxlm.methods.control.fit.samples_of", lambda *_: [Sampled("the old", " mill", 1.0)])
    monkeypatch.setattr("detoxlm.methods.control.fit.trained_on", lambda *_, **__: (None, {}))
    monkeypatch.setattr("detoxlm.methods.control.fit.packed", lambda _: {})
    fitting: dict[str, Any] = {}
    fit_auxiliary(embedded, FitData(scorer=Known()), NadoSettings(**given), fitting)
    assert fitting["auxiliary"]["source"] == source
    if source == "own":
        with pytest.raises(
            UsageError, match=r"auxiliary: the shipped one is for|the shipped auxiliary model is as it is"
        ):
            fit_auxiliary(embedded, FitData(scorer=Known()), NadoSettings(auxiliary="shipped", **given), {})
