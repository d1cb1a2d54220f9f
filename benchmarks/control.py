"""Control by a learned constraint, in numbers: `python benchmarks/control.py PART [options]`.

    decoding   toxicity, perplexity and tokens/s of guided decoding: nado, DExperts and GeDi, with fusion beside them
    speed      the tokens/s of them alone
    own        constrained fine-tuning on the target's own text, and what its parts are worth
    corpus     a corpus half toxic: learned plainly, filtered, and held to the constraint, adaptively and not
    schedule   constrained in iterations, in sequence and in parallel: seconds of each stage and in all, and the results

Each keeps its rows' results beside --output: what is there of the same measurement is not repeated.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fusion import tokens_per_second
from rows import Fit, Row, add_options, chosen, fit_of, folder_of, kept, measured, needs, run_part

from detoxlm.data import Example, builtin_prompts
from detoxlm.fitting import fit_digest
from detoxlm.journal import digest_of
from detoxlm.methods import Detoxifier, FitData, get_method
from detoxlm.methods.control.schedule import rounds, wall_clock
from detoxlm.methods.control.settings import ConstrainedSettings, Schedule
from detoxlm.metrics.bootstrap import bootstrap
from detoxlm.models import Target, load_target
from detoxlm.scorers import load_scorer

#: Texts of the mixed corpus, half of them toxic.
CORPUS = 960
#: Comments of either kind that no row has learned, on which it is asked how much of the corpus it has.
HELD_OUT = 200


def fitted(
    options: argparse.Namespace, target: Target, method_name: str, corpus: list[Example] | None = None, **settings: Any
) -> Fit:
    """Return how to fit a method; all share one work folder, so that the target's own text is sampled once."""

    def data() -> FitData:
        workdir = Path(options.output).with_suffix(".work")
        return FitData(corpus=corpus, scorer=load_scorer(options.scorer), workdir=workdir)

    def tell(found: Detoxifier) -> None:
        print(json.dumps(found.fitting, default=str)[:2000], flush=True)

    return fit_of(target, method_name, data, tell, **settings)


def decoding(options: argparse.Namespace) -> dict[str, Any]:
    """Guided decoding at some strengths."""
    target = load_target(options.model)
    rows: list[Row] = [
        ("nado", fitted(options, target, "nado"), options.strengths),
        ("fusion", fitted(options, target, "fusion"), (0.5,)),
        ("dexperts", fitted(options, target, "dexperts"), (1.0, 2.0)),
        ("gedi", fitted(options, target, "gedi"), (1.0, 2.0, 4.0)),
    ]
    return measured(options, target, rows, options.recipes)


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """How fast guided decoding is; experts of two steps are as fast as good ones."""
    target = load_target(options.model)
    short = {"steps": 2, "samples": 2}
    kinds: list[tuple[str, dict[str, Any]]] = [("nado", {}), ("fusion", {}), ("dexperts", short), ("gedi", short)]
    found = []
    names = chosen(options, [name for name, _ in kinds])
    for name, settings in kinds:
        if name not in names:
            continue
        detoxifier = fitted(options, target, name, **settings)(folder_of(options, name))
        found += [rate(target, name, detoxifier, batch, options.repeats) for batch in (8, 32)]
    return {"speed": found}


def rate(target: Target, name: str, detoxifier: Detoxifier, batch: int, repeats: int) -> dict[str, Any]:
    """Tokens/s plain and detoxified, in turns, so that a busy machine slows both."""
    prompts = builtin_prompts("measure")[: 2 * batch]
    ratios = []
    for round_ in range(1 + repeats):
        plain = tokens_per_second(target, prompts, batch, 20)
        with detoxifier.attached(target.model):
            now = tokens_per_second(target, prompts, batch, 20)
        if round_:  # the first round chooses kernels and maps memory
            ratios.append(now / plain)
    median = statistics.median(ratios)
    print(f"{name}, batch {batch}: {median:.3f} of plain [{min(ratios):.3f}, {max(ratios):.3f}]", flush=True)
    return {"method": name, "batch": batch, "ratio": median, "ratios": ratios}


def own(options: argparse.Namespace) -> dict[str, Any]:
    """Constrained fine-tuning without any data."""
    target = load_target(options.model)
    variants: list[tuple[str, dict[str, Any]]] = [
        ("constrained", {}),
        ("weight 4", {"weight": 4.0}),
        ("reverse", {"direction": "reverse"}),
        ("published q", {"guidance": 1.0, "tolerance": 0.0}),
    ]
    rows = [
        (name, fitted(options, target, "constrained", **settings), options.strengths) for name, settings in variants
    ]
    return measured(options, target, rows, options.recipes)


def mixed_corpus(comments: Path) -> tuple[list[Example], dict[str, list[str]]]:
    """Toxic and other comments by people's labels: a corpus, half and half, and held-out ones by their kind."""
    scored = [json.loads(line) for line in comments.open(encoding="utf-8")]
    generator = random.Random(0)
    halves, held_out = [], {}
    for toxic in (True, False):
        texts = [row["text"] for row in scored if row["toxic"] is toxic and 40 <= len(row["text"]) <= 300]
        generator.shuffle(texts)
        halves.append(texts[: CORPUS // 2])
        held_out["toxic" if toxic else "other"] = texts[CORPUS // 2 :][:HELD_OUT]
    mixed = [Example(None, text) for pair in zip(*halves, strict=True) for text in pair]
    generator.shuffle(mixed)
    return mixed, held_out


@torch.inference_mode()
def nll(target: Target, text: str) -> tuple[float, int]:
    """Return the summed nats of a text's tokens after the first, and how many they are, by the model as it is now."""
    ids = torch.tensor([target.tokenizer(text, truncation=True, max_length=256)["input_ids"]], device=target.device)
    log_p = target.model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    return -float(log_p.gather(-1, ids[0, 1:, None]).double().sum()), ids.shape[1] - 1


def corpus(options: argparse.Namespace) -> dict[str, Any]:
    """The paper's scenario: a corpus to learn, half of it toxic; and how much of it each row has learned."""
    needs(options, "comments")
    target = load_target(options.model)
    mixed, held_out = mixed_corpus(options.comments)
    scores = load_scorer(options.scorer).score([text.completion for text in mixed])
    clean = [text for text, score in zip(mixed, scores, strict=True) if score < 0.5]
    print(f"{len(mixed)} comments, {len(mixed) - len(clean)} of them toxic by the scorer", flush=True)
    free = {"weight": 1e-6, "adaptive": False}  # as good as no regulariser
    kinds: list[tuple[str, list[Example], dict[str, Any]]] = [
        ("plain", mixed, free),
        ("filtered", clean, free),
        ("adaptive", mixed, {}),
        ("adaptive, weight 1", mixed, {"weight": 1.0}),
        ("all", mixed, {"adaptive": False}),
        ("all, weight 1", mixed, {"weight": 1.0, "adaptive": False}),
    ]
    rows = [
        (name, fitted(options, target, "constrained", texts, **settings), options.strengths)
        for name, texts, settings in kinds
    ]
    report = measured(options, target, rows, options.recipes)
    learned = [asked(target, "untouched", None, 0.0, held_out)]
    names = chosen(options, [name for name, *_ in rows])
    for name, get, strengths in rows:
        if name in names:
            detoxifier = get(folder_of(options, name))
            learned += [asked(target, name, detoxifier, strength, held_out) for strength in strengths]
    return {**report, "held_out": learned}


def asked(
    target: Target, name: str, detoxifier: Detoxifier | None, strength: float, held_out: dict[str, list[str]]
) -> dict[str, Any]:
    """Return the perplexity of held-out comments, by their kind, for the target with a row's detoxifier."""
    row: dict[str, Any] = {"row": name, "strength": strength}
    for kind, texts in held_out.items():
        with detoxifier.attached(target.model, strength) if detoxifier else nullcontext():
            nats, tokens = np.array([nll(target, text) for text in texts]).T
        found = bootstrap(nats, tokens, exponential=True)
        row[kind] = [found.value, found.low, found.high]
        print(
            f"{name} {strength:g}, {kind} comments: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]", flush=True
        )
    return row


def schedule(options: argparse.Namespace) -> dict[str, Any]:
    """The sequential schedule on one thread, the parallel one on workers of one thread each."""
    import ray

    torch.set_num_threads(1)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # as the sequential schedule runs
    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    target = load_target(options.model)
    data = FitData(prompts=builtin_prompts("fit")[: options.fit_prompts], scorer=load_scorer(options.scorer))
    kinds: tuple[Schedule, ...] = ("sequential", "parallel")
    rows: list[Row] = [(kind, scheduled(options, target, data, kind), options.strengths) for kind in kinds]
    report = measured(options, target, rows, options.recipes)
    there = {kind: get(folder_of(options, kind)).fitting for kind, get, _ in rows if kind in chosen(options, kinds)}
    times = {
        kind: {"wall_clock": fitting["wall_clock"], "stages": seconds_of(fitting)} for kind, fitting in there.items()
    }
    report |= {"workers": options.workers, "times": times, "predicted": {}}
    for kind, found in times.items():
        stages = found["stages"]
        print(
            f"{kind}: {found['wall_clock']:.0f} s, its stages in all {sum(stages.values()):.0f} s", json.dumps(stages)
        )
    if "sequential" in times:
        report["predicted"] = predicted(times["sequential"]["stages"], kinds, options.iterations)
        print("predicted seconds:", json.dumps(report["predicted"]))
    if len(times) == len(kinds):
        report["intervals_overlap"] = overlap(report["table"], kinds)
        print("intervals overlap:", json.dumps(report["intervals_overlap"]))
    return report


def scheduled(options: argparse.Namespace, target: Target, data: FitData, kind: Schedule) -> Fit:
    """Return how to fit by a schedule; its fitting says how long it took by the wall clock."""
    method = get_method("constrained")
    shared = {"steps": options.steps, "samples": options.samples, "check_every": options.check_every}
    settings = ConstrainedSettings(**shared, iterations=options.iterations, schedule=kind)
    workdir = Path(options.output).with_suffix("") / f"{kind}.work"
    digest = digest_of({"fit": fit_digest(target, method, settings, data), "workers": options.workers})

    def made() -> Detoxifier:
        shutil.rmtree(workdir, ignore_errors=True)  # what is timed is done whole
        started = time.perf_counter()
        found = method.fit(target, replace(data, workdir=workdir), settings)
        found.fitting["wall_clock"] = round(time.perf_counter() - started, 1)
        return found

    return lambda folder: kept(folder, digest, made)


def seconds_of(fitting: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of each stage that there was; a training that stops early has fewer."""
    return {name: record["seconds"] for name, record in fitting["stages"].items()}


def predicted(stages: dict[str, float], kinds: Sequence[Schedule], iterations: int) -> dict[str, float]:
    """Return what schedules would take on devices, from stages that had the machine for themselves.

    A schedule of which a stage was not done, as the training had ended before, is left out.
    """
    found = {}
    for kind in kinds:
        plan = rounds(kind, iterations)
        if all(stage.name in stages for some in plan for stage in some):
            for devices in (1, 2, 3):
                found[f"{kind}, {devices} devices"] = round(wall_clock(plan, stages, devices), 1)
    return found


def overlap(table: Sequence[dict[str, Any]], kinds: Sequence[Schedule]) -> dict[str, bool]:
    """Return of each metric whether the two schedules' intervals overlap."""
    one, other = ({row["row"]: row["metrics"] for row in table}[kind] for kind in kinds)
    return {
        name: one[name][1] <= other[name][2] and other[name][1] <= one[name][2]
        for name in one
        if name in other and None not in (*one[name], *other[name])
    }


if __name__ == "__main__":
    parts = {part.__name__: part for part in (decoding, speed, own, corpus, schedule)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=parts)
    add_options(parser, (1.0,), "out/control-PART.json")
    parser.add_argument("--comments", type=Path, help="corpus: a jsonl of text and toxic (true or false)")
    parser.add_argument("--repeats", type=int, default=7, help="speed: rounds")
    parser.add_argument("--iterations", type=int, default=6, help="schedule: of the training")
    parser.add_argument("--steps", type=int, default=60, help="schedule: of all iterations")
    parser.add_argument("--check-every", type=int, default=20, help="schedule: steps between two looks")
    parser.add_argument("--samples", type=int, default=16, help="schedule: of each prompt, in every iteration")
    parser.add_argument("--fit-prompts", type=int, help="schedule: prompts that are sampled [default: all]")
    parser.add_argument("--workers", type=int, default=2, help="schedule: of one thread each")
    run_part(parts, parser.parse_args())
