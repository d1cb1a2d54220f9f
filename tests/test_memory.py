"""Which memory is counted: of all GPUs that a model is on, of a CPU the process's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
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
    ("files", "left"),
    [
        ({}, 10**9),
        ({"memory.max": "max", "memory.current": "700"}, 10**9),
        ({"memory.max": "1000", "memory.current": "700"}, 300),
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 9\ninactive_file 200\nfile 5"}, 500),
        ({"memory.max": "1000", "memory.current": "1001"}, 0),
        ({"memory.max": str(10**12), "memory.current": "1"}, 10**9),
        ({"a/b/memory.max": "2000", "a/b/memory.current": "1", "a/memory.max": "50", "a/memory.current": "8"}, 42),
        ({"memory/memory.limit_in_bytes": "1000", "memory/memory.usage_in_bytes": "600"}, 400),
        (
            {
                "memory/c/memory.limit_in_bytes": "1000",
                "memory/c/memory.usage_in_bytes": "600",
                "memory/c/memory.stat": "inactive_file 1\ntotal_inactive_file 30",
            },
            430,
        ),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "600"}, 10**9),
    ],
    ids=["none", "no limit", "v2", "v2, files", "v2, full", "v2, wide", "v2, above", "v1", "v1, own", "v1, no limit"],
)
def test_what_is_left_on_a_cpu_is_what_the_container_has_left_where_that_is_less(
    files: dict[str, str], left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    real = Path.read_text
    said = {
        "/proc/self/cgroup": "4:memory:/c\n3:cpu,cpuacct:/elsewhere\n0::/a/b\n",
        "/proc/meminfo": f"MemFree: 5 kB\nMemAvailable:   {10**9 // 1024} kB\n",
    }

    def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
        return said.get(str(path)) or real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    assert memory.free(CPU) == pytest.approx(left, abs=1024 if left == 10**9 else 0)


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
