"""`generate --file --engine ray`: the bytes of one process, also where a worker is killed in the middle."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fits import fit

from detoxlm.continuing import continue_file, worker
from detoxlm.errors import DetoxError, UsageError
from detoxlm.settings import GenerateSettings

#: Batches enough that some are left when a worker is killed after the first.
ROWS = 480
FAST = {"max_new_tokens": 20, "batch_size": 4, "device": "cpu", "dtype": "float32", "seed": 3}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": i, "prompt": f"{'the old ' * (i % 4)}bridge {i}"} for i in range(ROWS)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def settings(output: str, **options: Any) -> GenerateSettings:
    return GenerateSettings(file=Path("in.jsonl"), output=Path(output), **{**FAST, **options})


def kill_a_worker_after_the_first_rows(output: str, killed: list[int]) -> None:
    """Wait until rows are kept, then kill one of the workers of this process; give up after a while."""
    chunks, end = Path(f"{output}.partial/chunks"), time.monotonic() + 120
    while time.monotonic() < end and not (chunks.exists() and chunks.stat().st_size):
        time.sleep(0.01)
    for process in psutil.Process().children(recursive=True):
        if "Worker" in " ".join(process.cmdline()[:1]):
            process.kill()
            killed.append(process.pid)
            return


@pytest.mark.usefixtures("short_looks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Data, for settings of its own
@pytest.mark.slow  # Ray takes ten seconds to start, and its workers as long
def test_a_killed_worker_loses_nothing_and_the_bytes_are_those_of_one_process(
    place: Path, tiny_folder: Callable[..., Path], tiny: Callable[..., Any], letter_scorer: Any
) -> None:
    pytest.importorskip("ray")
    from detoxlm.cluster import running

    fit(tiny(), "fusion", letter_scorer).save_pretrained(place / "d")
    model, options = str(tiny_folder("llama")), {"detoxifier": "d", "strength": 2.0}
    continue_file(model, settings("here.jsonl", **options))
    killed: list[int] = []
    with running():
        killer = threading.Thread(target=kill_a_worker_after_the_first_rows, args=("ray.jsonl", killed))
        killer.start()
        done = continue_file(model, settings("ray.jsonl", engine="ray", workers=1, **options))
        killer.join()
        assert killed, "no worker was killed"
    assert (done.rows, done.by[1]) == (ROWS, "fusion at strength 2")
    assert Path("ray.jsonl").read_bytes() == Path("here.jsonl").read_bytes()


def test_a_worker_with_another_model_does_not_work(place: Path, tiny_folder: Callable[..., Path]) -> None:
    here = worker_identity(str(tiny_folder("llama")))
    assert worker(str(tiny_folder("llama")), settings("out.jsonl"), here).identity == here
    with pytest.raises(DetoxError, match=r"^a worker has another model \(model .*, not .*\); name --dtype"):
        worker(str(tiny_folder("llama", 1)), settings("out.jsonl"), here)


def worker_identity(model: str) -> dict[str, Any]:
    from detoxlm.continuing import Writing

    return Writing(model, settings("out.jsonl"), None).identity


def test_workers_and_an_engine_are_for_files(place: Path, call: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="workers: it is for --engine ray"):
        continue_file("no-such-model", settings("out.jsonl", workers=2))
    code, _, said = call("generate", "no-such-model", "a prompt", "--engine", "ray")
    assert code == 2 and "--engine is for these" in said
