"""Fine-tuning in several processes: on batches of their own, and on shards of the model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detoxlm.errors import UsageError
from detoxlm.methods import FitData
from detoxlm.methods.finetuning.tasft import Tasft, TasftSettings
from detoxlm.models import Target, load_target

ROOT = Path(__file__).parents[3]
SCRIPT = str(Path(__file__).parent / "in_processes.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SHARDED = ("-m", "accelerate.commands.launch", "--config_file", str(ROOT / "configs/accelerate/fsdp.yaml"))
Learned = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def learned(
    tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[dict[str, Learned], str]]:
    """Return `learned(launcher, batch)`: tensors by training and process, and what was said; each is run once."""
    runs: dict[tuple[str, ...], tuple[dict[str, Learned], str]] = {}

    def run(launcher: tuple[str, ...], batch: int) -> tuple[dict[str, Learned], str]:
        if launcher not in runs:
            folder = tmp_path_factory.mktemp("run")
            command = [sys.executable, *launcher, SCRIPT, str(tiny_folder("llama")), str(folder), str(batch)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=480)
            assert done.returncode == 0, done.stderr[-3000:]
            runs[launcher] = {path.stem: load_file(path) for path in folder.glob("*.safetensors")}, done.stderr
        return runs[launcher]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["lora", "full"])
def test_two_processes_learn_what_one_learns_from_batches_twice_as_large(
    tune: str, learned: Callable[..., tuple[dict[str, Learned], str]]
) -> None:
    one, two = learned((), 8)[0][f"{tune}-0"], learned(TORCHRUN, 4)[0]
    first, second = two[f"{tune}-0"], two[f"{tune}-1"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.allclose(one[name], first[name], atol=2e-4) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["lora", "full"])
def test_two_processes_with_a_shard_each_learn_the_same_also_when_they_are_interrupted(
    tune: str, learned: Callable[..., tuple[dict[str, Learned], str]]
) -> None:
    whole = learned(TORCHRUN, 4)[0][f"{tune}-0"]
    shards, said = learned(SHARDED, 4)
    assert "goes on from checkpoint-2" in said
    for process in range(2):
        mine = shards[f"{tune}-{process}"]
        assert mine.keys() == whole.keys()
        assert all(torch.allclose(mine[name], whole[name], atol=1e-6) for name in whole)
    assert max(change.abs().max() for change in whole.values()) > 1e-4


def test_the_first_fsdp_is_refused_before_anything_is_done(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    for version in ("1", None):  # accelerate takes 1 where its configuration names none
        monkeypatch.setenv("FSDP_VERSION", version) if version else monkeypatch.delenv("FSDP_VERSION")
        with pytest.raises(UsageError, match=r"fsdp_version: tasft .* version 2; see configs/accelerate/fsdp\.yaml"):
            Tasft.fit(tiny(), FitData(), TasftSettings())
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(UsageError, match="scorer: fine-tuning needs one"):
        Tasft.fit(tiny(), FitData(), TasftSettings())


def test_each_process_loads_the_model_on_a_device_of_its_own(
    tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(UsageError, match="device: 'cuda:99' is not usable here"):  # no machine has as many
        load_target(str(tiny_folder("llama")))
