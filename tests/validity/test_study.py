"""Several scorers on files of labelled texts, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.report.nested import validity_blocks
from detoxlm.scorers import SCORERS, ScorerEntry
from detoxlm.scorers.base import Scorer
from detoxlm.settings import ValidateSettings
from detoxlm.validity.study import run, save


class Words(Scorer):
    """Toxicity = share of words that are `bad`; the argument is the weight of each."""

    version, revision = "1", "test"

    def __init__(self, weight: float) -> None:
        self.name, self.weight = f"words:{weight:g}", weight

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        shares = [text.split().count("bad") / len(text.split()) for text in texts]
        return np.minimum(1.0, self.weight * np.array(shares))


def words(argument: str, device: str | None) -> Scorer:
    if argument == "broken":
        raise DetoxError("scorer words: the weights cannot be downloaded.")
    return Words(float(argument or 1))


@pytest.fixture(autouse=True)
def words_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ScorerEntry("words[:weight]", "a toy", f"{__name__}:words", False, lambda: None)
    monkeypatch.setitem(SCORERS, "words", entry)


def settings(*files: Path, **values: Any) -> ValidateSettings:
    return ValidateSettings(data=[str(file) for file in files], **values)


def test_scorers_are_compared_on_the_same_texts(comments: Path) -> None:
    study = run(["words", "words:0"], settings(comments, failures=3))
    assert list(study.scorers) == ["words:1", "words:0"]
    mild, silent = (validity.sets["comments"] for validity in study.scorers.values())
    assert mild.metrics["auc"].value == 1 and silent.metrics["auc"].value == 0.5
    assert study.differences["words:0"]["comments"]["auc"].value == -0.5
    assert set(study.differences) == {"words:0"}
    assert len(silent.false_negatives) == 3


def test_a_scorer_that_gives_one_score_to_all_has_no_rank_correlation_and_a_dash_for_it(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write("s.csv", "text,label", *(f"{'bad ' * (i % 4)}text {i},{i % 4 / 4 + 0.1}" for i in range(40)))
    study = run(["words", "words:0"], settings(path))
    assert "spearman" in study.first.sets["s"].metrics
    assert "spearman" not in study.scorers["words:0"].sets["s"].metrics
    assert "spearman" not in study.differences["words:0"]["s"]
    save(study, tmp_path)
    assert '<span class="value">–</span>' in (tmp_path / "validity.html").read_text()


def test_a_scorer_that_cannot_be_loaded_stops_the_command_or_is_one_line(
    comments: Path, caplog: pytest.LogCaptureFixture
) -> None:
    specs = ["words", "words:broken"]
    with pytest.raises(DetoxError, match=r"cannot be downloaded\. Or go on without it: --skip-missing\."):
        run(specs, settings(comments))
    study = run(specs, settings(comments, skip_missing=True))
    assert list(study.scorers) == ["words:1"]
    assert study.missing == ["words:broken: not loaded: scorer words: the weights cannot be downloaded."]
    assert study.missing[0] in caplog.text
    with pytest.raises(UsageError, match="none of those named could be loaded"):
        run(["words:broken"], settings(comments, skip_missing=True))


def test_a_misspelt_scorer_is_an_error_whatever_may_be_skipped(comments: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown name 'wrods'\. Did you mean 'words'"):
        run(["words", "wrods"], settings(comments, skip_missing=True))
    with pytest.raises(UsageError, match=f"scorer: {comments} is a file; name it with --data {comments}"):
        run(["words", str(comments)], settings(comments))
    with pytest.raises(UsageError, match="named twice"):
        run(["words", "words:1"], settings(comments))


def test_the_files_hold_what_was_measured(comments: Path, tmp_path: Path) -> None:
    study = run(["words", "words:0.5"], settings(comments, limit=30, seed=4))
    save(study, tmp_path / "new" / "folder")
    data = json.loads((tmp_path / "new" / "folder" / "validity.json").read_text())
    assert data == json.loads(json.dumps(study.as_dict()))
    assert data["schema_version"] == 1
    assert data["settings"]["limit"] == 30 and data["settings"]["seed"] == 4
    entry = data["data"]["comments"]
    assert (entry["n"], entry["targets"], entry["source"]) == (30, "labels", str(comments))
    assert "30 of 40 rows" in entry["notes"][0]
    for label, validity in study.scorers.items():
        stored = data["scorers"][label]
        for name, estimate in validity.sets["comments"].metrics.items():
            assert stored["validity"]["comments"][name] == {
                "value": round(estimate.value, 4),
                "low": estimate.low if estimate.low is None else round(estimate.low, 4),
                "high": estimate.high if estimate.high is None else round(estimate.high, 4),
                "n": estimate.n,
            }
        assert validity_blocks(stored)[0]  # a report can show it
    change = data["differences_from_the_first"]["words:0.5"]["comments"]["false_negative_rate"]["value"]
    assert change == pytest.approx(
        study.scorers["words:0.5"].sets["comments"].metrics["false_negative_rate"].value
        - study.first.sets["comments"].metrics["false_negative_rate"].value,
        abs=1e-4,
    )
    assert (tmp_path / "new" / "folder" / "validity.html").stat().st_size > 10_000


def test_the_same_command_measures_the_same(comments: Path) -> None:
    first, second = (run(["words"], settings(comments)).as_dict() for _ in range(2))
    assert {**first, "created": ""} == {**second, "created": ""}
