"""Files of labels: what is kept, what a killed session leaves, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.labels.files import LabelFile, read_labels
from detoxlm.labels.texts import Readable

TEXTS = [Readable("you fool", "He said:"), Readable("you fool"), Readable("a quiet day", "He said:")]


def kept(path: Path, *verdicts: Any, reader: str = "ann") -> Path:
    with LabelFile(path, reader) as file:
        for text, verdict in zip(TEXTS, verdicts, strict=False):
            file.append(text.key, verdict)
    return path


def row(**changes: Any) -> dict[str, Any]:
    return {"text_sha256": "a" * 64, "prompt_sha256": None, "label": "toxic", "reader": "ann", **changes}


def test_a_file_holds_hashes_and_labels_and_no_text(tmp_path: Path) -> None:
    path = kept(tmp_path / "new" / "labels.jsonl", "toxic", "unsure")
    first, second = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    assert first["text_sha256"] == second["text_sha256"] == hashlib.sha256(b"you fool").hexdigest()
    assert first["prompt_sha256"] == hashlib.sha256(b"He said:").hexdigest() and second["prompt_sha256"] is None
    assert (first["label"], second["label"], first["reader"]) == ("toxic", "unsure", "ann")
    assert "fool" not in path.read_text("utf-8")
    assert [label.key for label in read_labels(path)] == [TEXTS[0].key, TEXTS[1].key]


def test_each_label_is_in_the_file_at_once_and_undo_takes_the_last_one_out(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelFile(path, "ann") as file:
        file.append(TEXTS[0].key, "toxic")
        after_one = path.read_bytes()
        file.append(TEXTS[1].key, "not toxic")
        assert [label.verdict for label in read_labels(path)] == ["toxic", "not toxic"]
        assert file.undo().key == TEXTS[1].key
        assert path.read_bytes() == after_one
        file.append(TEXTS[2].key, "unsure")
        assert [label.verdict for label in read_labels(path)] == ["toxic", "unsure"]


def test_undo_works_on_labels_of_an_earlier_session_however_their_lines_are_written(
    write: Callable[[str, Any], Path],
) -> None:
    path = write("labels.jsonl", [row(note="mine"), row(text_sha256="b" * 64)])
    before = path.read_bytes()
    with LabelFile(path, "ann") as file:
        assert file.undo().key == ("b" * 64, None)
        assert path.read_bytes() == before.splitlines(keepends=True)[0]


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_was_cut_off_costs_that_label_alone(
    cut: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = kept(tmp_path / "labels.jsonl", "toxic", "not toxic")
    whole = path.read_bytes()
    first = whole.splitlines(keepends=True)[0]
    path.write_bytes(whole[: len(first) + cut])
    assert [label.verdict for label in read_labels(path)] == ["toxic"]
    assert "line 2 was cut off" in caplog.text
    with LabelFile(path, "ann") as file:
        file.append(TEXTS[2].key, "unsure")
        assert [label.verdict for label in read_labels(path)] == ["toxic", "unsure"]


def test_a_last_line_whose_end_an_editor_took_away_is_kept(tmp_path: Path) -> None:
    path = kept(tmp_path / "labels.jsonl", "toxic")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    with LabelFile(path, "ann") as file:
        file.append(TEXTS[1].key, "unsure")
        assert [label.verdict for label in read_labels(path)] == ["toxic", "unsure"]
        file.undo()
        assert [label.verdict for label in read_labels(path)] == ["toxic"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept(tmp_path / "labels.jsonl", "toxic")
    before = path.read_bytes()
    with LabelFile(path, "ann") as file:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(DetoxError, match=r"cannot write .*No space left.* goes on after 1 labels"):
                file.append(TEXTS[1].key, "toxic")
        assert path.read_bytes() == before
        file.append(TEXTS[1].key, "unsure")
        assert [label.verdict for label in read_labels(path)] == ["toxic", "unsure"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([row(), row(text_sha256="b" * 64), row()], r"lines 1 and 3 label one text; take one of them out"),
        (["toxic"], r"labels.jsonl:1: no label, which has `text_sha256` and `label`"),
        ([{"text": "a", "label": 1}], r":1: no label, which has `text_sha256`"),
        ([row(), row(text_sha256="b" * 64, label="bad")], r":2: `label` is 'bad', not one of toxic, not toxic, unsure"),
        ([row(text_sha256="abc")], r":1: `text_sha256` is 'abc', not 64 hex digits"),
        ([row(prompt_sha256=7)], r":1: `prompt_sha256` is 7, not 64 hex digits"),
        (b"{\n" + json.dumps(row()).encode() + b"\n", r":1: no JSON"),
        (b"\xff\xfe\n", r":1: no JSON"),
        (b"[" * 100_000 + b"\n", r":1: no JSON"),
        (b"", r"has no label yet; `detoxlm label FILE -o .*labels.jsonl` adds some"),
    ],
)
def test_what_is_no_file_of_labels_is_refused_by_line(
    content: Any, said: str, write: Callable[[str, Any], Path]
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_labels(write("labels.jsonl", content))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_and_one_of_another_reader_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none.jsonl: No such file"):
        read_labels(tmp_path / "none.jsonl")
    path = kept(tmp_path / "labels.jsonl", "toxic")
    with pytest.raises(UsageError, match=r"holds labels of 'ann', .* Give another -o, or --reader 'ann'"):
        LabelFile(path, "ben")


def test_the_same_text_after_two_prompts_is_two() -> None:
    assert len({text.key for text in TEXTS}) == 3
