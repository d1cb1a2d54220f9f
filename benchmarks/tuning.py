"""What fine-tuning away from toxicity costs and what it buys: `python benchmarks/tuning.py PART [options]`.

    frontier   toxicity and perplexity of TA-SFT and of its baselines, from the same texts and in as many steps
    data       TA-SFT by the number of harmful responses, and by what the loss is made of
    cost       seconds and memory of a step (tasft, constrained), and of a plain SFT step of TRL on the same two batches

`frontier` and `data` keep each row's results beside --output: what is there of the same measurement is not repeated.
Every --seeds is a row of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rows import Fit, Row, add_options, fit_of, measured, run_part

from detoxlm import memory
from detoxlm.methods import Detoxifier, FitData
from detoxlm.models import Target, load_target
from detoxlm.passages import Passage
from detoxlm.scorers import load_scorer


def _rows(options: argparse.Namespace, target: Target, rows: list[tuple[str, str, dict[str, Any]]]) -> list[Row]:
    """A row for each (name, method, settings) and seed; the texts of a seed are harvested once for all rows."""

    def fit(method_name: str, settings: dict[str, Any], seed: int) -> Fit:
        def data() -> FitData:
            workdir = Path(options.output).with_suffix(".work") / f"{seed}-{settings.get('samples', 0)}"
            return FitData(scorer=load_scorer(options.scorer), workdir=workdir, seed=seed)

        return fit_of(target, method_name, data, _told, **settings)

    return [
        (f"{name}, seed {seed}", fit(method, settings, seed), options.strengths)
        for seed in options.seeds
        for name, method, settings in rows
    ]


def _told(fitted: Detoxifier) -> None:
    for look in fitted.fitting["watched"]:
        print(json.dumps(look), flush=True)


def frontier(options: argparse.Namespace) -> dict[str, Any]:
    """TA-SFT and its baselines."""
    target = load_target(options.model)
    names = ("tasft", "unlikelihood", "contrastive", "dpo", "sft")
    return measured(options, target, _rows(options, target, [(name, name, {}) for name in names]), options.recipes)


def data(options: argparse.Namespace) -> dict[str, Any]:
    """TA-SFT with fewer and more harmful responses, and without one of its parts each."""
    target = load_target(options.model)
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("100 harmful", "tasft", {"harmful": 100}),
        ("300 harmful", "tasft", {}),
        ("1000 harmful", "tasft", {"harmful": 1000, "samples": 48}),
        ("uniform weights", "tasft", {"blame": "uniform"}),
        ("weights by rise", "tasft", {"blame": "rise"}),
        ("half the drift", "tasft", {"drift": 0.025}),
        ("soft targets", "tasft", {"targets": "soft"}),
        ("soft targets, half the base", "tasft", {"targets": "soft", "smoothing": 0.5}),
        ("lambda rises to twice", "tasft", {"avoidance": 12.0, "avoidance_schedule": "rise"}),
        ("lambda falls from twice", "tasft", {"avoidance": 12.0, "avoidance_schedule": "fall"}),
    ]
    return measured(options, target, _rows(options, target, rows), options.recipes)


# --- cost -------------------------------------------------------------------------------------------------------------


def cost(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of a step, each kind in a process of its own, in turns."""
    if options.kind:
        print(json.dumps(_steps(options, options.kind)))
        return {}
    found: dict[str, list[dict[str, float]]] = {"plain": [], "tasft": [], "constrained": []}
    for _ in range(options.rounds):
        for kind, made in found.items():
            command = [sys.executable, __file__, "cost", "--kind", kind, "--model", options.model]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            made.append(json.loads(done.stdout.splitlines()[-1]))
            print(kind, made[-1], flush=True)
    best = {kind: min(one["seconds"] for one in made) for kind, made in found.items()}
    peak = {kind: max(one["peak_mb"] for one in made) for kind, made in found.items()}
    ratios = {kind: [best[kind] / best["plain"], peak[kind] / peak["plain"]] for kind in found if kind != "plain"}
    for kind, (seconds, memory_) in ratios.items():
        print(f"a step of {kind} takes {seconds:.2f} of plain SFT's time and {memory_:.2f} of its memory")
    return {"rounds": found, "ratios": ratios}


def _steps(options: argparse.Namespace, kind: str) -> dict[str, float]:
    """Time some steps of 8 clean and 8 harmful texts of 24 to 40 tokens."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from detoxlm.methods.control.constraint import ConstraintLoss
    from detoxlm.methods.finetuning.tasft import Tasft, TasftSettings
    from detoxlm.methods.training import trainer as ours
    from detoxlm.methods.training.anchors import anchors
    from detoxlm.methods.training.course import Course
    from detoxlm.methods.training.progress import COLUMNS

    target = load_target(options.model)
    generator = torch.Generator().manual_seed(0)
    texts = [
        Passage(torch.randint(1000, 20000, (24 + i % 17,), generator=generator).tolist(), 10) for i in range(16 * STEPS)
    ]
    settings = TasftSettings(steps=STEPS, check_every=STEPS)
    model = ours.trainable(copy.deepcopy(target.model), settings, 0)
    with tempfile.TemporaryDirectory() as folder:
        run = ours.Run(
            settings, target.tokenizer, Course(settings.drift), lambda _: dict.fromkeys(COLUMNS, 0.0), Path(folder), 0
        )
        arguments = ours.arguments(run, target.device) | {
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
        }
        seconds: list[float] = []
        made: Any
        if kind == "plain":
            arguments["per_device_train_batch_size"] = 16
            rows = [{"input_ids": text.ids, "labels": [-100] * text.start + text.ids[text.start :]} for text in texts]
            config = SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True})
            target.tokenizer.pad_token = target.tokenizer.pad_token or target.tokenizer.eos_token
            made = SFTTrainer(
                model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=target.tokenizer
            )
        else:
            clean, harmful = texts[::2], texts[1::2]
            given = ours.Rows(
                harmful,
                [[1.0] * (len(t.ids) - t.start) for t in harmful],
                clean,
                anchors(target, clean, 16),
                anchors(target, harmful, 16),
            )
            objective = Tasft.objective(target, settings) if kind == "tasft" else ConstraintLoss("forward", own=False)
            made = ours.AvoidanceTrainer(model, run, objective=objective, rows=given)
        step = made.training_step

        def clocked(*args: Any, **more: Any) -> Any:
            started = time.perf_counter()
            loss = step(*args, **more)
            seconds.append(time.perf_counter() - started)
            return loss

        made.training_step = clocked
        memory.begin(*target.devices)
        made.train()
    return {"seconds": sorted(seconds[1:])[len(seconds) // 2], "peak_mb": memory.peak(*target.devices) / 1e6}


#: Steps that are timed; the first warms up and does not count.
STEPS = 9

PARTS = {"frontier": frontier, "data": data, "cost": cost}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    add_options(parser, (1.0,), "out/tuning-PART.json")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rounds", type=int, default=3, help="cost: processes of each kind")
    parser.add_argument("--kind", choices=["plain", "tasft", "constrained"], help=argparse.SUPPRESS)
    run_part(PARTS, parser.parse_args())
