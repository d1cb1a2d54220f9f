"""`detoxlm score --file F -o OUT`: the rows of any file with their scores, in three kinds, checked before work."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detoxlm.bulk.command import score_file
from detoxlm.bulk.source import CHUNK
from detoxlm.bulk.work import Done
from detoxlm.errors import DetoxError, UsageError
from detoxlm.records import local_records
from detoxlm.scorers.base import Scorer
from detoxlm.settings import ScoreSettings

Write = Callable[[str, Any], Path]
#: Two chunks and a part of one.
MANY = 2 * CHUNK + 5


class Batches(Scorer):
    """The share of the letter e, plus a little that tells how large the batch was and where in it the text."""

    name, version, revision = "batches", "1", "test"
    batch_size = 100
    dimensions = ("toxicity", "insult")

    def __init__(self) -> None:
        self.read: list[str] = []

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        self.read += texts
        place = np.arange(len(texts)) / 1e3 + len(texts) / 1e6
        return np.array([text.count("e") / (2 * len(text)) for text in texts]) + place

    def _score_dimensions_batch(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._score_batch(texts), [float("u" in text) for text in texts]], axis=1)


@pytest.fixture(autouse=True)
def toys(letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Scorer]:
    """`--scorer letters` and `--scorer batches`."""
    found: dict[str, Scorer] = {"letters": letter_scorer, "batches": Batches()}
    monkeypatch.setattr("detoxlm.scorers.several.load_scorer", lambda spec, **_: found[spec])
    return found


def score(file: Path, output: Path, **options: Any) -> Done:
    return score_file(ScoreSettings(**{"scorer": "letters", "file": file, "output": output, **options}))


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def texts(count: int) -> list[str]:
    """Texts of different lengths, no two alike."""
    return [f"{'eu' * (i * 7 % 23)} text {i}" for i in range(count)]


def test_a_row_is_written_as_it_was_with_its_score_behind(write: Write, tmp_path: Path) -> None:
    rows = [
        {"id": 7, "text": "eeee", "tags": ["a", {"b": None}], "big": 2**70, "quarter": 0.25},
        {"text": "ab", "id": None, "on": True},
        {"text": "Äe\u2028 e", "half": "\ud83d"},
    ]
    done = score(write("t.jsonl", rows), tmp_path / "out.jsonl")
    found = jsonl(tmp_path / "out.jsonl")
    assert found[0] == {**rows[0], "toxicity": 1.0} and list(found[0]) == [*rows[0], "toxicity"]
    assert found[1:] == [{**rows[1], "toxicity": 0.0}, {**rows[2], "half": "\\ud83d", "toxicity": 2 / 5}]
    assert (done.rows, done.skipped, done.columns, done.by) == (3, 0, ["toxicity"], ["letters 1 (test)"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "t.jsonl"]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl.gz", "json", "parquet"])
def test_every_kind_of_file_goes_to_every_kind_in_its_order(
    kind: str, ending: str, write: Write, tmp_path: Path
) -> None:
    said = ["one e", 'a "word", and', "Äpfel", "eee"]
    table = [{"text": text} for text in said]
    cells = ['"' + text.replace('"', '""') + '"' for text in said]
    content: dict[str, Any] = {
        "txt": "\n\n".join(said) + "\n",
        "csv": "text\n" + "\n".join(cells),
        "tsv": "text\tid\n" + "\n".join(f"{cell}\t{i}" for i, cell in enumerate(cells)),
        "jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in table).encode()),
        "json": json.dumps(said),
    }
    file = tmp_path / "in.parquet"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(table), file)
    else:
        file = write(f"in.{kind}", content[kind])
    output = tmp_path / f"out{ending}"
    score(file, output)
    found = read(output)
    assert [row["text"] for row in found] == said
    assert [float(row["toxicity"]) for row in found] == [2 / 5, 0.0, 1 / 5, 1.0]
    assert all(list(row)[-1] == "toxicity" for row in found)


def test_a_bare_carriage_return_breaks_no_record_of_a_csv(write: Write, tmp_path: Path) -> None:
    said = ["one\rtwo", "three\r\nfour", "five\nsix", "seven"]
    file = write("t.jsonl", [{"id": i, "a\rb": "x", "text": text} for i, text in enumerate(said)])
    score(file, tmp_path / "out.csv")
    for again in (read(tmp_path / "out.csv"), [row for _, row in local_records("file", tmp_path / "out.csv")]):
        assert [row["text"] for row in again] == said
        assert {row["a\rb"] for row in again} == {"x"} and list(again[0]) == ["id", "a\rb", "text", "toxicity"]


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return jsonl(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


@pytest.mark.parametrize("dimensions", [False, True])
def test_scores_are_those_of_a_chunk_by_length_bit_for_bit(
    dimensions: bool, write: Write, tmp_path: Path, toys: dict[str, Scorer]
) -> None:
    """The toy's scores tell who was read with whom; so does the last digit of a real scorer's."""
    said = texts(MANY)
    options = {"scorer": "batches,letters", "dimensions": dimensions}
    done = score(write("t.txt", "\n".join(said)), tmp_path / "out.jsonl", **options)
    found = jsonl(tmp_path / "out.jsonl")
    assert [row["text"] for row in found] == said
    expected: dict[str, float] = {}
    for start in range(0, MANY, CHUNK):
        chunk = sorted(said[start : start + CHUNK], key=len)
        for first in range(0, len(chunk), 100):
            batch = chunk[first : first + 100]
            for place, text in enumerate(batch):
                expected[text] = text.count("e") / (2 * len(text)) + (place / 1e3 + len(batch) / 1e6)
    assert [row["toxicity"] for row in found] == [expected[text] for text in said]
    assert [row["letters:toxicity"] for row in found] == [text.count("e") / len(text) for text in said]
    assert done.columns == ["toxicity", *(["insult"] if dimensions else []), "letters:toxicity"]
    assert not dimensions or [row["insult"] for row in found] == [float("u" in text) for text in said]


def test_columns_of_a_parquet_file_keep_types_and_metadata(tmp_path: Path) -> None:
    count = MANY
    at = np.arange(count).astype("datetime64[ns]") + 1  # nanoseconds: Python has no word for them
    table = pa.table(
        {
            "text": pa.array(texts(count)).dictionary_encode(),
            "at": at,
            "day": pa.array([datetime.date(2026, 1, 2)] * count),
            "raw": pa.array([b"\xff"] * count),
            "pairs": pa.array([[("a", 1)]] * count, pa.map_(pa.string(), pa.int8())),
            "vector": pa.array([[0.5, i] for i in range(count)], pa.list_(pa.float32(), 2)),
            "nothing": pa.nulls(count),
        },
    ).replace_schema_metadata({"mine": "kept"})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    score(tmp_path / "t.parquet", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.drop_columns("toxicity").equals(table)
    assert found.column("toxicity").to_pylist() == [text.count("e") / len(text) for text in texts(count)]
    assert found.schema.metadata[b"mine"] == b"kept"
    assert json.loads(found.schema.metadata[b"detoxlm"]) == {"scorers": ["letters 1 (test)"], "columns": ["toxicity"]}


def test_skipped_rows_leave_the_others_with_their_own_columns(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str | None] = [*texts(MANY)]
    said[3] = said[CHUNK] = None
    said[-1] = "  "
    table = pa.table({"text": said, "id": range(MANY)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10)
    done = score(tmp_path / "t.parquet", tmp_path / "out.parquet", skip_bad_rows=True)
    assert (done.rows, done.skipped) == (MANY - 3, 3)
    assert [(row.line, row.reason) for row in done.bad][:1] == [(4, "`text` is None, not a text")]
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["text"]) for row in found] == [(i, t) for i, t in enumerate(said) if t and t.strip()]
    assert "3 of 2053 rows skipped" in caplog.text
    # the same usable rows, so the same scores, whatever file they come in
    lines = [{"text": row["text"], "id": row["id"]} for row in found]
    score(write("t.jsonl", lines), tmp_path / "out.jsonl", scorer="batches")
    score(tmp_path / "t.parquet", tmp_path / "again.parquet", scorer="batches", skip_bad_rows=True)
    assert jsonl(tmp_path / "out.jsonl") == pq.read_table(tmp_path / "again.parquet").to_pylist()


def test_types_of_json_columns_are_those_that_all_rows_have(write: Write, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "e", "a": None, "n": 1, "o": {"x": 1}} for _ in range(CHUNK)]
    rows += [{"text": "e", "a": ["later"], "n": 0.5, "o": {"y": "z"}, "new": True}]
    score(write("t.jsonl", rows), tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert found[0] == {"text": "e", "a": None, "n": 1.0, "o": {"x": 1, "y": None}, "new": None, "toxicity": 1.0}
    assert found[-1] == {
        "text": "e",
        "a": ["later"],
        "n": 0.5,
        "o": {"x": None, "y": "z"},
        "new": True,
        "toxicity": 1.0,
    }


@pytest.mark.parametrize("where", [1, CHUNK])
def test_a_column_of_several_types_is_refused_for_parquet_with_the_way_out(
    where: int, write: Write, tmp_path: Path, toys: dict[str, Scorer]
) -> None:
    rows: list[dict[str, Any]] = [{"text": "e", "id": 1} for _ in range(CHUNK + 1)]
    rows[where]["id"] = "one"
    file = write("t.jsonl", rows)
    with pytest.raises(UsageError, match=r"output: .*`?id`?.* Write \.jsonl, which takes any row"):
        score(file, tmp_path / "out.parquet", scorer="batches")
    assert toys["batches"].read == [] and not list(tmp_path.glob("out*"))  # type: ignore[attr-defined]
    score(file, tmp_path / "out.jsonl")
    assert jsonl(tmp_path / "out.jsonl")[where]["id"] == "one"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"text": None}, r"t\.jsonl:1501: `text` is None, not a text\. Mend it or use --skip-bad-rows\."),
        ({"id": 1}, r"t\.jsonl:1501: no column `text`; found: `id`; name another with --column\. Mend it"),
        ({"text": "e", "toxicity": 1}, r"t\.jsonl:1501: there is a column `toxicity` already; .*--prefix ours_"),
    ],
)
def test_what_is_wrong_with_a_late_row_is_said_before_the_first_is_scored(
    bad: dict[str, Any], message: str, write: Write, tmp_path: Path, toys: dict[str, Scorer]
) -> None:
    file = write("t.jsonl", [{"text": "e"}] * 1500 + [bad])
    with pytest.raises(UsageError, match=message):
        score(file, tmp_path / "out.jsonl", scorer="batches")
    assert toys["batches"].read == []  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_a_prefix_makes_room_beside_columns_of_the_same_names(write: Write, tmp_path: Path) -> None:
    score(write("t.csv", "text,toxicity\nee,0.5\n"), tmp_path / "out.csv", prefix="ours_")
    assert (tmp_path / "out.csv").read_text() == "text,toxicity,ours_toxicity\nee,0.5,1.0\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": None}, "output: it is for the texts of a file; name one with --file FILE."),
        ({"file": "nope.jsonl"}, "file: nope.jsonl does not exist."),
        ({"output": "out.xlsx"}, "output: out.xlsx is of no known kind; its name must end in .jsonl, .parquet, .csv."),
        ({"output": "in.jsonl"}, "output: in.jsonl is the file that is read; choose another -o."),
        ({"output": "there.jsonl"}, "output: there.jsonl exists; --overwrite replaces it, or choose another -o."),
        ({"workers": 2}, "workers: it is for --engine ray; without that one process does the work."),
        ({"file": "empty.jsonl"}, "file: no usable row: empty.jsonl is empty."),
        (
            {"file": "blank.jsonl", "skip_bad_rows": True},
            "file: no usable row: blank.jsonl: 1 of 1 rows skipped (line 1:",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    options: dict[str, Any], message: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {"in": '{"text": "e"}', "there": "mine", "empty": "", "blank": '{"text": " "}'}.items():
        write(f"{name}.jsonl", content)
    with pytest.raises(UsageError) as refused:
        score_file(ScoreSettings(**{"scorer": "letters", "file": "in.jsonl", "output": "out.jsonl", **options}))
    assert str(refused.value).startswith(message) and "\n" not in str(refused.value)
    assert (tmp_path / "there.jsonl").read_text() == "mine"
    assert not list(tmp_path.glob("out*"))


def test_a_packed_file_that_was_cut_off_or_damaged_is_refused(write: Write, tmp_path: Path) -> None:
    whole = gzip.compress(("".join(f"a text of number {i}\n" for i in range(5000))).encode())
    # behind the header of ten bytes 0xff begins a block of a type that there is not
    for name, packed in (("cut", whole[:-2000]), ("bad", whole[:10] + b"\xff" + whole[11:])):
        with pytest.raises(UsageError, match=rf"^file: cannot read .*{name}\.txt\.gz: it is no whole \.gz file \("):
            score(write(f"{name}.txt.gz", packed), tmp_path / "out.jsonl")


def test_an_output_is_replaced_when_that_is_asked_for(write: Write, tmp_path: Path) -> None:
    output = write("out.jsonl", "mine")
    score(write("t.txt", "e"), output, overwrite=True)
    assert jsonl(output) == [{"text": "e", "toxicity": 1.0}]


def test_a_file_that_changes_while_it_is_scored_is_no_result(
    write: Write, tmp_path: Path, toys: dict[str, Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("t.txt", "e\nab\n")
    real = Batches.score

    def grows(self: Batches, *arguments: Any) -> np.ndarray:
        file.write_text("e\nab\nmore\n")
        return real(self, *arguments)

    with (
        monkeypatch.context() as meanwhile,
        pytest.raises(DetoxError, match=r"t\.txt was changed while it was read; start over with --overwrite"),
    ):
        meanwhile.setattr(Batches, "score", grows)
        score(file, tmp_path / "out.jsonl", scorer="batches")
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(UsageError, match=r"out\.jsonl\.partial was begun by another run \(content of --file "):
        score(file, tmp_path / "out.jsonl", scorer="batches")
    score(file, tmp_path / "out.jsonl", scorer="batches", overwrite=True)
    assert [row["text"] for row in jsonl(tmp_path / "out.jsonl")] == ["e", "ab", "more"]


def test_the_command_says_what_it_wrote(call: Callable[..., Any], write: Write, tmp_path: Path) -> None:
    file, output = write("t.txt", "e\nab\n"), tmp_path / "out.jsonl"
    code, out, _ = call("score", "--file", file, "-o", output, "--scorer", "letters")
    assert (code, out) == (0, f"Scores: {output}, 2 rows, by letters 1 (test) in toxicity\n")
    code, out, _ = call("score", "--file", file, "-o", output, "--scorer", "letters", "--overwrite", "--json")
    said = {"scorers": ["letters 1 (test)"], "columns": ["toxicity"], "rows": 2, "skipped": 0}
    assert (code, json.loads(out)) == (0, {"output": str(output), **said})
    for given, name in ((["-o", output], "output"), (["--overwrite"], "overwrite"), (["--engine", "ray"], "engine")):
        code, _, err = call("score", "a text", "--scorer", "letters", *given)
        assert code == 2 and err.startswith(f"detoxlm: {name}: it is for --file FILE with --output")
