"""`--engine vllm`: what vLLM is asked and what is made of its answers, by a stand-in; and vLLM itself where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fits import fit

from detoxlm.engines import choice
from detoxlm.engines.here import Here
from detoxlm.engines.in_vllm import _ENVIRONMENT, InVllm, Vllm
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling
from detoxlm.models import Target
from detoxlm.running import run
from detoxlm.settings import EvaluateSettings, RunSettings
from detoxlm.vllm_installed import FOLDER, installed_version

PROMPTS = ["the old bridge", "a red sea", "eee", "x" * 40, "some"]
NAMES = (
    "VLLM_ENABLE_V1_MULTIPROCESSING",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_LOGGING_LEVEL",
    "VLLM_LOGGING_STREAM",
    FOLDER,
)


class StandIn:
    """A module `vllm`: greedy, by transformers, or with given answers; keeps what it was asked."""

    def __init__(self, target: Target, answers: list[list[int]] | None = None) -> None:
        self.started: list[dict[str, Any]] = []
        self.params: list[Any] = []
        self.stopped = 0
        self._target, self._answers = target, answers
        self.SamplingParams = lambda **given: SimpleNamespace(**given)
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._stop))

    def LLM(self, model: str, **options: Any) -> StandIn:  # noqa: N802 - vLLM's name
        assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"
        self.started.append({"model": model, "files": sorted(file.name for file in Path(model).iterdir()), **options})
        return self

    def _stop(self) -> None:
        self.stopped += 1

    @torch.inference_mode()
    def generate(self, given: list[dict[str, list[int]]], params: list[Any], use_tqdm: bool) -> list[Any]:
        self.params.extend(params)
        if self._answers is not None:
            return [self._answer(ids) for ids in self._answers]
        found = []
        for one, how in zip(given, params, strict=True):
            ids = list(one["prompt_token_ids"])
            assert len(ids) + how.max_tokens <= self.started[-1]["max_model_len"]
            while len(ids) < len(one["prompt_token_ids"]) + how.max_tokens:
                ids.append(int(self._target.model(torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] in how.stop_token_ids:
                    break
            found.append(self._answer(ids[len(one["prompt_token_ids"]) :]))
        return found

    def _answer(self, ids: list[int]) -> Any:
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids)])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandIn]:
    """Return `stand_in(target, answers=None)`: vLLM, as far as this process knows."""
    for name in (*_ENVIRONMENT, FOLDER):
        monkeypatch.setenv(name, "")  # what is set is taken back
        monkeypatch.delenv(name)
    monkeypatch.setattr(Vllm, "_begun", False)

    def make(target: Target, answers: list[list[int]] | None = None) -> StandIn:
        found = StandIn(target, answers)
        monkeypatch.setitem(sys.modules, "vllm", found)  # type: ignore[arg-type]
        return found

    return make


def engine(target: Target, *detoxified: Any, edited: Any = None, folder: str | None = None) -> InVllm:
    return InVllm(target, *detoxified, vllm=Vllm("0.32.0", edited, folder, revision="abc"))


def test_greedy_continuations_are_those_of_this_process_in_the_same_order(
    tiny: Callable[..., Target], stand_in: Callable[..., StandIn]
) -> None:
    target, sampling = tiny(), Sampling(max_new_tokens=6)
    played = stand_in(target)
    want = [one for batch in Here(target).write(PROMPTS, sampling, 2, 0) for one in batch.generations]
    batches = list(engine(target).write(PROMPTS, sampling, 2, 0))
    got = [one for batch in batches for one in batch.generations]
    assert got == want
    assert [len(batch.generations) for batch in batches] == [2, 2, 1]
    assert [batch.lengths for batch in batches[:1]] == [[[len(one.token_ids[0])] for one in want[:2]]]
    rest = [one for batch in engine(target).write(PROMPTS, sampling, 2, 5) for one in batch.generations]
    assert rest == [] and len(played.started) == 1, "what is done starts nothing"
    # as much as the model has, not the 40 + 6 of these prompts: those about people come later, and may be longer
    assert (played.started[0]["max_model_len"], played.started[0]["revision"]) == (128, "abc")
    assert played.started[0]["logits_processors"] == []


def test_every_sample_has_a_seed_of_its_own_that_is_the_same_again(
    tiny: Callable[..., Target], stand_in: Callable[..., StandIn]
) -> None:
    target = tiny()
    sampling = Sampling(max_new_tokens=2, samples=3, temperature=1.0, top_p=0.9, seed=5)
    played = stand_in(target)
    run_ = engine(target)
    list(run_.write(PROMPTS, sampling, 6, 0))
    seeds = [one.seed for one in played.params]
    assert len(set(seeds)) == 3 * len(PROMPTS)
    list(run_.write(PROMPTS, sampling, 100, 0))
    assert [one.seed for one in played.params[len(seeds) :]] == seeds, "whatever the batches"
    list(run_.write(PROMPTS, sampling.model_copy(update={"seed": 6}), 100, 0))
    assert not set(seeds) & {one.seed for one in played.params[2 * len(seeds) :]}
    assert {(one.temperature, one.top_p, one.max_tokens) for one in played.params} == {(1.0, 0.9, 2)}


def test_a_text_ends_before_the_end_token_and_at_the_end_of_its_line(
    tiny: Callable[..., Target], stand_in: Callable[..., StandIn]
) -> None:
    target = tiny()
    (end,) = {target.tokenizer.eos_token_id}
    a, line = (target.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ("a", "\n"))
    stand_in(target, [[a, a, end], [a, line], [end]])
    sampling = Sampling(max_new_tokens=4, one_line=True)
    (batch,) = engine(target).write(["one", "two", "three"], sampling, 8, 0)
    assert [(one.texts, one.token_ids) for one in batch.generations] == [
        (["aa"], [[a, a]]), (["a"], [[a]]), ([""], [[]]),
    ]  # fmt: skip


def test_a_detoxifier_on_logits_acts_inside_and_an_edit_is_in_the_checkpoint(
    tiny: Callable[..., Target], stand_in: Callable[..., StandIn], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, sampling = tiny(), Sampling(max_new_tokens=2)
    played = stand_in(target)
    fusion = fit(target, "fusion", letter_scorer)
    inside = engine(target, fusion, 0.5, folder="some/folder")
    list(inside.write(PROMPTS, sampling, 8, 0))
    assert os.environ[FOLDER] == "some/folder"
    assert played.started[0]["logits_processors"] == ["detoxlm.serving.vllm:Detoxifier"]
    assert {one.extra_args["strength"] for one in played.params} == {0.5}
    assert inside.acting is not None and inside.acting.strength == 0.5
    assert inside.identity != engine(target, fusion, 1.0).identity != Here(target, fusion, 1.0).identity
    with pytest.raises(UsageError, match=r"^recipe: it has a repetition penalty, which vLLM puts before fusion"):
        inside.described(PROMPTS, Sampling(repetition_penalty=1.2))
    inside.close()
    assert played.stopped == 1

    monkeypatch.setattr(Vllm, "_begun", False)
    written: list[Path] = []

    def edited(folder: Path) -> None:
        written.append(folder)
        folder.mkdir()
        (folder / "weights").touch()

    edit = engine(target, fit(target, "surgery", letter_scorer), 1.0, edited=edited)
    list(edit.write(PROMPTS, sampling, 8, 0))
    assert played.started[1]["model"] == str(written[0]) and played.started[1]["files"] == ["weights"]
    assert played.started[1]["revision"] is None, "that is of what the Hub has"
    assert played.started[1]["logits_processors"] == [] and played.params[-1].extra_args is None
    edit.close()
    assert not written[0].exists()


def test_what_fails_in_vllm_is_said_and_a_process_starts_it_once(
    tiny: Callable[..., Target], stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, sampling = tiny(), Sampling(max_new_tokens=2)
    stand_in(target)
    list(engine(target).write(PROMPTS, sampling, 8, 0))
    with pytest.raises(DetoxError, match=r"^vllm: a process starts it once"):
        list(engine(target).write(PROMPTS, sampling, 8, 0))
    monkeypatch.setattr(Vllm, "_begun", False)
    monkeypatch.setattr(StandIn, "LLM", lambda *_, **__: 1 / 0)
    with pytest.raises(DetoxError, match=r"^vllm: it failed \(ZeroDivisionError\): division by zero$"):
        list(engine(target).write(PROMPTS, sampling, 8, 0))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed in this environment")
def test_without_vllm_the_engine_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"^engine: vLLM is not installed in this environment: pip install 'vllm==0"):
        choice.check_engine(EvaluateSettings(engine="vllm"))
    with pytest.raises(UsageError, match=r"^vllm-check: .*; `x` needs none\.$"):
        installed_version("vllm-check", "`x` needs none")


def test_what_vllm_does_itself_is_not_asked_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed_version", lambda: "0.32.0")
    choice.check_engine(EvaluateSettings(engine="vllm", detoxifier="d", device="cpu", who_pays="none"))
    for options in ({"quantization": "int8"}, {"device_map": "auto"}, {"capability": "quick"}):
        (name,) = options
        with pytest.raises(UsageError, match=f"^{name}: "):
            choice.check_engine(EvaluateSettings(engine="vllm", **options))
    with pytest.raises(UsageError, match=r"^engine: `run` measures before it fits.* `detoxlm evaluate MODEL"):
        run("embedded", RunSettings(engine="vllm"))


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment")
@pytest.mark.slow
@pytest.mark.embedded
def test_vllm_itself_writes_the_rows_of_transformers(tmp_path: Path) -> None:
    """Greedy; where two tokens are near to a tie one text of eight may differ."""

    def detoxlm(*arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "detoxlm.cli", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    def rows(name: str, *more: str) -> list[dict[str, Any]]:
        output = str(tmp_path / name)
        given = ["--recipe", "challenge-10", "--limit", "8", "--scorer", "ngram", "--fluency-text", "none"]
        detoxlm("evaluate", "embedded", *given, "--who-pays", "none", "--detoxifier", folder, *more, "-o", output)
        return list(json.loads(Path(output).read_text())["rows"])

    folder = str(tmp_path / "d")
    detoxlm("fit", "fusion", "embedded", "-o", folder)
    want, got = rows("here.json", "--device", "cpu"), rows("vllm.json", "--engine", "vllm")
    same = [a for a, b in zip(want, got, strict=True) if a["continuations"] == b["continuations"]]
    assert [a["prompt"] for a in want] == [b["prompt"] for b in got]
    assert len(same) >= 7
    for a, b in zip(want, got, strict=True):
        if a in same:
            assert b["nll"] == pytest.approx(a["nll"], rel=1e-3) and b["tokens"] == a["tokens"]
