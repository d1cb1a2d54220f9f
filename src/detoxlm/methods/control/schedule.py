"""Attribute-controlled fine-tuning in iterations: two schedules (arXiv 2410.05559) of the same three stages.

The steps of one training are divided over N iterations. LLM_i is the model after the i-th, LLM_0 the target, and R_j
the auxiliary model that has learned from samples of LLM_0 to LLM_j. R_0 comes first, as in a single iteration.

    sequential   for i = 1 to N:  LLM_i under R_{i-1};  samples of LLM_i, scored;  R_i from R_{i-1} on them.
    parallel     in iteration i at once, then a barrier:
                 LLM_i under R_{i-3};  R_{i-2} from R_{i-3} on samples of LLM_{i-2};  samples of LLM_{i-1}, scored.

The paper's parallel scheme counts auxiliary models by the iteration that makes them: its NADO_i is R_{i-2} here. So
the staleness is two iterations: LLM_i is held to what knows samples of LLM_{i-3}; in sequence, of LLM_{i-1}. R_0 stands
in for what would come before it. A stage that no LLM will be held to the outcome of is left out.

What follows is ours; we do not know the paper's text on it. p stays the untouched target in all iterations: R_j reads
its states, and q is made of it and R_j. Samples of LLM_j count by p(y) / LLM_j(y), so that every R_j estimates the same
R, better where the training has gone. Were p the newest LLM, q would move on with it, the constraint would be applied
once an iteration, and the limit on drift would have no fixed point to be measured from. The texts that are learned stay
the same too, and so do optimiser, learning rate and order: with the same R throughout, N iterations are one training,
bit for bit.

A stage reads and writes the work folder alone, and its record (`train-2.json`) is written last. Whatever is killed is
done again from what the last barrier left, by the same random numbers: the outcome is that of an undisturbed run.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

from accelerate import PartialState
from safetensors.torch import load_file, save
from transformers import TrainerCallback

from detoxlm.data import builtin_prompts
from detoxlm.errors import UsageError
from detoxlm.files import write_atomically
from detoxlm.harvest import Sampled, counts, harvest, own_sampling
from detoxlm.journal import digest_of
from detoxlm.methods.base import FitData, describe_target
from detoxlm.methods.control.fit import fit_auxiliary, sample_passages, trained_on
from detoxlm.methods.control.settings import ConstrainedSettings, Schedule
from detoxlm.methods.control.storage import packed, unpacked
from detoxlm.methods.control.training import log_probabilities
from detoxlm.methods.control.tuning import course_of, prepared_for, regularised, warn_of_delta
from detoxlm.methods.training.fit import Prepared, account_of, last_checkpoint, tensors_of, trainer_of
from detoxlm.methods.training.texts import scorer_of
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target

log = logging.getLogger(__name__)

#: In the order of their devices: with fewer than three, the last one does the rest too.
Kind = Literal["train", "sample", "auxiliary"]
KINDS: tuple[Kind, ...] = ("train", "sample", "auxiliary")
#: How many iterations older than the newest LLM an auxiliary model is when the parallel schedule uses it.
STALENESS = 2


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


def rounds(schedule: Schedule, iterations: int) -> list[list[Stage]]:
    """Return the stages in order; those of one round may run at once, and a barrier follows each round."""
    plan = [[Stage("auxiliary", 0)]]
    if schedule == "sequential":
        for i in range(1, iterations + 1):
            plan.append([Stage("train", i, under=i - 1)])
            if i < iterations:
                plan += [[Stage("sample", i)], [Stage("auxiliary", i)]]
        return plan
    newest = iterations - 1 - STALENESS  # the last R that an LLM is held to
    for i in range(1, iterations + 1):
        stages = [Stage("train", i, under=max(0, i - 1 - STALENESS))]
        stages += [Stage("sample", i - 1)] if 1 <= i - 1 <= newest else []
        stages += [Stage("auxiliary", i - 2)] if 1 <= i - 2 <= newest else []
        plan.append(stages)
    return plan


def device_of(kind: Kind, devices: int) -> int:
    """Return which of so many devices, from 0, does stages of a kind; three kinds keep at most three devices busy."""
    return min(KINDS.index(kind), devices - 1)


def wall_clock(plan: Sequence[Sequence[Stage]], seconds: Mapping[str, float], devices: int) -> float:
    """Return the seconds that rounds take where each stage takes `seconds` of its name on any of so many devices.

    A round is as long as its busiest device. Starting workers and what they share, such as memory, cost nothing.
    """
    total = 0.0
    for stages in plan:
        busy = [0.0] * devices
        for stage in stages:
            busy[device_of(stage.kind, devices)] += seconds[stage.name]
        total += max(busy)
    return total


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
    prompts = data.prompts if data.prompts is not None else builtin_prompts("fit")
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
    write_json(
        work.folder / f"samples-{stage.number}.json", {"samples": [astuple(one) for one in made], "log_p": drawn}
    )
    return counts(prompts, made)


def train_auxiliary(work: Work, stage: Stage) -> dict[str, Any]:
    """Train R_number: the first one as `fit_auxiliary` says, any other from the one before on samples of LLM_number."""
    path = work.folder / f"{stage.name}.safetensors"
    if stage.number == 0:
        fitting: dict[str, Any] = {}
        write_atomically(path, save(fit_auxiliary(work.target, work.data, work.settings, fitting)))
        return {"fitting": fitting}
    read = json.loads((work.folder / f"samples-{stage.number}.json").read_text(encoding="utf-8"))
    made = [Sampled(*row) for row in read["samples"]]
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
    if work.over or (more and last is not None and int(last.name.removeprefix("checkpoint-")) >= until):
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
    trainer.train(resume_from_checkpoint=str(last) if last else None)
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


def in_order(work: Work, plan: Sequence[Sequence[Stage]]) -> None:
    """Do all stages here, one after the other."""
    for stages in plan:
        for stage in stages:
            if work.over:
                return
            perform(work, stage)


def fine_tune_in_iterations(
    target: Target, data: FitData, settings: ConstrainedSettings, made: type[FineTunedDetoxifier]
) -> FineTunedDetoxifier:
    """Train a copy of the target in iterations; else as `detoxlm.methods.control.tuning.fine_tune_under_constraint`.

    Raises:
        UsageError: as there, or iterations and schedule do not fit each other or this machine.
        DetoxError: as there, or a worker was lost again and again.
    """
    check(settings)
    scorer = scorer_of(data)
    run = in_order
    if settings.schedule == "parallel":
        from detoxlm.methods.control.parallel import at_once

        run = at_once
    with ExitStack() as stack:
        workdir = (data.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve()
        key = {
            "method": made.method,
            "fingerprint": target.architecture.fingerprint,
            "dtype": str(target.model.dtype),
            "settings": settings.model_dump(mode="json"),
            "texts": [[asdict(one) for one in part or []] for part in (data.corpus, data.harmful, data.pairs)],
            "prompts": data.prompts,
            "scorer": [scorer.name, scorer.version, scorer.revision],
            "seed": data.seed,
            "batch_size": data.batch_size,
        }
        folder = workdir / f"iterations-{digest_of(key)[:12]}"
        if folder.exists():
            log.warning("%s holds stages of this very fit: it goes on after the last barrier.", folder)
        folder.mkdir(parents=True, exist_ok=True)
        run(
            Work(target, replace(data, workdir=workdir), settings, made, folder),
            rounds(settings.schedule, settings.iterations),
        )
        fitted = made.from_pretrained(folder / "detoxifier")
        assert isinstance(fitted, FineTunedDetoxifier)
        fitted.folder = None  # it goes now
        fitted.fitting["stages"] = records_of(folder, settings)
        rmtree(folder, ignore_errors=True)
    warn_of_delta(fitted, settings)
    return fitted


def check(settings: ConstrainedSettings) -> None:
    """Raise `UsageError` where the iterations cannot be carried out, before hours of sampling."""
    least = 2 + STALENESS
    if settings.schedule == "parallel" and settings.iterations < least:
        raise UsageError(
            f"iterations: {settings.iterations} of the parallel schedule would all be under the first auxiliary model, "
            f"which is {STALENESS} iterations behind; give at least {least}, or schedule=sequential."
        )
    if settings.iterations > settings.steps:
        raise UsageError(f"iterations: {settings.iterations} cannot share {settings.steps} steps; lower it.")
    if PartialState().num_processes > 1:
        raise UsageError("iterations: several work in one process; for several devices: --set schedule=parallel.")
    if settings.schedule == "parallel" and find_spec("ray") is None:
        raise UsageError("schedule: parallel needs ray, which is not installed: pip install 'detoxlm[parallel]'")


def records_of(folder: Path, settings: ConstrainedSettings) -> dict[str, Any]:
    """Return the records of all stages by their names."""
    names = [stage.name for stages in rounds(settings.schedule, settings.iterations) for stage in stages]
    found = {name: folder / f"{name}.json" for name in names}
    records = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}
    return {name: {k: v for k, v in record.items() if k != "fitting"} for name, record in records.items()}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomically(path, json.dumps(value).encode())
