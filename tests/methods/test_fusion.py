"""Fusion against the paper's equations, re-derived here without hooks or caches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache, StaticCache

from detoxlm.data import Example
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods import FitData
from detoxlm.methods.fusion import (
    Fusion,
    FusionSettings,
    completion_loss,
    cut_calibrator,
    fused,
    own_tensors,
    train,
)
from detoxlm.models import Target

TEXT = "over the hills and far away"


def final_hidden(target: Target, layers: int | None = None) -> torch.Tensor:
    """Final-norm hidden state [T, d] of the first `layers` layers, read from the target's own hidden states."""
    with torch.inference_mode():
        out = target.model(**target.tokenizer(TEXT, return_tensors="pt"), output_hidden_states=True)
        if layers is None:
            return target.architecture.decoder(**target.tokenizer(TEXT, return_tensors="pt")).last_hidden_state[0]
        return target.architecture.final_norm(out.hidden_states[layers])[0]


@pytest.mark.parametrize(
    "shape", ["llama", "gpt2", "opt", "gemma3_text", "gptj", "gpt_neox", "phi", "mistral", "qwen2"]
)
@pytest.mark.parametrize("alpha", [0.1, 0.7, 1.0])
def test_fused_logits_are_the_head_of_the_mixed_hidden_states(
    shape: str, alpha: float, tiny: Callable[..., Target]
) -> None:
    target = tiny(shape)
    calibrator = cut_calibrator(target.model, 2)
    mixed = alpha * final_hidden(target, 2) + (1 - alpha) * final_hidden(target)
    expected = target.architecture.head(mixed)
    with torch.inference_mode(), fused(target.model, calibrator, alpha):
        got = target.model(**target.tokenizer(TEXT, return_tensors="pt")).logits[0]
    assert torch.allclose(got, expected, atol=1e-4)


def test_for_a_linear_head_fusion_mixes_the_two_models_logits(tiny: Callable[..., Target]) -> None:
    # (1 - a) z + a W g: the identity that makes fusion a logits processor
    target = tiny()
    calibrator = cut_calibrator(target.model, 2)
    inputs = target.tokenizer(TEXT, return_tensors="pt")
    with torch.inference_mode():
        z, zg = target.model(**inputs).logits, calibrator(**inputs, use_cache=False).logits
        with fused(target.model, calibrator, 0.3):
            got = target.model(**inputs).logits
    assert torch.allclose(got, 0.7 * z + 0.3 * zg, atol=1e-4)


def test_gemma2_soft_capping_applies_to_the_fused_state(tiny: Callable[..., Target]) -> None:
    target = tiny("gemma2")
    mixed = 0.5 * final_hidden(target, 2) + 0.5 * final_hidden(target)
    expected = 5.0 * torch.tanh(target.architecture.head(mixed) / 5.0)
    with torch.inference_mode(), fused(target.model, cut_calibrator(target.model, 2), 0.5):
        got = target.model(**target.tokenizer(TEXT, return_tensors="pt")).logits[0]
    assert torch.allclose(got, expected, atol=1e-4)


def test_the_calibrator_sees_the_whole_context_at_every_step(tiny: Callable[..., Target]) -> None:
    """The released code's fault: after the first token its calibrator saw only the newest token."""
    target = tiny()
    ids = target.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    cache = DynamicCache(config=target.model.config)
    with torch.inference_mode(), fused(target.model, cut_calibrator(target.model, 2), 0.5):
        whole = target.model(ids).logits[0]
        stepwise = [
            target.model(ids[:, t : t + 1], past_key_values=cache, use_cache=True).logits[0, -1]
            for t in range(ids.shape[1])
        ]
    assert torch.allclose(torch.stack(stepwise), whole, atol=1e-4)


def test_cropping_the_cache_rolls_the_calibrator_back_too(tiny: Callable[..., Target]) -> None:
    target = tiny()
    ids = target.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    cache = DynamicCache(config=target.model.config)
    with torch.inference_mode(), fused(target.model, cut_calibrator(target.model, 2), 0.5):
        target.model(ids, past_key_values=cache, use_cache=True)
        cache.crop(-4)  # keep all but the last four tokens
        again = target.model(ids[:, -4:], past_key_values=cache, use_cache=True).logits[0, -1]
        assert torch.allclose(again, target.model(ids).logits[0, -1], atol=1e-4)


def test_a_cache_that_was_filled_without_the_detoxifier_is_refused(tiny: Callable[..., Target]) -> None:
    target = tiny()
    ids = target.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    cache = target.model(ids, use_cache=True).past_key_values
    with fused(target.model, cut_calibrator(target.model, 2), 0.5), pytest.raises(UsageError, match="empty cache"):
        target.model(ids[:, :1], past_key_values=cache, use_cache=True)


def test_a_static_cache_is_refused_by_name(tiny: Callable[..., Target]) -> None:
    target = tiny()
    ids = target.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    cache = StaticCache(config=target.model.config, max_cache_len=40)
    with fused(target.model, cut_calibrator(target.model, 2), 0.5), pytest.raises(UsageError, match="StaticCache"):
        target.model(ids, past_key_values=cache)


def test_the_calibrator_shares_the_targets_embeddings_unless_it_trains_them(tiny: Callable[..., Target]) -> None:
    target = tiny()
    shared, own = cut_calibrator(target.model, 2), cut_calibrator(target.model, 2, own_embeddings=True)
    table = target.architecture.embeddings.weight
    assert shared.get_input_embeddings().weight is table
    assert own.get_input_embeddings().weight is not table
    assert not any("embed" in name or "lm_head" in name for name in own_tensors(shared, False))
    assert any("embed" in name for name in own_tensors(own, True))


@pytest.mark.parametrize("layers", [4, 9])
def test_a_calibrator_as_deep_as_the_target_is_refused(layers: int, tiny: Callable[..., Target]) -> None:
    with pytest.raises(UsageError, match=f"layers: {layers} is not below the target's 4"):
        cut_calibrator(tiny().model, layers)


def test_the_loss_counts_completion_tokens_only() -> None:
    torch.manual_seed(0)
    hidden, W, bias = torch.randn(2, 5, 8), torch.randn(11, 8), torch.randn(11)
    labels = torch.tensor([[-100, -100, 3, 7, -100], [-100, 1, 2, -100, -100]])
    nll = [
        -F.log_softmax(W @ hidden[b, t - 1] + bias, -1)[labels[b, t]]
        for b in range(2)
        for t in range(1, 5)
        if labels[b, t] != -100
    ]
    assert completion_loss(hidden, W, bias, labels).item() == pytest.approx(torch.stack(nll).mean().item(), rel=1e-6)


def test_training_lowers_the_held_out_loss_and_leaves_the_shared_embeddings_alone(tiny: Callable[..., Target]) -> None:
    target = tiny()
    before = target.architecture.embeddings.weight.clone()
    ids = target.tokenizer("the same words again and again")["input_ids"]
    sequences = [(ids, [-100] * 4 + ids[4:])] * 40
    calibrator = cut_calibrator(target.model, 2)
    settings = FusionSettings(layers=2, steps=40, train_batch=4, learning_rate=1e-2)
    report = train(calibrator, sequences, settings, seed=0)
    assert report["held_out_loss_after"] < 0.5 * report["held_out_loss_before"]
    assert len(report["loss_curve"]) == 40
    assert torch.equal(target.architecture.embeddings.weight, before)
    assert not any(p.requires_grad for p in calibrator.parameters())


def test_a_bfloat16_target_keeps_its_dtype_and_its_embeddings(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny(dtype="bfloat16")
    corpus = [Example(None, f"some words {i}") for i in range(20)]
    detoxifier = Fusion.fit(
        target, FitData(corpus=corpus, scorer=letter_scorer), FusionSettings(layers=2, steps=2, train_batch=4)
    )
    assert {p.dtype for p in target.model.parameters()} == {torch.bfloat16}
    assert {t.dtype for t in detoxifier.tensors.values()} == {torch.float32}
    with torch.inference_mode(), detoxifier.attached(target.model, 0.5):
        assert target.model(**target.tokenizer(TEXT, return_tensors="pt")).logits.dtype == torch.bfloat16


def test_own_data_are_the_least_toxic_continuations_of_each_prompt(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    prompts = [f"prompt number {i}" for i in range(10)]
    settings = FusionSettings(layers=2, steps=1, train_batch=4, samples=4, keep=0.5)
    fitting = Fusion.fit(tiny(), FitData(prompts=prompts, scorer=letter_scorer), settings).fitting["harvest"]
    assert fitting["prompts"] == 10
    assert fitting["kept"] == 20
    assert fitting["mean_toxicity_kept"] < fitting["mean_toxicity_all"]


def test_too_small_a_corpus_is_refused(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    data = FitData(corpus=[Example(None, "one text"), Example(None, "another")], scorer=letter_scorer)
    with pytest.raises(UsageError, match=r"corpus: 2 usable texts .* too few; at least 32"):
        Fusion.fit(tiny(), data, FusionSettings(layers=2))


def test_a_diverging_loss_stops_the_fit(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    corpus = [Example(None, f"some words {i}") for i in range(20)]
    target = tiny()
    target.model.model.layers[0].mlp.down_proj.weight.data.fill_(math.nan)
    with pytest.raises(DetoxError, match=r"training loss is nan at step 0"):
        Fusion.fit(target, FitData(corpus=corpus, scorer=letter_scorer), FusionSettings(layers=2, train_batch=4))


def test_prompts_and_completions_are_joined_as_the_paper_does(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    from detoxlm.methods.fusion import _tokenise

    target, settings = tiny(), FusionSettings()
    text = target.tokenizer.decode
    end = target.tokenizer.eos_token_id
    ids, labels = _tokenise(target, Example("Question?", "Answer."), settings, True) or ([], [])
    assert text(ids[:-1]) == "Question?\nAnswer."
    assert ids[-1] == labels[-1] == end
    assert text([label for label in labels if label != -100][:-1]) == "Answer."
    ids, labels = _tokenise(target, Example("The old", " bridge"), settings, False) or ([], [])
    assert text(ids) == "The old bridge"
    assert text([label for label in labels if label != -100]) == " bridge"
