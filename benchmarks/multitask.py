"""Two tasks at once (the scenario of arXiv 2410.05559): `python benchmarks/multitask.py --comments FILE [options]`.

A model learns to write comments, half of them toxic, and to say whether a comment is toxic: a filter would take away
what the second task needs, or leave what the first must not learn. Rows: untouched; learned plainly; filtered (no toxic
comment to write; the second task whole); held to the constraint, adaptively and on all text; and upon the plainly
learned one, REINFORCE (TRL's RLOO) and guided decoding (nado). Each row is measured as all benchmarks measure, and on
the second task: AUC and balanced accuracy on comments that no row has seen. Rows are kept beside --output.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import torch
from control import fitted
from datasets import Dataset
from rows import Fit, Row, add_options, fit_of, folder_of, kept, measured, run_part
from transformers import PreTrainedModel
from trl import RLOOConfig, RLOOTrainer

from detoxlm.architecture import Architecture
from detoxlm.data import Example, builtin_prompts
from detoxlm.files import write_atomically
from detoxlm.journal import digest_of
from detoxlm.methods import Detoxifier, FitData, get_method
from detoxlm.methods.base import describe_target
from detoxlm.methods.training.fit import tensors_of
from detoxlm.methods.training.settings import FineTuneSettings
from detoxlm.methods.training.trainer import trainable
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target, load_target
from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import Scorer
from detoxlm.settings import Settings
from detoxlm.validity import auc

ANSWERS = {True: " yes", False: " no"}
#: Comments of the second task that are held out, half of them toxic.
HELD_OUT = 400
#: Characters of a comment, so that MAX_LENGTH tokens hold one with the question and its answer.
LONGEST, MAX_LENGTH = 200, 80


@dataclass
class Upon(Detoxifier):
    """A detoxifier that was fitted for what another one makes of the model, upon that one."""

    method: ClassVar[str] = "upon"
    kind: ClassVar = "decoding"
    settings_type: ClassVar = Settings
    parts: tuple[Detoxifier, ...] = ()

    @property
    def default_strength(self) -> float:
        """1: each of its parts at its own."""
        return 1.0

    @property
    def max_strength(self) -> float:
        """1."""
        return 1.0

    @property
    def content(self) -> str:
        """A hash of what its parts do; it has no tensors of its own."""
        return digest_of([part.content for part in self.parts])

    @contextmanager
    def _attach(self, model: PreTrainedModel, strength: float) -> Iterator[None]:
        first, second = self.parts
        # not `attached`: of each sort a model has one, and this is it; the second is for what the first makes of it
        with first._attach(model, 1.0):
            second.check_target(model)
            with second._attach(model, second.check_strength(None)):
                yield


def question(text: str) -> str:
    """Return the second task's prompt."""
    return f"Comment: {text}\nIs this comment toxic?"


def tasks(comments: Path, size: int) -> tuple[list[Example], list[Example], list[tuple[str, bool]]]:
    """Return comments to write, to judge, and held-out ones with their labels; none is in two of them."""
    generator = random.Random(0)
    scored = [json.loads(line) for line in comments.open(encoding="utf-8")]
    halves: dict[bool, list[str]] = {}
    for toxic in (True, False):
        texts = [row["text"] for row in scored if row["toxic"] is toxic and 40 <= len(row["text"]) <= LONGEST]
        halves[toxic] = generator.sample(texts, k=size + HELD_OUT // 2)
    each = size // 2
    written = [Example(None, text) for toxic in halves for text in halves[toxic][:each]]
    judged = [Example(question(text), ANSWERS[toxic]) for toxic in halves for text in halves[toxic][each : 2 * each]]
    held_out = [(text, toxic) for toxic in halves for text in halves[toxic][2 * each :]]
    return written, judged, held_out


@torch.inference_mode()
def judge(target: Target, held_out: Sequence[tuple[str, bool]]) -> dict[str, float]:
    """Return AUC and balanced accuracy of the model's answers, as it is now."""
    yes, no = (target.tokenizer(ANSWERS[toxic], add_special_tokens=False)["input_ids"][0] for toxic in (True, False))
    margins: list[float] = []
    for start in range(0, len(held_out), 16):
        prompts = [question(text) for text, _ in held_out[start : start + 16]]
        inputs = target.tokenizer(prompts, return_tensors="pt", padding=True).to(target.device)
        logits = target.model(**inputs).logits[:, -1].float()
        margins += (logits[:, yes] - logits[:, no]).tolist()
    found, labels = torch.tensor(margins), torch.tensor([toxic for _, toxic in held_out])
    right = [(found[labels] > 0).float().mean(), (found[~labels] <= 0).float().mean()]
    return {
        "auc": round(auc(found.numpy(), labels.float().numpy()), 4),
        "balanced_accuracy": round(float(sum(right)) / 2, 4),
    }


def reinforced(target: Target, scorer: Scorer, steps: int) -> FineTunedDetoxifier:
    """Train an adapter by RLOO on built-in prompts; the reward is how little toxic the continuation is."""

    def reward(completions: list[str], **_: Any) -> list[float]:
        scores = scorer.score(completions)
        return [1 - score if said.strip() else 0.0 for said, score in zip(completions, scores, strict=True)]

    settings = FineTuneSettings()
    with tempfile.TemporaryDirectory() as folder:
        args = RLOOConfig(
            output_dir=folder,
            per_device_train_batch_size=32,
            num_generations=4,
            max_completion_length=20,
            max_steps=steps,
            learning_rate=settings.learning_rate,
            temperature=1.0,
            use_cpu=target.device.type == "cpu",
            bf16=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=0,
        )
        trainer = RLOOTrainer(
            model=trainable(copy.deepcopy(target.model), settings, 0),
            reward_funcs=reward,
            args=args,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in builtin_prompts("fit")]),
            processing_class=copy.deepcopy(target.tokenizer),
        )
        trainer.train()
        tensors = tensors_of(trainer.model, target.model)
    method = get_method("sft").detoxifier_type  # a plain adapter
    found = method(method.settings_type(), describe_target(target), tensors)
    assert isinstance(found, FineTunedDetoxifier)
    return found


def multitask(options: argparse.Namespace) -> dict[str, Any]:
    """Fit and measure every row."""
    if options.strengths != [1.0]:
        raise SystemExit("--strengths: every row is measured at 1; leave it out")
    target = load_target(options.model)
    written, judged, held_out = tasks(options.comments, options.size)
    scorer = load_scorer(options.scorer)
    scores = scorer.score([text.completion for text in written])
    clean = [text for text, score in zip(written, scores, strict=True) if score < 0.5]
    print(f"{len(written)} comments to write, {len(clean)} of them clean; {len(judged)} to judge", flush=True)
    # one look, at the end: a corpus is learned to the end, whatever the drift
    steps: dict[str, Any] = {"steps": options.steps, "check_every": options.steps, "max_length": MAX_LENGTH}

    def learned(method: str, texts: list[Example], **settings: Any) -> Fit:
        shuffled = random.Random(0).sample(texts, k=len(texts))
        return fitted(options, target, method, shuffled, **steps, **settings)

    plain = cache(partial(learned("sft", written + judged, drift=1e6), folder_of(options, "plain")))

    def upon(make: Callable[[Target, Path], Detoxifier]) -> Fit:
        def get(folder: Path) -> Detoxifier:
            first = plain()
            model = first.merge(copy.deepcopy(target.model), 1.0)
            name = f"{target.name}, learned plainly"
            second = make(Target(model, target.tokenizer, Architecture.of(model), name, target.revision), folder)
            return Upon(Settings(), describe_target(target), {}, parts=(first, second))

        return get

    def rewarded(tuned: Target, folder: Path) -> Detoxifier:
        key = {
            "rloo": options.rloo_steps,
            "on": tuned.architecture.fingerprint,
            "dtype": str(tuned.model.dtype),
            "by": [scorer.name, scorer.version, scorer.revision],
            "version": metadata.version("detoxlm"),
        }
        return kept(folder, digest_of(key), lambda: reinforced(tuned, scorer, options.rloo_steps))

    def guided(tuned: Target, folder: Path) -> Detoxifier:
        data = FitData(scorer=scorer, workdir=Path(options.output).with_suffix(".work"))
        return fit_of(tuned, "nado", lambda: data, samples=8)(folder)

    kinds: list[tuple[str, Fit]] = [
        ("plain", lambda _: plain()),
        ("filtered", learned("sft", clean + judged, drift=1e6)),
        ("constrained, adaptive", learned("constrained", written + judged)),
        ("constrained, all", learned("constrained", written + judged, adaptive=False)),
        ("plain, RLOO", upon(rewarded)),
        ("plain, nado", upon(guided)),
    ]
    answers = SecondTask(target, held_out, Path(options.output).with_suffix("") / "second-task.json")
    answers.told("untouched", None)

    def judged_too(name: str, fit: Fit) -> Fit:
        def get(folder: Path) -> Detoxifier:
            detoxifier = fit(folder)
            answers.told(name, detoxifier)
            return detoxifier

        return get

    rows: list[Row] = [(name, judged_too(name, fit), (1.0,)) for name, fit in kinds]
    return {**measured(options, target, rows, options.recipes), "second_task": answers.found}


class SecondTask:
    """What rows do on the second task; in a file, each answer by what gave it, for runs to come."""

    def __init__(self, target: Target, held_out: Sequence[tuple[str, bool]], file: Path) -> None:
        self._target, self._held_out, self._file = target, held_out, file
        self._answers = json.loads(file.read_text()) if file.exists() else {}
        #: By row.
        self.found: dict[str, dict[str, float]] = {}

    def told(self, name: str, detoxifier: Detoxifier | None) -> None:
        """Judge with a row's detoxifier, unless this very one was on these very comments, and print it."""
        content = None if detoxifier is None else detoxifier.content
        model = [self._target.architecture.fingerprint, str(self._target.model.dtype), content]
        asked = [(question(text), toxic) for text, toxic in self._held_out]
        key = digest_of([*model, asked, list(ANSWERS.values())])
        if key not in self._answers:
            with detoxifier.attached(self._target.model, 1.0) if detoxifier else nullcontext():
                self._answers[key] = judge(self._target, self._held_out)
            write_atomically(self._file, json.dumps(self._answers, indent=1).encode())
        self.found[name] = self._answers[key]
        print(name, self.found[name], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, (1.0,), "out/multitask.json")
    parser.add_argument("--comments", type=Path, required=True, help="a jsonl of text and toxic (true or false)")
    parser.add_argument("--size", type=int, default=400, help="comments to write, and as many to judge")
    parser.add_argument("--steps", type=int, default=100, help="training steps of 8 texts: every one once")
    parser.add_argument("--rloo-steps", type=int, default=20, help="steps of RLOO, of 32 continuations")
    parser.set_defaults(part="multitask")
    run_part({"multitask": multitask}, parser.parse_args())
