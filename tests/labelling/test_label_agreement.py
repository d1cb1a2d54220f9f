"""Two readers' labels side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

from detoxlm.errors import UsageError
from detoxlm.labelling.agreement import agreement
from detoxlm.labels.files import VERDICTS, LabelFile
from detoxlm.labels.texts import Readable

Call = Callable[..., tuple[int, str, str]]
TEXTS = [Readable(f"text {i}", f"prompt {i // 2}") for i in range(12)]
FIRST = [0, 0, 1, 1, 1, 1, 2, 0, 1, 1, 1]
SECOND = [0, 1, 1, 1, 1, 0, 2, 2, 1, 1, 1]


def labelled(path: Path, said: list[int], texts: list[Readable] = TEXTS, reader: str = "ann") -> Path:
    with LabelFile(path, reader) as file:
        for text, verdict in zip(texts, said, strict=False):
            file.append(text.key, VERDICTS[verdict])
    return path


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Eleven texts in other orders, and one that each reader alone has labelled."""
    order = [4, 0, 10, 2, 1, 3, 9, 8, 7, 6, 5]
    first = labelled(tmp_path / "ann.jsonl", [*FIRST, 0])
    second = labelled(
        tmp_path / "ben.jsonl", [*(SECOND[i] for i in order), 1], [*(TEXTS[i] for i in order), Readable("else")], "ben"
    )
    return first, second


def test_the_numbers_are_those_of_the_texts_that_both_labelled(two: tuple[Path, Path]) -> None:
    found = agreement(*two)
    assert (found.readers, found.both, found.only) == (("ann", "ben"), 11, (1, 1))
    assert found.table == [[1, 1, 1], [1, 6, 0], [0, 0, 1]]
    assert found.same.value == pytest.approx(8 / 11) and found.same.n == 6  # prompts, not texts
    assert found.kappa is not None and found.clear_kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(FIRST, SECOND))
    clear = [(a, b) for a, b in zip(FIRST, SECOND, strict=True) if 2 not in (a, b)]
    assert found.clear_kappa.value == pytest.approx(cohen_kappa_score(*zip(*clear, strict=True)))
    low, high = found.kappa.low, found.kappa.high
    assert low is not None and high is not None and low < found.kappa.value < high
    said = {one.key: one.said for one in found.differences}
    assert said == {
        TEXTS[1].key: ("toxic", "not toxic"),
        TEXTS[5].key: ("not toxic", "toxic"),
        TEXTS[7].key: ("toxic", "unsure"),
    }


def test_the_command_shows_table_kappa_and_the_texts_on_which_they_differ(
    two: tuple[Path, Path], write: Callable[[str, Any], Path], call: Call
) -> None:
    texts = write("texts.jsonl", [{"text": text.text, "prompt": text.prompt} for text in TEXTS])
    code, out, error = call("label", texts, "--agreement", *two)
    assert (code, error) == (0, "")
    assert "11 texts are labelled by both (1 by ann alone, 1 by ben alone)." in out
    assert f"Cohen's kappa: {cohen_kappa_score(FIRST, SECOND):.3f} [" in out
    assert "toxic | not toxic  text 1\n" in out and "not toxic | toxic  text 5\n" in out
    code, out, _ = call("label", "--agreement", *two)
    assert code == 0 and f"toxic | not toxic  text {TEXTS[1].key[0][:12]}\n" in out and "Name the file of texts" in out
    code, out, _ = call("label", texts, "--agreement", *two, "--json")
    found = json.loads(out)
    assert found["kappa"]["value"] == pytest.approx(cohen_kappa_score(FIRST, SECOND))
    assert {one["text"] for one in found["differences"]} == {"text 1", "text 5", "text 7"}


def test_two_readers_of_one_name_are_called_by_their_files(tmp_path: Path) -> None:
    paths = [labelled(tmp_path / name, [0, 1]) for name in ("a.jsonl", "b.jsonl")]
    assert agreement(*paths).readers == tuple(map(str, paths))


def test_where_kappa_is_undefined_it_says_so(tmp_path: Path, call: Call) -> None:
    paths = labelled(tmp_path / "a.jsonl", [1, 1, 1]), labelled(tmp_path / "b.jsonl", [1, 1, 0], reader="ben")
    found = agreement(*paths)
    assert found.kappa is None and found.clear_kappa is None and found.same.value == pytest.approx(2 / 3)
    assert "Cohen's kappa: undefined, a reader gave all texts one label" in call("label", "--agreement", *paths)[1]


def test_what_cannot_be_compared_is_refused(two: tuple[Path, Path], tmp_path: Path, call: Call) -> None:
    other = labelled(tmp_path / "other.jsonl", [0], [Readable("of another file")])
    with pytest.raises(UsageError, match=r"label no text in common; give two readings of one file"):
        agreement(two[0], other)
    with pytest.raises(UsageError, match=r"none of those labels is of a text of the file"):
        agreement(*two, [Readable("of another file")])
    assert "cannot read" in call("label", "--agreement", two[0], tmp_path / "none.jsonl")[2]
    code, _, error = call("label")
    assert (code, error) == (2, "detoxlm: label: name the file of texts: detoxlm label FILE -o labels.jsonl\n")
