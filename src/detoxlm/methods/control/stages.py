"""The stages of fine-tuning in iterations: each reads and writes the work folder alone, its record last."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save
from transformers import TrainerCallback

from detoxlm.files import write_atomically
from detoxlm.generation import trimmed
from detoxlm.harvest import Sampled, counts, harvest, own_sampling
from detoxlm.methods.base import FitData, describe_target
from detoxlm.methods.control.fit import fit_auxiliary, sample_passages, trained_on
from detoxlm.methods.control.settings import ConstrainedSettings
from detoxlm.methods.control.storage import packed, unpacked
from detoxlm.methods.control.training import log_probabilities
from detoxlm.methods.control.tuning import course_of, prepared_for, regularised
from detoxlm.methods.training.fit import (
    Prepared,
    account_of,
    last_checkpoint,
    stopped_early,
    tensors_of,
    train_from,
    trainer_of,
)
from detoxlm.methods.training.texts import scorer_of
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target

#: In the order of their devices: with fewer than three, the last one does the rest too.
Kind = Literal["train", "sample", "auxiliary"]
KINDS: tuple[Kind, ...] = ("train", "sample", "auxiliary")


@dataclass(frozen=True)
class Stage:
    """A piece of work: makes LLM_number under R_under, or samples of LLM_number, or R_number."""

    kind: Kind
    number: int
    under: int = 0

    @property
    def name(self) -> str:
        """Names its record and what it makes."""
        return f"{self.kind}-{self.number}"


def device_of(kind: Kind, devices: int) -> int:
    """Return which of so many devices, from 0, does stages of a kind; three kinds keep at most three devices busy."""
    return min(KINDS.index(kind), devices - 1)


@dataclass
class Work:
    """What a stage needs, in whatever process it runs."""

    target: Target  # untouched, on the device of the process
    data: FitData  # with a work folder, which all processes see
    settings: ConstrainedSettings
    made: type[FineTunedDetoxifier]
    folder: Path  # of this very fit, in the work folder

    @cached_property
    def ready(self) -> Prepared:
        """The texts, and what training is watched on: the same in every process."""
        first = json.loads((self.folder / "auxiliary-0.json").read_text(encoding="utf-8"))
        return prepared_for(self.target, self.data, self.settings, first["fitting"])

    @property
    def over(self) -> bool:
        """Whether the training is: after the last iteration, or before, as `patience` says."""
        return self.outcome.exists()

    @property
    def outcome(self) -> Path:
        """The folder of the detoxifier."""
        return self.folder / "detoxifier"


def sample_and_label(work: Work, stage: Stage) -> dict[str, Any]:
    """Draw continuations from LLM_number, score each, and say how likely it was there: `samples-<number>.json`."""
    target, data, settings = work.target, work.data, work.settings
    prompts = data.to_continue()
    sampling = own_sampling(settings.samples, data.seed + stage.number)  # other random numbers for every model
    sampling = sampling.model_copy(update={"temperature": settings.temperature})
    tensors = load_file(work.folder / f"train-{stage.number}.safetensors")
    with work.made(settings, describe_target(target), tensors).attached(target.model, 1.0):  # as it was trained
        made = harvest(
            target, prompts, scorer_of(data), sampling, batch_size=data.batch_size, workdir=work.folder / stage.name
        )
        drawn = log_probabilities(
            target, sample_passages(target, made), batch_size=data.batch_size, temperature=settings.temperature
        )
    samples = [(one.number, one.continuation, one.toxicity) for one in made]
    write_json(work.folder / f"samples-{stage.number}.json", {"samples": samples, "log_p": drawn})
    return counts(prompts, made)


def train_auxiliary(work: Work, stage: Stage) -> dict[str, Any]:
    """Train R_number: the first one as `fit_auxiliary` says, any other from the one before on samples of LLM_number."""
    path = work.folder / f"{stage.name}.safetensors"
    if stage.number == 0:
        fitting: dict[str, Any] = {}
        write_atomically(path, save(fit_auxiliary(work.target, work.data, work.settings, fitting)))
        return {"fitting": fitting}
    read = json.loads((work.folder / f"samples-{stage.number}.json").read_text(encoding="utf-8"))
    prompts = trimmed(work.data.to_continue())  # as the harvest has read them
    made = [Sampled(prompts[i], text, score, i) for i, text, score in read["samples"]]
    before = load_file(work.folder / f"auxiliary-{stage.number - 1}.safetensors")
    scores = [one.toxicity for one in made]
    if not made or max(scores) - min(scores) < 1e-3:  # a model that violates nothing any more teaches nothing
        write_atomically(path, save(before))
        return {"source": "kept"}
    auxiliary, account = trained_on(
        work.target,
        made,
        rank=work.settings.auxiliary_rank,
        epochs=work.settings.auxiliary_epochs,
        consistency=work.settings.consistency,
        temperature=work.settings.temperature,
        batch_size=work.data.batch_size,
        seed=work.data.seed + stage.number,
        start=before,
        drawn=read["log_p"],
    )
    write_atomically(path, save(packed(auxiliary)))
    return {name: value for name, value in account.items() if name != "loss_curve"}


def train_model(work: Work, stage: Stage) -> dict[str, Any]:
    """Go on with the training, under R_under, to the end of an iteration; after the last, keep what it has found.

    Raises:
        UsageError: the texts do not serve, or no adapter fits the model.
        DetoxError: the loss became NaN, or no look was within the limit on drift.
    """
    target, data, settings = work.target, work.data, work.settings
    until, last = settings.steps * stage.number // settings.iterations, last_checkpoint(work.folder / "training")
    more = stage.number < settings.iterations
    reached = 0 if last is None or stopped_early(last, settings) else int(last.name.removeprefix("checkpoint-"))
    if work.over or (more and reached >= until):
        return {}  # lost after its end, before its record
    auxiliary = unpacked(load_file(work.folder / f"auxiliary-{stage.under}.safetensors"), target.model)
    make = regularised(target, data, settings, work.ready, auxiliary)
    ready, course = work.ready, course_of(data, settings)
    trainer = trainer_of(target, data.seed, settings, ready.watch, make, course, work.folder / "training")

    def keep() -> None:
        write_atomically(work.folder / f"{stage.name}.safetensors", save(tensors_of(trainer.model, target.model)))

    pause = Pause(until, keep)
    if more:
        trainer.add_callback(pause)
    train_from(last, trainer, settings)
    if not pause.reached:
        tensors, fitting = tensors_of(trainer.model, target.model), ready.fitting | account_of(trainer.course)
        work.made(settings, describe_target(target), tensors, fitting).save_pretrained(work.outcome)
    return {"step": trainer.state.global_step}


STAGES: dict[Kind, Callable[[Work, Stage], dict[str, Any]]] = {
    "train": train_model,
    "sample": sample_and_label,
    "auxiliary": train_auxiliary,
}


class Pause(TrainerCallback):
    """Stops a training after a step, with a checkpoint, unless `patience` has ended it there."""

    def __init__(self, step: int, keep: Callable[[], None]) -> None:
        self.step, self.keep, self.reached = step, keep, False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the model before its checkpoint: where there is the one, there is the other."""
        if state.global_step == self.step:
            self.keep()
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop, now that all is on disk."""
        if state.global_step == self.step and not control.should_training_stop:
            self.reached = control.should_training_stop = True


def perform(work: Work, stage: Stage) -> None:
    """Do a stage, unless its record says that it is done."""
    record = work.folder / f"{stage.name}.json"
    if record.exists():
        return
    started = time.perf_counter()
    account = STAGES[stage.kind](work, stage)
    write_json(record, {"seconds": round(time.perf_counter() - started, 2), **account})


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomically(path, json.dumps(value).encode())
