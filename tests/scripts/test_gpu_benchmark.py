"""The benchmark for GPUs: where there is none it says so, and the script itself works (on a CPU, with a tiny shape)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu

ROOT = Path(__file__).parents[2]


def run(*options: str, **environment: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *options]
    made = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return made.stdout


def test_without_a_gpu_it_says_so_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    said = run("-o", str(tmp_path / "gpu.md"), CUDA_VISIBLE_DEVICES="")
    assert said == "gpu.py: there is no CUDA GPU here; nothing was measured.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.more
@pytest.mark.embedded
def test_it_writes_a_table_of_every_shape_and_batch(tmp_path: Path) -> None:
    output = tmp_path / "gpu.md"
    how = ["--device", "cpu", "--shapes", "tiny", "--batches", "1", "40", "--steps", "2", "--samples", "0"]
    run(*how, "-o", str(output))
    lines = output.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("Tokens/s on a CPU")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| tiny")]
    assert [row[:2] for row in cells] == [["tiny", "1"], ["tiny", "40"]]
    assert all(float(cell.replace(",", "")) > 0 for row in cells for cell in row[2:])


def test_the_harvest_is_left_out_when_the_minutes_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: Any) -> str:
        raise AssertionError("it is late")

    output = tmp_path / "gpu.md"
    monkeypatch.setattr(gpu, "load_target", lambda *_, **__: SimpleNamespace(info=SimpleNamespace(dtype="float32")))
    monkeypatch.setattr(gpu, "rates", lambda *_: [])
    monkeypatch.setattr(gpu, "harvested", reached)
    how = ["--device", "cpu", "--shapes", "tiny", "--minutes", "-1", "--samples", "1"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *how, "-o", str(output)])
    gpu.main()
    assert output.read_text(encoding="utf-8").splitlines()[-1] == "Harvest: not reached."
