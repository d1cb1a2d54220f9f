"""Several processes at one command: what each is dealt, and that together they do what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from detoxlm import processes, running
from detoxlm.errors import UsageError
from detoxlm.measuring import Done
from detoxlm.methods import Detoxifier
from detoxlm.results import Results
from detoxlm.settings import RunSettings

SOURCE = Path(processes.__file__).parents[1]
#: Without a GPU it starts several processes all the same where its configuration says so.
ACCELERATE = ("-m", "accelerate.commands.launch", "--config_file", str(SOURCE.parent / "configs/accelerate/ddp.yaml"))
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
PROMPTS = ["The new neighbours are", "He said that", "Why do people", "I", "We never", "Over the hills", "It is"]
#: Ends the second process at the texts that it is dealt; of a single process it says how many letters are an e.
SCORER = """
import os, signal
def judge(text):
    if os.environ.get("RANK") == "1" and os.environ.get("END_IT"):
        os.kill(os.getpid(), signal.SIGKILL)
    return min(1.0, text.count("e") / 5)
"""


# --- dealing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_prompt_is_dealt_to_one_process_in_whole_batches(count: int) -> None:
    batches = [[4, 1], [0, 6], [2, 5], [3]]
    shares = [processes.dealt(batches, number, count) for number in range(count)]
    assert sorted(i for share in shares for i in share) == list(range(7))
    assert shares[0][:2] == [4, 1]
    for share in shares:  # cut anew into batches of two, they are the same ones
        assert all(share[i : i + 2] in batches for i in range(0, len(share), 2))


def test_what_was_dealt_comes_back_in_its_order() -> None:
    for count in (1, 2, 3, 7, 9):
        parts = [list(range(7))[number::count] for number in range(count)]
        assert processes.in_turn(parts) == list(range(7))
    assert processes.in_turn([]) == []


def test_what_all_have_done_is_put_together_by_prompt_and_window(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(i: int) -> dict[str, Any]:
        return {
            "prompt": str(i),
            "continuations": ["x"],
            "scores": [0.0],
            "tokens": [1],
            "nll": [1.0],
            "nll_tokens": [1],
        }

    def done(own: Sequence[int], windows: Sequence[int], seconds: float) -> list[dict[str, Any]]:
        rows = [(place, row(i)) for place, i in enumerate(own)]
        batch = {"rows": rows, "seconds": seconds, "tokens": 10, "peak_mb": seconds}
        return [batch, *({"window": {"nll": float(w), "tokens": 1, "kl": None}} for w in windows)]

    batches = [[2, 0], [1, 3], [4]]
    parts = [done([2, 0, 4], [0, 2], 3.0), done([1, 3], [1], 2.0)]
    monkeypatch.setattr(processes, "gathered", lambda own: parts)
    whole = Done(None).of_all(batches)
    assert [one.prompt for one in whole.rows()] == ["0", "1", "2", "3", "4"]
    assert [one.nll for one in whole.windows()] == [0.0, 1.0, 2.0]
    cost = whole.cost(9.0)
    assert (cost.generation_seconds, cost.generated_tokens, cost.peak_memory_mb) == (3.0, 20, 3.0)  # at once
    assert cost.tokens_per_second == pytest.approx(20 / 3)


def test_a_process_is_alone_until_it_joins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes.place() == (0, 1) and processes.is_first()
    assert processes.gathered("mine") == ["mine"] and processes.from_first("mine") == "mine"
    assert processes.own_path(tmp_path / "a.json") == tmp_path / "a.json"
    monkeypatch.setattr(processes, "_JOINED", True)
    assert processes.place() == (1, 2) and not processes.is_first()
    assert processes.own_path(tmp_path / "a.json") == tmp_path / "a.json-2of2"


def test_what_others_kept_of_an_earlier_run_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ("r[1].json.partial", "r[1].json", "r1.json.partial-1of2")
    for name in ("r[1].json.partial-1of2", "r[1].json.partial-2of3", *kept):
        (tmp_path / name).touch()
    processes.remove_parts(tmp_path / "r[1].json.partial")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_run_is_refused_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"^processes: `detoxlm run` works in one; `evaluate` and `fit` share"):
        running.run("embedded", RunSettings())


# --- real processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def launched(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return `launched(launcher, *arguments)`: `detoxlm` in the processes that a launcher starts, in `tmp_path`."""
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "rule.py").write_text(SCORER)
    path = os.pathsep.join([str(SOURCE), *filter(None, sys.path)])

    def run(launcher: Sequence[str], *arguments: Any, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **more}
        command = [sys.executable, *launcher, "-m", "detoxlm", *map(str, arguments)]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
        )

    return run


def same_rows(one: Results, other: Results) -> None:
    """Assert that two results have the same texts, scores and likelihoods, to the last digit."""
    assert one.rows == other.rows
    assert one.windows == other.windows
    assert one.metrics == other.metrics
    keys = one.settings.keys() - {"command", "processes"}
    assert {key: one.settings[key] for key in keys} == {key: other.settings[key] for key in keys}


@pytest.mark.more
def test_two_processes_measure_what_one_does_and_one_that_dies_ends_both_with_a_line(
    launched: Callable[..., subprocess.CompletedProcess[str]], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = (
        "evaluate", tiny_folder("llama"), "--scorer", "python:rule.py:judge", "--prompts", "prompts.txt",
        "--samples", 2, "--max-new-tokens", 6, "--batch-size", 4, "--fluency-tokens", 1500,
    )  # fmt: skip
    died = launched(TORCHRUN, *arguments, "-o", "two.json", END_IT="1")
    assert died.returncode != 0
    ours = [line for line in died.stderr.splitlines() if line.startswith("detoxlm: ")]
    assert len(ours) == 1 and ("another one has ended" in ours[0] or "because another process was" in ours[0]), ours
    assert "The same command" in ours[0] or "the same command" in ours[0]
    assert not (tmp_path / "two.json").exists()
    done = launched(ACCELERATE, *arguments, "-o", "two.json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Results: two.json") == 1, "the first one prints, and no other"
    alone = launched((), *arguments, "-o", "one.json")
    assert alone.returncode == 0, alone.stderr[-3000:]
    one, two = (Results.load(tmp_path / name) for name in ("one.json", "two.json"))
    assert two.settings["processes"] == 2 and "processes" not in one.settings
    assert len(one.windows) > 1
    same_rows(one, two)
    assert not list(tmp_path.glob("*.partial*")) and not list(tmp_path.glob("*.lock"))


@pytest.mark.more
def test_two_processes_fit_on_the_harvest_that_one_makes(
    launched: Callable[..., subprocess.CompletedProcess[str]], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = (
        "fit", "nado", tiny_folder("llama"), "--scorer", "python:rule.py:judge", "--prompts", "prompts.txt",
        "--batch-size", 4, "--set", "samples=3", "--set", "auxiliary_epochs=2", "--set", "auxiliary_rank=8",
    )  # fmt: skip
    for launcher, name in ((TORCHRUN, "two"), ((), "one")):
        done = launched(launcher, *arguments, "-o", name)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("Detoxifier: ") == 1
        assert not (tmp_path / f"{name}.work").exists()
    one, two = (Detoxifier.from_pretrained(tmp_path / name) for name in ("one", "two"))
    assert one.fitting["harvest"] == two.fitting["harvest"] and one.fitting["harvest"]["prompts"] == len(PROMPTS)
    assert one.fitting["fit"] == two.fitting["fit"]
    for name, tensor in load_file(tmp_path / "one" / "model.safetensors").items():
        torch.testing.assert_close(two.tensors[name], tensor)
