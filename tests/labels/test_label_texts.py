"""The texts that readers are given: out of every kind of file, each once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import UsageError
from detoxlm.labels.texts import Readable, read_texts
from detoxlm.results import Results

Write = Callable[[str, Any], Path]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.txt", "one\n\ntwo\n", [Readable("one"), Readable("two")]),
        ("a.jsonl", [{"text": "one", "prompt": "p", "toxicity": 0.25}], [Readable("one", "p", 0.25)]),
        ("a.jsonl", [{"prompt": {"text": "p"}, "continuation": {"text": " one"}}], [Readable(" one", "p")]),
        ("a.jsonl", [{"prompt": "", "answer": "one", "toxicity": "much"}], [Readable("one")]),
        ("a.csv", "comment,prompt\none,\ntwo,p\n", [Readable("one"), Readable("two", "p")]),
        ("a.csv", "Prompt,Text,Toxicity\np,one,0.5\nq,one,0\n", [Readable("one", "p", 0.5), Readable("one", "q", 0)]),
        ("a.json", [{"text": "one"}], [Readable("one")]),
    ],
)
def test_texts_and_prompts_are_found_in_the_layouts_that_files_have(
    name: str, content: Any, found: list[Readable], write: Write
) -> None:
    assert read_texts(write(name, content)).items == found


def test_what_a_scorer_wrote_is_read_with_its_scores(
    write: Write, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    rule = write("rule.py", "def share(text):\n    return text.count('e') / len(text)\n")
    code, out, _ = call(
        "score",
        "--file",
        write("a.jsonl", [{"text": "ex", "prompt": "p"}]),
        "--json",
        "--scorer",
        f"python:{rule}:share",
    )
    assert code == 0
    assert read_texts(write("scored.json", out)).items == [Readable("ex", "p", 0.5)]


def test_the_continuations_of_a_measurement_are_read_after_their_prompts(
    write: Write, call: Callable[..., tuple[int, str, str]], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    rule = write("rule.py", "def share(text):\n    return text.count('e') / len(text)\n")
    prompts = write("prompts.jsonl", [{"prompt": f"this is prompt {i} of"} for i in range(3)])
    options = ["--recipe", "challenge-10", "--fluency-text", "none", "--scorer", f"python:{rule}:share"]
    output = tmp_path / "results.json"
    code, _, error = call("evaluate", tiny_folder("llama"), "--prompts", prompts, *options, "-o", output)
    assert code == 0, error
    rows = Results.load(output).rows
    expected = [
        Readable(text, row.prompt, score)
        for row in rows
        for text, score in zip(row.continuations, row.scores, strict=True)
        if text.strip()
    ]
    assert len(expected) == 3 and read_texts(output).items == expected
    with pytest.raises(UsageError, match=r"--column: .*results.json is a results.json, which has no columns"):
        read_texts(output, column="text")


def test_a_text_is_read_once_however_often_it_is_there(write: Write) -> None:
    rows = [{"text": "one", "prompt": "p"}, {"text": "one"}, {"text": "one", "prompt": "p", "toxicity": 0.5}]
    assert read_texts(write("a.jsonl", rows)).items == [Readable("one", "p"), Readable("one")]


def test_a_column_can_be_named(write: Write) -> None:
    rows = [{"text": "no", "said": "yes"}]
    assert read_texts(write("a.jsonl", rows), column="said").items == [Readable("yes")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.jsonl",
            [{"words": "one"}],
            r"a.jsonl:1: no column `text` or .*; found: `words`; name another with --column",
        ),
        ("a.jsonl", [{"text": "one"}, {"text": " "}], r"a.jsonl:2: `text` is an empty text"),
        ("a.jsonl", [{"text": "one", "prompt": 3}], r"a.jsonl:1: `prompt` is 3, not a text"),
        ("a.jsonl", "", r"no usable row: .*a.jsonl is empty"),
        (
            "a.json",
            json.dumps({"schema_version": 1, "rows": [], "scorer": {}}),
            r"is not a results.json of this version",
        ),
        ("a.doc", "one", r"is of no known kind"),
    ],
)
def test_a_file_without_texts_is_refused_by_line(name: str, content: Any, said: str, write: Write) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_texts(write(name, content))
    assert "\n" not in str(refused.value)


def test_bad_rows_are_skipped_and_counted_where_asked_for(write: Write) -> None:
    loaded = read_texts(write("a.jsonl", [{"text": "one"}, {"text": None}]), skip_bad_rows=True)
    assert loaded.items == [Readable("one")] and [bad.line for bad in loaded.skipped] == [2]
