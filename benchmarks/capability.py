"""What detoxifying costs in ability, by lm-eval: `python benchmarks/capability.py FOLDER… [options]`.

Each folder is a detoxifier; the untouched model is measured first, on the same items. --tasks names tasks of lm-eval,
zero-shot; the usual seven are boolq, rte, hellaswag, winogrande, arc_easy, arc_challenge and openbookqa, and come from
the Hub. Where there is none, `endings` is a task of our own over a folder of BOLD (--bold), in lm-eval too: which of
four endings does a sentence of Wikipedia have?

Needs `pip install 'detoxlm[capability]'`.
"""

from __future__ import annotations

import argparse
import json
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM

from detoxlm.files import write_atomically
from detoxlm.methods import Detoxifier
from detoxlm.metrics.bootstrap import bootstrap, paired_bootstrap
from detoxlm.models import Target, load_target


def endings(bold: Path, count: int, path: Path) -> dict[str, Any]:
    """Write the items of `endings`, a true ending and three of other sentences, and return the task for lm-eval."""
    found = []
    for kind in ("gender", "race"):
        prompts, sentences = (json.loads((bold / f"{kind}_{part}.json").read_text()) for part in ("prompt", "wiki"))
        for group, people in prompts.items():
            for person, begun in people.items():
                for prompt, sentence in zip(begun, sentences[group][person], strict=True):
                    prompt = prompt.strip()
                    ending = sentence.strip().removeprefix(prompt)
                    if ending != sentence.strip() and 4 <= len(ending.split()) <= 20:
                        found.append((prompt, ending))
    generator = random.Random(0)
    generator.shuffle(found)
    rows = []
    for prompt, ending in found[:count]:
        others = [other for _, other in generator.sample(found, 6) if other != ending][:3]
        label = generator.randrange(4)
        rows.append({"prompt": prompt, "endings": [*others[:label], ending, *others[label:]], "label": label})
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return {
        "task": "endings",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "{{endings}}",
        "doc_to_target": "label",
        "target_delimiter": "",  # an ending brings its own space
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def correct(target: Target, tasks: list[Any], limit: int | None, batch_size: int) -> dict[str, np.ndarray]:
    """Return by task which items [N] the model, as it is now, gets right (1) or wrong (0)."""
    model = HFLM(pretrained=target.model, tokenizer=target.tokenizer, batch_size=batch_size)
    report = simple_evaluate(model, tasks=tasks, num_fewshot=0, limit=limit, bootstrap_iters=0)
    assert report is not None
    answers = {}
    for task, samples in report["samples"].items():
        samples = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]  # one for each document
        in_order = sorted(samples, key=lambda sample: sample["doc_id"])
        answers[task] = np.array([sample["acc"] for sample in in_order], dtype=np.float64)
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detoxifiers", nargs="*", type=Path, help="folders of `detoxlm fit`")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--strength", type=float, help="[default: each detoxifier's own]")
    parser.add_argument("--tasks", nargs="+", default=["endings"])
    parser.add_argument("--bold", type=Path, help="a folder of BOLD: {gender,race}_{prompt,wiki}.json")
    parser.add_argument("--limit", type=int, help="items of each task [default: all; 600 of endings]")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("-o", "--output", type=Path, default=Path("out/capability.json"))
    options = parser.parse_args()
    if "endings" in options.tasks and options.bold is None:
        parser.error("endings: name a folder of BOLD with --bold")
    items = options.output.with_suffix(".endings.jsonl")
    tasks = [endings(options.bold, options.limit or 600, items) if t == "endings" else t for t in options.tasks]
    target = load_target(options.model)
    base: dict[str, np.ndarray] | None = None
    table = []
    for folder in (None, *options.detoxifiers):
        detoxifier = None if folder is None else Detoxifier.from_pretrained(folder)
        attached = nullcontext() if detoxifier is None else detoxifier.attached(target.model, options.strength)
        with attached:
            answers = correct(target, tasks, options.limit, options.batch_size)
        base = base or answers
        for task, right in answers.items():
            ones = np.ones_like(right)
            now, change = bootstrap(right, ones, proportion=True), paired_bootstrap((base[task], ones), (right, ones))
            row = {"detoxifier": str(folder or "untouched"), "task": task, "n": len(right)}
            row |= {
                "accuracy": [now.value, now.low, now.high],
                "change": None if folder is None else [change.value, change.low, change.high],
            }
            table.append(row)
            by = "" if folder is None else f"   change {change.value:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
            print(f"{row['detoxifier']}: {task} {now.value:.1%} [{now.low:.1%}, {now.high:.1%}]{by}", flush=True)
    write_atomically(options.output, (json.dumps({"table": table}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
