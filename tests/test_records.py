"""Every kind of file and the Hub: what is read out of them, and what is said of what cannot be read."""

import csv
import hashlib
import io
import json
import os
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detoxlm import data, records
from detoxlm.data import BadRow
from detoxlm.errors import UsageError


def error_of(read, *args, **options):
    with pytest.raises(UsageError) as caught:
        read(*args, **options)
    return str(caught.value)


def test_prompts_from_a_text_file(write):
    path = write("p.txt", "one two\n\n three \r\nfour\u2028five\n\n\n")
    loaded = data.read_prompts(path)
    assert loaded.items == ["one two", " three ", "four\u2028five"]
    assert loaded.skipped == []
    assert loaded.source == str(path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["p.jsonl", "p.ndjson", "p.json", "P.JSONL"])
def test_prompts_from_json_lines(write, name):
    assert data.read_prompts(str(write(name, [{"prompt": "a b"}, {"prompt": "c"}]))).items == ["a b", "c"]


def test_bom_crlf_line_separator_and_trailing_blank_lines(write):
    row = json.dumps({"prompt": "a\u2028b\u0085c"}, ensure_ascii=False)
    path = write("p.jsonl", "\ufeff" + row + "\r\n" + row + "\r\n\r\n  \r\n")
    assert data.read_prompts(path).items == ["a\u2028b\u0085c"] * 2
    path = write("p.csv", "\ufeffprompt,x\r\n\u2028a b,1\r\n\r\nc,2\r\n\r\n")
    assert data.read_prompts(path).items == ["\u2028a b", "c"]
    assert data.read_prompts(write("p.txt", "\ufeffa\r\nb")).items == ["a", "b"]


def test_csv_and_tsv_with_quoted_newlines_and_long_fields(write):
    rows = [["id", "text"], ["1", 'two\nlines, "quoted"'], ["2", "x" * 300_000]]
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t")):
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=delimiter).writerows(rows)
        assert data.read_prompts(write(name, out.getvalue())).items == [rows[1][1], rows[2][1]]


def test_parquet_is_read_in_batches_with_row_numbers(tmp_path):
    path = tmp_path / "t.parquet"
    texts = [f"text {i}" for i in range(3000)]
    texts[2500] = None
    pq.write_table(pa.table({"text": texts}), path)
    assert error_of(data.read_prompts, path).startswith(f"{path}:2501: `text` is None, not a text.")
    loaded = data.read_prompts(path, skip_bad_rows=True)
    assert len(loaded.items) == 2999
    assert loaded.skipped == [BadRow(2501, "`text` is None, not a text")]


def test_a_broken_parquet_file(write):
    path = write("t.parquet", b"not parquet at all")
    assert error_of(data.read_prompts, path).startswith(f"{path}: not readable as parquet: ")


def test_a_file_is_streamed(write):
    path = write("p.txt", "a line\n" * 50_000)
    assert list(islice(records.lines(path), 2)) == ["a line\n"] * 2
    assert data.read_prompts(path, limit=1).items == ["a line"]


# ---- Errors


def test_csv_line_numbers_are_those_where_the_record_starts(write):
    text = 'id,text\n1,"a\nb\nc"\n\n2,\n3,x,y\n4\n5,"d\ne"\n6, \n'
    path = write("t.csv", text)
    assert error_of(data.read_texts, path).startswith(f"{path}:6: `text` is an empty text.")
    loaded = data.read_texts(path, skip_bad_rows=True)
    assert [item.text for item in loaded.items] == ["a\nb\nc", "d\ne"]
    assert loaded.skipped == [
        BadRow(6, "`text` is an empty text"),
        BadRow(7, "3 field(s), the header has 2"),
        BadRow(8, "1 field(s), the header has 2"),
        BadRow(11, "`text` is an empty text"),
    ]


def test_the_line_that_tells_a_spreadsheet_the_separator_is_no_header(write):
    path = write("s.csv", 'sep=;\r\nid;text\r\n1;"a, b"\r\n2;c\r\n'.encode("utf-16"))
    loaded = data.read_texts(path)
    assert [item.text for item in loaded.items] == ["a, b", "c"] and loaded.lines == [3, 4]


@pytest.mark.parametrize("skip", [False, True])
def test_a_table_without_the_column_is_refused_without_the_advice_to_skip_every_row(write, skip):
    path = write("t.csv", "id;Customer text\n1;a\n2;b\n")
    assert error_of(data.read_texts, path, skip_bad_rows=skip) == (
        f"{path}:2: no column `text`; found: `id`, `Customer text`; name another with --column."
    )


def test_two_columns_of_one_name_are_refused_before_one_is_lost(write, tmp_path):
    said = "two columns are called `text`; give one of them another name."
    for name, content in (("t.csv", "text,id, text \na,1,b\n"), ("t.tsv", "\ntext\tid\ttext\na\t1\tb\n")):
        path = write(name, content)
        assert error_of(data.read_prompts, path) == f"{path}:{content.index('t') + 1}: {said}"
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)
    assert error_of(data.read_prompts, path) == f"{path}: {said}"


def test_several_columns_without_a_name_are_told_apart_by_their_place(write):
    rows = dict(records.local_records("file", write("t.csv", ",text,,id\n0,a,x,1\n")))
    assert rows == {2: {"column 1": "0", "text": "a", "column 3": "x", "id": "1"}}
    rows = dict(records.local_records("file", write("u.csv", ",text\n0,a\n")))
    assert rows == {2: {"": "0", "text": "a"}}, "one of them needs no other name"


def test_broken_csv(write):
    path = write("q.csv", 'text\na\n"never closed\nb\n')
    assert error_of(data.read_texts, path).startswith(f"{path}:3: broken csv, lines 3–4: ")
    assert [item.text for item in data.read_texts(path, skip_bad_rows=True).items] == ["a"]
    path = write("u.csv", b"text,x\na,1\nb,\xe9\nc,3\n")
    assert error_of(data.read_texts, path).startswith(f"{path}:3: not UTF-8 (byte 0xe9); save the file as UTF-8.")
    assert [item.text for item in data.read_texts(path, skip_bad_rows=True).items] == ["a", "c"]
    path = write("h.csv", b"caf\xe9,b\n1,2\n")
    for skip in (False, True):
        assert error_of(data.read_texts, path, skip_bad_rows=skip).startswith(f"{path}:1: no header: not UTF-8")


def test_a_quote_that_swallows_rows_of_a_tsv_is_named(write):
    path = write("t.tsv", 'text\ttoxic\n"I hate you.\t1\nGo away now."\t0\n"two\nlines"\t0\n')
    loaded = data.read_judged(path, skip_bad_rows=True)
    assert [row[0].text for row in loaded.items] == ["two\nlines"]
    assert "a quote runs over lines 2–3" in loaded.skipped[0].reason


def test_broken_utf8_in_a_text_file(write):
    path = write("p.txt", b"a\n\nb\xff\n")
    assert error_of(data.read_prompts, path).startswith(f"{path}:3: not UTF-8 (byte 0xff); save the file as UTF-8.")
    path = write("p.json", b'{"prompt":\n"b\xff"}')
    assert error_of(data.read_prompts, path).startswith(f"{path}:1: not UTF-8 (byte 0xff); save the file as UTF-8.")


@pytest.mark.parametrize(
    ("name", "content"), [("e.txt", ""), ("e.jsonl", "\n\n"), ("e.csv", "text\n"), ("z.csv", ""), ("e.tsv", "\n")]
)
def test_an_empty_file(write, name, content):
    path = write(name, content)
    for read, kind in (
        (data.read_prompts, "prompts"),
        (data.read_texts, "texts"),
        (data.read_pairs, "pairs"),
        (data.read_corpus, "corpus"),
    ):
        assert error_of(read, path) == f"{kind}: no usable row: {path} is empty."


def test_an_empty_parquet_file(tmp_path):
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    assert error_of(data.read_texts, path) == f"texts: no usable row: {path} is empty."


@pytest.mark.parametrize("name", ["no.jsonl", "./no", "/no/such", "a/b/c", Path("no")])
def test_a_missing_file(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert error_of(data.read_prompts, name) == f"prompts: {Path(name)} does not exist."


def test_a_folder_and_an_unknown_kind(write, tmp_path):
    assert error_of(data.read_pairs, tmp_path) == f"pairs: {tmp_path} is a folder; name a file in it."
    path = write("notes.docx", "a")
    assert error_of(data.read_corpus, str(path)).startswith(f"corpus: {path} is of no known kind; its name must end in")
    assert "cannot read" in error_of(data.read_prompts, "x" * 5000)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_an_unreadable_file(write):
    path = write("p.txt", "a\n")
    path.chmod(0)
    assert error_of(data.read_prompts, path) == f"prompts: cannot read {path}: Permission denied."


# ---- The Hub


@pytest.fixture
def hub(monkeypatch):
    splits = {"train": [{"prompt": "a"}, {"prompt": ""}, {"prompt": "b"}], "test": [{"prompt": "t"}]}

    def load_dataset(name, split=None, streaming=False):
        assert streaming
        if name == "gone":
            raise FileNotFoundError("Dataset 'gone' doesn't exist")
        if split:
            return splits[split]
        return splits if name == "org/two" else {"train": splits["train"]}

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_hub_datasets(hub):
    loaded = data.read_prompts("org/one", skip_bad_rows=True)
    assert (loaded.items, loaded.skipped[0].line, loaded.sha256) == (["a", "b"], 2, None)
    assert data.read_prompts("org/two:test").items == ["t"]
    assert data.read_prompts("one", limit=1).items == ["a"]
    assert error_of(data.read_prompts, "org/one").startswith("org/one:2: `prompt` is an empty text.")
    assert "say which of its splits, as org/two:SPLIT: train, test" in error_of(data.read_prompts, "org/two")
    assert "Dataset 'gone' doesn't exist" in error_of(data.read_prompts, "gone")


def test_hub_datasets_need_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert error_of(data.read_prompts, "org/one") == (
        "prompts: org/one is no file, and a Hub dataset needs: pip install 'detoxlm[eval]'"
    )
