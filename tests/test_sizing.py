"""Batch sizes that find themselves: they grow while that is faster, and shrink where memory runs out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import fit
from test_recipes import task

from detoxlm import memory, processes, sizing
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.harvest import harvest
from detoxlm.methods.training.anchors import anchors
from detoxlm.models import Target
from detoxlm.passages import passages
from detoxlm.recipes import measure
from detoxlm.scorers.base import Scorer
from detoxlm.settings import EvaluateSettings
from detoxlm.sizing import Sizes, asked, is_out_of_memory
from detoxlm.sources import resolve

CPU = torch.device("cpu")
SAMPLING = Sampling(max_new_tokens=6, samples=2, temperature=1.0, top_p=0.9, seed=4)
WORDS = ("one", "another", "third", "and-a-longer", "fifth", "six", "seventh", "eighth", "ninth", "tenth")
PROMPTS = [f"{word} prompt" for word in WORDS]


@pytest.fixture(autouse=True)
def start_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "START", 4)


class Clock:
    """A clock that batches move on: by `seconds` of their size."""

    def __init__(self, seconds: Callable[[int], float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self._seconds = 0.0, seconds
        monkeypatch.setattr(sizing.time, "perf_counter", lambda: self.now)

    def work(self, part: list[int]) -> list[int]:
        self.now += self._seconds(len(part))
        return [2 * i for i in part]


def sizes_of(sizes: Sizes, items: int, work: Callable[[list[int]], list[int]]) -> list[int]:
    """The sizes of the batches; what they make is checked."""
    parts = list(sizes.over(range(items), work))
    assert [i for part, _ in parts for i in part] == list(range(items))
    assert [i for _, made in parts for i in made] == [2 * i for i in range(items)]
    return [len(part) for part, _ in parts]


def test_batches_are_doubled_while_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda n: 1 + n / 32, monkeypatch)  # sequences a second: 3.6, 6.4, 10.7, 16, 21.3, 25.6, 28.4, 30.1
    assert sizes_of(Sizes("auto", CPU), 2000, clock.work) == [4, 8, 16, 32, 64, 128, 256, 512, 512, 468]


def test_a_size_that_is_slower_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda n: 1.0 if n <= 16 else n / 8, monkeypatch)
    assert sizes_of(Sizes("auto", CPU), 100, clock.work) == [4, 8, 16, 32, 16, 16, 8]


def test_no_batch_is_tried_that_the_memory_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda _: 1.0, monkeypatch)
    monkeypatch.setattr(memory, "free", lambda _: 1000.0)
    monkeypatch.setattr(memory, "begin", lambda _: 0)
    monkeypatch.setattr(memory, "peak", lambda _: 450)  # twice that is more than there should be
    assert sizes_of(Sizes("auto", CPU), 12, clock.work) == [4, 4, 4]


def test_a_number_is_the_size_of_every_batch_and_its_errors_are_the_callers() -> None:
    assert sizes_of(Sizes(5, CPU), 12, lambda part: [2 * i for i in part]) == [5, 5, 2]

    def work(_: list[int]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(Sizes(5, CPU).over(range(5), work))
    with pytest.raises(DetoxError, match=r"batch_size: there is no memory for a batch of one \(3 sequences\)"):
        list(Sizes("auto", CPU).over(range(5), work, each=3))


def test_auto_is_the_default_of_accelerators_alone() -> None:
    assert asked(None, torch.device("cuda")) == "auto"
    assert asked(None, CPU) == sizing.START
    assert asked("auto", CPU) == "auto"
    assert resolve(EvaluateSettings, {}).batch_size is None
    assert resolve(EvaluateSettings, {"batch_size": "auto"}).batch_size == "auto"
    assert resolve(EvaluateSettings, {"batch_size": "64"}).batch_size == 64
    with pytest.raises(UsageError, match="batch_size"):
        resolve(EvaluateSettings, {"batch_size": "fast"})


@contextmanager
def short_of_memory(target: Target, most: int, after: int = 0) -> Iterator[list[int]]:
    """Let passes over more than `most` rows run out of memory, after `after` that do not; gives those rows."""
    failed: list[int] = []
    left = [after]

    def check(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows = len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])
        if rows > most:
            if not left[0]:
                left[0] = after
                failed.append(rows)
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            left[0] -= 1

    handle = target.model.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield failed
    finally:
        handle.remove()


def continued(target: Target, size: Any) -> tuple[dict[int, list[list[int]]], list[int]]:
    """Token ids by prompt, and the sequences of every batch."""
    made = list(generate(target, PROMPTS, SAMPLING, batch_size=size))
    ids = {one.index: one.token_ids for batch in made for one in batch.generations}
    assert sum(len(batch.generations) for batch in made) == len(ids) == len(PROMPTS)
    return ids, [2 * len(batch.generations) for batch in made]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("after", [0, 3], ids=["at once", "in the middle of a batch"])
def test_out_of_memory_changes_no_row_and_loses_none(
    after: int, fused: bool, tiny: Callable[..., Target], letter_scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    target = tiny()
    attached = fit(target, "fusion", letter_scorer).attached(target.model, 1.0 if fused else 0.0)
    with attached:
        expected, _ = continued(target, 1)
        with short_of_memory(target, 6, after) as failed:
            got, sizes = continued(target, "auto")
    assert got == expected
    assert failed == [8]
    assert sizes == [4, 4, 4, 4, 4], "8 was tried, and it went on with half of it"
    assert "there is no memory for 8 sequences at once; going on with 4" in caplog.text


def test_a_measurement_records_the_sizes_and_goes_on_after_a_kill(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path
) -> None:
    target = tiny()
    what = task(batch_size="auto", prompts=PROMPTS, fluency_text=None)
    expected = measure(target, task(batch_size=3, prompts=PROMPTS, fluency_text=None), letter_scorer)

    class Killed(BaseException):
        pass

    class Mortal(type(letter_scorer)):  # type: ignore[misc]
        calls = 0

        def score(self, *given: Any, **more: Any) -> np.ndarray:
            Mortal.calls += 1
            if Mortal.calls == 2:
                raise Killed
            return super().score(*given, **more)

    with short_of_memory(target, 8):
        with pytest.raises(Killed):
            measure(target, what, Mortal(), output=tmp_path / "results.json")
        results = measure(target, what, letter_scorer, output=tmp_path / "results.json")
    assert [(row.prompt, row.continuations) for row in results.rows] == [
        (row.prompt, row.continuations) for row in expected.rows
    ]
    assert np.allclose([row.scores for row in results.rows], [row.scores for row in expected.rows])
    nll = [[[n or 0.0 for n in row.nll] for row in found.rows] for found in (results, expected)]
    assert np.allclose(*nll, rtol=1e-4)
    assert results.settings["batch_size"] == "auto"
    assert set(results.settings["batch_sizes"]) == {3, 6}, "3 sequences a prompt; 4 at the start, then up to 8"
    assert "batch_sizes" not in expected.settings


def test_harvests_and_readings_use_it_too(tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path) -> None:
    target = tiny()
    expected = harvest(target, PROMPTS, letter_scorer, SAMPLING, batch_size=1)
    texts = passages(target, [("", prompt * n) for n, prompt in enumerate(PROMPTS, 1)], 64)
    alone = anchors(target, texts, 1)
    with short_of_memory(target, 5) as failed:
        made = harvest(target, PROMPTS, letter_scorer, SAMPLING, batch_size="auto", workdir=tmp_path)
        read = anchors(target, texts, "auto")
    assert failed == [8, 6], "8 of the harvest, and the 6 texts that were left after the first 4"
    assert sorted((one.prompt, one.continuation) for one in made) == sorted(
        (one.prompt, one.continuation) for one in expected
    )
    assert harvest(target, PROMPTS, letter_scorer, SAMPLING, batch_size="auto", workdir=tmp_path) == made
    assert all(torch.allclose(a.log_p.exp(), b.log_p.exp(), atol=1e-5) for a, b in zip(alone, read, strict=True))


def test_a_cpu_that_runs_out_of_memory_is_known_by_its_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)  # an exbibyte
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("unable to open shared memory object </torch_1> in read-write mode"), False),
        (RuntimeError("unsupported operation: some elements of the input tensor share memory"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_memory_that_ran_out_is_said_to_have(error: Exception, ran_out: bool, call: Callable[..., Any]) -> None:
    assert is_out_of_memory(error) == ran_out
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("detoxlm.cli.app", lambda: raised(error))
        if ran_out:
            code, _, said = call("run")
            assert code == 1 and said.startswith("detoxlm: out of memory. Try a smaller --batch-size")
        else:
            with pytest.raises(type(error), match=re.escape(str(error))):
                call("run")


def raised(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "as one of two processes"])
def test_a_scorer_keeps_its_own_batch_size_and_halves_it_where_memory_runs_out(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "place", lambda: (0, count))
    tried: list[int] = []

    class Small(Scorer):
        name, version, revision, batch_size, device = "small", "1", "test", 8, CPU

        def _score_batch(self, texts: list[str]) -> np.ndarray:
            tried.append(len(texts))
            if len(texts) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return np.array([len(text) / 100 for text in texts])

    scorer = Small()
    texts = ["x" * n for n in range(1, 30)]
    assert np.allclose(scorer.score(texts), np.arange(1, 30) / 100)
    assert scorer.batch_size == 2
    assert tried[:4] == [8, 4, 2, 2]
