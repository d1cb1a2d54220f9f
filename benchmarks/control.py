"""Control by a learned constraint, in numbers: `python benchmarks/control.py PART [options]`.

    decoding   toxicity, perplexity and tokens/s of guided decoding: nado, DExperts and GeDi, with fusion beside them
    speed      the tokens/s of them alone
    own        constrained fine-tuning on the target's own text, and what its parts are worth
    corpus     a corpus half toxic: learned plainly, filtered, and held to the constraint, adaptively and not
    schedule   constrained in iterations, in sequence and in parallel: seconds of each stage and in all, and the results

Each keeps its rows' results in --output and skips what is there.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fusion import tokens_per_second
from rows import Row, add_options, folder_of, measured, run_part, timed

from detoxlm.data import Example, builtin_prompts
from detoxlm.files import write_atomically
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
) -> Callable[[], Detoxifier]:
    """Return how to fit a method; all share one work folder, so that the target's own text is sampled once."""

    def made() -> Detoxifier:
        workdir = Path(options.output).with_suffix(".work")
        data = FitData(corpus=corpus, scorer=load_scorer(options.scorer), workdir=workdir)
        method = get_method(method_name)
        found = method.fit(target, data, method.detoxifier_type.settings_type(**settings))
        print(json.dumps(found.fitting, default=str)[:2000], flush=True)
        return found

    return timed(made)


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
    for name, settings in kinds:
        if options.rows and name not in options.rows:
            continue
        detoxifier = fitted(options, target, name, **settings)()
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
    for name, *_ in rows:
        if (folder := folder_of(options, name)).exists():
            kept = Detoxifier.from_pretrained(folder)
            learned += [asked(target, name, kept, strength, held_out) for strength in options.strengths]
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
    folder = Path(options.output).with_suffix("")
    data = FitData(prompts=builtin_prompts("fit")[: options.fit_prompts], scorer=load_scorer(options.scorer))
    method = get_method("constrained")

    def fitted_by(kind: Schedule) -> Callable[[], Detoxifier]:
        def made() -> Detoxifier:
            shared = {"steps": options.steps, "samples": options.samples, "check_every": options.check_every}
            settings = ConstrainedSettings(**shared, iterations=options.iterations, schedule=kind)
            started = time.perf_counter()
            found = method.fit(target, replace(data, workdir=folder / f"{kind}.work"), settings)
            seconds = {name: record["seconds"] for name, record in found.fitting["stages"].items()}
            times = {"wall_clock": round(time.perf_counter() - started, 1), "stages": seconds}
            write_atomically(folder / f"{kind}-times.json", json.dumps(times).encode())
            return found

        return made

    kinds: tuple[Schedule, ...] = ("sequential", "parallel")
    report = measured(options, target, [(kind, fitted_by(kind), options.strengths) for kind in kinds], options.recipes)
    times = {kind: json.loads((folder / f"{kind}-times.json").read_text(encoding="utf-8")) for kind in kinds}
    report |= {"workers": options.workers, "times": times, "predicted": {}}
    for kind in kinds:
        plan = rounds(kind, options.iterations)
        stages = times[kind]["stages"]
        print(
            f"{kind}: {times[kind]['wall_clock']:.0f} s, its stages in all {sum(stages.values()):.0f} s",
            json.dumps(stages),
        )
        for devices in (1, 2, 3):
            # from stages that had the machine for themselves
            predicted = wall_clock(plan, times["sequential"]["stages"], devices)
            report["predicted"][f"{kind}, {devices} devices"] = round(predicted, 1)
            print(f"  predicted on {devices} devices: {predicted:.0f} s")
    one, other = ({row["row"]: row["metrics"] for row in report["table"]}[kind] for kind in kinds)
    report["intervals_overlap"] = {
        name: one[name][1] <= other[name][2] and other[name][1] <= one[name][2]
        for name in one
        if name in other and None not in (*one[name], *other[name])
    }
    print("intervals overlap:", json.dumps(report["intervals_overlap"]))
    return report


if __name__ == "__main__":
    parts = {part.__name__: part for part in (decoding, speed, own, corpus, schedule)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=parts)
    add_options(parser, (1.0,), "control.json")
    parser.add_argument("--comments", type=Path, help="corpus: a jsonl of text and toxic (true or false)")
    parser.add_argument("--repeats", type=int, default=7, help="speed: rounds")
    parser.add_argument("--iterations", type=int, default=6, help="schedule: of the training")
    parser.add_argument("--steps", type=int, default=60, help="schedule: of all iterations")
    parser.add_argument("--check-every", type=int, default=20, help="schedule: steps between two looks")
    parser.add_argument("--samples", type=int, default=16, help="schedule: of each prompt, in every iteration")
    parser.add_argument("--fit-prompts", type=int, help="schedule: prompts that are sampled [default: all]")
    parser.add_argument("--workers", type=int, default=2, help="schedule: of one thread each")
    run_part(parts, parser.parse_args())
