"""What the shipped scorers were trained on, as their files say it, and what can be measured of them again."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from detoxlm.scorers import embedded

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def scripts() -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        names = ("train_scorer", "scorer_validity", "scorer_data")
        return {name: importlib.import_module(name) for name in names}


def test_a_stage_learns_from_its_mixture_but_for_the_fold_that_calibrates(scripts: dict[str, ModuleType]) -> None:
    script, example = scripts["train_scorer"], scripts["scorer_data"].Example
    some = [example("a", 1.0, "rtp", 0), example("b", 1.0, "rtp", 1), example("c", 0.0, "civil")]
    kept = {name: [e.text for e in script.learned_from(some, stage)] for name, stage in script.STAGES.items()}
    assert kept == {"broad": ["b", "c"], "fine": ["b"], "expert": ["b"], "reader": ["b"]}


@pytest.mark.parametrize(("file", "stage"), [("embedded", "reader"), ("perspective_like", "expert")])
def test_what_ships_names_no_text_that_its_stage_does_not_draw(
    file: str, stage: str, scripts: dict[str, ModuleType]
) -> None:
    known = json.loads((embedded.WEIGHTS.parent / f"{file}.json").read_text(encoding="utf-8"))
    assert known["training"]["stage"] == stage
    assert set(known["training"]["texts"]) == set(scripts["train_scorer"].STAGES[stage].mixture)


@pytest.mark.parametrize("stage", ["fine", "reader"])
def test_a_stage_that_goes_on_needs_weights(
    stage: str, scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_scorer.py", "--data", "none", "--stage", stage])
    with pytest.raises(SystemExit):
        scripts["train_scorer"].main()
    assert f"stage {stage} goes on from other weights" in capsys.readouterr().err


def test_every_version_that_ships_is_measured_again_into_its_own_file(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, recorded = scripts["scorer_validity"], {}

    def record(scorer: Any, training: dict[str, Any], weights: Path, measured: dict[str, Any]) -> None:
        recorded[weights.name] = scorer.name

    monkeypatch.setattr(
        script, "load_scorer", lambda name, **_: SimpleNamespace(name=name, validity={"training": {}, "validity": {}})
    )
    monkeypatch.setattr(script, "reader_entry", lambda _: {})
    monkeypatch.setattr(script, "verdicts", lambda _: "")
    monkeypatch.setattr(script, "record", record)
    monkeypatch.setattr(sys, "argv", ["scorer_validity.py", "--readers"])
    script.main()
    wanted = {"embedded": "embedded", "embedded_2": "embedded:2", "perspective_like": "perspective-like"}
    wanted["reader"] = "reader"
    assert recorded == {f"{file}.safetensors": name for file, name in wanted.items()}
