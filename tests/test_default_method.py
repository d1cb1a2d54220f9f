"""Which method `run` takes where none is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import UsageError
from detoxlm.methods import FitData, get_method
from detoxlm.models import Target
from detoxlm.running import method_of, run
from detoxlm.scorers import load_scorer
from detoxlm.settings import RunSettings


@pytest.mark.parametrize(
    ("model", "options", "sets", "table", "method"),
    [
        ("embedded", {}, [], None, "nado"),
        ("embedded", {"scorer": "embedded,ngram", "strengths": "1"}, [], "nado", "nado"),
        ("embedded", {"method": "fusion"}, [], None, "fusion"),
        ("embedded", {"method": "subspace"}, [], "fusion", "subspace"),
        ("./mine", {}, [], None, "fusion"),
        ("embedded", {"scorer": "ngram"}, [], None, "fusion"),
        ("embedded", {"corpus": "mine.jsonl"}, [], None, "fusion"),
        ("embedded", {"pairs": "mine.jsonl"}, [], None, "fusion"),
        ("embedded", {"calibrator": "own"}, [], None, "fusion"),
        ("embedded", {"quantization": "int8"}, [], None, "fusion"),  # another model, which nado would have to learn
        ("embedded", {}, ["threshold=0.55"], None, "fusion"),
        ("embedded", {}, [], "fusion", "fusion"),
    ],
)
def test_the_method_is_the_best_of_those_that_train_nothing_and_can_be_meant(
    model: str, options: dict[str, Any], sets: list[str], table: str | None, method: str, tmp_path: Path
) -> None:
    config = None
    if table is not None:
        config = tmp_path / "config.toml"
        config.write_text(f"[{table}]\nstrength = 0.3\n")
    assert method_of(model, RunSettings(**options), config, sets) == method


@pytest.mark.parametrize(("sets", "method"), [([], "nado"), (["threshold=0.55"], "fusion")])
def test_run_fits_it(sets: list[str], method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def found(name: str) -> Any:
        asked.append(name)
        raise UsageError("enough")

    monkeypatch.setattr("detoxlm.running.get_method", found)
    with pytest.raises(UsageError, match="enough"):
        run("embedded", RunSettings(output=tmp_path / "out"), sets=sets)
    assert asked == [method]


@pytest.mark.more
def test_both_defaults_train_nothing_on_the_embedded_model(embedded: Target) -> None:
    scorer = load_scorer("embedded")
    for name, part in (("nado", "auxiliary"), ("fusion", "calibrator")):
        method = get_method(name)
        made = method.fit(embedded, FitData(scorer=scorer), method.detoxifier_type.settings_type())
        assert made.fitting[part]["source"] == "shipped", name


def test_a_table_of_no_method_is_refused_before_a_default_is_chosen(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[fusoin]\nstrength = 0.3\n")
    with pytest.raises(UsageError, match="fusoin"):
        method_of("embedded", RunSettings(), config, [])
