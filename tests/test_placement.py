"""Where a model goes and in which numbers: maps over devices, memory, and a first step that is no number."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import DEVICE, encoded
from fits import fit
from safetensors.torch import load_file, save_file

from detoxlm import models, placement
from detoxlm.errors import UsageError
from detoxlm.models import Target, load_target
from detoxlm.recipes import RECIPES, Task, measure

GIB = 2**30


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.accelerator.is_available(), reason="about a machine without an accelerator")
@pytest.mark.parametrize("device_map", ["auto", "balanced", "balanced_low_0", "sequential", "cpu"])
def test_on_a_machine_with_a_cpu_alone_every_map_puts_all_of_it_there(
    device_map: str, tiny: Callable[..., Target], tiny_folder: Callable[..., Path]
) -> None:
    mapped = load_target(str(tiny_folder("llama")), device_map=device_map)
    assert mapped.info == tiny().info.model_copy(update={"device": "cpu"})
    inputs = encoded(tiny(), "the weather is").to("cpu")
    with torch.inference_mode():
        assert torch.equal(mapped.model(**inputs).logits, tiny().model(**inputs).logits)
    assert mapped.architecture.fingerprint == tiny().architecture.fingerprint


@pytest.mark.skipif(torch.accelerator.is_available(), reason="about a machine without an accelerator")
def test_memory_is_enough_or_the_map_is_refused_before_weights_are_read(
    tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny_folder("llama"))
    assert load_target(folder, device_map="auto", max_memory="cpu=1GiB").info.device == "cpu"
    monkeypatch.setattr(models.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights read"))
    with pytest.raises(UsageError, match=r"^device_map: '.*' does not fit .*\(cpu: 0\.00 GB\)\. Raise --max-memory"):
        load_target(folder, device_map="auto", max_memory={"cpu": "10KB"})


@pytest.mark.skipif(torch.accelerator.is_available(), reason="about a machine without an accelerator")
def test_parts_that_would_wait_on_the_cpu_beside_a_gpu_are_refused(
    tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What accelerate plans where one GPU has no room for the last layers."""
    planned = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": "cpu", "model.norm": "cpu"}
    monkeypatch.setattr(placement, "infer_auto_device_map", lambda *_, **__: planned)
    with pytest.raises(UsageError, match=r"^device_map: 2 of 4 parts of '.*' would have to wait on the CPU .*4bit"):
        load_target(str(tiny_folder("llama")), device_map="sequential")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"device_map": "zork"},
            r"device_map: unknown 'zork'; known: auto, balanced, balanced_low_0, seq",
        ),
        ({"device_map": "auto", "device": "cpu"}, "device_map: 'auto' says where the model goes, and so does device"),
        ({"max_memory": "cpu=1GiB"}, "max_memory: it is for --device-map auto"),
        ({"device_map": "cpu", "max_memory": "cpu=1GiB"}, "max_memory: it is for --device-map auto"),
        (
            {"device_map": "auto", "max_memory": "cpu=lots"},
            r"max_memory: 'lots' of 'cpu' is no size; write 0=10GiB",
        ),
        ({"device_map": "auto", "max_memory": "cpu"}, "max_memory: '' of 'cpu' is no size"),
        ({"device_map": "auto", "max_memory": "99=1GiB"}, "max_memory: there is no device '99' here; name"),
        ({"device_map": "auto", "max_memory": "gpu=1GiB"}, "max_memory: there is no device 'gpu' here; name"),
    ],
)
def test_what_names_no_place_is_refused_before_anything_is_read(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=f"^{said}"):
        load_target("/none/such", **given)  # type: ignore[arg-type]


def test_memory_is_read_in_bytes_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(placement, "_device", lambda _: torch.device("cpu"))
    expected = {0: 10 * GIB, 1: 500 * 10**6, "cpu": 20 * GIB}
    for given in ("0=10GiB, 1=500MB,cpu=20GiB", {0: "10GiB", "1": "500MB", "cpu": 20 * GIB}):
        found = placement.placement_of(None, "balanced", given)  # type: ignore[arg-type]
        assert (found.map, found.memory) == ("balanced", expected)


# --- a first step -----------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A model whose states are numbers in float32, and infinite in float16."""
    import shutil

    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"] *= 1e4
    weights["model.layers.0.mlp.up_proj.weight"] *= 1e3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_logits_that_are_no_numbers_make_it_float32_and_that_is_said_wherever_it_counts(
    large: Path, letter_scorer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        target = load_target(str(large), device=DEVICE, dtype="float16")
    [note] = target.notes
    assert note == "float16 gave NaN or infinite logits, so the model is in float32."
    assert note in caplog.text
    assert target.info.dtype == "float32"
    task = Task(RECIPES["quick"].changed(max_new_tokens=2, samples=1), ["the old"], "one", None, "none")
    results = measure(target, task, letter_scorer)
    assert note in results.notes and results.model.dtype == "float32"
    assert fit(target, "fusion", letter_scorer, fresh=True).target["notes"] == [note]


def test_a_type_that_works_is_kept_without_a_word(
    tiny: Callable[..., Target], large: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert tiny(dtype="float16").info.dtype == "float16"
    assert load_target(str(large), device=DEVICE, dtype="bfloat16").info.dtype == "bfloat16"  # has float32's range
    assert load_target(str(large), device=DEVICE, dtype="float32").notes == ()
    assert caplog.text == ""
