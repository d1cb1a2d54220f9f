"""Our tasks in lm-eval itself: it writes what `detoxlm evaluate` writes, and without a score there are no results."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.integrations import INTEGRATIONS
from detoxlm.models import Target
from detoxlm.results import Results

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed"),
    pytest.mark.filterwarnings("ignore"),  # lm-eval's own, and those of what it imports
]
FOLDER = INTEGRATIONS["lm-eval"].given
PROMPTS = ["The new neighbours are", " and then she said to him ", "Nobody here", "“Été” — my friend", "What a"]
#: Of evaluate, so that it reads nothing but the prompts.
ALONE = ("--recipe", "challenge-10", "--fluency-text", "none")


def lm_eval(task: str, model: str, **more: Any) -> dict[str, Any]:
    """Run one of our tasks as `lm_eval run --include_path` does, in this process."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": model, "dtype": "float32"},
        tasks=[task],
        task_manager=TaskManager(include_path=FOLDER, include_defaults=False),
        device="cpu",
        batch_size=2,
        bootstrap_iters=0,
        **more,
    )
    assert found is not None
    return found


def rows_of(found: dict[str, Any], task: str) -> list[tuple[str, str, float]]:
    """Prompt, continuation and score of every row."""
    rows = sorted(found["samples"][task], key=lambda row: row["doc_id"])
    return [(row["arguments"][0][0], row["resps"][0][0], row["mean_toxicity"]) for row in rows]


@pytest.mark.slow  # lm-eval alone takes seconds to import and to begin
@pytest.mark.parametrize(
    ("task", "length"), [("detoxlm_realtoxicityprompts", []), ("detoxlm_toxigen", ["--max-new-tokens", "20"])]
)
def test_rows_and_metrics_are_those_of_evaluate(
    task: str,
    length: list[str],
    tiny_folder: Callable[..., Path],
    write: Callable[..., Path],
    tmp_path: Path,
    run_cli: Callable[[list[str]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DETOXLM_SCORER", "ngram")
    monkeypatch.setenv("DETOXLM_PROMPTS", str(write("prompts.jsonl", [{"prompt": text} for text in PROMPTS])))
    monkeypatch.setenv("DETOXLM_DEVICE", "cpu")
    model, output = str(tiny_folder("llama")), tmp_path / "results.json"
    run_cli(["evaluate", model, *ALONE, *length, "-o", str(output)])
    ours = Results.load(output)
    found = lm_eval(task, model)
    expected = [(row.prompt, row.continuations[0], row.scores[0]) for row in ours.rows]
    assert rows_of(found, task) == expected
    assert len({text for _, text, _ in expected}) == len(PROMPTS)  # so the rows could have been mixed up
    for name in ("mean_toxicity", "toxic_fraction", "empty_fraction"):
        assert found["results"][task][f"{name},none"] == pytest.approx(ours.metrics[name].value)


@pytest.mark.slow
@pytest.mark.embedded
def test_the_embedded_model_writes_and_scores_as_in_evaluate(
    embedded: Target, tmp_path: Path, run_cli: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the built-in prompts and by the embedded scorer, as both do where nothing is said."""
    monkeypatch.setenv("DETOXLM_LIMIT", "24")
    monkeypatch.setenv("DETOXLM_DEVICE", "cpu")
    output = tmp_path / "results.json"
    run_cli(["evaluate", "embedded", *ALONE, "-o", str(output)])
    expected = Results.load(output).rows
    task = "detoxlm_realtoxicityprompts"
    found = rows_of(lm_eval(task, embedded.model.name_or_path), task)
    assert [row[:2] for row in found] == [(row.prompt, row.continuations[0]) for row in expected]
    # batches of other shapes are added up in another order
    assert [row[2] for row in found] == pytest.approx([row.scores[0] for row in expected], abs=1e-6)


@pytest.mark.slow
def test_a_scorer_that_fails_stops_the_run_and_leaves_no_results(
    tiny_folder: Callable[..., Path], write: Callable[..., Path], tmp_path: Path
) -> None:
    rule = write("rule.py", "def broken(text):\n    raise OSError('no answer')\n")
    command = [sys.executable, "-m", "lm_eval", "run", "--include_path", FOLDER, "--model", "hf", "--device", "cpu"]
    command += ["--tasks", "detoxlm_realtoxicityprompts", "--model_args", f"pretrained={tiny_folder('llama')}"]
    done = subprocess.run(
        [*command, "--limit", "2", "--output_path", str(tmp_path / "out")],
        env={**os.environ, "DETOXLM_SCORER": f"python:{rule}:broken", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "DetoxError" in done.stderr and "no answer" in done.stderr
    assert not list((tmp_path / "out").rglob("*.json*"))


def test_what_it_lacks_is_named_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import TaskManager

    from detoxlm.errors import UsageError

    tasks = TaskManager(include_path=FOLDER, include_defaults=False)
    with pytest.raises(UsageError, match=r"^prompts: .*DETOXLM_PROMPTS"):
        tasks.load(["detoxlm_toxigen"])
    monkeypatch.setenv("DETOXLM_SCORER", "ngrm")
    with pytest.raises(UsageError, match=r"scorer: unknown name 'ngrm'. Did you mean 'ngram'"):
        tasks.load(["detoxlm_realtoxicityprompts"])
    monkeypatch.setenv("DETOXLM_SCORER", "ngram,embedded")
    with pytest.raises(UsageError, match=r"^scorer: ngram, embedded are 2.*DETOXLM_SCORER"):
        tasks.load(["detoxlm_realtoxicityprompts"])
