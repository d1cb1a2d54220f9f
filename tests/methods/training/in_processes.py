"""Fit `tasft` in this process, one of several that a launcher starts, and save what each has learned.

Where the model is sharded, the first training is killed in its middle and goes on.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from conftest import LetterScorer

from detoxlm.data import Example
from detoxlm.methods import FitData
from detoxlm.methods.finetuning.tasft import Tasft, TasftSettings
from detoxlm.methods.training import watch
from detoxlm.methods.training.trainer import AvoidanceTrainer
from detoxlm.models import load_target

started, loss, load_best = AcceleratorState.__init__, AvoidanceTrainer.compute_loss, AvoidanceTrainer._load_best_model


def start_sharded(self: AcceleratorState, *args: Any, **more: Any) -> None:
    """Accelerate heeds its FSDP settings only where it finds accelerators; torch shards over CPUs as well."""
    if not AcceleratorState._shared_state:
        PartialState().distributed_type = DistributedType.MULTI_GPU
    started(self, *args, **more)
    assert self.is_fsdp2, "this would test plain data parallelism"


def killed(self: AvoidanceTrainer, *args: Any, **more: Any) -> Any:
    """A step, or the end after the first checkpoint."""
    if self.state.global_step == 3:
        raise KeyboardInterrupt
    return loss(self, *args, **more)


def loaded_late(self: AvoidanceTrainer) -> None:
    """The first process is the last to read the checkpoint of the best look."""
    if os.environ.get("RANK") == "0":
        time.sleep(1)
    load_best(self)


AvoidanceTrainer._load_best_model = loaded_late  # type: ignore[method-assign]
watch.SAMPLES, watch.ANSWER, watch.NEUTRAL = 1, 2, 64  # as the fixture `short_looks`
model, folder, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
data = FitData(
    # texts of one length: a mean over processes of means over tokens is then the mean over all tokens
    corpus=[Example("the old", f" bridge number {i}") for i in range(10, 42)],
    harmful=[Example("the old", f" eeee eeee {i}") for i in range(10, 42)],
    prompts=["the old", "over the hills", "x", "we walked", "in the evening"],
    scorer=LetterScorer(),
    workdir=folder / "work",
)
small = {"check_every": 2, "batch": batch, "drift": 9.0, "blame": "uniform"}
lora = TasftSettings(steps=4, rank=4, learning_rate=1e-2, **small)
full = TasftSettings(steps=2, tune="full", learning_rate=1e-3, **small)
if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    AcceleratorState.__init__ = start_sharded  # type: ignore[method-assign]
    AvoidanceTrainer.compute_loss = killed  # type: ignore[method-assign]
    with suppress(KeyboardInterrupt):
        Tasft.fit(load_target(model, device="cpu"), data, lora)
        raise AssertionError("this would test no interruption")
    AvoidanceTrainer.compute_loss = loss  # type: ignore[method-assign]
for settings in (lora, full):
    target = load_target(model, device="cpu")
    before = target.architecture.fingerprint
    made = Tasft.fit(target, data, settings)
    assert target.architecture.fingerprint == before, "looks put back what they attach"
    save_file(made.tensors, folder / f"{settings.tune}-{os.environ.get('RANK', '0')}.safetensors")
