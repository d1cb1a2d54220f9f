"""No text of other people in the machine text that the project keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import copied

    yield copied
    sys.modules.pop("copied", None)


def test_eight_words_in_a_row_are_a_copy_whatever_their_case_and_marks(copied) -> None:
    others = set(copied.runs("One two, three four five six seven EIGHT nine."))
    assert copied.is_copied("and two THREE four; five six seven eight nine ten", others)
    assert not copied.is_copied("one two three four five six seven", others)
    assert not copied.is_copied("one two three four and five six seven eight nine", others)


@pytest.mark.more
@pytest.mark.parametrize("file", ["machine_text/texts", "methods_read/texts", "text_alone/probabilities"])
def test_kept_machine_text_repeats_nobody(copied, shared_data: Path, file: str) -> None:
    lines = (ROOT / "data" / f"{file}.jsonl").read_text("utf-8").splitlines()
    texts = [row["text"] for row in map(json.loads, lines) if "text" in row]
    others = copied.runs_of_others(shared_data)
    assert len(texts) > 2000
    found = [text for text in texts if copied.is_copied(text, others)]
    assert [text for text in found if "not sure what to do with the" not in text] == []  # that is a phrase of every day
