"""Faults of a model's folder are said in a line that names the fix, before its weights are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from refusals import refused
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from detoxlm import gguf_cache, models
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.methods import Detoxifier
from detoxlm.models import Target, load_target
from detoxlm.settings import EvaluateSettings
from detoxlm.workflows import judge_of

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


@pytest.fixture
def copied(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny Llama's folder that the test may damage."""
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


@pytest.fixture
def weights_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading weights fails the test."""
    monkeypatch.setattr(
        models.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("the weights were read")
    )


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.usefixtures("weights_unread")
@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_is_called_that_whatever_file_it_stands_for(file: str, copied: Path) -> None:
    (copied / file).write_text(POINTER)
    refused(copied, rf"^model: .*{file} is a Git LFS pointer, .*`git lfs pull` in {copied}")


@pytest.mark.usefixtures("weights_unread")
def test_a_pointer_in_place_of_a_gguf_file_is_called_that_and_nothing_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETOXLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.gguf").write_text(POINTER)
    refused(tmp_path / "m.gguf", r"m\.gguf is a Git LFS pointer")
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("weights_unread")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        (
            {"architectures": ["BertForMaskedLM"], "model_type": "bert"},
            r"BertForMaskedLM, which reads text .* and writes none",
        ),
        ({"architectures": ["BertModel"], "model_type": "bert"}, r"BertModel, which reads text .* and writes none"),
        ({"architectures": ["ViTForImageClassification"], "model_type": "vit"}, "ViT.*, which writes no text"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "T5ForConditionalGeneration"),
        (
            {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True},
            "T5ForConditionalGeneration, an encoder-decoder",
        ),
        ({"architectures": None, "model_type": "bart", "is_encoder_decoder": True}, "bart, an encoder-decoder"),
        ({"architectures": ["LlamaForTokenClassification"]}, "LlamaForTokenClassification"),
    ],
)
def test_what_is_no_causal_language_model_is_called_that(changes: dict[str, Any], said: str, copied: Path) -> None:
    edit_config(copied, **changes)
    message = refused(copied, rf"is no causal language model: its config\.json says {said}\. Give one that generates")
    assert ("--scorer hub:" in message) == ("SequenceClassification" in said), "classifiers are welcome as scorers"


@pytest.mark.usefixtures("weights_unread")
def test_a_classifier_of_a_family_that_generates_is_refused_though_its_weights_would_load(
    tiny_folder: Callable[..., Path], copied: Path
) -> None:
    """With tied embeddings nothing would be missing, and the head's place would go unnoticed."""
    config = LlamaConfig(**json.loads((copied / "config.json").read_text()))
    LlamaForSequenceClassification(config).save_pretrained(copied)
    refused(copied, "no causal language model")


@pytest.mark.usefixtures("weights_unread")
@pytest.mark.parametrize("kind", ["vit", "zork"])
def test_an_architecture_that_transformers_does_not_know_is_refused_by_its_configuration(
    kind: str, copied: Path
) -> None:
    edit_config(copied, model_type=kind, architectures=["MambaForCausalLM"])
    refused(copied, rf"architecture '{kind}' \(MambaForCausalLM in .*\) has no causal language model in transformers")


@pytest.mark.usefixtures("weights_unread")
def test_an_unknown_architecture_on_the_hub_is_refused_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--org--other"
    (repo / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (repo / "snapshots" / ("a" * 40) / "config.json").write_text(json.dumps({"model_type": "zork"}))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    refused("org/other", r"architecture 'zork' \(zork in org/other\) has no causal language model")


@pytest.mark.usefixtures("weights_unread")
@pytest.mark.parametrize("kind", ["mamba", "gptneox", "command-r"])
def test_a_gguf_file_of_an_unknown_architecture_is_refused_by_its_header(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    monkeypatch.setenv("DETOXLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_cache.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("read"))
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    refused(tmp_path / "m.gguf", rf"architecture '{kind}', which is not supported in GGUF\. Known: gemma2, .*llama")
    assert gguf_cache.cached_models() == []


@pytest.mark.usefixtures("weights_unread")
def test_a_folder_without_a_tokenizer_is_told_how_to_get_one(copied: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copied / name).unlink()
    refused(
        copied, r"the folder .*model has no tokenizer: none of tokenizer\.json, .*tokenizer\.save_pretrained\(folder\)"
    )


@pytest.mark.usefixtures("weights_unread")
def test_settings_of_a_tokenizer_without_its_vocabulary_are_no_tokenizer(copied: Path) -> None:
    """Transformers would make one of no words at all."""
    (copied / "tokenizer.json").unlink()
    refused(copied, "has no tokenizer")


@pytest.mark.usefixtures("weights_unread")
@pytest.mark.parametrize("special", [False, True])
def test_tokens_that_the_model_was_not_made_room_for_are_named_with_the_remedy(special: bool, copied: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.add_tokens([f"[CUSTOMER{i}]" for i in range(6)], special_tokens=special)
    tokenizer.save_pretrained(copied)
    message = refused(copied, r"has 5 tokens .* beyond the model's 260 embeddings.*resize_token_embeddings")
    assert "[CUSTOMER1], [CUSTOMER2], [CUSTOMER3], …" in message and "CUSTOMER0" not in message, "260 rows, 259 tokens"


def test_a_token_for_pictures_is_no_fault_of_the_model_but_of_a_prompt_that_has_it(copied: Path) -> None:
    """Gemma 3's text-only models are published like that."""
    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.add_tokens(["[FREE]", "<image_soft_token>"], special_tokens=True)
    tokenizer.save_pretrained(copied)
    target = load_target(str(copied))
    sampling = Sampling(max_new_tokens=1)
    assert len(next(generate(target, ["a [FREE] one"], sampling)).generations) == 1
    with pytest.raises(UsageError, match=r"token '<image_soft_token>' in .* has no embedding in this model"):
        next(generate(target, ["a picture: <image_soft_token>"], sampling))


@pytest.mark.parametrize("role", [None, "pad_token"])
def test_the_token_that_transformers_adds_to_tokenizers_of_gguf_files_is_no_fault_unless_it_is_used(
    role: str | None, copied: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.add_tokens(["[FREE]", "<|endoftext|>"], special_tokens=True)
    if role:
        setattr(tokenizer, role, "<|endoftext|>")
    tokenizer.save_pretrained(copied)
    if role is None:
        assert load_target(str(copied)).architecture.vocab_size == 260
    else:
        refused(copied, r"1 tokens \(<\|endoftext\|>\) beyond")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "its name is empty"),
        ("  ", "its name is empty"),
        ("https://huggingface.co/org/model", "is an address; give the Hub id alone"),
    ],
)
def test_a_name_that_can_be_no_models_is_refused(name: str, said: str) -> None:
    refused(name, rf"^model: .*{said}")


def test_a_detoxifier_in_place_of_a_model_and_an_adapter_in_place_of_a_detoxifier_are_told_where_they_go(
    tmp_path: Path,
) -> None:
    (tmp_path / "detoxifier.json").write_text("{}")
    refused(tmp_path, "is a detoxifier; give the model, and this with --detoxifier")
    (tmp_path / "detoxifier.json").rename(tmp_path / "adapter_config.json")
    with pytest.raises(UsageError, match="is a PEFT adapter, no detoxifier; give it in place of the model"):
        Detoxifier.from_pretrained(tmp_path)


def test_a_folder_with_a_gguf_file_is_told_to_name_it(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    refused(tmp_path, r"has no config\.json; name the file in it, such as .*m\.gguf")


@pytest.mark.parametrize("name", ["C:\\models\\mine", "C:/mine", "./none", "/none", "~/none-of-these"])
def test_a_detoxifiers_path_that_does_not_exist_is_called_that_and_no_hub_id(name: str) -> None:
    with pytest.raises(UsageError, match=r"^detoxifier: .* does not exist; `detoxlm fit"):
        Detoxifier.from_pretrained(name)


@pytest.mark.usefixtures("weights_unread")
@pytest.mark.parametrize("content", ["[]", "{}", '{"model_type": null}', '{"model_type": 7}'])
def test_a_configuration_that_says_nothing_is_refused(content: str, copied: Path) -> None:
    (copied / "config.json").write_text(content)
    refused(copied, r"config\.json names no model_type")


@pytest.mark.usefixtures("weights_unread")
def test_what_is_wrong_with_the_judge_is_said_of_the_judge(copied: Path) -> None:
    edit_config(copied, architectures=["LlamaForSequenceClassification"])
    with pytest.raises(UsageError, match=r"^fluency_judge: '.*model' is no causal language model"):
        judge_of(EvaluateSettings(fluency_judge=str(copied)))
    edit_config(copied, architectures=None, model_type="homemade", auto_map={"AutoConfig": "code.C"})
    with pytest.raises(UsageError, match=r"^fluency_judge: .* brings code of its own, which is never run for a judge"):
        judge_of(EvaluateSettings(fluency_judge=str(copied), trust_remote_code=True))


@pytest.mark.parametrize(
    "classes", [None, [], ["LlamaForCausalLM"], ["FSDPLlamaForCausalLM"], ["LlamaModel"], ["PeftModelForCausalLM"]]
)
def test_class_names_of_causal_language_models_pass(classes: list[str] | None, copied: Path) -> None:
    """A bare one too: its embeddings are tied, so nothing is missing."""
    edit_config(copied, architectures=classes)
    assert load_target(str(copied)).architecture.name == "llama"


@pytest.mark.parametrize("kind", ["gpt2", "opt", "gpt_neox", "gemma3_text"])
def test_families_whose_classes_have_other_names_pass(kind: str, tiny: Callable[..., Target]) -> None:
    assert tiny(kind).architecture.name == kind
