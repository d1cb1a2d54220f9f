"""What a model gets right, before and after: pairing and intervals by closed form, and lm-eval on a local task."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import Forgetful

from detoxlm.capability import Tasks, add_capability, capability_changes, load_tasks, measure_capability
from detoxlm.errors import UsageError
from detoxlm.metrics import accuracy, average
from detoxlm.models import Target
from detoxlm.recipes import RECIPES, Task, measure
from detoxlm.results import Capability, Results, TaskAccuracy
from detoxlm.scorers.base import Scorer

with_lm_eval = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")


def capability(items: str = "same", **right: list[float]) -> Capability:
    return Capability(
        tasks={
            name: TaskAccuracy(metric="acc", accuracy=accuracy(values), right=values, items_sha256=items)
            for name, values in right.items()
        },
        average=average(right),
    )


def answers(count: int, share: float, seed: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(count) < share]


def test_changes_are_paired_by_item_and_their_interval_is_that_of_the_paired_t() -> None:
    before = answers(400, 0.6, 0)
    after = [b if i % 10 else 1 - b for i, b in enumerate(before)]  # one in ten changes sides
    change = capability_changes(capability(one=before), capability(one=after))["one"]
    differences = np.array(after) - np.array(before)
    assert change.value == pytest.approx(differences.mean()) and change.n == 400
    assert change.low is not None and change.high is not None
    assert change.high - change.low == pytest.approx(2 * 1.96 * differences.std() / 20, rel=0.1)
    alone = 2 * 1.96 * np.sqrt(np.var(before) / 400 + np.var(after) / 400)
    assert change.high - change.low < 0.6 * alone, "unpaired it would be wider"


def test_the_average_weighs_tasks_alike_and_draws_items_within_their_task() -> None:
    right = {"small": answers(50, 0.3, 1), "large": answers(1000, 0.8, 2)}
    found = average(right)
    means = [np.mean(values) for values in right.values()]
    assert found is not None and found.value == pytest.approx(np.mean(means)) and found.n == 1050
    error = np.sqrt(sum(np.var(values) / len(values) for values in right.values())) / 2
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert average({}) is None


def test_tasks_that_asked_other_items_have_no_change() -> None:
    right = answers(20, 0.5, 3)
    assert capability_changes(capability("these", one=right), capability("those", one=right)) == {}
    both = capability_changes(capability(one=right, two=right), capability(one=right, three=right))
    assert set(both) == {"one", "average"} and both["average"].value == 0


def test_a_missing_lm_eval_and_a_misspelt_list_are_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_tasks("none") is None
    with pytest.raises(UsageError, match="capability: 'piqa,,boolq' has an empty name"):
        load_tasks("piqa,,boolq")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(UsageError, match=r"capability: it needs lm-eval: pip install 'detoxlm\[capability\]'"):
        load_tasks("quick")


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    """A task of lm-eval over local rows: which of three endings comes next?"""
    rows = [
        {"text": f"The {i}th day was", "endings": [" dry", " wet and long", " cold"], "label": i % 3} for i in range(12)
    ]
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "weather.yaml"
    file.write_text(
        f"""\
task: weather
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{endings}}}}"
doc_to_target: label
target_delimiter: ""
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
    )
    return file


def direct(target: Target, rows: list[dict[str, Any]]) -> list[float]:
    """Of each item whether the likeliest ending is the right one, by log-likelihoods computed here."""

    def likelihood(text: str, ending: str) -> float:
        ids = target.tokenizer(text + ending, return_tensors="pt")["input_ids"].to(target.device)
        start = len(target.tokenizer(text)["input_ids"])
        with torch.inference_mode():
            logits = target.model(ids).logits.log_softmax(-1)[0]
        return sum(float(logits[i - 1, ids[0, i]]) for i in range(start, ids.shape[1]))

    return [
        float(max(range(3), key=lambda k: likelihood(row["text"], row["endings"][k])) == row["label"]) for row in rows
    ]


@with_lm_eval
@pytest.mark.filterwarnings("ignore")  # lm-eval's own, and those of what it imports
def test_lm_eval_asks_the_attached_model_and_results_are_paired(
    tiny: Callable[..., Target],
    letter_scorer: Scorer,
    task_file: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = load_tasks(f"{task_file},arc_easy,no_such_task")
    assert tasks is not None and list(tasks.tasks) == ["weather"]
    assert tasks.left_out["no_such_task"] == "no such task or file"
    assert tasks.left_out["arc_easy"] == "its data set is not in the cache of the Hub"
    assert "capability: left out: arc_easy (" in caplog.text
    target, other = tiny("llama"), tiny("llama", seed=1)
    rows = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    before = measure(target, Task(RECIPES["challenge-10"], ["one", "two"], "t", None, "none"), letter_scorer)
    assert add_capability(before, target, tasks, nullcontext())
    assert not add_capability(before, target, tasks, nullcontext()), "it is not measured twice"
    assert before.capability is not None
    assert before.capability.tasks["weather"].right == direct(target, rows)
    after = before.model_copy(update={"capability": None}, deep=True)
    assert add_capability(after, other, tasks, nullcontext())
    assert after.capability is not None and after.capability.tasks["weather"].right == direct(other, rows)
    change = capability_changes(before.capability, after.capability)["weather"].value
    assert change == pytest.approx(np.mean(direct(other, rows)) - np.mean(direct(target, rows)))


@with_lm_eval
@pytest.mark.filterwarnings("ignore")
def test_an_edited_task_is_asked_again_and_not_paired_with_what_it_was(
    tiny: Callable[..., Target], task_file: Path, tmp_path: Path
) -> None:
    def loaded() -> Tasks:
        found = load_tasks(str(task_file))
        assert found is not None and list(found.tasks) == ["weather"]
        return found

    def measured(tasks: Tasks) -> Capability:
        return measure_capability(target, tasks, 4)

    target, first = tiny("llama"), loaded()
    known = measured(first)
    assert known.settings == loaded().settings, "the same task, also after lm-eval has asked it"
    assert set(capability_changes(known, measured(loaded()))) == {"weather", "average"}
    definition, data = task_file.read_text(), (tmp_path / "items.jsonl").read_text()
    for edited in (
        definition.replace('"{{text}}"', '"Well: {{text}}"'),
        definition.replace('doc_to_choice: "{{endings}}"', "doc_to_choice: [' a', ' b', ' c']"),
        definition.replace("{{text}}", "!").replace('doc_to_text: "!"', "doc_to_text: !function code.prompt"),
    ):
        (tmp_path / "code.py").write_text("def prompt(doc):\n    return said(doc)\ndef said(doc):\n    return 'So'\n")
        task_file.write_text(edited)
        assert edited != definition
        other = loaded()
        assert other.settings != first.settings
        assert capability_changes(known, measured(other)) == {}
    (tmp_path / "code.py").write_text("def prompt(doc):\n    return said(doc)\ndef said(doc):\n    return 'No'\n")
    assert loaded().settings != other.settings, "what the task's function calls is another"
    task_file.write_text(definition)
    (tmp_path / "items.jsonl").write_text(data.replace("The 3th", "The third"))
    assert loaded().settings != first.settings


@with_lm_eval
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_reads_answers_in_two_ways_counts_its_first_one(
    tiny: Callable[..., Target], task_file: Path
) -> None:
    """As gsm8k does: the first way finds nothing in any answer, the second finds the right one in each."""
    text = task_file.read_text().split("output_type")[0]
    task_file.write_text(
        text
        + """\
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "right"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
filter_list:
  - {name: strict, filter: [{function: regex, regex_pattern: "#### (.*)"}, {function: take_first}]}
  - {name: always, filter: [{function: regex, regex_pattern: "no such", fallback: "right"}, {function: take_first}]}
metadata: {version: 1.0}
"""
    )
    tasks = load_tasks(str(task_file))
    assert tasks is not None
    found = measure_capability(tiny("llama"), tasks, 4).tasks["weather"]
    assert (found.metric, found.accuracy.value, found.accuracy.n) == ("exact_match (strict)", 0, 12)


@with_lm_eval
@pytest.mark.more
@pytest.mark.filterwarnings("ignore")
def test_a_run_shows_capability_in_results_report_and_card(
    call: Callable[..., tuple[int, str, str]],
    tiny_folder: Callable[..., Path],
    task_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = Forgetful(12)
    monkeypatch.setattr("detoxlm.workflows.load_scorers", lambda *_, **__: {scorer.name: scorer})
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"this is prompt {i} of\n" for i in range(12)))
    few = [
        part
        for one in ("variant=paper", "layers=2", "steps=3", "train_batch=4", "samples=2")
        for part in ("--set", one)
    ]
    asked = ("--recipe", "challenge-10", "--prompts", prompts, "--fluency-text", "none", "--capability", task_file)
    code, printed, errors = call(
        "run", tiny_folder("llama"), *asked, "--strengths", "0.5", *few, "-o", tmp_path / "out"
    )
    assert code == 0, errors
    results = Results.load(tmp_path / "out" / "results.json")
    assert results.capability is not None and results.comparison is not None
    assert set(results.comparison.capability) == {"weather", "average"}
    assert "weather" in (tmp_path / "out" / "report.html").read_text()
    assert "## Capability" in (tmp_path / "out" / "detoxifier" / "README.md").read_text()
    assert "Capability" in printed
