"""Control by a learned constraint, in numbers: `python benchmarks/control.py PART [options]`.

    decoding   toxicity, perplexity and tokens/s of guided decoding: nado, DExperts and GeDi, with fusion beside them
    speed      the tokens/s of them alone
    own        constrained fine-tuning on the target's own text, and what its parts are worth
    corpus     a corpus half toxic: learned plainly, filtered, and held to the constraint, adaptively and not

`decoding`, `own` and `corpus` keep each row's results in --output and skip what is there.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusion import tokens_per_second
from rows import Row, add_options, measured, run_part, timed

from detoxlm.data import Example, builtin_prompts
from detoxlm.methods import Detoxifier, FitData, get_method
from detoxlm.models import Target, load_target
from detoxlm.scorers import load_scorer

#: Texts of the mixed corpus, half of them toxic.
CORPUS = 960


def fitted(
    options: argparse.Namespace, target: Target, method_name: str, corpus: list[Example] | None = None, **settings: Any
) -> Callable[[], Detoxifier]:
    """Return how to fit a method; all share one work folder, so that the target's own text is sampled once."""

    def made() -> Detoxifier:
        workdir = Path(options.output).with_suffix(".work")
        data = FitData(corpus=corpus, scorer=load_scorer("embedded"), workdir=workdir)
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
        ("gedi", fitted(options, target, "gedi"), (10.0, 30.0)),
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
        found += [rate(target, name, detoxifier, batch) for batch in (8, 32)]
    return {"speed": found}


def rate(target: Target, name: str, detoxifier: Detoxifier, batch: int) -> dict[str, Any]:
    """Tokens/s plain and detoxified, in turns, so that a busy machine slows both."""
    prompts = builtin_prompts("measure")[: 2 * batch]
    ratios = []
    for round_ in range(4):
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


def mixed_corpus(comments: Path) -> list[Example]:
    """Toxic and other comments, half and half, by people's labels."""
    scored = [json.loads(line) for line in comments.open(encoding="utf-8")]
    generator = random.Random(0)
    halves = []
    for toxic in (True, False):
        texts = [row["text"] for row in scored if row["toxic"] is toxic and 40 <= len(row["text"]) <= 300]
        generator.shuffle(texts)
        halves.append(texts[: CORPUS // 2])
    mixed = [Example(None, text) for pair in zip(*halves, strict=True) for text in pair]
    generator.shuffle(mixed)
    return mixed


def corpus(options: argparse.Namespace) -> dict[str, Any]:
    """The paper's scenario: a corpus to learn, half of it toxic."""
    target = load_target(options.model)
    mixed = mixed_corpus(options.comments)
    scores = load_scorer("embedded").score([text.completion for text in mixed])
    clean = [text for text, score in zip(mixed, scores, strict=True) if score < 0.5]
    print(f"{len(mixed)} comments, {len(mixed) - len(clean)} of them toxic by the scorer", flush=True)
    free = {"weight": 1e-6, "adaptive": False}  # as good as no regulariser
    rows = [
        ("plain", fitted(options, target, "constrained", mixed, **free), options.strengths),
        ("filtered", fitted(options, target, "constrained", clean, **free), options.strengths),
        ("constrained, adaptive", fitted(options, target, "constrained", mixed), options.strengths),
        ("constrained, all", fitted(options, target, "constrained", mixed, adaptive=False), options.strengths),
    ]
    return measured(options, target, rows, options.recipes)


if __name__ == "__main__":
    parts = {part.__name__: part for part in (decoding, speed, own, corpus)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=parts)
    add_options(parser, (1.0,), "control.json")
    parser.add_argument("--comments", type=Path, help="corpus: a jsonl of text and toxic (true or false)")
    run_part(parts, parser.parse_args())
