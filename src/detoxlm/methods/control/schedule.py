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
R, better where the training has gone. (But for tails: a sample is of the nucleus of mass 0.9 of LLM_j, while both
probabilities are of the whole vocabulary. What the nuclei of p and LLM_j leave out is taken to be the same.) Were p the
newest LLM, q would move on with it, the constraint would be applied once an iteration, and the limit on drift would
have no fixed point to be measured from. The texts that are learned stay the same too, and so do optimiser, learning
rate and order: with the same R throughout, N iterations are one training, bit for bit.

A stage reads and writes the work folder alone, and its record (`train-2.json`) is written last. Whatever is killed is
done again from what the last barrier left, by the same random numbers: the outcome is that of an undisturbed run.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any

from accelerate import PartialState

from detoxlm.conversations import Form, as_data
from detoxlm.errors import UsageError
from detoxlm.journal import digest_of
from detoxlm.methods.base import FitData
from detoxlm.methods.control.settings import ConstrainedSettings, Schedule
from detoxlm.methods.control.stages import Stage, Work, device_of, perform
from detoxlm.methods.control.tuning import warn_of_delta
from detoxlm.methods.training.texts import scorer_of
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target
from detoxlm.sizing import asked

log = logging.getLogger(__name__)

#: How many iterations older than the newest LLM an auxiliary model is when the parallel schedule uses it.
STALENESS = 2


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
        UsageError: as there.
        DetoxError: as there, or a worker was lost again and again.
    """
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
            "version": metadata.version("detoxlm"),
            "settings": settings.model_dump(mode="json"),
            "texts": [[asdict(one) for one in part or []] for part in (data.corpus, data.harmful, data.pairs)],
            "prompts": as_data(data.prompts),
            **({"form": asdict(data.form)} if data.form != Form() else {}),
            "scorer": [scorer.name, scorer.version, scorer.revision],
            "seed": data.seed,
            "batch_size": asked(data.batch_size, target.device),
            "samples": "with each prompt's number",
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
