"""Every registered method, on tiny random models, held to the whole contract of `detoxlm.methods.base`."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import DEVICE, encoded
from fits import CASES, DETERMINISTIC, PROMPTS, DigestScorer, fit
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.methods import METHODS, Detoxifier, get_method
from detoxlm.models import Target
from detoxlm.report.fitted import in_words

SHAPES = ("llama", "gpt2", "opt", "gemma2", "gemma3_text", "gptj", "gpt_neox", "phi", "mistral", "qwen2")

pytestmark = pytest.mark.usefixtures("short_looks")
#: They differ from tasft or dexperts in what knows nothing of shapes, such as their loss.
ONLY_LOSSES = {"constrained", "dexperts, anti", "unlikelihood", "sft", "contrastive", "dpo"}
methods = pytest.mark.parametrize("method_name", sorted(CASES))
#: Copies of the target that are trained like tasft's, which is held to every shape: these are one of each kind.
COPIES = {"dexperts", "gedi", "tasft, all weights"}
SOME_SHAPES = ("llama", "gpt2", "gemma2", "gptj")
methods_and_shapes = pytest.mark.parametrize(
    ("shape", "method_name"),
    [
        (s, m)
        for s in SHAPES
        for m in sorted(CASES)
        if (m not in ONLY_LOSSES or s in ("llama", "gpt2")) and (m not in COPIES or s in SOME_SHAPES)
    ],
)
#: What is in the weights is a plain model: batches and caches are then transformers' own business, on any shape.
PLAIN = {m for m, (name, _) in CASES.items() if get_method(name).detoxifier_type.kind != "decoding"}
decoding_and_shapes = pytest.mark.parametrize(
    ("shape", "method_name"),
    [
        (s, m)
        for s in SHAPES
        for m in sorted(CASES)
        if (s == "llama" or m not in PLAIN | ONLY_LOSSES) and (m not in COPIES or s in SOME_SHAPES)
    ],
)


def test_every_method_is_held_to_the_contract() -> None:
    assert {name for name, _ in CASES.values()} == set(METHODS)


def logits(target: Target, text: str = "the weather is") -> torch.Tensor:
    with torch.inference_mode():
        return target.model(**encoded(target, text)).logits.clone()


def greedy(target: Target, batch_size: int) -> list[list[int]]:
    batches = generate(target, PROMPTS, Sampling(max_new_tokens=8), batch_size=batch_size)
    made = {g.index: g.token_ids[0] for batch in batches for g in batch.generations}
    return [made[i] for i in range(len(PROMPTS))]


def state(target: Target) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in target.model.state_dict().items()}


@methods_and_shapes
def test_attaching_changes_the_model_and_detaching_restores_it_bit_for_bit(
    method_name: str, shape: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny(shape)
    untouched, weights, parameters = logits(target), state(target), list(target.model.parameters())
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in target.model.modules())
    detoxifier = fit(target, method_name, letter_scorer, fresh=True)
    assert torch.equal(logits(target), untouched), "fitting must not change the target"
    with detoxifier.attached(target.model, detoxifier.max_strength):
        assert not torch.allclose(logits(target), untouched, atol=1e-3)
    assert torch.equal(logits(target), untouched)
    after = state(target)
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    now = list(target.model.parameters())  # equal values in other tensors would untie embeddings and head
    assert len(now) == len(parameters)
    assert all(one is other for one, other in zip(now, parameters, strict=True))
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in target.model.modules())


@methods
def test_strength_zero_is_the_untouched_model_bit_for_bit(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, method_name, letter_scorer)
    untouched, continued = logits(target), greedy(target, 4)
    with detoxifier.attached(target.model, 0.0):
        assert torch.equal(logits(target), untouched)
        assert greedy(target, 4) == continued


@methods
def test_an_exception_inside_restores_the_model_too(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, method_name, letter_scorer)
    untouched = logits(target)
    with pytest.raises(RuntimeError, match="inside"), detoxifier.attached(target.model, 0.5):
        raise RuntimeError("inside")
    assert torch.equal(logits(target), untouched)


@methods_and_shapes
def test_a_saved_detoxifier_loads_to_the_same_logits(
    method_name: str, shape: str, tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    target = tiny(shape)
    detoxifier = fit(target, method_name, letter_scorer)
    detoxifier.save_pretrained(tmp_path / "saved")
    again, fresh = Detoxifier.from_pretrained(tmp_path / "saved"), tiny(shape)
    assert type(again) is type(detoxifier)
    assert again.settings == detoxifier.settings
    os.umask(mask := os.umask(0))
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "saved").iterdir()}
    assert modes == {0o666 & ~mask}, "safetensors alone would write 0600"
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == [
        "README.md",
        "detoxifier.json",
        "model.safetensors",
    ]
    with detoxifier.attached(target.model), again.attached(fresh.model):
        assert torch.equal(logits(target), logits(fresh))


@methods
def test_how_a_fit_went_is_told_in_words(method_name: str, tiny: Callable[..., Target], letter_scorer: Any) -> None:
    said = in_words(fit(tiny(), method_name, letter_scorer).fitting)
    assert re.match(r"[A-Z].* \d.*\.$", said), "what it learned from, or for how long"
    assert not re.search(r"_|None|nan|[{\[]", said)


@methods
def test_a_recommended_strength_is_taken_where_none_is_named_and_changes_nothing_else(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    target = tiny()
    detoxifier = fit(target, method_name, letter_scorer)
    assert len(repr(detoxifier)) < 2000 and len(repr(target)) < 500, "a notebook prints them"
    content, own = detoxifier.content, detoxifier.default_strength
    assert detoxifier.check_strength(None) == own
    detoxifier.recommended_strength = strength = own / 2
    detoxifier.save_pretrained(tmp_path)
    again = Detoxifier.from_pretrained(tmp_path)
    assert again.check_strength(None) == again.info(None).strength == strength
    assert again.content == content, "by which finished measurements are known"
    with again.attached(target.model, strength):
        named = logits(target)
    with again.attached(target.model):
        assert torch.equal(logits(target), named)
    if again.kind != "decoding":
        again.merge(target.model)
        assert torch.equal(logits(target), named)


@decoding_and_shapes
def test_a_batch_gives_what_single_prompts_give(
    method_name: str, shape: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny(shape)
    with fit(target, method_name, letter_scorer).attached(target.model, 0.5):
        assert greedy(target, 4) == greedy(target, 1)


@decoding_and_shapes
def test_the_kv_cache_changes_nothing(
    method_name: str, shape: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny(shape)
    inputs = encoded(target, "the old bridge")
    with fit(target, method_name, letter_scorer).attached(target.model, 0.5):
        cached, plain = (
            target.model.generate(**inputs, max_new_tokens=8, do_sample=False, use_cache=use) for use in (True, False)
        )
        assert cached.tolist() == plain.tolist()
        ours = [g for b in generate(target, ["the old bridge"], Sampling(max_new_tokens=8)) for g in b.generations]
    new = cached[0, inputs["input_ids"].shape[1] :].tolist()
    assert ours[0].token_ids[0] == [t for t in new if t != target.tokenizer.eos_token_id]


@methods
@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_return_sequences": 3, "do_sample": True}])
def test_transformers_generate_agrees_with_and_without_cache(
    method_name: str, options: dict[str, Any], tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    inputs = encoded(target, PROMPTS)
    made = []
    with fit(target, method_name, letter_scorer).attached(target.model, 0.5):
        for use_cache in (True, False):
            torch.manual_seed(7)
            made.append(target.model.generate(**inputs, max_new_tokens=6, use_cache=use_cache, **options).tolist())
    assert made[0] == made[1]


@methods
def test_strengths_out_of_range_are_refused(method_name: str, tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny()
    detoxifier = fit(target, method_name, letter_scorer)
    with pytest.raises(UsageError, match=r"strength: -0\.1 .*more toxic"):
        detoxifier.attached(target.model, -0.1)
    with pytest.raises(UsageError, match="strength"):
        detoxifier.attached(target.model, detoxifier.max_strength * 1.01)
    with pytest.raises(UsageError, match="strength"):
        detoxifier.attached(target.model, float("nan"))


@methods
@pytest.mark.parametrize(
    "other", [{"kind": "llama", "seed": 1}, {"kind": "gpt2"}], ids=["other weights", "other shape"]
)
def test_another_model_is_refused(
    method_name: str, other: dict[str, Any], tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    detoxifier = fit(tiny(), method_name, letter_scorer)
    with pytest.raises(UsageError, match=r"detoxifier: .* was fitted for .*, not for this model"):
        detoxifier.attached(tiny(**other).model, 0.5)


@methods
def test_merge_is_plain_weights_or_a_clear_refusal(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, method_name, letter_scorer)
    if detoxifier.kind == "decoding":
        with pytest.raises(UsageError, match=r"merge: .* decoding time"):
            detoxifier.merge(target.model)
        return
    with detoxifier.attached(target.model):
        expected = logits(target)
    merged = detoxifier.merge(copy.deepcopy(target.model))
    with torch.inference_mode():
        got = merged(**encoded(target, "the weather is")).logits
    assert torch.allclose(got, expected, atol=1e-4)


@pytest.mark.more
@pytest.mark.parametrize("method_name", sorted(set(CASES) - (ONLY_LOSSES - {"constrained"})))
def test_fitting_twice_with_one_seed_gives_the_same_detoxifier_and_another_seed_another(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    first = fit(tiny(), method_name, letter_scorer).tensors  # the seed is 0, and the fit perhaps another test's
    second, third = (fit(tiny(), method_name, letter_scorer, seed=seed, fresh=True).tensors for seed in (0, 1))
    # sums on a GPU are in no fixed order (contrastive's, over the tokens of a text)
    same = torch.equal if DEVICE == "cpu" else partial(torch.allclose, atol=1e-4)
    assert all(same(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first) == (method_name not in DETERMINISTIC)


@pytest.mark.more
@methods
def test_without_any_data_the_target_makes_its_own(method_name: str, tiny: Callable[..., Target]) -> None:
    detoxifier = fit(tiny(), method_name, DigestScorer(), corpus=None, pairs=None)
    assert detoxifier.fitting["harvest"]["continuations"] > 0


@methods
def test_damaged_folders_are_refused(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    fit(tiny(), method_name, letter_scorer).save_pretrained(saved)
    config, weights = saved / "detoxifier.json", saved / "model.safetensors"
    good_config, good_weights = config.read_text(), weights.read_bytes()

    weights.write_bytes(good_weights[:-40])
    with pytest.raises(UsageError, match="damaged"):
        Detoxifier.from_pretrained(saved)

    tensors = load_file(saved / "model.safetensors") if weights.write_bytes(good_weights) else {}
    name = next(iter(tensors))
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, weights)
    with pytest.raises(UsageError, match=rf"NaN or infinite values in {name}"):
        Detoxifier.from_pretrained(saved)

    weights.write_bytes(good_weights)
    config.write_text(json.dumps({**json.loads(good_config), "format": 99}))
    with pytest.raises(UsageError, match="format 99"):
        Detoxifier.from_pretrained(saved)
    config.write_text(json.dumps({**json.loads(good_config), "method": "nonsense"}))
    with pytest.raises(UsageError, match="nonsense"):
        Detoxifier.from_pretrained(saved)
    config.unlink()
    with pytest.raises(UsageError, match=r"no detoxifier\.json"):
        Detoxifier.from_pretrained(saved)
    with pytest.raises(UsageError, match="does not exist"):
        Detoxifier.from_pretrained(tmp_path / "nowhere")


@methods
def test_a_description_without_a_field_or_with_an_empty_one_is_refused_by_field_and_file(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    fit(tiny(), method_name, letter_scorer).save_pretrained(saved)
    file = saved / "detoxifier.json"
    good = json.loads(file.read_text())
    for within, fields in (("", good), ("target.", good["target"])):
        for name in fields:
            for value in ("missing", {}, None, "", []):
                if value == good[name if not within else "files"] or (name == "settings" and not good[name]):
                    continue  # what a whole one has: a list of no further files
                changed = {key: one for key, one in fields.items() if key != name or value != "missing"}
                changed |= {} if value == "missing" else {name: value}
                file.write_text(json.dumps({**good, "target": changed} if within else changed))
                if (within, name, value) == ("target.", "fingerprint_float16", "missing"):
                    Detoxifier.from_pretrained(saved)  # as versions wrote it that did not know it yet
                    continue
                with pytest.raises(UsageError, match=rf"detoxifier\.json.*`{within}{name}`") as caught:
                    Detoxifier.from_pretrained(saved)
                assert "\n" not in str(caught.value)


@methods
def test_a_pointer_in_place_of_the_weights_is_called_that(
    method_name: str, tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    fit(tiny(), method_name, letter_scorer).save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UsageError, match=r"^detoxifier: .*model\.safetensors is a Git LFS pointer.*git lfs pull"):
        Detoxifier.from_pretrained(tmp_path / "saved")


@methods
@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device (os error 28)")],
    ids=["from Python", "from safetensors"],
)
def test_a_full_disk_leaves_no_half_written_folder(
    error: Exception,
    method_name: str,
    tiny: Callable[..., Target],
    letter_scorer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detoxifier = fit(tiny(), method_name, letter_scorer)

    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("detoxlm.methods.base.save_file", full)
    with pytest.raises(DetoxError, match="No space left on device"):
        detoxifier.save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown name 'fusoin'.*Did you mean 'fusion'"):
        get_method("fusoin")
