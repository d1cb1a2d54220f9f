"""`generate --file -o`: rows with their continuations, in their order, whatever interrupts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from fits import fit

from detoxlm import continuing
from detoxlm.continuing import continue_file
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling, generate, sample_batch
from detoxlm.models import load_target
from detoxlm.settings import GenerateSettings
from detoxlm.versions import packages

pytestmark = pytest.mark.usefixtures("short_looks")
ROWS = [{"id": i, "prompt": f"  {'the old ' * (i % 4)}bridge {i}", "of": {"three": i % 3}} for i in range(30)]
FAST = {"max_new_tokens": 8, "batch_size": 4, "device": "cpu", "dtype": "float32", "seed": 3}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def run(model: Path, output: str, **options: Any) -> Any:
    return continue_file(
        str(model), GenerateSettings(file=Path("in.jsonl"), output=Path(output), **{**FAST, **options})
    )


def rows_of(file: str) -> list[dict[str, Any]]:
    path = Path(file)
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("samples", [1, 2])
def test_each_row_has_what_generate_gives_for_its_prompt(
    samples: int, ending: str, place: Path, tiny_folder: Callable[..., Path], letter_scorer: Any
) -> None:
    target = load_target(str(tiny_folder("llama")), device="cpu", dtype="float32")
    fit(target, "fusion", letter_scorer).save_pretrained(place / "d")
    done = run(tiny_folder("llama"), f"out{ending}", samples=samples, detoxifier="d", strength=2.0)
    from detoxlm.methods import Detoxifier

    sampling = Sampling(max_new_tokens=8, samples=samples, temperature=1.0, top_p=0.9, seed=3)
    prompts = [row["prompt"].strip() for row in ROWS]
    with Detoxifier.from_pretrained("d").attached(target.model, 2.0):
        made = [one for batch in generate(target, prompts, sampling, batch_size=1) for one in batch.generations]
    texts = {one.prompt: one.texts for one in made}
    for row, got in zip(ROWS, rows_of(f"out{ending}"), strict=True):
        want = texts[row["prompt"].strip()]
        new = {"continuation": want[0]} if samples == 1 else {"continuations": want}
        assert got == {**row, **new}
    assert (done.rows, done.by[1]) == (30, "fusion at strength 2")


def test_a_killed_run_ends_with_the_same_bytes(place: Path, tiny_folder: Callable[..., Path]) -> None:
    model = tiny_folder("llama")
    run(model, "whole.jsonl", max_new_tokens=60)
    command = ["generate", str(model), "--file", "in.jsonl", "-o", "out.jsonl", "--max-new-tokens", "60"]
    command += ["--batch-size", "4", "--seed", "3", "--device", "cpu", "--dtype", "float32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "detoxlm.cli", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    chunks = Path("out.jsonl.partial/chunks")
    while not (chunks.exists() and chunks.stat().st_size):
        assert process.poll() is None, "it ended too soon"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = chunks.read_bytes() if chunks.exists() else b""
    assert kept and not Path("out.jsonl").exists()
    run(model, "out.jsonl", max_new_tokens=60)
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_with_auto_the_batches_are_those_of_a_run_that_was_not_killed(
    place: Path, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    batches: list[int] = []
    real, lives = continuing.sample_batch, [100]

    def counted(target: Any, prompts: list[str], sampling: Sampling) -> Any:
        if not lives[0]:
            raise Killed
        lives[0] -= 1
        batches.append(len(prompts))
        return real(target, prompts, sampling)

    monkeypatch.setattr(continuing, "sample_batch", counted)
    model, options = tiny_folder("llama"), {"batch_size": "auto", "samples": 8, "max_new_tokens": 2}
    run(model, "whole.jsonl", **options)
    assert batches == [4] * 7 + [2], "32 sequences at once, however fast that is"
    batches.clear()
    lives[0] = 3
    with pytest.raises(Killed):
        run(model, "out.jsonl", **options)
    lives[0] = 100
    run(model, "out.jsonl", **options)
    assert batches == [4] * 7 + [2]
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_what_cannot_be_done_is_said_before_the_model_is_loaded(place: Path) -> None:
    none = Path("no-such-model")
    for options, message in (
        ({"output": None}, "output: name where"),
        ({"file": None}, "generate: it needs a PROMPT to continue"),
        ({"output": Path("out.txt")}, "its name must end in .jsonl, .parquet, .csv"),
        ({"output": Path("in.jsonl")}, "is the file that is read"),
        ({"file": Path("none.jsonl")}, "file: .*none.jsonl"),
        ({"column": "question"}, "no column `question`; found: `id`, `prompt`, `of`"),
        ({"strength": 0.5}, "strength: it needs --detoxifier"),
    ):
        given = {"file": Path("in.jsonl"), "output": Path("out.jsonl"), **FAST, **options}
        with pytest.raises(UsageError, match=message):
            continue_file(str(none), GenerateSettings(**given))
    Path("in.jsonl").write_text('{"prompt": "a", "continuation": "b"}\n')
    with pytest.raises(UsageError, match="there is a column `continuation` already; rename it"):
        run(none, "out.jsonl")
    Path("out.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"out.jsonl exists; --overwrite replaces it"):
        run(none, "out.jsonl")


def test_another_run_does_not_go_on_from_this_one(place: Path, tiny_folder: Callable[..., Path]) -> None:
    Path("in.jsonl").write_text('{"prompt": "a"}\n{"prompt": " "}\n')
    model = tiny_folder("llama")
    with pytest.raises(UsageError, match=r"in.jsonl:2: "):
        run(model, "out.jsonl", batch_size=1)
    if Path("out.jsonl.partial").exists():
        with pytest.raises(UsageError, match=r"--temperature 1.0, now 0.0"):
            run(model, "out.jsonl", batch_size=1, temperature=0.0)


@pytest.mark.parametrize(
    ("samples", "fix"), [(1, "give a smaller --batch-size"), (40, "ask for fewer --samples or --max-new-tokens")]
)
def test_memory_that_runs_out_is_said_with_what_helps(
    samples: int, fix: str, place: Path, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("detoxlm.continuing.sample_batch", breaks)
    with pytest.raises(DetoxError, match=rf"^batch_size: {max(32, samples)} sequences at once need .*; {fix}"):
        run(tiny_folder("llama"), "out.jsonl", samples=samples, batch_size="auto")


def test_a_run_that_other_versions_have_begun_does_not_go_on(
    place: Path, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = tiny_folder("llama"), iter(range(2))

    def breaks(*given: Any) -> Any:
        if next(batches):
            raise DetoxError("the second batch fails")
        return sample_batch(*given)

    with monkeypatch.context() as breaking, pytest.raises(DetoxError, match="the second batch fails"):
        breaking.setattr("detoxlm.continuing.sample_batch", breaks)
        run(model, "out.jsonl")
    with (
        monkeypatch.context() as later,
        pytest.raises(UsageError, match=r"another run \(transformers [^,;]+, now 9\.0\)"),
    ):
        later.setattr("detoxlm.continuing.packages", lambda: {**packages(), "transformers": "9.0"})
        run(model, "out.jsonl")
    run(model, "out.jsonl")
    assert len(rows_of("out.jsonl")) == len(ROWS)
