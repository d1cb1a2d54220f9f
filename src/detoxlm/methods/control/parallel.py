"""Carries out the rounds of a schedule on Ray actors: one device each, on this machine or on a cluster.

What passes between them is files in the work folder, which all machines must see; each loads the target from there.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from detoxlm.cluster import running
from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.files import folder_written_atomically
from detoxlm.loading import quiet_transformers
from detoxlm.methods.control.stages import KINDS, Stage, Work, device_of, perform
from detoxlm.models import load_target
from detoxlm.progress import track

log = logging.getLogger(__name__)

#: How often a worker may be lost.
RETRIES = 3


@dataclass(frozen=True)
class Parcel:
    """What a worker gets with every stage; it opens the first."""

    folder: Path  # of the work, with the target
    name: str  # the target's
    revision: str
    dtype: str
    device: str
    path: list[str]  # where Python finds what the rest needs
    rest: bytes  # the data, settings and detoxifier type of `Work`, as Ray sends them

    def opened(self) -> Work:
        """Return the work, with a target of its own."""
        target = load_target(str(self.folder / "target"), dtype=self.dtype, device=self.device)
        sys.path.extend(place for place in self.path if place not in sys.path)
        data, settings, made = cloudpickle.loads(self.rest)
        return Work(replace(target, name=self.name, revision=self.revision), data, settings, made, self.folder)


class Worker:
    """An actor that keeps its own target; one that was lost starts again, and does its stage again."""

    work: Work | None = None

    def run(self, parcel: Parcel, stage: Stage) -> bool:
        """Do a stage. Returns whether this worker had to start again."""
        self.work = self.work or parcel.opened()
        perform(self.work, stage)
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def at_once(work: Work, plan: Sequence[Sequence[Stage]]) -> None:
    """Do the stages of each round at once, on as many workers as there are devices, at most one for each kind.

    A cluster is used where `RAY_ADDRESS` names one; else Ray runs on this machine until the end.

    Raises:
        UsageError: as the stages, or a scorer that cannot be sent to another process.
        DetoxError: as the stages, or a worker was lost too often.
    """
    try:
        rest = cloudpickle.dumps((work.data, work.settings, work.made))
    except Exception as error:  # what objects raise that cannot be pickled is no closed set
        raise UsageError(
            f"scorer: it cannot be sent to the workers ({first_line(error)}); use another, or schedule=sequential."
        ) from error
    target, device = work.target, work.target.device.type
    dtype = str(target.model.dtype).removeprefix("torch.")
    parcel = Parcel(work.folder, target.name, target.revision, dtype, device, sys.path, rest)
    save_target(work)
    total = sum(len(stages) for stages in plan)
    with running() as nodes, track("schedule", total, "stages") as advance:
        resource = "CPU" if device == "cpu" else "GPU"
        count = max(1, min(len(KINDS), int(sum(node.get(resource, 0) for node in nodes))))
        threads = max(1, int(min(node.get("CPU", 1) for node in nodes)) // count)  # so that any node has room for all
        options = {"num_cpus": threads, "num_gpus": int(device != "cpu")}
        actor = ray.remote(Worker).options(
            **options, max_restarts=RETRIES, max_task_retries=RETRIES, scheduling_strategy="SPREAD"
        )
        workers = [actor.remote() for _ in range(count)]
        sent = ray.put(parcel)
        told: set[int] = set()
        try:
            for stages in plan:
                if work.over:
                    return
                waiting = {}
                for stage in stages:
                    place = device_of(stage.kind, count)
                    waiting[workers[place].run.remote(sent, stage)] = place
                while waiting:
                    (done, *_), _ = ray.wait(list(waiting))
                    place = waiting.pop(done)
                    if ray.get(done) and place not in told:
                        told.add(place)
                        log.warning("a worker was lost and started again; its iteration, from the last barrier.")
                    advance(1)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            raise DetoxError(
                f"a worker was lost, after {RETRIES} new starts for good: {first_line(error)} The same command again "
                f"goes on after the last barrier, from {work.folder}."
            ) from error
        finally:
            for worker in workers:
                ray.kill(worker)


def save_target(work: Work) -> None:
    """Write the untouched target as a folder of safetensors that workers load."""
    if not (work.folder / "target").exists():
        with quiet_transformers(), folder_written_atomically(work.folder / "target") as folder:
            work.target.model.save_pretrained(folder)
            work.target.save_tokenizer(folder)
