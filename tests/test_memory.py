"""Which memory is counted: of all GPUs that a model is on, of a CPU the process's."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from devices import cpu_only

from detoxlm import memory
from detoxlm.engines.here import Here
from detoxlm.generation import Sampling
from detoxlm.models import Target

CPU, FIRST, SECOND, THIRD = map(torch.device, ("cpu", "cuda:0", "cuda:1", "cuda:2"))


class Gpus:
    """Stands in for CUDA's counters: what each GPU holds now, and held at most since it was last asked to forget."""

    def __init__(self, **bytes_of: int) -> None:
        self.now = {torch.device(f"cuda:{name[-1]}"): count for name, count in bytes_of.items()}
        self.most = {device: 10 * count for device, count in self.now.items()}

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.most[device] = self.now[device]

    def memory_allocated(self, device: torch.device) -> int:
        return self.now[device]

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.most[device]

    def hold(self, device: torch.device, count: int) -> None:
        self.now[device] = count
        self.most[device] = max(self.most[device], count)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    found = Gpus(gpu0=1_000_000, gpu1=20_000_000, gpu2=300_000_000)
    for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(found, name))
    return found


def test_the_peak_is_of_the_gpus_that_are_named_and_of_no_other(gpus: Gpus) -> None:
    assert memory.begin(SECOND) == 20_000_000
    gpus.hold(SECOND, 50_000_000)
    gpus.hold(SECOND, 20_000_000)
    assert memory.peak(SECOND) == 50_000_000
    assert gpus.most[FIRST] == 10_000_000, "another's counter is left alone"
    assert memory.begin(CPU, FIRST, THIRD) == 301_000_000, "of a model that a CPU has a part of, its GPUs"
    gpus.hold(FIRST, 4_000_000)
    assert memory.peak(CPU, FIRST, THIRD) == 304_000_000


@cpu_only
def test_on_a_cpu_it_is_the_processes_memory_whatever_a_gpu_holds(gpus: Gpus) -> None:
    before = memory.begin(CPU)
    held = torch.ones(64_000_000, dtype=torch.uint8)
    assert memory.peak(CPU) >= before + 60_000_000
    assert before > 20_000_000 and int(held[-1]) == 1


def test_a_measurement_has_the_peak_of_all_devices_of_its_model(
    gpus: Gpus, tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()
    monkeypatch.setattr(Target, "devices", (FIRST, THIRD))
    written = list(Here(target).write(["the old", "bridge"], Sampling(max_new_tokens=2), 1, 0))
    assert [one.peak_mb for one in written] == [301.0, 301.0]


@pytest.mark.parametrize(
    ("shared", "devices"),
    [
        ({"": "cuda:1"}, (SECOND,)),
        ({"model.layers.0": "cuda:2", "model.layers.1": "cuda:1", "lm_head": "cuda:2"}, (SECOND, THIRD)),
        ({}, (SECOND,)),
    ],
)
def test_a_models_devices_are_those_of_its_map(shared: dict[str, str], devices: Any) -> None:
    model: Any = SimpleNamespace(hf_device_map=shared, device=SECOND)
    assert Target(model, None, None, "m", "r").devices == devices  # type: ignore[arg-type]
