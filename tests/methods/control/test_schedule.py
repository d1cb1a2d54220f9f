"""The two schedules: the same outcome wherever their stages run and whatever is killed, and how long they take."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import as_row, cpu_only
from safetensors.torch import load_file, save_file

from detoxlm.conversations import Conversation
from detoxlm.errors import DetoxError, UsageError
from detoxlm.harvest import Sampled
from detoxlm.methods import FitData
from detoxlm.methods.control import schedule
from detoxlm.methods.control import stages as rooms
from detoxlm.methods.control.constrained import Constrained, ConstrainedDetoxifier
from detoxlm.methods.control.fit import fit_auxiliary, trained_on
from detoxlm.methods.control.schedule import (
    fine_tune_in_iterations,
    in_order,
    rounds,
    wall_clock,
)
from detoxlm.methods.control.settings import ConstrainedSettings
from detoxlm.methods.control.stages import Stage, Work, train_auxiliary, write_json
from detoxlm.methods.control.storage import packed
from detoxlm.methods.control.training import log_probabilities, positions
from detoxlm.methods.training import watch
from detoxlm.methods.training.fit import last_checkpoint
from detoxlm.models import Target
from detoxlm.passages import passages
from detoxlm.scorers.base import Scorer

PROMPTS = ["the old", "over the hills", "x", "we walked", "in the evening", "bread", "green trees"]


class HighBytes(Scorer):
    """Violated by texts that start with a byte from 128 on, as half of what a random byte model says does."""

    name, version, revision = "high", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([float(ord(text.lstrip()[0]) > 127) for text in texts])


class Deadly(HighBytes):
    """Takes its process down at some of its calls, by whichever process."""

    def __init__(self, calls: Path, deadly: set[int]) -> None:
        self.calls, self.deadly = calls, deadly
        self.weights = np.zeros(100_000)  # more than Ray sends along with a call

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        with self.calls.open("ab") as file:
            file.write(b".")
        if self.calls.stat().st_size in self.deadly:
            os._exit(1)
        return super()._score_batch(texts)


def settings(**more: Any) -> ConstrainedSettings:
    small = {
        "steps": 8, "check_every": 2, "batch": 4, "rank": 4, "learning_rate": 1e-2, "drift": 99.0, "samples": 6,
        "auxiliary_rank": 8, "auxiliary_epochs": 5, "tolerance": 0.0, "patience": 99,
    }  # fmt: skip
    return ConstrainedSettings(**{**small, **more})


def fit(target: Target, options: ConstrainedSettings, folder: Path | None = None, scorer: Scorer | None = None) -> Any:
    data = FitData(prompts=PROMPTS, scorer=scorer or HighBytes(), workdir=folder)
    return fine_tune_in_iterations(target, data, options, ConstrainedDetoxifier)


def same(one: Any, other: Any) -> bool:
    assert one.tensors.keys() == other.tensors.keys()
    return all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


# --- what is done when ------------------------------------------------------------------------------------------------


def test_the_parallel_schedule_is_the_papers_without_what_nobody_would_read() -> None:
    def named(stages: list[Stage]) -> list[str]:
        return [f"{s.name}<{s.under}" if s.kind == "train" else s.name for s in stages]

    assert [named(stages) for stages in rounds("parallel", 6)] == [
        ["auxiliary-0"],
        ["train-1<0"],
        ["train-2<0", "sample-1"],
        ["train-3<0", "sample-2", "auxiliary-1"],
        ["train-4<1", "sample-3", "auxiliary-2"],
        ["train-5<2", "auxiliary-3"],
        ["train-6<3"],
    ]
    assert list(itertools.chain(*map(named, rounds("sequential", 3)))) == [
        "auxiliary-0", "train-1<0", "sample-1", "auxiliary-1", "train-2<1", "sample-2", "auxiliary-2", "train-3<2",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_a_barrier_lies_between_making_and_reading_and_all_that_is_made_is_read(kind: Any) -> None:
    for iterations in range(1, 10):
        made = {"train-0"}
        read: set[str] = set()
        plan = rounds(kind, iterations)
        for round_ in plan:
            for stage in round_:
                number = stage.number
                needs = {
                    "train": {f"train-{number - 1}", f"auxiliary-{stage.under}"},
                    "sample": {f"train-{number}"},
                    "auxiliary": {f"auxiliary-{number - 1}", f"sample-{number}"} if number else set(),
                }[stage.kind]
                assert needs <= made, (stage, made)
                read |= needs
            made |= {stage.name for stage in round_}
        assert made - read == {f"train-{iterations}"}
        assert {f"train-{i}" for i in range(1, iterations + 1)} <= made


def best_assignment(stages: list[Stage], seconds: dict[str, float], devices: int) -> float:
    return min(
        max(
            sum(seconds[s.name] for s, place in zip(stages, places, strict=True) if place == device)
            for device in range(devices)
        )
        for places in itertools.product(range(devices), repeat=len(stages))
    )


def test_the_wall_clock_is_that_of_the_best_assignment_of_stages_to_devices() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        plan = rounds("parallel", int(generator.integers(4, 9)))
        seconds = {s.name: float(generator.uniform(1, 9)) for stages in plan for s in stages}
        for devices in (1, 2, 3, 4):
            brute = sum(best_assignment(stages, seconds, devices) for stages in plan)
            if devices == 2:  # training has a device for itself, which is best where it takes longest
                assert wall_clock(plan, seconds, 2) >= brute - 1e-9
                slow = {name: 9 + value if name.startswith("train") else value for name, value in seconds.items()}
                brute = sum(best_assignment(stages, slow, 2) for stages in plan)
                assert wall_clock(plan, slow, 2) == pytest.approx(brute)
            else:
                assert wall_clock(plan, seconds, devices) == pytest.approx(brute)
    plan = rounds("sequential", 4)
    seconds = {stages[0].name: 2.0 for stages in plan}
    assert [wall_clock(plan, seconds, devices) for devices in (1, 3)] == [22.0, 22.0]


# --- samples of another model -----------------------------------------------------------------------------------------


def test_samples_of_another_model_count_by_how_much_likelier_the_target_finds_them(tiny: Callable[..., Target]) -> None:
    target, other = tiny(), tiny(seed=1)
    texts = passages(target, [("the old", " bridge"), ("", "green trees"), ("x", "y")], 64)
    drawn = log_probabilities(other, texts, batch_size=2, temperature=1.5)
    expected = []
    for text, log_q in zip(texts, drawn, strict=True):
        log_p = []
        for one, temperature in ((target, 1.0), (other, 1.5)):
            with torch.inference_mode():
                table = (one.model(as_row(one, text.ids)).logits[0] / temperature).log_softmax(-1)
            log_p.append(sum(float(table[i - 1, text.ids[i]]) for i in range(max(1, text.start), len(text.ids))))
        assert log_q == pytest.approx(log_p[1], abs=1e-4)
        expected.append(np.exp(log_p[0] - log_p[1]))
    rows = positions(target, texts, [0.0, 1.0, 0.5], batch_size=2, drawn=drawn)
    weights = torch.tensor([expected[int(text)] for text in rows.text])
    assert torch.allclose(rows.weight, (weights / weights.mean()).clamp(0.1, 10).float(), rtol=1e-3)


def test_an_auxiliary_model_goes_on_from_the_one_before(tiny: Callable[..., Target]) -> None:
    target, options = tiny(), settings()
    data = FitData(prompts=PROMPTS, scorer=HighBytes())
    before = fit_auxiliary(target, data, options, {})
    made = [Sampled("the old", f" bridge {i}", i / 9) for i in range(10)]
    how: dict[str, Any] = {"epochs": 1, "consistency": 0.5, "temperature": 1.0, "batch_size": 4, "seed": 1}
    after = packed(trained_on(target, made, rank=99, start=before, drawn=[-30.0] * 10, **how)[0])
    assert all(torch.equal(after[name], before[name]) for name in ("centre", "scale")), "states are read as before"
    assert not torch.equal(after["read.weight"], before["read.weight"])
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert moved < 0.1, "ten texts are one or two small steps, not a new training"


# --- the outcome ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(short_looks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks even shorter than `short_looks`."""
    original = watch.instructions
    monkeypatch.setattr(watch, "instructions", lambda: original()[:2])


def whole(target: Target, **more: Any) -> Any:
    return Constrained.fit(target, FitData(prompts=PROMPTS, scorer=HighBytes()), settings(**more))


@pytest.mark.more
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("iterations", "more"),
    [
        pytest.param(1, {}, marks=pytest.mark.slow),
        (3, {}),
        pytest.param(3, {"patience": 1}, marks=pytest.mark.slow),
        pytest.param(2, {"tune": "full"}, marks=pytest.mark.slow),
    ],
)
def test_under_one_auxiliary_model_iterations_are_one_training(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch, iterations: int, more: dict[str, Any]
) -> None:
    more = {"steps": 6, "check_every": 2 if "patience" in more else 3, **more}
    one = whole(tiny(), **more)
    if iterations > 1:
        constant = [[Stage("auxiliary", 0)], *([Stage("train", i)] for i in range(1, iterations + 1))]
        monkeypatch.setattr(schedule, "rounds", lambda *_: constant)
    parts = fit(tiny(), settings(**more, iterations=iterations))
    assert same(parts, one)
    assert {name: value for name, value in parts.fitting.items() if name != "stages"} == one.fitting
    assert one.fitting["watched"][-1]["step"] == (4 if "patience" in more else 6)
    assert parts.folder is None


@pytest.mark.more
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("iterations", [2, 3], ids=["within an iteration", "at the end of one"])
def test_a_training_that_patience_has_ended_stays_ended_when_it_is_continued(
    iterations: int, tiny: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = [[Stage("auxiliary", 0)], *([Stage("train", i)] for i in range(1, iterations + 1))]
    monkeypatch.setattr(schedule, "rounds", lambda *_: trainings)
    options = settings(steps=6, check_every=2, patience=1, iterations=iterations)
    undisturbed = fit(tiny(), options)
    assert undisturbed.fitting["watched"][-1]["step"] == 4

    def killed(_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rooms, "account_of", killed)
        fit(tiny(), options, tmp_path)
    again = fit(tiny(), options, tmp_path)
    assert same(again, undisturbed)
    assert again.fitting["watched"] == undisturbed.fitting["watched"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_later_iterations_are_under_what_new_samples_have_taught(
    tiny: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, options = tiny(), settings(iterations=2, check_every=3)
    before = {name: tensor.clone() for name, tensor in target.model.state_dict().items()}
    one, two = whole(target, check_every=8), fit(target, options)
    losses = [made.fitting["loss_curve"] for made in (one, two)]
    assert losses[0][:4] == losses[1][:4]
    assert losses[0][4:] != losses[1][4:]
    assert [look["step"] for look in two.fitting["watched"]] == [0, 3, 6, 8]
    stages = two.fitting["stages"]
    assert list(stages) == ["auxiliary-0", "train-1", "sample-1", "auxiliary-1", "train-2"]
    assert stages["train-1"]["step"] == 4
    assert stages["sample-1"]["continuations"] > 20
    assert stages["auxiliary-1"]["parameters_share"] > 0
    assert all(record["seconds"] >= 0 for record in stages.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.model.state_dict().items())

    # the same once more, killed in every stage when all but its record is there
    killed, done = list(stages), list[str]()
    write = rooms.write_json

    def recorded(path: Path, value: Any) -> None:
        if path.stem in killed:
            killed.remove(path.stem)
            raise KeyboardInterrupt
        done.append(path.stem)
        write(path, value)

    monkeypatch.setattr(rooms, "write_json", recorded)
    while killed:
        with pytest.raises(KeyboardInterrupt):
            fit(tiny(), options, tmp_path)
    again = fit(tiny(), options, tmp_path)
    assert same(again, two)
    assert again.fitting["watched"] == two.fitting["watched"]
    assert [name for name in done if name != "samples-1"] == list(stages)[:-1], "no stage is done twice"
    assert not list(tmp_path.glob("iterations-*"))


@pytest.mark.more
@pytest.mark.usefixtures("quick")
def test_what_is_sampled_is_the_model_as_the_training_has_left_it(
    tiny: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    sampled = rooms.harvest

    def harvest(target: Target, *more: Any, **others: Any) -> Any:
        seen.append({name: weight.detach().clone() for name, weight in target.model.named_parameters()})
        return sampled(target, *more, **others)

    monkeypatch.setattr(rooms, "harvest", harvest)
    kept: dict[str, torch.Tensor] = {}
    load = rooms.load_file

    def load_file(path: Path) -> dict[str, torch.Tensor]:
        found = load(path)
        if Path(path).stem == "train-1":
            kept.update(found)
        return found

    monkeypatch.setattr(rooms, "load_file", load_file)
    target = tiny()
    fit(target, settings(iterations=2, check_every=3), tmp_path)
    before = dict(target.model.named_parameters())
    (during,) = seen
    factors = [name.removesuffix(".lora_A") for name in kept if name.endswith(".lora_A")]
    assert factors
    for name in factors:
        change = (kept[f"{name}.lora_B"] @ kept[f"{name}.lora_A"]).to(target.device)
        assert torch.allclose(during[f"{name}.weight"], before[f"{name}.weight"] + change, atol=1e-6)


def test_a_model_that_violates_nothing_any_more_keeps_its_auxiliary_model(
    tiny: Callable[..., Target], tmp_path: Path
) -> None:
    data = FitData(prompts=PROMPTS, scorer=HighBytes())
    work = Work(tiny(), data, settings(iterations=2), ConstrainedDetoxifier, tmp_path)
    before = {"read.bias": torch.arange(8.0)}
    save_file(before, tmp_path / "auxiliary-0.safetensors")
    for samples in ([], [[0, "y", 0.0], [0, "z", 0.0]]):
        write_json(tmp_path / "samples-1.json", {"samples": samples, "log_p": [-1.0] * len(samples)})
        assert train_auxiliary(work, Stage("auxiliary", 1)) == {"source": "kept"}
        assert torch.equal(load_file(tmp_path / "auxiliary-1.safetensors")["read.bias"], before["read.bias"])


def test_samples_come_back_with_the_prompts_that_were_asked(
    tiny: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [" Why?", Conversation([{"role": "user", "content": "Why?"}])]  # alike to a reader, and not to a model
    work = Work(
        tiny(), FitData(prompts=prompts, scorer=HighBytes()), settings(iterations=2), ConstrainedDetoxifier, tmp_path
    )
    save_file({"read.bias": torch.zeros(8)}, tmp_path / "auxiliary-0.safetensors")
    write_json(tmp_path / "samples-1.json", {"samples": [[0, "y", 0.0], [1, "z", 1.0]], "log_p": [-1.0, -1.0]})

    def seen(_: Target, made: list[Sampled], **__: Any) -> None:
        assert made == [Sampled("Why?", "y", 0.0, 0), Sampled(prompts[1], "z", 1.0, 1)]
        assert [isinstance(one.prompt, Conversation) for one in made] == [False, True]
        raise InterruptedError

    monkeypatch.setattr(rooms, "trained_on", seen)
    with pytest.raises(InterruptedError):
        train_auxiliary(work, Stage("auxiliary", 1))


def test_a_checkpoint_whose_saving_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert last_checkpoint(tmp_path / "nothing") is None


# --- refused ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_carried_out_is_refused_before_anything_is_sampled(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()

    def refused(match: str, scorer: Scorer | None = None, **more: Any) -> None:
        with pytest.raises(UsageError, match=match):
            Constrained.fit(target, FitData(prompts=PROMPTS, scorer=scorer or HighBytes()), settings(**more))

    refused(
        r"iterations: 3 of the parallel schedule .* at least 4, or schedule=sequential",
        schedule="parallel",
        iterations=3,
    )
    refused(r"iterations: 9 cannot share 8 steps", iterations=9)
    bad = HighBytes()
    bad.lock = threading.Lock()  # type: ignore[attr-defined]
    refused(r"scorer: it cannot be sent to the workers", bad, schedule="parallel", iterations=4)
    monkeypatch.setattr(schedule, "find_spec", lambda name: None)
    refused(r"schedule: parallel needs ray.*pip install 'detoxlm\[parallel\]'", schedule="parallel", iterations=4)


# --- on Ray -----------------------------------------------------------------------------------------------------------


@cpu_only  # a worker takes a core, of which there are several
@pytest.mark.slow
def test_workers_at_once_some_of_them_lost_make_what_one_process_makes(
    tiny: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    from detoxlm.methods.control import parallel

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = settings(schedule="parallel", iterations=4, check_every=4)
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "at_once", in_order)
        expected = fit(tiny(), options, tmp_path / "one")
    # of the calls two label the target's samples, the third is the look before the first step
    calls, folder = tmp_path / "calls", tmp_path / "many"
    with monkeypatch.context() as patch, pytest.raises(DetoxError, match=r"a worker was lost.* goes on after the last"):
        patch.setattr(parallel, "RETRIES", 0)
        fit(tiny(), options, folder, Deadly(calls, {3}))
    assert not ray.is_initialized(), "what was started is stopped"
    (made,) = folder.glob("iterations-*")
    assert {path.stem for path in made.glob("*.json")} == {"auxiliary-0"}

    found = fit(tiny(), options, folder, Deadly(calls, {7}))
    assert calls.stat().st_size > 7, "a worker was killed in the middle of an iteration"
    assert "a worker was lost and started again" in caplog.text
    assert same(found, expected)
    assert found.fitting["watched"] == expected.fitting["watched"]
    assert found.target == expected.target
