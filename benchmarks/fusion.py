"""What fusion costs and what it buys: `python benchmarks/fusion.py PART [options]`.

    speed      tokens/s and peak memory, plain and fused, at batch 1, 8 and 32, attached and as a LogitsProcessor
    growth     milliseconds a token from 16 to 512 new tokens, and of a calibrator that reads the prefix at each step
    frontier   toxicity and perplexity of every row of the table in docs/methods/fusion.md, with intervals
    foreign    the same for another target than the calibrator's own (--model), with the paper's alignment beside it

`frontier` and `foreign` keep each row's results beside --output: what is there of the same measurement is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from rows import Fit, Row, add_options, fit_of, measured, run_part
from torch import nn
from transformers import LlamaConfig, LogitsProcessor, PreTrainedModel

from detoxlm import memory
from detoxlm.data import builtin_prompts, read_corpus, read_prompts
from detoxlm.generation import Sampling, generate
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.base import describe_target
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.methods.fusion import Fusion, FusionDetoxifier, FusionSettings
from detoxlm.models import Target, load_target
from detoxlm.scorers import load_scorer
from detoxlm.settings import Settings

# --- speed ------------------------------------------------------------------------------------------------------------


def tokens_per_second(target: Target, prompts: list[str], batch: int, new: int) -> float:
    """The evaluation loop's rate: greedy, `new` tokens a prompt."""
    made = list(generate(target, prompts, Sampling(max_new_tokens=new), batch_size=batch))
    return sum(b.tokens for b in made) / sum(b.seconds for b in made)


def _transformers_rate(target: Target, prompts: list[str], detoxifier: FusionDetoxifier | None, new: int) -> float:
    """The rate of `model.generate` on one batch, with the processor or without."""
    inputs = target.tokenizer(prompts, return_tensors="pt", padding=True).to(target.device)
    processors = [detoxifier.logits_processor(target.model)] if detoxifier else []
    started = time.perf_counter()
    out = target.model.generate(
        **inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False, logits_processor=processors
    )
    return (out.shape[1] - inputs["input_ids"].shape[1]) * len(prompts) / (time.perf_counter() - started)


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Alternate plain and fused rounds, so that a busy machine slows both; report the median and the ratios' range."""
    target = load_target(options.model)
    detoxifier = Fusion.fit(target, FitData(), FusionSettings())
    prompts = (read_prompts(options.prompts).items if options.prompts else builtin_prompts("measure"))[:64]
    rows = []
    for batch in (1, 8, 32):
        some = prompts[: {1: 4, 8: 24, 32: 64}[batch]]
        kinds: dict[str, Callable[[], float]] = {
            "plain": partial(tokens_per_second, target, some, batch, options.tokens),
            "attached": partial(_attached, target, detoxifier, some, batch, options.tokens),
            "generate, plain": partial(_transformers_rate, target, some[:batch], None, options.tokens),
            "generate, processor": partial(_transformers_rate, target, some[:batch], detoxifier, options.tokens),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for round_ in range(options.repeats + 1):
            for kind, run in kinds.items():
                rate = run()
                if round_:  # the first round chooses kernels and maps memory
                    rates[kind].append(rate)
        for plain, fused in (("plain", "attached"), ("generate, plain", "generate, processor")):
            ratios = [b / a for a, b in zip(rates[plain], rates[fused], strict=True)]
            row = {
                "batch": batch,
                "form": fused,
                "plain": round(statistics.median(rates[plain]), 1),
                "fused": round(statistics.median(rates[fused]), 1),
                "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
            rows.append(row)
            print(
                f"batch {batch:2d}  {fused:20s} {row['plain']:7.1f} -> {row['fused']:7.1f} tokens/s  "
                f"{row['ratio']:.3f} [{min(ratios):.3f}, {max(ratios):.3f}]",
                flush=True,
            )
    return {"rows": rows, "memory": [_memory(options, fused) for fused in (False, True)]}


def _attached(target: Target, detoxifier: Detoxifier, prompts: list[str], batch: int, new: int) -> float:
    with detoxifier.attached(target.model):
        return tokens_per_second(target, prompts, batch, new)


def _memory(options: argparse.Namespace, fused: bool) -> dict[str, Any]:
    """Peak memory of a process of its own that generates at batch 32."""
    command = [sys.executable, __file__, "peak", "--model", options.model, *(["--fused"] if fused else [])]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
    print(f"peak memory {'fused' if fused else 'plain'}: {peak:.0f} MB", flush=True)
    return {"fused": fused, "peak_mb": peak}


def peak(options: argparse.Namespace) -> dict[str, Any]:
    """Generate once and print the peak: run by `speed`, in a process of its own."""
    target = load_target(options.model)
    detoxifier = Fusion.fit(target, FitData(), FusionSettings()) if options.fused else None
    memory.begin(*target.devices)
    with detoxifier.attached(target.model) if detoxifier else nullcontext():
        tokens_per_second(target, builtin_prompts("measure")[:64], 32, 20)
    print(memory.peak(*target.devices) / 1e6)
    return {}


def growth(options: argparse.Namespace) -> dict[str, Any]:
    """Time single steps of one long continuation: ours, and a calibrator without a cache of its own."""
    target = load_target(options.model)
    detoxifier = Fusion.fit(target, FitData(), FusionSettings())
    inputs = target.tokenizer("The history of the town begins with", return_tensors="pt").to(target.device)
    marks = [16, 32, 64, 128, 256, 512]
    rows = {}
    for kind in ("plain", "attached", "processor", "no cache"):
        clock = _Clock()
        processors: list[LogitsProcessor] = [clock]
        if kind == "processor":
            processors.insert(0, detoxifier.logits_processor(target.model))
        if kind == "no cache":
            processors.insert(0, _Forgetful(detoxifier, target.model))
        with detoxifier.attached(target.model) if kind == "attached" else nullcontext(), torch.inference_mode():
            target.model.generate(
                **inputs,
                max_new_tokens=marks[-1],
                min_new_tokens=marks[-1],
                do_sample=False,
                logits_processor=processors,
            )
        steps = [1000 * (b - a) for a, b in zip(clock.times, clock.times[1:], strict=False)]
        rows[kind] = {mark: round(statistics.median(steps[mark // 2 : mark]), 2) for mark in marks}
        print(f"{kind:10s} " + "  ".join(f"{mark}: {ms:.1f} ms" for mark, ms in rows[kind].items()), flush=True)
    return {"milliseconds_per_token": rows}


class _Clock(LogitsProcessor):
    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.times.append(time.perf_counter())
        return scores


class _Forgetful(LogitsProcessor):
    """The naive form: the calibrator reads the whole prefix at every step."""

    def __init__(self, detoxifier: FusionDetoxifier, model: PreTrainedModel) -> None:
        self._make = lambda: detoxifier.logits_processor(model)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return self._make()(input_ids, scores)


# --- quality ----------------------------------------------------------------------------------------------------------


class _Newest(nn.Module):
    """In place of a calibrator: its "states" are the last tokens of the text, -1 before its beginning."""

    config = LlamaConfig(num_hidden_layers=1)  # one layer of cache, for the tokens

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def forward(
        self, input_ids: torch.Tensor, attention_mask: Any = None, past_key_values: Any = None, use_cache: Any = None
    ) -> Any:
        # by name: a reader is given what its forward names, and no more
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask[:, -input_ids.shape[1] :]
        tokens = torch.where(real.bool(), input_ids, -1)[:, None, :, None]
        if past_key_values is not None:
            tokens, _ = past_key_values.update(tokens, tokens, 0)
        row = torch.nn.functional.pad(tokens[:, 0, :, 0], (self._count - 1, 0), value=-1)
        return SimpleNamespace(last_hidden_state=row.unfold(1, self._count, 1)[:, -input_ids.shape[1] :].float())


class _Ban(Steering):
    """Takes their probability from tokens that would end a listed word."""

    name = "banned words"

    def __init__(self, sequences: list[list[int]]) -> None:
        self._last: dict[tuple[int, ...], list[int]] = {}  # by what stands before
        for *before, last in sequences:
            self._last.setdefault(tuple(before), []).append(last)
        self._longest = max(map(len, self._last))
        self.readers = (_Newest(max(1, self._longest)),)

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        for row, tokens in enumerate(said.long().tolist()):
            for length in range(self._longest + 1):
                x[row, self._last.get(tuple(tokens[len(tokens) - length :]), [])] -= 1e4 * strength[row]
        return x


@dataclass
class BannedWords(DecodingDetoxifier):
    """The simplest rival: listed words are never spelled to their end. Tensors: `banned` [n, k], padded with -1."""

    method: ClassVar[str] = "banned words"
    settings_type: ClassVar = Settings

    @property
    def default_strength(self) -> float:
        return 1.0

    @property
    def max_strength(self) -> float:
        return 1.0

    def _steer(self, model: PreTrainedModel) -> Steering:
        return _Ban([[token for token in row if token >= 0] for row in self.tensors["banned"].tolist()])


def banned_words(target: Target, words: Path) -> BannedWords:
    """Ban every word and phrase of the list, as it is tokenised behind a space, in lower case and capitalised."""
    with words.open(encoding="utf-8", newline="") as file:
        listed = {row["text"].strip().lower() for row in csv.DictReader(file)}
    forms = sorted({f" {form}" for word in listed for form in (word, word.capitalize())})
    sequences = [target.tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
    banned = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(sequence) for sequence in sequences if sequence], batch_first=True, padding_value=-1
    )
    return BannedWords(Settings(), describe_target(target), {"banned": banned}, {"sequences": len(banned)})


def frontier(options: argparse.Namespace) -> dict[str, Any]:
    """Every row of the table."""
    target = load_target(options.model)

    def own() -> FitData:
        return FitData(scorer=load_scorer(options.scorer), workdir=Path(options.output).with_suffix(".work"))

    def given() -> FitData:
        return FitData(corpus=read_corpus(str(options.corpus)).items, scorer=load_scorer(options.scorer))

    rows: list[Row] = [
        ("contrast, shipped", fit_of(target, "fusion", own), options.strengths),
        ("contrast, own generations", fit_of(target, "fusion", own, calibrator="own"), options.strengths),
        ("dexperts", fit_of(target, "dexperts", own), (1.0, 2.0)),
    ]
    if options.corpus:
        rows.append(("contrast, own data", fit_of(target, "fusion", given, calibrator="own"), options.strengths))
    paper = fit_of(target, "fusion", own, variant="paper", samples=8)
    rows.append(("paper", paper, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)))
    if options.words:
        rows.append(("banned words", lambda _: banned_words(target, options.words), (1.0,)))
    return measured(options, target, rows, options.recipes)


def foreign(options: argparse.Namespace) -> dict[str, Any]:
    """Another target than the calibrator's own."""
    target = load_target(options.model)

    def fit(**settings: Any) -> Fit:
        return fit_of(target, "fusion", FitData, **settings)

    rows: list[Row] = [("contrast, shipped", fit(), options.strengths)]
    if options.paper:
        rows.append(("paper, aligned", fit(variant="paper", calibrator=str(options.paper)), (0.1, 0.3)))
    return measured(options, target, rows, options.recipes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {part.__name__: part for part in (speed, growth, frontier, foreign, peak)}
    parser.add_argument("part", choices=parts)
    add_options(parser, (0.5, 1.0, 1.5, 2.0), "out/fusion-PART.json")
    parser.add_argument("--corpus", help="texts of both kinds that a calibrator is trained on, for its row")
    parser.add_argument("--words", type=Path, help="a list of words to ban, csv with a column `text`")
    parser.add_argument("--paper", type=Path, help="foreign: folder of a paper-variant detoxifier to align")
    parser.add_argument("--tokens", type=int, default=20, help="speed: new tokens")
    parser.add_argument("--repeats", type=int, default=3, help="speed: rounds")
    parser.add_argument("--fused", action="store_true", help=argparse.SUPPRESS)
    run_part(parts, parser.parse_args())


if __name__ == "__main__":
    main()
