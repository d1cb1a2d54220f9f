"""Prompts as people have them: every kind of file gives the same prompts, or one line that says what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from detoxlm.conversations import Conversation
from detoxlm.data import read_prompts, read_texts
from detoxlm.errors import UsageError

PROMPTS = ["The new neighbours are", "He said; and left,", 'Why do "people" always', "Äpfel and naïve \u2028 tea"]
TABLE = [{"id": i, "prompt": text} for i, text in enumerate(PROMPTS)]


def table(delimiter: str, head: str = "prompt") -> str:
    cells = ['"' + text.replace('"', '""') + '"' for text in PROMPTS]
    return f"id{delimiter}{head}\n" + "".join(f"{i}{delimiter}{cell}\n" for i, cell in enumerate(cells))


KINDS = {
    "array.json": json.dumps(TABLE).encode(),
    "indented.json": json.dumps(TABLE, indent=2).encode(),
    "texts.json": json.dumps(PROMPTS).encode(),
    "lists.json": json.dumps({"id": [0, 1, 2, 3], "prompt": PROMPTS}).encode(),
    "lines.json": "".join(json.dumps(row) + "\n" for row in TABLE).encode(),
    "packed.jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in TABLE).encode()),
    "packed.CSV.GZ": gzip.compress(table(",").encode()),
    "commas.csv": table(",").encode(),
    "semicolons.csv": table(";").encode(),
    "tabs.csv": table("\t").encode(),
    "bars.csv": table("|").encode(),
    "tabs.tsv": table("\t").encode(),
    "commas.tsv": table(",").encode(),
    "upper.csv": table(",", "Prompt").encode(),
    "mark.csv": table(",").encode("utf-8-sig"),
    "utf-16.csv": table(",").encode("utf-16"),
    "utf-16-be.csv": "\ufeff".encode("utf-16-be") + table(",").encode("utf-16-be"),
    "utf-32.csv": table(",").encode("utf-32"),
    "windows.csv": table(",").replace("\n", "\r\n").encode(),
    "old-mac.csv": table(",").replace("\n", "\r").encode(),
    "rtp.json": json.dumps([{"prompt": {"text": text, "toxicity": 0.3}} for text in PROMPTS]).encode(),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_prompts(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(KINDS[name])
    assert read_prompts(tmp_path / name).items == PROMPTS


@pytest.mark.parametrize("show", [json.dumps, repr], ids=["as JSON", "as Python prints it"])
def test_objects_that_a_csv_has_written_out_are_read_not_continued(show: object, tmp_path: Path) -> None:
    assert callable(show)
    cells = [show({"text": text, "toxicity": 0.3}).replace('"', '""') for text in PROMPTS]
    path = tmp_path / "rtp.csv"
    path.write_text("prompt,x\n" + "".join(f'"{cell}",1\n' for cell in cells), encoding="utf-8")
    assert read_prompts(path).items == PROMPTS


@pytest.mark.parametrize("cell", ['{"prompt": "x"}', "['a', 'b']"])
def test_other_objects_that_a_csv_has_written_out_are_refused_by_line(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    path.write_text('prompt,x\n"' + cell.replace('"', '""') + '",1\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"chat\.csv:2: `prompt` is .*an object or list written out, not a text"):
        read_prompts(path)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("more", [{}, {"kind": "plain"}, {"tools": []}, {"ids": ["a", "b", "c"]}])
def test_a_file_that_is_one_conversation_is_one_row(
    more: dict[str, object], indent: int | None, tmp_path: Path
) -> None:
    turns = [{"role": role, "content": "Hi."} for role in ("user", "assistant", "user")]
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"messages": turns, **more}, indent=indent))
    (found,) = read_prompts(path).items
    assert found == Conversation(turns)
    path.write_text(json.dumps({"messages": [turns, turns[2:]], "kind": ["plain", None]}, indent=indent))
    assert read_prompts(path).items == [Conversation(turns), Conversation(turns[2:])], "a column of conversations"


def test_turns_that_a_csv_has_written_out_are_a_conversation(tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    path.write_text('prompt,x\n"[{""role"": ""user"", ""content"": ""hi""}]",1\n', encoding="utf-8")
    (found,) = read_prompts(path).items
    assert isinstance(found, Conversation) and found.messages == ({"role": "user", "content": "hi"},)


@pytest.mark.parametrize("text", ["{not an object}", "[sic]", "{}", "[]", "{1 + 1}"])
def test_text_in_brackets_is_text(text: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    assert [one.text for one in read_texts(path).items] == [text]


#: Long enough that a part of it unpacks.
PACKED = gzip.compress(" ".join(map(str, range(100_000))).encode())


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("no-mark.csv", "prompt\nhello\n".encode("utf-16-le"), "UTF-16 without a mark.*Save the file as UTF-8"),
        ("cut.csv", "prompt\nhello\n".encode("utf-16")[:-1], r"cut\.csv: not UTF-16, as its first bytes say"),
        ("uneven.json", b'{"prompt": ["a", "b"], "id": [1]}', "lists of 2 lengths"),
        ("numbers.json", b"[1, 2]", r"numbers\.json:1: not a JSON object but 1"),
        ("what.xyz", b"hello", r"must end in \.txt, .*or in one of them and \.gz"),
        (
            "cut.txt.gz",
            PACKED[:-20],
            r"prompts: cannot read .*cut\.txt\.gz: it is no whole \.gz file \(Compressed file end",
        ),
        ("cut.csv.gz", PACKED[:-20], r"cut\.csv\.gz: it is no whole \.gz file"),
        ("cut.json.gz", PACKED[:-20], r"cut\.json\.gz: it is no whole \.gz file"),
        (
            "damaged.txt.gz",
            PACKED[:10] + b"\xff" + PACKED[11:],
            r"no whole \.gz file \(Error -3 while decompressing",
        ),
        ("other.txt.gz", PACKED[:-8] + bytes(8), r"no whole \.gz file \(CRC check failed"),
        ("plain.txt.gz", b"hello", r"no whole \.gz file \(Not a gzipped file"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_prompts(tmp_path / name)


def test_a_data_set_on_disk_is_read_from_its_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list([{"prompt": {"text": text, "toxicity": 0.5}} for text in PROMPTS])
    made.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "two"))
    assert read_prompts(tmp_path / "one").items == PROMPTS
    with pytest.raises(UsageError, match="has the splits train, test; name the folder of one of them"):
        read_prompts(tmp_path / "two")
    assert read_prompts(tmp_path / "two" / "test").items == PROMPTS
