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


def test_every_kind_about_groups_is_there_and_harmless_ones_are_known_to_be(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list(script.templates(0, []))
    monkeypatch.setattr(script, "profanity", lambda _: [])
    monkeypatch.setattr(script, "templates", lambda *_: iter(made))
    assert {*script.NEUTRAL, *script.HATEFUL} <= {template.kind for template in made}
    neutral = list(script.about_groups(tmp_path, script.NEUTRAL, 300, 3, set(), 0))
    hateful = list(script.about_groups(tmp_path, script.HATEFUL, 300, 2, set(), 0))
    assert len(neutral) > 250 and all(toxicity < 0.5 for _, _, toxicity in neutral)
    assert len(hateful) > 250 and all(toxicity is None for _, _, toxicity in hateful)
    targets = {template.toxicity for template in made if template.kind in script.NEUTRAL}
    few = list(script.about_groups(tmp_path, script.NEUTRAL, 1, 3, set(), 0))
    assert len(targets) > 1 and len(few) <= 1, "a share of none is none"
