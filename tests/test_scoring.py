"""`detoxlm score`: which score belongs to which row, and texts that look like options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detoxlm.errors import UsageError
from detoxlm.scorers.base import Scorer
from detoxlm.scoring import score_texts
from detoxlm.settings import ScoreSettings

Write = Callable[[str, Any], Path]


@pytest.fixture(autouse=True)
def toy(letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--scorer letters`, and `--scorer twice` under another name."""

    class Twice(type(letter_scorer)):  # type: ignore[misc]
        name = "twice"
        dimensions = ("toxicity", "insult")

        def _score_dimensions_batch(self, texts: list[str]) -> Any:
            return self._score_batch(texts)[:, None].repeat(2, 1)

    toys = {"letters": letter_scorer, "twice": Twice()}
    monkeypatch.setattr("detoxlm.scorers.several.load_scorer", lambda spec, **_: toys[spec])


def rows_of(file: Path, **options: Any) -> list[dict[str, Any]]:
    settings = ScoreSettings(**{"scorer": "letters", "file": file, **options})
    return json.loads(json.dumps(score_texts([], settings).rows(), allow_nan=False))


def test_every_score_has_its_line_and_the_other_columns_of_its_row(write: Write) -> None:
    rows = [
        {"text": "eeee", "id": 7, "tags": ["a"]},
        {"text": ""},
        {"text": "ab", "id": None},
        {"text": None},
        {"text": "e"},
    ]
    file = write("t.jsonl", rows)
    assert rows_of(file, skip_bad_rows=True) == [
        {"line": 1, "text": "eeee", "toxicity": 1.0, "scorer": "letters", "version": "1", "id": 7, "tags": ["a"]},
        {"line": 3, "text": "ab", "toxicity": 0.0, "scorer": "letters", "version": "1", "id": None},
        {"line": 5, "text": "e", "toxicity": 1.0, "scorer": "letters", "version": "1"},
    ]


def test_lines_are_those_that_an_editor_shows(write: Write) -> None:
    assert [row["line"] for row in rows_of(write("t.txt", "one\n\n\ntwo\n"))] == [1, 4]
    csv = 'id,text\n1,"over\ntwo lines"\n2,ab\n'
    assert [(row["line"], row["id"]) for row in rows_of(write("t.csv", csv))] == [(2, "1"), (4, "2")]


def test_a_column_called_like_a_key_of_ours_is_kept_under_another_name(write: Write) -> None:
    rows = [{"text": "e", "toxicity": 0.25, "line": "a", "scorer": "me", "file.line": 3, "insult": 1}]
    (row,) = rows_of(write("t.jsonl", rows))
    assert (row["toxicity"], row["line"], row["scorer"]) == (1.0, 1, "letters")
    assert (row["file.toxicity"], row["file.scorer"], row["insult"]) == (0.25, "me", 1)
    assert (row["file.line"], row["file.file.line"]) == (3, "a"), "a column that has that name already keeps it"
    (row,) = rows_of(write("t.jsonl", rows), scorer="twice", dimensions=True)
    assert (row["insult"], row["file.insult"]) == (1.0, 1)


def test_several_scorers_each_have_the_row(write: Write) -> None:
    rows = rows_of(write("t.jsonl", [{"text": "e", "id": 7}, {"text": "ab", "id": 8}]), scorer="letters,twice")
    assert [(row["line"], row["id"], row["scorer"]) for row in rows] == [
        (line, id_, scorer) for line, id_ in ((1, 7), (2, 8)) for scorer in ("letters", "twice")
    ]


def test_a_named_column_is_the_text_and_what_is_beside_a_nested_text_stays(write: Write) -> None:
    (row,) = rows_of(write("t.csv", "Comment,text\nee,other\n"), column="comment")
    assert (row["text"], row["file.text"]) == ("ee", "other") and "Comment" not in row
    (row,) = rows_of(write("t.jsonl", [{"prompt": {"text": "ee", "toxicity": 0.3}}]), column="prompt")
    assert (row["text"], row["prompt"]) == ("ee", {"text": "ee", "toxicity": 0.3})


def test_what_json_has_no_word_for_is_written_all_the_same(tmp_path: Path, write: Write) -> None:
    import datetime

    table = pa.table({"text": ["e"], "at": [datetime.date(2026, 1, 2)], "nan": [float("nan")], "raw": [b"\xff"]})
    pq.write_table(table, tmp_path / "t.parquet")
    (row,) = rows_of(tmp_path / "t.parquet")
    assert (row["line"], row["at"], row["nan"]) == (1, "2026-01-02", None) and "xff" in row["raw"]
    (row,) = rows_of(write("t.jsonl", '{"text": "e", "half": "\\ud83d"}\n'))
    assert row["half"].encode() == b"\\ud83d"


def test_texts_given_by_hand_have_no_line() -> None:
    (row,) = score_texts(["e"], ScoreSettings(scorer="letters")).rows()
    assert row == {"text": "e", "toxicity": 1.0, "scorer": "letters", "version": "1"}
    with pytest.raises(UsageError, match="give either texts or --file"):
        score_texts([], ScoreSettings(scorer="letters"))


@pytest.mark.parametrize(
    ("arguments", "mended"),
    [
        (["score", "-1 is a number", "--scorer", "letters"], "detoxlm score --scorer letters -- '-1 is a number'"),
        (["score", "kind", "-bad"], "detoxlm score kind -- -bad"),
        (["score", "-hello world"], "detoxlm score -- '-hello world'"),  # -h alone is --help
        (["score", "--json ends", "- a", "-b"], "detoxlm score -- '--json ends' '- a' -b"),
        (["generate", "MODEL", "-x"], "detoxlm generate MODEL -- -x"),
        (["generate", "MODEL", "--seed", "3", "--- so"], "detoxlm generate MODEL --seed 3 -- '--- so'"),
    ],
)
def test_a_text_that_begins_with_a_dash_is_told_how_to_be_given(
    arguments: list[str], mended: str, run_cli: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match="exit 2"):
        run_cli(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"A text that begins with a dash goes behind --, after all options: {mended}")


def test_a_misspelt_option_is_still_called_that(
    run_cli: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match="exit 2"):
        run_cli(["score", "text", "--scorrer", "letters"])
    shown = capsys.readouterr().err
    assert "--scorer" in shown and "begins with a dash" not in shown


def test_behind_two_dashes_it_is_a_text(
    run_cli: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli(["score", "--scorer", "letters", "--json", "--", "-1 is e", "--json"])
    assert [row["text"] for row in json.loads(capsys.readouterr().out)] == ["-1 is e", "--json"]
