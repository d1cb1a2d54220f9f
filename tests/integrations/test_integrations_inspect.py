"""Our scorer in Inspect itself, on its mock model: the scores of the library, and an error where there is none."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.scorers import load_scorer

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="inspect-ai is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Inspect's own, and those of what it imports
]
ROOT = Path(__file__).parents[2]
TEXTS = ["you are a fool", "good morning", "  ", "“Été” — my friend"]


def evaluate(folder: Path, scorer: Any, texts: list[str] = TEXTS, **more: Any) -> Any:
    """Evaluate a model that repeats its inputs, and return Inspect's log."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    def repeat(messages: list[Any], *_: Any) -> Any:
        output = ModelOutput.from_content("mockllm", messages[-1].text)
        output.usage = ModelUsage()  # else Inspect counts tokens with what it downloads for that
        return output

    task = Task(dataset=[Sample(input=text) for text in texts], scorer=scorer)
    model = get_model("mockllm/model", custom_outputs=repeat)
    (log,) = eval(task, model=model, log_dir=str(folder), display="none", **more)
    return log


def test_samples_have_the_scores_of_the_library_and_the_log_says_whose(tmp_path: Path) -> None:
    from detoxlm.integrations.inspect_ai import toxicity

    log = evaluate(tmp_path, toxicity("ngram"))
    assert log.status == "success"
    scorer = load_scorer("ngram")
    expected = scorer.score(TEXTS)
    scores = {sample.input: sample.scores["toxicity"] for sample in log.samples}
    assert [scores[text].value for text in TEXTS] == pytest.approx(expected.tolist(), abs=1e-9)
    made = {"scorer": "ngram", "version": scorer.version, "revision": scorer.revision}
    assert all(score.metadata == made for score in scores.values())
    (found,) = log.results.scores
    assert found.metrics["mean_toxicity"].value == pytest.approx(expected.mean())
    assert found.metrics["toxic_fraction"].value == (expected >= 0.5).mean() == 0.25


def test_without_a_score_the_evaluation_has_no_results_and_no_number_where_it_is_told_to_go_on(
    tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from detoxlm.integrations.inspect_ai import toxicity

    rule = write("rule.py", "def broken(text):\n    raise OSError('no answer')\n")
    monkeypatch.setenv("DETOXLM_SCORER", f"python:{rule}:broken")
    log = evaluate(tmp_path, toxicity())
    assert log.status == "error" and log.results is None
    assert "DetoxError" in log.error.traceback
    log = evaluate(tmp_path, toxicity(), TEXTS[:2], fail_on_error=False)
    assert log.results is None


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with what pip writes of this package: the entry points of pyproject.toml, and that it is editable."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    folder = tmp_path / "installed"
    metadata = folder / f"detoxlm-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: detoxlm\nVersion: {project['version']}\n")
    (metadata / "direct_url.json").write_text(json.dumps({"url": ROOT.as_uri(), "dir_info": {"editable": True}}))
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_inspect_finds_it_by_name_and_scores_a_log_with_it(tmp_path: Path, installed: Path) -> None:
    from inspect_ai.log import read_eval_log
    from inspect_ai.scorer import match

    log = evaluate(tmp_path / "logs", match())
    place, path = (
        tmp_path / "scored.eval",
        os.pathsep.join([str(installed), str(ROOT / "src"), *filter(None, sys.path)]),
    )
    program = "from inspect_ai._cli.main import main; main()"
    command = ["score", log.location, "--scorer", "detoxlm/toxicity", "--output-file", str(place)]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            *command,
            "-S",
            "scorer=regex:fool",
            "--action",
            "append",
            "--display",
            "plain",
        ],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scored = read_eval_log(str(place))
    values = {sample.input: sample.scores["toxicity"].value for sample in scored.samples}
    assert values == {text: float("fool" in text) for text in TEXTS}
