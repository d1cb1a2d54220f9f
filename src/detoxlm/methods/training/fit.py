"""Fit a fine-tuning method: get texts, train a copy of the target, and keep what changed."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from peft import PeftModel
from torch.distributed.tensor import DTensor
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from detoxlm import processes
from detoxlm.errors import DetoxError, UsageError
from detoxlm.journal import digest_of
from detoxlm.methods.base import FitData, describe_target
from detoxlm.methods.training.anchors import Anchor, anchors
from detoxlm.methods.training.course import Course
from detoxlm.methods.training.settings import FineTuneSettings, TrainingSettings
from detoxlm.methods.training.texts import (
    Texts,
    as_passages,
    scorer_of,
    texts_read,
    warn_of_rest,
)
from detoxlm.methods.training.trainer import Looking, Run, trainable
from detoxlm.methods.training.watch import Watch
from detoxlm.methods.weights.changes import CHANGE, A, B, changed
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target
from detoxlm.passages import Passage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What every training starts from."""

    texts: Texts
    harmful: list[Passage]
    clean: list[Passage]
    anchors: list[Anchor] | None  # of the clean texts, where the method reads them
    watch: Watch
    fitting: dict[str, Any]


#: Makes a trainer of a model to train and a `Run`.
Make = Callable[..., Looking]


def prepared(
    target: Target,
    data: FitData,
    settings: TrainingSettings,
    texts_of: Callable[[], Texts],
    fitting: dict[str, Any],
    *,
    anchored: bool,
    whole: bool = False,
) -> Prepared:
    """Return the texts of `texts_of` tokenised, what the target says of the clean ones, and what it is watched on.

    `fitting` is what the detoxifier will record; `texts_of` may add to it. Where the clean texts that are learned are
    `anchored`, the target reads them all. More of them than a training reads are left out, unless they are taken
    `whole`. Of several processes that share no harvests the first goes first: the others find its own in the same work
    folder.
    """
    check_device(target)
    with harvesting():
        texts = texts_of()
        read = None if whole else texts_read(settings)
        if data.corpus and not whole:
            warn_of_rest(len(texts.clean), settings)
        parts = (texts.harmful, texts.clean[:read], texts.watched_clean)
        harmful, clean, watched = (
            [text for text in as_passages(target, part, settings.max_length) if learnable(text)] for part in parts
        )
        for name, part, found in zip(("harmful", "corpus", "corpus"), parts, (harmful, clean, watched), strict=True):
            if part and not found:
                raise UsageError(f"{name}: none of its texts has a second token, so there is nothing to predict.")
        learned = clean if anchored else []
        kept = anchors(target, [*learned, *watched], data.batch_size)
        watch = Watch(
            target,
            scorer_of(data),
            texts.watched_prompts,
            watched,
            kept[len(learned) :],
            batch_size=data.batch_size,
            seed=data.seed,
        )
        return Prepared(texts, harmful, clean, kept[: len(learned)] if anchored else None, watch, fitting)


def harvesting() -> AbstractContextManager[None]:
    """Return a context for a harvest: processes that have joined make it together, of others the first goes first."""
    return nullcontext() if processes.place()[1] > 1 else PartialState().main_process_first()


def learnable(text: Passage) -> bool:
    """Tell whether a token of the text itself is predicted from something before it."""
    return len(text.ids) > max(1, text.start)


def check_device(target: Target) -> None:
    """Raise `UsageError` where the trainer would take another device than the target's."""
    index = target.device.index if target.device.type == "cuda" else None
    if index and os.environ.get("WORLD_SIZE", "1") == "1":
        raise UsageError(
            f"device: training takes the first GPU that it sees, and {target.device} is another one; set "
            f"CUDA_VISIBLE_DEVICES={index} and give --device cuda."
        )


def trained(
    target: Target,
    data: FitData,
    settings: FineTuneSettings,
    made: type[FineTunedDetoxifier],
    ready: Prepared,
    make: Make,
    course: Course,
) -> FineTunedDetoxifier:
    """Train a copy of the target with the trainer of `make`, or go on where a killed run of the same has stopped.

    Raises:
        DetoxError: the loss became NaN, or no look was within the limit on drift of `course`.
    """
    with ExitStack() as stack:
        workdir = data.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = checkpoints(workdir, target, data, made.method, settings, ready)
        tensors, account = train_copy(target, data.seed, settings, ready.watch, make, course, folder)
        forget(folder)
    return made(settings, describe_target(target), tensors, ready.fitting | account)


def train_copy(
    target: Target,
    seed: int,
    settings: TrainingSettings,
    watch: Watch,
    make: Make,
    course: Course,
    folder: Path,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return what training changed in a copy of the target (`tensors_of`), and an account of it.

    Checkpoints are kept in `folder`; where it holds some, training goes on from them, or is found to be done.

    Raises:
        DetoxError: the loss became NaN, or no look was within the limit on drift of `course`.
    """
    if last := last_checkpoint(folder):
        log.warning("%s holds checkpoints of this very training: it goes on from %s.", folder, last.name)
    trainer = trainer_of(target, seed, settings, watch, make, course, folder)
    train_from(last, trainer, settings)
    return tensors_of(trainer.model, target.model), account_of(trainer.course)


def train_from(checkpoint: Path | None, trainer: Looking, settings: TrainingSettings) -> None:
    """Train, from a checkpoint where there is one; a training that has ended by itself there is not gone on with."""
    if checkpoint and (steps := stopped_early(checkpoint, settings)):
        trainer.args.max_steps = steps
        read = steps * trainer.args.train_batch_size * trainer.args.world_size
        trainer.train_dataset = trainer.train_dataset.select(range(read))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in `folder`; one whose saving was cut short, which lacks its end, is removed."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / TRAINER_STATE_NAME).exists():
            shutil.rmtree(checkpoint, ignore_errors=True)
    found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return Path(found) if found else None


def stopped_early(checkpoint: Path, settings: TrainingSettings) -> int:
    """Return after how many steps looks without progress ended the training of a checkpoint; 0: they did not.

    `Trainer` would forget that, and train on.
    """
    if not isinstance(settings, FineTuneSettings):
        return 0
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    kept = state.stateful_callbacks.get(EarlyStoppingCallback.__name__, {})
    waited = kept.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return state.global_step if waited >= settings.patience else 0


def trainer_of(
    target: Target,
    seed: int,
    settings: TrainingSettings,
    watch: Watch,
    make: Make,
    course: Course,
    folder: Path,
) -> Looking:
    """Return the trainer of a copy of the target, with its checkpoints in `folder`; a new training looks first."""
    if last_checkpoint(folder) is None:
        course.watched.append({"step": 0, **watch(target.model)})
    tokenizer = copy.deepcopy(target.tokenizer)  # TRL gives one without a padding token the end token for it
    run = Run(settings, tokenizer, course, partial(_look, target, watch), folder, seed)
    return make(trainable(copy.deepcopy(target.model), settings, seed), run)


def forget(folder: Path) -> None:
    """Remove the checkpoints of a training that is done."""
    PartialState().wait_for_everyone()  # another process may still be reading the best look's checkpoint
    if PartialState().is_main_process:
        shutil.rmtree(folder, ignore_errors=True)


def _look(target: Target, watch: Watch, model: PreTrainedModel | PeftModel) -> dict[str, float]:
    """Look at the model being trained; where it is sharded, at the untouched one with the change in it.

    A sharded model gathers every layer for every token that it generates, and two processes that end a text at
    different tokens wait for each other forever. The untouched model is whole on every device.
    """
    if not any(isinstance(weight, DTensor) for weight in model.parameters()):
        return watch(model.get_base_model() if isinstance(model, PeftModel) else model)
    with changed(target.model, tensors_of(model, target.model)):
        return watch(target.model)


def account_of(course: Course) -> dict[str, Any]:
    """What the report shows of the training.

    Raises:
        DetoxError: no look was within the limit on drift.
    """
    looks = course.watched[1:]
    best = min(looks, key=course.frontier)
    if not course.within(best):
        raise DetoxError(
            f"drift: it was above {course.limit:g} nats per token at every look (at best "
            f"{min(look['drift'] for look in looks):.3f}); lower --set learning_rate, or raise drift."
        )
    return {"best_step": best["step"], "watched": course.watched, "loss_curve": course.curve}


def checkpoints(
    workdir: Path, target: Target, data: FitData, name: str, settings: TrainingSettings, ready: Prepared
) -> Path:
    """Return the folder of a training's checkpoints, named by everything that decides it: `name` is what is made."""
    scorer = scorer_of(data)
    what = {
        "method": name,
        "fingerprint": target.architecture.fingerprint,
        "dtype": str(target.model.dtype),
        "version": metadata.version("detoxlm"),
        "processes": PartialState().num_processes,  # a step reads a batch of each
        "settings": settings.model_dump(mode="json"),
        "texts": [[[p.ids, p.start] for p in texts] for texts in (ready.harmful, ready.clean, ready.watch.clean)],
        "examples": asdict(ready.texts),  # pairs are made of these
        "scorer": [scorer.name, scorer.version, scorer.revision],
        "auxiliary": ready.fitting.get("auxiliary"),  # of `constrained`: it made the teacher
        "seed": data.seed,
    }
    return workdir / f"training-{digest_of(what)[:12]}"


def tensors_of(trained: PreTrainedModel | PeftModel, untouched: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors of a `FineTunedDetoxifier`: what `trained` has that `untouched` has not.

    Of a sharded model every process gets the whole, so all of them must ask.
    """
    if not isinstance(trained, PeftModel):
        before = dict(untouched.named_parameters())
        return {
            name + CHANGE: (_whole(weight) - before[name].detach().float()).cpu()
            for name, weight in trained.named_parameters()
        }
    tensors: dict[str, torch.Tensor] = {}
    for name, module in trained.get_base_model().named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            a, b = (_whole(getattr(module, part)["default"].weight).cpu() for part in ("lora_A", "lora_B"))
            tensors |= {name + A: a.contiguous(), name + B: (module.scaling["default"] * b).contiguous()}
    return tensors


def _whole(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in float32, gathered where it is a shard."""
    return (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach().float()
