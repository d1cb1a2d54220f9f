"""Weights in fewer bits: what they are, what is known of them, and what is refused with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import DEVICE, encoded
from fits import fit
from refusals import refused
from torch import nn
from transformers.utils.quantization_config import TorchAoConfig

from detoxlm import models, quantization
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.methods import FitData
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.models import Target, load_target
from detoxlm.quantization import check_quantization, quantization_of, whole
from detoxlm.results import Results

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def torchao() -> None:
    """What needs torchao is skipped without it."""
    pytest.importorskip("torchao", reason="it is not installed: pip install 'detoxlm[quantization]'")


@pytest.fixture
def copied(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny Llama's folder that the test may change."""
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


def linears(target: Target) -> dict[str, nn.Linear]:
    head = target.model.get_output_embeddings()
    return {n: m for n, m in target.model.named_modules() if isinstance(m, nn.Linear) and m is not head}


@torch.inference_mode()
def logits(target: Target) -> torch.Tensor:
    return target.model(**encoded(target, "the weather is")).logits


# --- int8 -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("torchao")
def test_int8_is_each_weight_rounded_to_127_steps_of_its_row_and_nothing_else(tiny: Callable[..., Target]) -> None:
    plain, small = tiny(), tiny(quantization="int8")
    found = linears(small)
    assert len(found) == 4 * 7  # of four layers: four of attention, three of the MLP
    for name, module in linears(plain).items():
        step = module.weight.abs().amax(1, keepdim=True) / 127
        off = (whole(found[name].weight) - module.weight).abs()
        assert bool((off <= 0.51 * step).all()) and float(off.max()) > 0, name
    for part in ("get_input_embeddings", "get_output_embeddings"):
        assert torch.equal(getattr(small.model, part)().weight, getattr(plain.model, part)().weight)
    assert 0 < float((logits(small) - logits(plain)).abs().max()) < 0.2 * float(logits(plain).abs().max())


@pytest.mark.usefixtures("torchao")
def test_a_quantised_model_is_known_as_another_one_and_always_as_the_same(tiny: Callable[..., Target]) -> None:
    plain, small, again = tiny(), tiny(quantization="int8"), tiny(quantization="int8")
    assert small.info.quantization == small.architecture.quantization == "int8 (torchao)"
    assert plain.info.quantization is None
    assert small.info.parameters == plain.info.parameters and small.info.dtype == "float32"
    assert small.architecture.prints == again.architecture.prints
    assert small.architecture.fingerprint != plain.architecture.fingerprint
    assert small.architecture.fingerprint != tiny(seed=1, quantization="int8").architecture.fingerprint


@pytest.mark.usefixtures("torchao")
def test_fusion_acts_on_a_quantised_model_and_leaves_no_trace(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    fit(tiny(), "fusion", letter_scorer).save_pretrained(tmp_path / "own")
    small = tiny(quantization="int8")
    moved = Fusion.fit(small, FitData(), FusionSettings(calibrator=str(tmp_path / "own"), threshold=0.0))
    assert moved.target["quantization"] == "int8 (torchao)"
    before = logits(small)
    with moved.attached(small.model, 2.0):
        assert not torch.allclose(logits(small), before, atol=0.1)
        [batch] = generate(small, ["the old"], Sampling(max_new_tokens=5))
        assert batch.tokens
    assert torch.equal(logits(small), before)
    with pytest.raises(UsageError, match=r"fitted for .* not for this model .*float32\)"):
        moved.check_target(tiny().model)


@pytest.mark.usefixtures("torchao")
@pytest.mark.parametrize("method", ["subspace", "surgery", "dinm", "tasft", "dpo"])
def test_what_changes_weights_is_refused_with_the_way_round(
    method: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    with pytest.raises(
        UsageError,
        match=rf"^{method}: it changes weights, .* int8 \(torchao\)\. Fit it to the unquan"
        r".*`detoxlm export MODEL DETOXIFIER -o NEW`, and quantise NEW",
    ):
        fit(tiny(quantization="int8"), method, letter_scorer, fresh=True)


@pytest.mark.usefixtures("torchao")
@pytest.mark.parametrize("method", ["dexperts", "gedi", "fusion"])
def test_what_trains_copies_of_layers_is_refused(method: str, tiny: Callable[..., Target], letter_scorer: Any) -> None:
    with pytest.raises(UsageError, match=r"layers are quantised, int8 .* fit without --quantization, or take"):
        fit(tiny(quantization="int8"), method, letter_scorer, fresh=True)


@pytest.mark.usefixtures("torchao")
def test_matrices_of_a_quantised_model_are_not_handed_out(tiny: Callable[..., Target]) -> None:
    view = tiny(quantization="int8").architecture
    for ask in (lambda: view.writers(0, "value"), lambda: view.gates(0)):
        with pytest.raises(UsageError, match="its matrices are quantised, int8"):
            ask()


@pytest.mark.usefixtures("torchao")
def test_a_checkpoint_that_is_quantised_loads_as_what_it_is(tiny: Callable[..., Target], tmp_path: Path) -> None:
    small = tiny(quantization="int8")
    small.model.save_pretrained(tmp_path / "small")
    small.tokenizer.save_pretrained(tmp_path / "small")
    again = load_target(str(tmp_path / "small"), device=DEVICE)
    assert again.info.quantization == "int8 (torchao)"
    assert again.architecture.fingerprint == small.architecture.fingerprint
    assert torch.equal(logits(again), logits(small))
    refused(tmp_path / "small", r"is quantised already \(torchao\); leave --quantization out", quantization="int8")


@pytest.mark.usefixtures("torchao")
def test_an_adapter_is_added_to_whole_weights_and_the_sum_is_quantised(
    tiny: Callable[..., Target], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=["down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(3)
    wrapped = peft.get_peft_model(tiny().model, lora)
    wrapped.save_pretrained(tmp_path / "lora")
    sum_of_both = wrapped.merge_and_unload()
    sum_of_both.save_pretrained(tmp_path / "sum")
    tiny().tokenizer.save_pretrained(tmp_path / "sum")
    options = {"device": DEVICE, "quantization": "int8"}
    adapted, merged = (load_target(str(tmp_path / name), **options) for name in ("lora", "sum"))  # type: ignore[arg-type]
    assert adapted.info.quantization == "int8 (torchao)"
    torch.testing.assert_close(logits(adapted), logits(merged))


@pytest.mark.more
@pytest.mark.usefixtures("torchao")
def test_the_commands_measure_fit_and_write_with_a_quantised_model(
    call: Call, tiny: Callable[..., Target], tiny_folder: Callable[..., Path], letter_scorer: Any, tmp_path: Path
) -> None:
    fit(tiny(), "fusion", letter_scorer).save_pretrained(tmp_path / "own")
    model, small = tiny_folder("llama"), ("--quantization", "int8")
    (tmp_path / "p.txt").write_text("The old\nHe said that\n")
    common = ("--scorer", "ngram", "--prompts", tmp_path / "p.txt", "--fluency-tokens", 64)
    code, _, err = call("fit", "fusion", model, *small, "--calibrator", tmp_path / "own", "-o", tmp_path / "det")
    assert code == 0, err
    assert json.loads((tmp_path / "det/detoxifier.json").read_text())["target"]["quantization"] == "int8 (torchao)"
    code, _, err = call("evaluate", model, *small, *common, "-o", tmp_path / "before.json")
    assert code == 0, err
    fused = ("--detoxifier", tmp_path / "det", "--baseline", tmp_path / "before.json", "-o", tmp_path / "after.json")
    code, _, err = call("evaluate", model, *small, *common, *fused)
    assert code == 0, err
    after = Results.load(tmp_path / "after.json")
    assert after.model.quantization == "int8 (torchao)" and after.comparison is not None
    code, _, err = call("generate", model, *small, "--detoxifier", tmp_path / "det", "The old")
    assert code == 0, err
    code, _, err = call("generate", model, "--detoxifier", tmp_path / "det", "The old")
    assert code == 2
    assert "with weights that are int8 (torchao), and these are not quantised" in err
    code, _, err = call("evaluate", model, *common, "--baseline", tmp_path / "before.json", "-o", tmp_path / "x.json")
    assert code == 2
    assert "baseline: the two results differ in model weights" in err


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_an_unknown_kind_and_bitsandbytes_without_a_gpu_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for kind in ("4bit", "8bit"):
        with pytest.raises(UsageError, match=rf"^quantization: {kind} \(bitsandbytes\) needs a GPU, .*; int8 works"):
            load_target(str(tmp_path / "none"), device="cpu", quantization=kind)
    with pytest.raises(UsageError, match=r"^quantization: unknown 'int3'; known: 4bit, 8bit, int8\.$"):
        load_target(str(tmp_path / "none"), device="cpu", quantization="int3")


@pytest.mark.parametrize(
    ("kind", "said"), [("int8", r"torchao: pip install 'detoxlm\[quantization\]'"), ("4bit", "bitsandbytes: pip inst")]
)
def test_a_package_that_is_missing_is_named(kind: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"^quantization: {kind} needs the package {said}"):
        check_quantization(kind, torch.device("cuda"))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"quant_method": "gptq", "bits": 4, "group_size": 32},
            "by gptq, which cannot be loaded here: .*(GPTQ|gptq)",
        ),
        ({"quant_method": "zork"}, "by 'zork', which transformers cannot load"),
        ({"bits": 4}, "by None, which transformers cannot load"),
    ],
)
def test_a_quantised_checkpoint_that_cannot_be_loaded_says_what_it_needs(
    said: dict[str, Any], why: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights read"))
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "quantization_config": said}))
    refused(copied, rf"^model: '.*' is quantised {why}")


@pytest.mark.usefixtures("torchao")
def test_weights_are_named_by_what_they_are_quantised_to(tiny: Callable[..., Target]) -> None:
    model = tiny().model
    assert quantization_of(model) is None
    for config, expected in (
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "4bit (bitsandbytes)"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "8bit (bitsandbytes)"),
        ({"quant_method": "gptq", "bits": 4}, "4bit (gptq)"),
        ({"quant_method": "fp8", "dequantize": True}, None),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
    ):
        model.config.quantization_config = config
        assert quantization_of(model) == expected
    from torchao.quantization import Int4WeightOnlyConfig

    model.config.quantization_config = TorchAoConfig(Int4WeightOnlyConfig())
    assert quantization_of(model) == "Int4WeightOnlyConfig (torchao)"


def test_bitsandbytes_on_an_adapter_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    monkeypatch.setattr(models, "check_quantization", lambda *_: None)  # as where there is a GPU
    described = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "org/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(described))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    refused(
        tmp_path,
        r"^quantization: 4bit is made while a checkpoint is read, .* is an adapter; take int8, or "
        "save it merged",
        quantization="4bit",
    )


def test_a_folder_of_an_adapter_whose_base_is_gone_names_both(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    described = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(tmp_path / "gone")}
    (tmp_path / "adapter_config.json").write_text(json.dumps(described))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    said = refused(tmp_path, r"^model: the base of the adapter .* the folder .*gone does not exist")
    assert str(tmp_path / "adapter_config.json") in said
