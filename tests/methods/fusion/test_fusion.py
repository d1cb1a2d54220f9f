"""Fusion against the paper's equations, re-derived here without hooks or caches."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import as_row, encoded
from tokenizers import Tokenizer
from tokenizing import spaced
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast, StaticCache

from detoxlm.architecture import Architecture
from detoxlm.data import Example, Pair
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods import FitData
from detoxlm.methods.decoding.attached import attached
from detoxlm.methods.decoding.rule import SLOPE
from detoxlm.methods.fusion import Fusion, FusionDetoxifier, FusionSettings, foreign, mixing
from detoxlm.methods.fusion.calibrator import cut_calibrator
from detoxlm.methods.fusion.mixing import completion_loss, own_tensors
from detoxlm.methods.fusion.mixture import tokenised
from detoxlm.methods.fusion.steering import Mixture
from detoxlm.methods.fusion.texts import score_passages
from detoxlm.models import Target

TEXT = "over the hills and far away"


def paper(**settings: Any) -> FusionSettings:
    return FusionSettings(**{"variant": "paper", "layers": 2, "train_batch": 4, **settings})


def fused(model: PreTrainedModel, calibrator: PreTrainedModel, alpha: float) -> AbstractContextManager[None]:
    mixture = Mixture(Architecture.of(model), None, "states")
    mixture.readers = (Architecture.of(calibrator).decoder,)
    return attached(model, mixture, [alpha])


def final_hidden(target: Target, layers: int | None = None) -> torch.Tensor:
    """Final-norm hidden state [T, d] of the first `layers` layers, read from the target's own hidden states."""
    with torch.inference_mode():
        out = target.model(**encoded(target, TEXT), output_hidden_states=True)
        if layers is None:
            return target.architecture.decoder(**encoded(target, TEXT)).last_hidden_state[0]
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
        got = target.model(**encoded(target, TEXT)).logits[0]
    assert torch.allclose(got, expected, atol=1e-4)


def test_for_a_linear_head_fusion_mixes_the_two_models_logits(tiny: Callable[..., Target]) -> None:
    # (1 - a) z + a W g: the identity that makes fusion a logits processor
    target = tiny()
    calibrator = cut_calibrator(target.model, 2)
    inputs = encoded(target, TEXT)
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
        got = target.model(**encoded(target, TEXT)).logits[0]
    assert torch.allclose(got, expected, atol=1e-4)


def test_the_calibrator_sees_the_whole_context_at_every_step(tiny: Callable[..., Target]) -> None:
    """The released code's fault: after the first token its calibrator saw only the newest token."""
    target = tiny()
    ids = encoded(target, TEXT)["input_ids"]
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
    ids = encoded(target, TEXT)["input_ids"]
    cache = DynamicCache(config=target.model.config)
    with torch.inference_mode(), fused(target.model, cut_calibrator(target.model, 2), 0.5):
        target.model(ids, past_key_values=cache, use_cache=True)
        cache.crop(-4)  # keep all but the last four tokens
        again = target.model(ids[:, -4:], past_key_values=cache, use_cache=True).logits[0, -1]
        assert torch.allclose(again, target.model(ids).logits[0, -1], atol=1e-4)


def test_a_cache_that_was_filled_without_the_detoxifier_is_refused(tiny: Callable[..., Target]) -> None:
    target = tiny()
    ids = encoded(target, TEXT)["input_ids"]
    cache = target.model(ids, use_cache=True).past_key_values
    with fused(target.model, cut_calibrator(target.model, 2), 0.5), pytest.raises(UsageError, match="empty cache"):
        target.model(ids[:, :1], past_key_values=cache, use_cache=True)


def test_a_static_cache_is_refused_by_name(tiny: Callable[..., Target]) -> None:
    target = tiny()
    ids = encoded(target, TEXT)["input_ids"]
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
    report = mixing.train(calibrator, sequences, steps=40, batch=4, learning_rate=1e-2, own_embeddings=False, seed=0)
    assert report["held_out_loss_after"] < 0.5 * report["held_out_loss_before"]
    assert len(report["loss_curve"]) == 40
    assert torch.equal(target.architecture.embeddings.weight, before)
    assert not any(p.requires_grad for p in calibrator.parameters())


def test_a_bfloat16_target_keeps_its_dtype_and_its_embeddings(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny(dtype="bfloat16")
    corpus = [Example(None, f"some words {i}") for i in range(20)]
    detoxifier = Fusion.fit(target, FitData(corpus=corpus, scorer=letter_scorer), paper(steps=2))
    assert {p.dtype for p in target.model.parameters()} == {torch.bfloat16}
    assert {t.dtype for t in detoxifier.tensors.values()} == {torch.float32}
    with torch.inference_mode(), detoxifier.attached(target.model, 0.5):
        assert target.model(**encoded(target, TEXT)).logits.dtype == torch.bfloat16


def test_own_data_are_the_least_toxic_continuations_of_each_prompt(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    prompts = [f"prompt number {i}" for i in range(10)]
    settings = paper(steps=1, samples=4, keep=0.5)
    fitting = Fusion.fit(tiny(), FitData(prompts=prompts, scorer=letter_scorer), settings).fitting["harvest"]
    assert fitting["prompts"] == 10
    assert fitting["kept"] == 20
    assert fitting["mean_toxicity_kept"] < fitting["mean_toxicity_all"]


def test_too_small_a_corpus_is_refused(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    data = FitData(corpus=[Example(None, "one text"), Example(None, "another")], scorer=letter_scorer)
    with pytest.raises(UsageError, match=r"corpus: 2 usable texts .* too few; at least 32"):
        Fusion.fit(tiny(), data, paper(train_batch=16))


def test_a_diverging_loss_stops_the_fit(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    corpus = [Example(None, f"some words {i}") for i in range(20)]
    target = tiny()
    target.model.model.layers[0].mlp.down_proj.weight.data.fill_(math.nan)
    with pytest.raises(DetoxError, match=r"training loss is nan at step 0"):
        Fusion.fit(target, FitData(corpus=corpus, scorer=letter_scorer), paper())


def test_prompts_and_completions_are_joined_as_the_paper_does(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target, settings = tiny(), FusionSettings()
    text = target.tokenizer.decode
    end = target.tokenizer.eos_token_id
    ids, labels = tokenised(target, Example("Question?", "Answer."), settings, True) or ([], [])
    assert text(ids[:-1]) == "Question?\nAnswer."
    assert ids[-1] == labels[-1] == end
    assert text([label for label in labels if label != -100][:-1]) == "Answer."
    ids, labels = tokenised(target, Example("The old", " bridge"), settings, False) or ([], [])
    assert text(ids) == "The old bridge"
    assert text([label for label in labels if label != -100]) == " bridge"


@pytest.mark.parametrize("kind", ["metaspace", "prepend"])
@pytest.mark.parametrize("text", ["'s are", " are new", "nd the new", "\nd"])
def test_what_follows_a_prompt_is_learned_without_a_space_that_is_not_there(
    kind: str, text: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = dataclasses.replace(tiny(), tokenizer=spaced(kind))
    prompt, whole = target.tokenizer("the new")["input_ids"], target.tokenizer("the new" + text)["input_ids"]
    followed, alone = score_passages(target, [("the new", text, 0.1), ("", "the new", 0.2)], letter_scorer, 64)
    assert (followed.ids, followed.start) == (whole, len(prompt))
    assert alone.ids[alone.start :] == prompt
    ids, labels = tokenised(target, Example("the new", text), FusionSettings(), False) or ([], [])
    assert ids == whole
    assert labels == [-100] * len(prompt) + whole[len(prompt) :]


# --- two forms, any pair of models ------------------------------------------------------------------------------------


def fitted(target: Target, letter_scorer: Any, **settings: Any) -> FusionDetoxifier:
    """A quickly trained calibrator of the target's own; the scorer says that the letter e is toxic."""
    texts = [f"{'eee ee' if i % 2 else 'all is calm'} and {i}" for i in range(48)]
    quick = {"calibrator": "own", "layers": 2, "batch": 8, "learning_rate": 1e-2, "threshold": 0.0, "steps": 4}
    data = FitData(corpus=[Example(None, text) for text in texts], scorer=letter_scorer)
    return Fusion.fit(target, data, FusionSettings(**{**quick, "train_batch": 4, **settings}))


VARIANTS = pytest.mark.parametrize("variant", ["contrast", "paper"])
SHAPES = ["llama", "gpt2", "opt", "gemma3_text", "gptj", "gpt_neox", "phi", "mistral", "qwen2"]


@VARIANTS
@pytest.mark.parametrize("shape", SHAPES)
def test_the_processor_and_the_attached_model_give_the_same_logits(
    variant: str, shape: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny(shape)
    detoxifier = fitted(target, letter_scorer, variant=variant)
    # of one length: called by hand, some models count padding as positions
    ids = encoded(target, ["over the hills", "under a tree ."])
    processor = detoxifier.logits_processor(target.model, 0.7)
    with torch.inference_mode():
        plain = target.model(**ids).logits[:, -1]
        with detoxifier.attached(target.model, 0.7):
            attached = target.model(**ids).logits[:, -1]
    processed = processor(ids["input_ids"], plain)
    assert torch.allclose(processed, attached.log_softmax(-1), atol=2e-3)
    assert not torch.allclose(processed, plain.log_softmax(-1), atol=1e-2)


@VARIANTS
@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"num_beams": 3, "do_sample": False},
        {"do_sample": True, "num_return_sequences": 3},
    ],
    ids=["greedy", "beams", "samples"],
)
def test_generating_with_the_processor_is_generating_attached(
    variant: str, options: dict[str, Any], tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fitted(target, letter_scorer, variant=variant)
    inputs = encoded(target, ["the old", "a longer prompt, which", "x"])
    torch.manual_seed(5)
    with detoxifier.attached(target.model, 0.6):
        attached = target.model.generate(**inputs, max_new_tokens=12, **options)
    torch.manual_seed(5)
    processor = detoxifier.logits_processor(target.model, 0.6)
    processed = target.model.generate(**inputs, max_new_tokens=12, logits_processor=[processor], **options)
    plain = target.model.generate(**inputs, max_new_tokens=12, **options)
    assert attached.tolist() == processed.tolist()
    assert attached.tolist() != plain.tolist()


def test_the_processor_finds_padding_that_the_model_does_not_name(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fitted(target, letter_scorer)
    for config in (target.model.config, target.model.generation_config):
        config.pad_token_id = None  # as of GPT-2 and Llama 3
    end = target.model.config.eos_token_id
    ids = target.tokenizer("a longer prompt", add_special_tokens=False)["input_ids"]
    short, scores = ids[-4:], torch.randn(2, target.architecture.vocab_size, device=target.device)
    batch = torch.tensor([ids, [end] * (len(ids) - 4) + short], device=target.device)
    together = detoxifier.logits_processor(target.model, 4.0)(batch, scores)
    alone = detoxifier.logits_processor(target.model, 4.0)(as_row(target, short), scores[1:])
    assert torch.allclose(together[1], alone[0], atol=1e-4)


@VARIANTS
def test_assisted_generation_is_fused_too(variant: str, tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target, assistant = tiny(), tiny("llama", 1).model
    detoxifier = fitted(target, letter_scorer, variant=variant)
    inputs = encoded(target, "the old bridge")
    with detoxifier.attached(target.model, 0.6):
        alone = target.model.generate(**inputs, max_new_tokens=12, do_sample=False)
        assisted = target.model.generate(**inputs, max_new_tokens=12, do_sample=False, assistant_model=assistant)
    processor = detoxifier.logits_processor(target.model, 0.6)
    processed = target.model.generate(
        **inputs, max_new_tokens=12, do_sample=False, assistant_model=assistant, logits_processor=[processor]
    )
    assert assisted.tolist() == alone.tolist() == processed.tolist()


def test_the_papers_mixture_is_refused_as_a_processor_where_logits_are_capped(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny("gemma2")
    detoxifier = fitted(target, letter_scorer, variant="paper")
    with pytest.raises(UsageError, match="gemma2 model caps its logits"):
        detoxifier.logits_processor(target.model)
    fitted(target, letter_scorer).logits_processor(target.model)  # the contrast may act on any logits


@VARIANTS
def test_requests_of_one_batch_have_their_own_strengths(
    variant: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fitted(target, letter_scorer, variant=variant)
    ids = encoded(target, ["the old bridge", "the old bridge", "the old bridge"])
    with torch.inference_mode():
        plain = target.model(**ids).logits
        with detoxifier.attached(target.model, [0.0, 0.3, 0.9]):
            mixed = target.model(**ids).logits
        with detoxifier.attached(target.model, 0.9):
            strong = target.model(**ids).logits
    assert torch.allclose(mixed[0], plain[0], atol=1e-5)
    assert torch.allclose(mixed[2], strong[2], atol=1e-4)
    assert not torch.allclose(mixed[1], mixed[2], atol=1e-2)
    with pytest.raises(UsageError, match="strength"):
        detoxifier.attached(target.model, [0.1, -0.1])


def test_labels_are_refused_because_their_loss_would_be_the_untouched_models(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    ids = encoded(target, TEXT)["input_ids"]
    with fitted(target, letter_scorer).attached(target.model, 0.5), pytest.raises(UsageError, match="labels"):
        target.model(ids, labels=ids)


def test_the_calibrator_learns_which_letter_is_toxic(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny()
    detoxifier = fitted(target, letter_scorer, epochs=6)
    head, session = detoxifier.calibrator(target.model).risk, detoxifier.session(target.model)
    text, calm = (target.tokenizer(text)["input_ids"] for text in ("</s>eee e", "</s>all is c"))
    risk = [head(session.says_of(ids[:-1], 1), as_row(target, ids[-1:])).item() for ids in (text, calm)]
    assert risk[0] > risk[1] + 0.5


def test_as_released_forgets_everything_but_the_newest_token(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny()
    detoxifier = fitted(target, letter_scorer, variant="paper", as_released=True)
    ids = encoded(target, TEXT)["input_ids"]
    calibrator = Architecture.of(detoxifier.calibrator(target.model)).decoder
    with torch.inference_mode():
        h = target.architecture.decoder(ids).last_hidden_state
        prompt = calibrator(ids[:, :-1], use_cache=False).last_hidden_state[:, -1]
        newest = calibrator(ids[:, -1:], use_cache=False).last_hidden_state[:, -1]
        cache = DynamicCache(config=target.model.config)
        with detoxifier.attached(target.model, 0.5):
            first = target.model(ids[:, :-1], past_key_values=cache).logits[:, -1]
            second = target.model(ids[:, -1:], past_key_values=cache).logits[:, -1]
    head = target.architecture.head
    assert torch.allclose(first, head(0.5 * prompt + 0.5 * h[:, -2]), atol=1e-4)
    assert torch.allclose(second, head(0.5 * newest + 0.5 * h[:, -1]), atol=1e-4)


@VARIANTS
@pytest.mark.parametrize("shape", ["gpt2", "gemma3_text", "llama"])
def test_a_calibrator_serves_another_model_from_its_folder(
    variant: str,
    shape: str,
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    letter_scorer: Any,
    tmp_path: Path,
) -> None:
    own = tiny()
    fitted(own, letter_scorer, variant=variant).save_pretrained(tmp_path / "calibrator")
    other = tiny(shape, 1)
    moved = Fusion.fit(other, FitData(seed=0), FusionSettings(calibrator=str(tmp_path / "calibrator"), threshold=0.0))
    assert moved.foreign
    moved.save_pretrained(tmp_path / "moved")
    loaded = FusionDetoxifier.from_pretrained(tmp_path / "moved")
    inputs = encoded(other, ["the old bridge", "x"])
    made = []
    for detoxifier in (moved, loaded):
        with detoxifier.attached(other.model, 0.8):
            for use_cache in (True, False):
                made.append(other.model.generate(**inputs, max_new_tokens=10, do_sample=False, use_cache=use_cache))
        processor = detoxifier.logits_processor(other.model, 0.8)
        made.append(other.model.generate(**inputs, max_new_tokens=10, do_sample=False, logits_processor=[processor]))
    assert all(one.tolist() == made[0].tolist() for one in made)
    assert made[0].tolist() != other.model.generate(**inputs, max_new_tokens=10, do_sample=False).tolist()
    with pytest.raises(UsageError, match="itself aligned"):
        Fusion.fit(own, FitData(), FusionSettings(calibrator=str(tmp_path / "moved")))


@pytest.mark.parametrize(("alignment", "name"), [("input", "model.embed_tokens.weight"), ("output", "lm_head.weight")])
def test_a_calibrator_that_trained_its_embeddings_is_aligned_by_them(
    alignment: str,
    name: str,
    tiny: Callable[..., Target],
    letter_scorer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = tiny("qwen2")  # its head is not its embeddings
    made = fitted(own, letter_scorer, variant="paper", train_embeddings=True)
    made.save_pretrained(tmp_path / "calibrator")
    seen: list[torch.Tensor] = []
    real = foreign.align

    def align(calibrator: torch.Tensor, *others: Any, **more: Any) -> Any:
        seen.append(calibrator.clone())
        return real(calibrator, *others, **more)

    monkeypatch.setattr(foreign, "align", align)
    moved = Fusion.fit(
        tiny("llama", 1), FitData(), FusionSettings(calibrator=str(tmp_path / "calibrator"), alignment=alignment)
    )
    trained = made.tensors[f"mixture.{name}"]
    assert not torch.equal(trained, own.model.state_dict()[name].cpu()), "or this would show nothing"
    assert torch.equal(seen[0].cpu(), trained)
    assert torch.equal(moved.tensors[f"base.{name}"], trained.half()), "and it reads with them"


def test_a_calibrator_of_another_model_that_has_lost_its_description_is_refused(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    fitted(tiny(), letter_scorer).save_pretrained(tmp_path / "calibrator")
    other = tiny("gpt2", 1)
    moved = Fusion.fit(other, FitData(), FusionSettings(calibrator=str(tmp_path / "calibrator"), threshold=0.0))
    moved.save_pretrained(tmp_path / "moved")
    described = json.loads((tmp_path / "moved" / "detoxifier.json").read_text())
    assert "calibrator_config" in described["files"]
    (tmp_path / "moved" / "detoxifier.json").write_text(json.dumps({**described, "files": []}))
    with pytest.raises(UsageError, match=r"`files` in .*detoxifier\.json lacks calibrator_config"):
        FusionDetoxifier.from_pretrained(tmp_path / "moved")
    (tmp_path / "moved" / "detoxifier.json").write_text(json.dumps(described))
    (tmp_path / "moved" / "calibrator_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"calibrator_config\.json is damaged: it holds \{\}"):
        FusionDetoxifier.from_pretrained(tmp_path / "moved")


def test_a_calibrator_with_another_tokenizer_reads_the_targets_text(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    own, other = tiny(), tiny("gpt2", 1)
    fitted(own, letter_scorer).save_pretrained(tmp_path / "calibrator")
    # the same bytes under other ids
    inner = json.loads(other.tokenizer.backend_tokenizer.to_str())
    inner["model"]["vocab"] = {token: (i + 40) % 256 for token, i in inner["model"]["vocab"].items()}
    turned = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(inner)), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    other = dataclasses.replace(other, tokenizer=turned)
    moved = Fusion.fit(
        other, FitData(), FusionSettings(calibrator=str(tmp_path / "calibrator"), threshold=0.0, candidates=260)
    )
    assert moved.fitting["vocabulary"]["covered"] == 1.0
    source = FusionDetoxifier.from_pretrained(tmp_path / "calibrator")
    ids = encoded(other, "the old bridge é")["input_ids"]
    with torch.inference_mode():
        plain = other.model(ids).logits
        with moved.attached(other.model, 0.8):
            got = other.model(ids).logits
        # the calibrator's own reading of each prefix, without any of the machinery
        calibrator = source.calibrator(own.model)
        for end in range(1, ids.shape[1] + 1):
            text = turned.decode(ids[0, :end]).rstrip("\ufffd")
            tokens = encoded(own, text)["input_ids"]
            state = calibrator.decoder(tokens, use_cache=False).last_hidden_state[:, -1]
            everything = torch.arange(256, device=own.device)[None]
            risk = calibrator.risk(state, everything)[0]
            of_turned = torch.stack([risk[(i - 40) % 256] for i in range(256)])
            expected = plain[0, end - 1, :256] - SLOPE * 0.8 * of_turned.sigmoid()
            expected = expected.log_softmax(-1) + plain[0, end - 1, :256].logsumexp(-1)
            assert torch.allclose(got[0, end - 1, :256], expected, atol=0.2)  # weights travel in float16


def test_a_default_strength_is_held_to_the_range_of_the_calibrators_variant(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    target = tiny()
    fitted(target, letter_scorer, variant="paper").save_pretrained(tmp_path / "paper")
    folder = str(tmp_path / "paper")
    settings = FusionSettings(calibrator=folder, strength=1.5)  # as if for the contrast, whose largest is 4
    for check in (lambda: Fusion.check(FitData(), settings), lambda: Fusion.fit(target, FitData(), settings)):
        with pytest.raises(UsageError, match=r"strength: 1.5 is outside \[0, 1\] of fusion"):
            check()
    assert Fusion.fit(target, FitData(), FusionSettings(calibrator=folder, strength=0.9)).check_strength(None) == 0.9
    with pytest.raises(UsageError, match="strength: a default of 0 would change nothing"):
        Fusion.check(FitData(), FusionSettings(strength=0))
    damaged = FusionDetoxifier(FusionSettings(variant="paper", strength=2), {}, {})
    with pytest.raises(UsageError, match=r"strength: 2 is outside \[0, 1\] of fusion"):
        damaged.attached(target.model)


def test_what_a_trained_calibrator_would_not_read_is_refused(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    target = tiny()
    fitted(target, letter_scorer).save_pretrained(tmp_path / "own")
    other = FusionSettings(calibrator=str(tmp_path / "own"))
    data = FitData(corpus=[Example(None, "all is calm")], scorer=letter_scorer)
    with pytest.raises(UsageError, match=r"corpus: the calibrator .* is trained already and reads no data"):
        Fusion.fit(target, data, other)
    with pytest.raises(UsageError, match=r"variant: the calibrator in .* is of variant contrast"):
        Fusion.fit(target, FitData(), FusionSettings(calibrator=str(tmp_path / "own"), variant="paper"))
    with pytest.raises(UsageError, match="pairs: the paper's calibrator learns non-toxic text alone"):
        Fusion.fit(target, FitData(pairs=[Pair("bad", "good", None)]), FusionSettings(variant="paper"))
