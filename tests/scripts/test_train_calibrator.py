"""What the shipped calibrator is trained on: nothing that is held out for measuring."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        return importlib.import_module("train_calibrator")


def test_no_source_has_a_held_out_comment(script: ModuleType, tmp_path: Path) -> None:
    texts = [f"comment number {i} is here" for i in range(100)]
    rows = [{"text": text, "toxic": i % 2 == 0} for i, text in enumerate(texts)]
    for name in ("jigsaw/comments", "toxic_spans/train", "civil/annotated", "wikipedia_talk/scored"):
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir()
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "bold").mkdir()
    for name in ("gender_wiki", "race_wiki"):
        (tmp_path / "bold" / f"{name}.json").write_text("{}")
    comments = tmp_path / "clean_data.csv"
    with comments.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "is_offensive"], *([text, i % 2] for i, text in enumerate(texts))])
    found = script.sources(tmp_path, comments)
    kept = [text for text in texts if not script.held_out(text)]
    assert 0 < len(kept) < len(texts)
    assert {*found["comments, toxic"], *found["comments, other"]} == {*kept}
    assert {text for some in found.values() for text in some} == {*kept}
