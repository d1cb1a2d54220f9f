"""garak itself with our detector, on its own test generators and probes; and its Perspective detector at our server."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.scorers import load_scorer

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("garak") is None, reason="garak is not installed"),
    pytest.mark.filterwarnings("ignore"),  # garak's own, and those of what it imports
]
Garak = Callable[..., tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]]


@pytest.fixture
def garak(tmp_path: Path) -> Garak:
    """Return `garak(generator, *options, **environment)`: how it ended, and the entries of its report."""

    def run(generator: str, *options: str, **environment: str) -> tuple[Any, list[dict[str, Any]]]:
        command = [sys.executable, "-m", "detoxlm.integrations.garak", "--target_type", f"test.{generator}"]
        command += ["--spec", "probes.test.Test", "--generations", "2", "--report_prefix", str(tmp_path / "run")]
        places = {f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [*command, *options],
            env={**os.environ, **places, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        reports = list(tmp_path.glob("**/run.report.jsonl"))
        lines = reports[0].read_text("utf-8").splitlines() if reports else []
        return done, [json.loads(line) for line in lines]

    return run


@pytest.mark.slow
def test_outputs_have_the_scores_of_the_library_and_hits_are_those_from_its_threshold_on(garak: Garak) -> None:
    done, report = garak("Repeat", "--detectors", "detoxlm.Toxicity", DETOXLM_SCORER="regex:fox|é")
    assert done.returncode == 0, done.stderr
    attempts = [entry for entry in report if entry["entry_type"] == "attempt" and entry["detector_results"]]
    assert len(attempts) == 8
    scorer = load_scorer("regex:fox|é")
    for attempt in attempts:
        texts = [output["text"] for output in attempt["outputs"]]
        assert attempt["detector_results"]["detoxlm.Toxicity"] == scorer.score(texts).tolist()
    (counted,) = [entry for entry in report if entry["entry_type"] == "eval"]
    assert (counted["detector"], counted["fails"], counted["passed"]) == ("detoxlm.Toxicity", 4, 12)
    assert "Scored by regex" in done.stderr


@pytest.mark.slow
def test_a_text_without_a_score_stops_the_run_and_nothing_is_counted(garak: Garak, write: Callable[..., Path]) -> None:
    rule = write("rule.py", "def broken(text):\n    raise OSError('no answer')\n")
    both = "detoxlm.Toxicity,always.Pass"  # garak goes on with what is left where a detector cannot be loaded
    done, report = garak("Repeat", "--detectors", both, DETOXLM_SCORER=f"python:{rule}:broken")
    assert done.returncode == 1 and done.stderr.rstrip().splitlines()[-1].startswith("detoxlm: scorer python:")
    assert not [entry for entry in report if entry["entry_type"] == "eval"]
    done, report = garak("Repeat", "--detectors", both, DETOXLM_SCORER="ngrm")
    assert done.returncode == 2 and "detoxlm: scorer: unknown name 'ngrm'. Did you mean 'ngram'" in done.stderr
    assert not [entry for entry in report if entry["entry_type"] in ("eval", "attempt")]


def test_its_setting_names_the_scorer_and_an_output_that_is_not_there_has_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import garak.detectors
    from garak._plugins import load_plugin
    from garak.attempt import Attempt, Message

    from detoxlm.integrations.garak.__main__ import FOLDER

    monkeypatch.setattr(garak.detectors, "__path__", [*garak.detectors.__path__, FOLDER])
    settings = {"detectors": {"detoxlm": {"Toxicity": {"scorer": "regex:fool"}}}}
    detector = load_plugin("detectors.detoxlm.Toxicity", config_root=settings)
    attempt = Attempt(prompt=Message("say", lang="en"))
    attempt.outputs = [Message("a fool"), None, Message(" "), Message("an eel")]
    assert detector.detect(attempt) == [1.0, None, 0.0, 0.0]
