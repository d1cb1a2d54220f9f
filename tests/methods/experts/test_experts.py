"""DExperts and GeDi on tiny models: the published formulas from scratch, without caches, and what training does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import encoded
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.data import Example
from detoxlm.errors import UsageError
from detoxlm.methods import FitData
from detoxlm.methods.base import describe_target
from detoxlm.methods.decoding.beside import following
from detoxlm.methods.experts.copies import expert
from detoxlm.methods.experts.dexperts import DExperts, DExpertsDetoxifier, DExpertsSettings, part
from detoxlm.methods.experts.gedi import Gedi, GediDetoxifier, GediSettings
from detoxlm.methods.experts.steering import change_nucleus
from detoxlm.methods.training.settings import TrainingSettings
from detoxlm.methods.training.trainer import AvoidanceTrainer, trainable
from detoxlm.methods.weights.changes import changes
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer

pytestmark = pytest.mark.usefixtures("short_looks")
PROMPTS = ["the old", "over the hills", "x", "we walked", "in the evening"]
CLEAN = [Example("the old", f" bridge no. {i}") for i in range(12)]
HARMFUL = [Example("the old", f" eeee e {i}") for i in range(12)]
SMALL: dict[str, Any] = {"steps": 8, "check_every": 4, "batch": 4, "rank": 4, "learning_rate": 1e-2}


def data(scorer: Scorer, **more: Any) -> FitData:
    return FitData(**{"corpus": CLEAN, "harmful": HARMFUL, "prompts": PROMPTS, "scorer": scorer, **more})


def dexperts(target: Target, scorer: Scorer) -> DExpertsDetoxifier:
    return DExperts.fit(target, data(scorer), DExpertsSettings(**SMALL))


def random_change(target: Target, seed: int, tune: str = "lora") -> dict[str, torch.Tensor]:
    """Tensors as fine-tuning leaves them, without any fine-tuning."""
    from detoxlm.methods.training.fit import tensors_of  # it must come after the methods

    model = trainable(copy.deepcopy(target.model), TrainingSettings(rank=4, tune=tune), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape, generator=generator).to(weight.device)
    return tensors_of(model, target.model)


def random_dexperts(target: Target, experts: str, tune: str) -> DExpertsDetoxifier:
    tensors = {
        f"{role}.{name}": tensor
        for seed, role in enumerate(("expert", "anti-expert") if experts == "pair" else ("anti-expert",))
        for name, tensor in random_change(target, seed, tune).items()
    }
    return DExpertsDetoxifier(DExpertsSettings(experts=experts, tune=tune), describe_target(target), tensors)


def random_gedi(target: Target, window: int = 20) -> GediDetoxifier:
    return GediDetoxifier(GediSettings(window=window), describe_target(target), random_change(target, 0))


def gedi(target: Target, scorer: Scorer, **settings: Any) -> GediDetoxifier:
    return Gedi.fit(target, data(scorer), GediSettings(**{**SMALL, **settings}))


def log_p(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [B, T, V] of a model that reads all at once."""
    with torch.inference_mode():
        made = model(input_ids=ids, use_cache=False).logits
    return made.float().log_softmax(-1)


def tokens(target: Target, text: str) -> torch.Tensor:
    return encoded(target, text)["input_ids"]


def within_nucleus(p: torch.Tensor, changed: torch.Tensor, nucleus: float, candidates: int) -> torch.Tensor:
    """Return one distribution [V], token by token: `changed` [V] counts within p's nucleus, which keeps its mass."""
    order = p.argsort(descending=True).tolist()
    inside, mass = [], 0.0
    for token in order[:candidates]:
        if mass >= nucleus:
            break
        inside.append(token)
        mass += float(p[token])
    result = p.clone()
    weights = (changed[inside] - changed[inside].max()).exp()
    result[inside] = mass * weights / weights.sum()
    return result


# --- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nucleus", "candidates"), [(0.9, 64), (0.3, 64), (1.0, 8), (1e-6, 8)])
def test_only_the_nucleus_changes_and_keeps_its_mass(nucleus: float, candidates: int) -> None:
    generator = torch.Generator().manual_seed(0)
    z, shift = (3 * torch.randn(2, 5, 64, generator=generator) for _ in range(2))
    flat = shift.view(-1, 64)
    asked: list[int] = []

    def change(tokens: torch.Tensor, before: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        asked.extend(at.tolist())
        assert torch.equal(before, z.view(-1, 64)[at].gather(-1, tokens))
        return flat[at].gather(-1, tokens)

    found = change_nucleus(z.clone(), change, candidates=candidates, nucleus=nucleus).softmax(-1)
    assert asked == list(range(10))
    for row in range(2):
        for step in range(5):
            expected = within_nucleus(
                z[row, step].softmax(-1), z[row, step] + shift[row, step], nucleus, min(candidates, 64)
            )
            assert torch.allclose(found[row, step], expected, atol=1e-6)


# --- DExperts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize(("experts", "tune"), [("pair", "lora"), ("anti", "lora"), ("pair", "full")])
def test_dexperts_is_the_published_formula_of_two_separate_models(
    shape: str, experts: str, tune: str, tiny: Callable[..., Target]
) -> None:
    target = tiny(shape)
    detoxifier = random_dexperts(target, experts, tune)
    ids = tokens(target, "the old bridge is even older")
    base = log_p(target.model, ids)
    each = [log_p(expert(target.model, part(detoxifier.tensors, role)), ids) for role in detoxifier.roles]
    for_, against = each if len(each) == 2 else (base, each[0])
    with detoxifier.attached(target.model, 3.0), torch.inference_mode():
        found = target.model(input_ids=ids, use_cache=False).logits.float().softmax(-1)
    for step in range(ids.shape[1]):
        changed = base[0, step] + 3.0 * (for_[0, step] - against[0, step])
        expected = within_nucleus(base[0, step].exp(), changed, 0.9, 256)
        assert torch.allclose(found[0, step], expected, atol=1e-4)


def test_each_expert_has_learned_its_own_texts(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    target = tiny()
    detoxifier = dexperts(target, letter_scorer)
    clean, toxic = (expert(target.model, part(detoxifier.tensors, role)) for role in detoxifier.roles)

    def loss(model: PreTrainedModel, texts: list[Example]) -> float:
        rows = [(text.prompt or "") + text.completion for text in texts]
        each = [log_p(model, ids)[0, :-1].gather(-1, ids[0, 1:, None]) for ids in (tokens(target, r) for r in rows)]
        return -float(torch.cat([one[len(texts[0].prompt or "") - 1 :] for one in each]).mean())

    assert loss(clean, CLEAN) < loss(target.model, CLEAN) - 0.5
    assert loss(toxic, HARMFUL) < loss(target.model, HARMFUL) - 0.5
    assert loss(clean, CLEAN) < loss(toxic, CLEAN)
    assert loss(toxic, HARMFUL) < loss(clean, HARMFUL)
    assert [look["step"] for look in detoxifier.fitting["experts"].values()] == [8, 8]


@pytest.mark.more
def test_a_fit_that_was_killed_at_the_second_expert_finds_the_first_one_done(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DExpertsSettings(**SMALL)
    expected = DExperts.fit(tiny(), data(letter_scorer, workdir=tmp_path / "whole"), settings).tensors
    taken = {"steps": 0}
    step = AvoidanceTrainer.training_step

    def counted(self: AvoidanceTrainer, *args: Any, **more: Any) -> torch.Tensor:
        if taken["steps"] == stop_at:
            raise KeyboardInterrupt
        taken["steps"] += 1
        return step(self, *args, **more)

    monkeypatch.setattr(AvoidanceTrainer, "training_step", counted)
    stop_at = 14  # 6 steps into the second training
    with pytest.raises(KeyboardInterrupt):
        DExperts.fit(tiny(), data(letter_scorer, workdir=tmp_path / "killed"), settings)
    taken["steps"], stop_at = 0, -1
    again = DExperts.fit(tiny(), data(letter_scorer, workdir=tmp_path / "killed"), settings)
    assert taken["steps"] == 4, "the first expert was done, the second's checkpoint was of step 4"
    assert all(torch.equal(again.tensors[name], expected[name]) for name in expected)
    assert [look["step"] for look in again.fitting["watched"]] == [0, 4, 8]
    assert not list((tmp_path / "killed").glob("training-*"))


# --- GeDi -------------------------------------------------------------------------------------------------------------


def of_classes(detoxifier: GediDetoxifier, target: Target, ids: torch.Tensor) -> list[torch.Tensor]:
    """log p(v | clean) and log p(v | toxic) [T, V]: the adapter's change of the weights, added and taken away."""
    found = []
    for sign in (1, -1):
        model = copy.deepcopy(target.model)
        with torch.no_grad():
            for weight, change in changes(model, detoxifier.tensors):
                weight += sign * change
        found.append(log_p(model, ids)[0])
    return found


def posterior_logits(detoxifier: GediDetoxifier, target: Target, ids: torch.Tensor, window: int) -> torch.Tensor:
    """R [T, V] after each position, for each next token, by Bayes' rule from two models that read it all."""
    clean, toxic = of_classes(detoxifier, target, ids)
    ratio = clean - toxic
    said = [0.0] + [float(ratio[t - 1, ids[0, t]]) for t in range(1, ids.shape[1])]
    so_far = [sum(said[max(0, t + 1 - window) : t + 1]) for t in range(len(said))]
    return torch.tensor(so_far, device=ratio.device)[:, None] + ratio


@pytest.mark.more
@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma2", "phi"])
@pytest.mark.parametrize("window", [20, 3, 0])
def test_gedi_is_bayes_rule_over_two_separate_models(shape: str, window: int, tiny: Callable[..., Target]) -> None:
    target = tiny(shape)
    detoxifier = random_gedi(target, window)
    ids = tokens(target, "the old bridge is even older")
    base, r = log_p(target.model, ids)[0], posterior_logits(detoxifier, target, ids, window)
    whole, alone = [], []
    with detoxifier.attached(target.model, 5.0), torch.inference_mode():
        whole.append(target.model(input_ids=ids, use_cache=False).logits[0].float().softmax(-1))
        past = target.model(input_ids=ids[:, :7], use_cache=True)
        alone.append(past.logits[0].float().softmax(-1))
        for step in range(7, ids.shape[1]):  # one token at a time, as decoding does
            past = target.model(input_ids=ids[:, step : step + 1], past_key_values=past.past_key_values)
            alone.append(past.logits[0].float().softmax(-1))
    for step in range(ids.shape[1]):
        expected = within_nucleus(base[step].exp(), base[step] + 5.0 * F.logsigmoid(r[step]), 0.9, 256)
        assert torch.allclose(whole[0][step], expected, atol=1e-4)
        assert torch.allclose(torch.cat(alone)[step], expected, atol=1e-4)


@pytest.mark.parametrize("window", [20, 3, 0])
def test_gedi_s_processor_counts_the_tokens_of_its_window(window: int, tiny: Callable[..., Target]) -> None:
    target = tiny()
    detoxifier = random_gedi(target, window)
    ids = tokens(target, "the old bridge is even older")
    base, r = log_p(target.model, ids)[0], posterior_logits(detoxifier, target, ids, window)
    processor = detoxifier.logits_processor(target.model, 5.0)
    for step in range(ids.shape[1]):
        expected = within_nucleus(base[step].exp(), base[step] + 5.0 * F.logsigmoid(r[step]), 0.9, 256)
        found = processor(ids[:, : step + 1], base[step][None])[0].exp()
        assert torch.allclose(found, expected, atol=1e-4)


def test_gedi_weighs_a_padded_row_as_it_does_the_row_alone(tiny: Callable[..., Target]) -> None:
    target = tiny()
    detoxifier = random_gedi(target)
    texts = ["eeee", "the old bridge is even older"]
    batch = encoded(target, texts)
    with detoxifier.attached(target.model, 8.0), torch.inference_mode():
        together = target.model(**batch).logits[:, -1].softmax(-1)
        alone = [target.model(input_ids=tokens(target, text)).logits[0, -1].softmax(-1) for text in texts]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_padding_has_no_weight(tiny: Callable[..., Target]) -> None:
    target = tiny()
    # a new model's padding embeds as 0, of which both classes say the same; many models pad with a token of theirs
    with torch.no_grad():
        target.architecture.embeddings.weight[target.tokenizer.pad_token_id] = target.architecture.embeddings.weight[7]
    steering = random_gedi(target).steering(target.model)
    texts = ["eeee", "the old bridge is even older"]

    def weight(text: str | list[str]) -> torch.Tensor:
        """The sum of the weights of the last tokens, at the end of each text."""
        given = {**encoded(target, text), "use_cache": False}
        return following(target.model, steering).read(given)(1)[:, 0, -1]

    with torch.inference_mode():
        assert torch.allclose(weight(texts), torch.cat([weight(text) for text in texts]), atol=1e-3)
        assert weight(texts[0]).abs() > 0.1


@pytest.mark.more
def test_gedi_learns_to_tell_the_classes_apart_and_to_write_both(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    target = tiny()

    def learned(detoxifier: GediDetoxifier) -> tuple[list[float], float]:
        """R of a clean and of a toxic text on average, and the mean negative log-likelihood in a text's own class."""
        ratios, losses = [], []
        for own, texts in enumerate((CLEAN, HARMFUL)):
            sums = []
            for text in texts:
                ids = tokens(target, (text.prompt or "") + text.completion)
                start = len(text.prompt or "") - 1
                both = [p[:-1].gather(-1, ids[0, 1:, None])[start:, 0] for p in of_classes(detoxifier, target, ids)]
                sums.append(float((both[0] - both[1]).sum()))
                losses.append(-float(both[own].mean()))
            ratios.append(sum(sums) / len(sums))
        return ratios, sum(losses) / len(losses)

    told, told_loss = learned(gedi(target, letter_scorer, generative=0.0))
    written, written_loss = learned(gedi(target, letter_scorer, generative=1.0))
    for clean, toxic in (told, written):
        assert clean > 5
        assert toxic < -5
    assert written_loss < told_loss - 0.5


def test_gedi_refuses_to_train_all_weights(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    with pytest.raises(UsageError, match=r"tune: gedi's two classes are one adapter"):
        gedi(tiny(), letter_scorer, tune="full")


def test_what_the_experts_cannot_do_is_refused_by_name(tiny: Callable[..., Target]) -> None:
    target = tiny()
    detoxifier = random_gedi(target)
    embedded = Architecture.of(target.model).embeddings(tokens(target, "the old"))
    with detoxifier.attached(target.model), pytest.raises(UsageError, match=r"inputs_embeds: gedi weighs tokens"):
        target.model(inputs_embeds=embedded)
    with detoxifier.attached(target.model), pytest.raises(UsageError, match=r"labels: "):
        target.model(input_ids=tokens(target, "the old"), labels=tokens(target, "the old"))


@pytest.mark.parametrize("method", [DExperts, Gedi])
def test_a_model_that_cannot_be_copied_is_refused_before_anything_is_sampled(
    method: Any, tiny: Callable[..., Target], letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny("gpt2")
    # as of a model that sees and hears: its text part is configured apart
    monkeypatch.setattr(type(target.model.config), "get_text_config", lambda self, **_: copy.copy(self))
    monkeypatch.setattr("detoxlm.methods.training.texts.harvest", None)
    with pytest.raises(UsageError, match="model: layers of GPT2LMHeadModel cannot be copied"):
        method.fit(target, FitData(scorer=letter_scorer), method.detoxifier_type.settings_type())
