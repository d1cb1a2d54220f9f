"""Fine-tuning on tiny models: texts, blame, batches, an interruption, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from devices import as_row, encoded
from torch.nn import functional as F

from detoxlm.data import Example, Pair
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods import FitData
from detoxlm.methods.control.constrained import Constrained
from detoxlm.methods.control.settings import ConstrainedSettings
from detoxlm.methods.finetuning.blame import token_weights
from detoxlm.methods.finetuning.dpo import Dpo, DpoSettings
from detoxlm.methods.finetuning.sft import Sft, SftSettings
from detoxlm.methods.finetuning.tasft import Avoidance, Tasft, TasftSettings
from detoxlm.methods.training.anchors import anchors
from detoxlm.methods.training.fit import checkpoints, prepared
from detoxlm.methods.training.objectives import Tokens
from detoxlm.methods.training.texts import Texts, preferences, texts_for
from detoxlm.methods.training.trainer import AvoidanceTrainer, PreferenceTrainer, Rows, logits
from detoxlm.methods.weights.changes import CHANGE
from detoxlm.models import Target
from detoxlm.passages import Passage, passages
from detoxlm.scorers.base import Scorer
from detoxlm.settings import FitSettings
from detoxlm.workflows import fit_data

pytestmark = pytest.mark.usefixtures("short_looks")
PROMPTS = ["the old", "over the hills", "x", "we walked", "in the evening", "bread", "green trees"]
CORPUS = [Example("the old", f" bridge no. {i}") for i in range(12)]
HARMFUL = [Example("the old", f" eeee e {i}") for i in range(12)]
SMALL = {"steps": 6, "check_every": 2, "batch": 4, "rank": 4, "learning_rate": 1e-2, "drift": 9.0, "samples": 4}


def data(scorer: Scorer, **more: Any) -> FitData:
    return FitData(**{"corpus": CORPUS, "harmful": HARMFUL, "prompts": PROMPTS, "scorer": scorer, **more})


def settings(**more: Any) -> TasftSettings:
    return TasftSettings(**{**SMALL, **more})


class WordScorer(Scorer):
    """Toxic is what has `bad` in it."""

    name, version, revision = "words", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([0.9 if "bad" in text else 0.1 for text in texts])


# --- blame ------------------------------------------------------------------------------------------------------------


def test_blame_falls_on_the_tokens_that_make_the_text_toxic(tiny: Callable[..., Target]) -> None:
    target = tiny()
    (text,) = passages(target, [("x", "a bad egg")], 64)  # a token a byte
    (weights,) = token_weights(target, WordScorer(), [text], "occlusion")
    assert weights == pytest.approx([0, 0, 0.8, 0.8, 0.8, 0, 0, 0, 0])
    (rise,) = token_weights(target, WordScorer(), [text], "rise")
    assert rise == pytest.approx([0.1, 0, 0, 0, 0.8, 0, 0, 0, 0])
    assert token_weights(target, WordScorer(), [text], "uniform") == [[1.0] * 9]


def test_what_is_said_twice_is_blamed_by_its_rise(tiny: Callable[..., Target]) -> None:
    target = tiny()
    (text,) = passages(target, [("x", "bad bad")], 64)
    (weights,) = token_weights(target, WordScorer(), [text], "occlusion")
    assert weights == pytest.approx([0.1, 0, 0.8, 0, 0, 0, 0])


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_names_every_counted_token_and_the_state_that_predicts_it(tiny: Callable[..., Target]) -> None:
    target = tiny()
    clean = [Passage([1, 2, 3, 4, 5], 2), Passage([9, 8, 7], 0)]
    harmful = [Passage([10, 11, 12, 13], 1), Passage([20, 21], 1)]
    teachers = anchors(target, harmful, 4)
    rows = Rows(harmful, [[0.5, 0.0, 0.25], [1.0]], clean, anchors(target, clean, 4), teachers)
    batch = rows.collate([{"clean": 1, "harmful": 0}, {"clean": 0, "harmful": 1}])
    assert batch["input_ids"].tolist() == [[9, 8, 7, 0, 0], [1, 2, 3, 4, 5], [10, 11, 12, 13, 0], [20, 21, 0, 0, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [3, 5, 4, 2]
    assert batch["clean_at"].tolist() == [[0, 0], [0, 1], [1, 1], [1, 2], [1, 3]]
    assert batch["clean_ids"].tolist() == [8, 7, 3, 4, 5]
    assert batch["harmful_at"].tolist() == [[2, 0], [2, 2], [3, 0]], "a token without weight does not count"
    assert batch["harmful_ids"].tolist() == [11, 13, 21]
    assert batch["harmful_weights"].tolist() == [0.5, 0.25, 1.0]
    assert len(batch["clean_top"]) == len(batch["clean_base"]) == 5
    assert torch.equal(batch["harmful_base"][:2], teachers[0].log_p[[0, 2]])
    assert torch.equal(batch["harmful_top"][2:], teachers[1].ids)
    without = Rows(harmful, [[0.5, 0.0, 0.25], [1.0]], clean, anchors(target, clean, 4))
    assert without.collate([{"clean": 1, "harmful": 0}])["harmful_top"].shape == (2, 0)


def test_anchors_are_what_the_model_says_of_each_text_alone_whatever_is_read_with_it(
    tiny: Callable[..., Target],
) -> None:
    target = tiny()
    given = [
        ("the old", " bridge over the water"),
        ("", "ab"),
        ("x", " green"),
        ("", "we walked in the evening"),
        ("", "c d"),
    ]
    texts = passages(target, given, 64)
    for text, anchor in zip(texts, anchors(target, texts, 2), strict=True):
        with torch.inference_mode():
            every = target.model(as_row(target, text.ids)).logits[0].log_softmax(-1).cpu()
        said = every[max(1, text.start) - 1 : -1]
        assert torch.allclose(anchor.log_p[:, :-1], said.gather(1, anchor.ids), atol=1e-5)
        left = 1 - said.gather(1, anchor.ids).exp().sum(1)
        assert torch.allclose(anchor.log_p[:, -1].exp(), left.clamp(min=1e-6), atol=1e-5)


@pytest.mark.more
@pytest.mark.parametrize("method", ["tasft", "sft", "dpo", "constrained"])
def test_the_untouched_model_reads_only_what_the_method_holds_to_it(
    method: str, tiny: Callable[..., Target], letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(target: Target, texts: Any, *more: Any) -> Any:
        read.append(len(texts))
        return anchors(target, texts, *more)

    monkeypatch.setattr("detoxlm.methods.training.fit.anchors", counted)
    given: dict[str, Any] = {"prompts": PROMPTS, "scorer": letter_scorer}
    if method == "dpo":
        pairs = [Pair(f" eeee e {i}", f" bridge no. {i}", "the old") for i in range(12)]
        Dpo.fit(tiny(), FitData(pairs=pairs, **given), DpoSettings(**{**SMALL, "steps": 2}))
    elif method == "sft":
        Sft.fit(tiny(), FitData(corpus=CORPUS, **given), SftSettings(**{**SMALL, "steps": 2}))
    elif method == "tasft":
        Tasft.fit(tiny(), data(letter_scorer), settings(steps=2))
    else:
        options = {"auxiliary_rank": 8, "auxiliary_epochs": 2, "tolerance": 0.0, "samples": 12, "drift": 99.0}
        made = ConstrainedSettings(**{**SMALL, "steps": 2, **options})
        Constrained.fit(tiny(), FitData(corpus=[*CORPUS, *HARMFUL], **given), made)
    learned = 8  # two steps of four
    watched = {"dpo": 2, "sft": 2, "tasft": 2, "constrained": 3}
    assert read == [watched[method] + learned * (method == "tasft")]


def test_every_text_is_read_before_any_is_read_again(tiny: Callable[..., Target]) -> None:
    texts = [Passage([1, 2], 0)] * 5
    order = Rows(texts, [[1.0]] * 5, texts[:3], []).order(15, seed=3)
    assert sorted(order["harmful"][:5]) == sorted(order["harmful"][5:10]) == list(range(5))
    assert sorted(order["clean"][:3]) == list(range(3))
    assert order["harmful"] != Rows(texts, [[1.0]] * 5, texts[:3], []).order(15, seed=4)["harmful"]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "opt", "gemma2", "gemma3_text", "gptj", "phi"])
def test_states_and_head_give_the_logits_of_the_model(shape: str, tiny: Callable[..., Target]) -> None:
    target = tiny(shape)
    ids = as_row(target, [5, 6, 7, 8])

    class Stub:
        view, forward_names = target.architecture, frozenset({"logits_to_keep"})

    with torch.inference_mode():
        states = AvoidanceTrainer._states(Stub(), target.model, {"input_ids": ids, "attention_mask": ids > 0})  # type: ignore[arg-type]
        expected = target.model(input_ids=ids).logits
    assert torch.allclose(logits(target.architecture, states[0]), expected[0].float(), atol=1e-5)


# --- training ---------------------------------------------------------------------------------------------------------


def test_training_moves_away_from_harmful_texts_and_reports_what_it_saw(
    tiny: Callable[..., Target], letter_scorer: Scorer, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tiny()
    made = Tasft.fit(target, data(letter_scorer), settings(steps=8, check_every=4, avoidance=30.0))

    def likelihood() -> float:
        found = 0.0
        for text in passages(target, [(t.prompt or "", t.completion) for t in HARMFUL], 64):
            ids = as_row(target, text.ids)
            with torch.inference_mode():
                log_p = F.log_softmax(target.model(input_ids=ids).logits[0, :-1], -1)
            found += log_p.gather(-1, ids[0, 1:, None])[text.start - 1 :].mean().item()
        return found / len(HARMFUL)

    said = capsys.readouterr()
    assert said.out == "", "standard output is for results"
    assert [line.split()[0] for line in said.err.splitlines() if "0." in line and "in" not in line] == ["0", "4", "8"]
    before = likelihood()
    with made.attached(target.model):
        after = likelihood()
    assert after < before - 0.3
    assert [look["step"] for look in made.fitting["watched"]] == [0, 4, 8]
    assert made.fitting["watched"][0]["drift"] == pytest.approx(0, abs=1e-4)
    assert made.fitting["watched"][-1]["drift"] > 0.001
    assert len(made.fitting["loss_curve"]) == 8
    losses = [loss for _, loss in made.fitting["loss_curve"]]
    assert losses[-1] < losses[0]


@pytest.mark.more
@pytest.mark.parametrize(
    ("stop", "more"), [(1, {}), (3, {}), (4, {}), (5, {"avoidance_schedule": "rise", "targets": "soft"})]
)
def test_an_interrupted_training_continues_to_the_same_weights(
    stop: int,
    more: dict[str, Any],
    tiny: Callable[..., Target],
    letter_scorer: Scorer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Tasft.fit(tiny(), data(letter_scorer, workdir=tmp_path / "whole"), settings(**more))
    loss, calls = AvoidanceTrainer.compute_loss, 0

    def killed(self: AvoidanceTrainer, *args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > stop:
            raise KeyboardInterrupt
        return loss(self, *args, **more)

    monkeypatch.setattr(AvoidanceTrainer, "compute_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        Tasft.fit(tiny(), data(letter_scorer, workdir=tmp_path / "cut"), settings(**more))
    monkeypatch.setattr(AvoidanceTrainer, "compute_loss", loss)
    again = Tasft.fit(tiny(), data(letter_scorer, workdir=tmp_path / "cut"), settings(**more))
    assert all(torch.equal(again.tensors[name], whole.tensors[name]) for name in whole.tensors)
    assert again.fitting == whole.fitting, "the course of the training too"


def test_the_schedule_is_asked_at_every_step_and_weighs_the_loss(
    tiny: Callable[..., Target], letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def nothing(_: Avoidance, done: float) -> float:
        asked.append(done)
        return 0.0

    monkeypatch.setattr(Avoidance, "weight", nothing)
    weak = Tasft.fit(tiny(), data(letter_scorer), settings(steps=2, avoidance=0.1))
    assert asked == [0, 0.5]
    strong = Tasft.fit(tiny(), data(letter_scorer), settings(steps=2, avoidance=100.0))
    assert all(torch.equal(weak.tensors[name], strong.tensors[name]) for name in weak.tensors)


def test_soft_targets_are_what_the_untouched_model_says_at_the_harmful_tokens(
    tiny: Callable[..., Target], letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tokens] = []
    loss = Avoidance.loss

    def noted(self: Avoidance, clean: Tokens, harmful: Tokens, texts: int) -> torch.Tensor:
        seen.append(harmful)
        return loss(self, clean, harmful, texts)

    monkeypatch.setattr(Avoidance, "loss", noted)
    Tasft.fit(tiny(), data(letter_scorer), settings(steps=1, targets="soft"))
    (harmful,) = seen
    assert harmful.top.shape == (len(harmful.ids), 256)
    drift = harmful.drift()  # of a model that has not taken a step
    assert drift.abs().max() < 1e-3
    Tasft.fit(tiny(), data(letter_scorer), settings(steps=1))
    assert seen[-1].top.shape[1] == 0, "single tokens need none, and nothing is read for them"


def test_gradient_checkpointing_and_full_tuning_make_the_same_kind_of_progress(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    plain = Tasft.fit(tiny(), data(letter_scorer), settings(steps=2))
    saving = Tasft.fit(tiny(), data(letter_scorer), settings(steps=2, gradient_checkpointing=True))
    for name in plain.tensors:
        assert torch.allclose(plain.tensors[name], saving.tensors[name], atol=1e-5)
    full = Tasft.fit(tiny(), data(letter_scorer), settings(steps=2, tune="full", learning_rate=1e-3))
    assert {name.rpartition(".")[2] for name in full.tensors} == {"change"}
    assert any(change.abs().max() > 1e-4 for change in full.tensors.values())
    with pytest.raises(UsageError, match="adapter: all weights were tuned"):
        full.save_adapter(tiny().model, "nowhere")


def test_the_adapter_loads_in_peft_and_gives_the_merged_logits(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    for shape in ("llama", "gpt2"):
        target = tiny(shape)
        made = Tasft.fit(target, data(letter_scorer), settings(steps=2))
        made.save_adapter(target.model, tmp_path / shape, 0.5)
        inputs = encoded(target, "the weather is")
        with torch.inference_mode():
            with made.attached(target.model, 0.5):
                expected = target.model(**inputs).logits.clone()
            loaded = peft.PeftModel.from_pretrained(tiny(shape).model, tmp_path / shape)
            assert torch.allclose(loaded(**inputs).logits, expected, atol=1e-4)


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_last_checkpoint(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = AvoidanceTrainer._states, 0

    def broken(self: AvoidanceTrainer, *args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        states = loss(self, *args)
        return states * float("nan") if calls == 4 else states

    monkeypatch.setattr(AvoidanceTrainer, "_states", broken)
    with pytest.raises(DetoxError, match=r"loss: it is nan at step 4; lower --set learning_rate"):
        Tasft.fit(tiny(), data(letter_scorer, workdir=tmp_path), settings())
    assert list(tmp_path.glob("training-*/checkpoint-2/adapter_model.safetensors"))


def test_a_training_that_drifts_too_far_at_every_look_is_an_error(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    with pytest.raises(DetoxError, match=r"drift: it was above 1e-06 nats per token at every look .*learning_rate"):
        Tasft.fit(tiny(), data(letter_scorer), settings(drift=1e-6))


# --- texts ------------------------------------------------------------------------------------------------------------


def test_harvested_texts_are_sorted_into_harmful_and_clean_and_watched_prompts_are_not_learned(
    tiny: Callable[..., Target],
) -> None:
    class Length(Scorer):
        """Toxicity by the first byte: a third of the texts is harmful, a third clean."""

        name, version, revision = "first", "1", "test"

        def _score_batch(self, texts: list[str]) -> np.ndarray:
            return np.array([(ord(text[0]) % 3) / 2 for text in texts])

    fitting: dict[str, Any] = {}
    scorer = Length()
    texts = texts_for(tiny(), FitData(prompts=PROMPTS, scorer=scorer), settings(samples=12), fitting)
    assert texts.watched_prompts == [PROMPTS[0], PROMPTS[5]]
    learned = {text.prompt for text in [*texts.harmful, *texts.clean]}
    assert learned <= set(PROMPTS) - set(texts.watched_prompts)
    assert min(scorer.score([text.completion for text in texts.harmful])) >= 0.5
    assert max(scorer.score([text.completion for text in texts.clean])) == 0
    assert {text.prompt for text in texts.watched_clean} <= set(texts.watched_prompts)
    assert fitting["texts"]["harmful"] == len(texts.harmful) > 0
    firsts = [text.prompt for text in texts.clean[: len({t.prompt for t in texts.clean})]]
    assert len(set(firsts)) == len(firsts), "one text of every prompt before a second of any"


def test_pairs_serve_as_harmful_and_clean_texts(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    pairs = [Pair(f"eee {i}", f"good {i}", "the old") for i in range(10)]
    texts = texts_for(tiny(), FitData(pairs=pairs, prompts=PROMPTS, scorer=letter_scorer), settings(harmful=4), {})
    assert texts.harmful == [Example("the old", f"eee {i}") for i in range(4)]
    assert texts.clean == [Example("the old", f"good {i}") for i in range(8)]
    assert texts.watched_clean == [Example("the old", f"good {i}") for i in range(8, 10)]


def test_harmful_texts_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "harmful.jsonl"
    path.write_text('{"prompt": "You", "completion": " fool"}\n{"prompt": "He is", "completion": " an idiot"}\n')
    found = fit_data(FitSettings(harmful=str(path)), None, None, tmp_path).harmful
    assert found == [Example("You", " fool"), Example("He is", " an idiot")]


def test_preferences_pair_texts_of_one_prompt() -> None:
    harmful = [Example("a", "bad 1"), Example("b", "bad 2"), Example("a", "bad 3"), Example("c", "bad 4")]
    texts = Texts(harmful, [Example("a", "good 1"), Example("b", "good 2")], [], [])
    assert preferences(texts) == [
        Pair("bad 1", "good 1", "a"),
        Pair("bad 2", "good 2", "b"),
        Pair("bad 3", "good 1", "a"),
    ]
    with pytest.raises(UsageError, match="pairs: no prompt has both"):
        preferences(replace(texts, clean=[Example("z", "good")]))


def test_texts_that_cannot_serve_are_refused(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    with pytest.raises(UsageError, match=r"harmful: none of the \d+ continuations .* has a toxicity of 0\.45"):
        Tasft.fit(tiny(), FitData(prompts=PROMPTS, scorer=letter_scorer), settings())
    with pytest.raises(UsageError, match="harmful: every harmful text is among the clean ones too"):
        Tasft.fit(tiny(), data(letter_scorer, harmful=CORPUS), settings())
    with pytest.raises(UsageError, match="scorer: fine-tuning needs one"):
        Tasft.fit(tiny(), FitData(corpus=CORPUS, harmful=HARMFUL, prompts=PROMPTS), settings())


def test_a_model_without_layers_for_an_adapter_is_refused(
    tiny: Callable[..., Target], letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise ValueError("Target modules were not found")

    monkeypatch.setattr("detoxlm.methods.training.trainer.get_peft_model", none)
    with pytest.raises(UsageError, match=r"tune: no LoRA adapter fits this model .* --set tune=full"):
        Tasft.fit(tiny(), data(letter_scorer), settings())


# --- what users give --------------------------------------------------------------------------------------------------


def test_the_users_pairs_stay_pairs_and_the_worst_of_them_are_learned(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    pairs = [Pair("e" * (1 + i % 7) + f"x{i % 9}", f"good {i}", None) for i in range(60)] + [Pair("same", "same", None)]
    given = FitData(pairs=pairs, prompts=PROMPTS, scorer=letter_scorer)
    made = preferences(texts_for(tiny(), given, settings(harmful=20, steps=2), {}))
    assert set(made) <= set(pairs), "a toxic text of one pair and a clean one of another make no pair"
    assert len({pair.toxic for pair in made}) == len(made)
    assert 15 <= len(made) <= 20, "a few have their other side among the watched"
    scores = letter_scorer.score([pair.toxic for pair in made]).tolist()
    assert scores == sorted(scores, reverse=True)
    left_out = {pair.toxic for pair in pairs[:-1]} - {pair.toxic for pair in made}
    assert max(letter_scorer.score(sorted(left_out))) <= scores[0]


def test_of_a_file_of_harmful_texts_the_worst_are_learned(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    harmful = [Example(None, "x" * 10 + "e" * i) for i in range(12)]
    texts = texts_for(tiny(), data(letter_scorer, harmful=harmful), settings(harmful=3), {})
    assert texts.harmful == [harmful[11], harmful[10], harmful[9]]


def test_dpo_learns_the_texts_as_they_are_cut_and_no_end_behind_them(
    tiny: Callable[..., Target], letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    loss = PreferenceTrainer.compute_loss

    def watched(self: PreferenceTrainer, model: Any, inputs: Any, *more: Any, **others: Any) -> Any:
        seen.append(inputs["input_ids"])
        return loss(self, model, inputs, *more, **others)

    monkeypatch.setattr(PreferenceTrainer, "compute_loss", watched)
    pairs = [Pair("the eeee " * 9 + str(i), "all is calm " * 9 + str(i), "the old") for i in range(12)]
    options = DpoSettings(**{**SMALL, "max_length": 16, "steps": 2})
    Dpo.fit(tiny(), FitData(pairs=pairs, prompts=PROMPTS, scorer=letter_scorer), options)
    assert {batch.shape[1] for batch in seen} == {16}
    assert not any(bool((batch == 257).any()) for batch in seen)


def test_pairs_that_leave_nothing_to_predict_are_refused(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    pairs = [Pair(f"eeee {i}", "x", None) for i in range(8)] + [Pair("e", f"all is calm {i}", None) for i in range(8)]
    with pytest.raises(UsageError, match="pairs: no pair has a second token on both sides"):
        Dpo.fit(tiny(), FitData(pairs=pairs, prompts=PROMPTS, scorer=letter_scorer), DpoSettings(**SMALL))


def test_sft_learns_a_corpus_without_looking_for_harmful_text(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    given = FitData(corpus=CORPUS, prompts=PROMPTS, scorer=letter_scorer)  # none of what it says is toxic
    made = Sft.fit(tiny(), given, SftSettings(**SMALL))
    assert made.fitting["texts"] == {"harmful": 0, "clean": 10, "watched_prompts": 2}
    assert "harvest" not in made.fitting
    losses = [loss for _, loss in made.fitting["loss_curve"]]
    assert losses[-1] < losses[0] - 0.3


def test_all_weights_are_trained_in_float32_whatever_the_model_is_in(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    target = tiny(dtype="bfloat16")
    made = Tasft.fit(target, data(letter_scorer), settings(tune="full", learning_rate=1e-4, steps=2))
    weights = dict(target.model.named_parameters())
    change = {name.removesuffix(CHANGE): tensor for name, tensor in made.tensors.items()}
    large = torch.cat([change[name][weights[name].cpu().abs() > 0.25].abs() for name in change])
    assert len(large) > 1000
    assert float((large > 0).float().mean()) > 0.9, "in bfloat16 no step of 1e-4 changes a weight above 1/16"
    assert next(target.model.parameters()).dtype == torch.bfloat16


@pytest.mark.more
@pytest.mark.parametrize(
    "harmful",
    [[Example(None, "e"), *HARMFUL], [Example(None, "bad"), *HARMFUL]],
    ids=["a text of one token", "one that the scorer finds nothing in"],
)
def test_texts_that_teach_nothing_are_left_out(harmful: list[Example], tiny: Callable[..., Target]) -> None:
    class OnlyE(Scorer):
        name, version, revision = "only e", "1", "test"

        def _score_batch(self, texts: list[str]) -> np.ndarray:
            return np.array([0.0 if "bad" in text else text.count("e") / len(text) for text in texts])

    more = settings(batch=1, steps=14, check_every=14)
    with_it = Tasft.fit(tiny(), data(OnlyE(), harmful=harmful), more)
    without = Tasft.fit(tiny(), data(OnlyE()), more)
    assert all(torch.equal(with_it.tensors[name], without.tensors[name]) for name in without.tensors)


def test_where_no_text_teaches_anything_it_is_said(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    with pytest.raises(UsageError, match=r"harmful: none of its texts has a second token"):
        Tasft.fit(tiny(), data(letter_scorer, harmful=[Example(None, "e")]), settings())
    with pytest.raises(UsageError, match=r"harmful: letters finds nothing toxic in the 2 harmful texts"):
        Tasft.fit(tiny(), data(letter_scorer, harmful=[Example(None, "ox"), Example(None, "cow")]), settings())


def test_a_training_that_has_ended_early_stays_ended_when_it_is_continued(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = settings(steps=12, patience=1, learning_rate=1e-6)  # nothing gets better
    whole = Tasft.fit(tiny(), data(letter_scorer, workdir=tmp_path / "whole"), options)
    ended = whole.fitting["watched"][-1]["step"]
    assert ended < 12
    load = AvoidanceTrainer._load_best_model

    def killed(self: AvoidanceTrainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AvoidanceTrainer, "_load_best_model", killed)
    with pytest.raises(KeyboardInterrupt):
        Tasft.fit(tiny(), data(letter_scorer, workdir=tmp_path / "cut"), options)
    monkeypatch.setattr(AvoidanceTrainer, "_load_best_model", load)
    again = Tasft.fit(tiny(), data(letter_scorer, workdir=tmp_path / "cut"), options)
    assert again.fitting == whole.fitting
    assert all(torch.equal(again.tensors[name], whole.tensors[name]) for name in whole.tensors)


@pytest.mark.parametrize(
    "change",
    [
        {"prompts": [*PROMPTS[1:], "other"]},
        {"harmful": [Example("the ", f"old eeee e {i}") for i in range(12)]},
    ],
    ids=["watched prompts", "where prompts end"],
)
def test_checkpoints_of_another_training_are_not_gone_on_from(
    change: dict[str, Any], tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path
) -> None:
    before, after = data(letter_scorer), data(letter_scorer, **change)
    assert naming(tiny(), before, tmp_path)() != naming(tiny(), after, tmp_path)()


def naming(target: Target, given: FitData, workdir: Path) -> Callable[[], str]:
    """Return what names the folder where a training keeps its checkpoints."""
    ready = prepared(target, given, settings(), lambda: texts_for(target, given, settings(), {}), {}, anchored=True)
    return lambda: checkpoints(workdir, target, given, "tasft", settings(), ready).name


def test_checkpoints_are_of_one_version_and_one_number_of_processes(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = naming(tiny(), data(letter_scorer), tmp_path)
    names = [name(), name()]
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda _: "9.9.9")
        names.append(name())
    with monkeypatch.context() as patch:
        patch.setitem(PartialState()._shared_state, "num_processes", 2)
        names.append(name())
    assert names[0] == names[1] and len(set(names)) == 3
