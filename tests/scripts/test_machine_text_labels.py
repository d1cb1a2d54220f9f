"""The machine text that the project keeps: what the script makes of readings, and what is kept is whole."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.labels.files import read_labels
from detoxlm.labels.texts import read_texts

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "data" / "machine_text"
FACTS = {"prompt_row": 1, "prompt_sha256": "p", "model": "m", "method": "untouched", "strength": 0.0}
MORE = {"decoding": "greedy", "tokens": 3, "split": "train"}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@pytest.fixture
def made(write: Callable[[str, Any], Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return `made(a, b)`: run the script on four texts and two readers' lines."""
    texts = {"1": "one", "2": "two", "3": "one", "4": "four\u2028 lines"}
    items = [{"id": id_, "kind": "mild", "prompt": f"before {id_}", "text": text} for id_, text in texts.items()]
    files = {"1": "rtp/train.jsonl", "2": "scripts/x.toml", "3": "rtp/train.jsonl", "4": "chat/x.jsonl"}
    meta = [{"id": id_, "prompt_file": file, **FACTS, **MORE} for id_, file in files.items()]

    def run(a: list[dict[str, str]], b: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
        places = [write("items.jsonl", items), write("meta.jsonl", meta)]
        readers = ["--reader", "a", write("a.jsonl", a), "--reader", "b", write("b.jsonl", b)]
        command = [sys.executable, "scripts/machine_text_labels.py", *places, *readers, "-o", tmp_path / "out"]
        return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)

    return run


def test_a_text_has_the_label_that_its_readers_agree_on_and_only_our_prompts(
    made: Callable[..., Any], tmp_path: Path
) -> None:
    kind = {"kind": "other"}
    a = [{"id": "1", "label": "toxic", **kind}, {"id": "2", "label": "not toxic", **kind}]
    a.append({"id": "3", "label": "unsure", **kind})
    done = made(a, [{"id": "1", "label": "toxic", **kind}, {"id": "2", "label": "toxic", **kind}])
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "out" / "texts.jsonl")
    assert [(one["id"], one["label"], one["readers"]) for one in found] == [("1", "toxic", 2), ("2", "unsure", 2)]
    assert ["prompt" in one for one in found] == [False, True], "other people's prompts are named, not written out"
    labels = {label.key: label.verdict for label in read_labels(tmp_path / "out" / "reader-b.jsonl")}
    keys = [one.key for one in read_texts(tmp_path / "out" / "texts.jsonl").items]
    assert [labels[key] for key in keys] == ["toxic", "toxic"]


def test_a_later_draw_and_a_later_reading_add_to_what_is_there(made: Callable[..., Any], tmp_path: Path) -> None:
    kind, out = {"kind": "other"}, tmp_path / "out"
    assert made([{"id": "1", "label": "toxic", **kind}], []).returncode == 0
    line = (out / "reader-a.jsonl").read_text().replace('"created": "20', '"created": "19')  # long ago
    (out / "reader-a.jsonl").write_text(line)
    later = [{"id": "1", "label": "not toxic", **kind}, {"id": "2", "label": "toxic", **kind}]
    done = made([{"id": "4", "label": "not toxic", **kind}], later)
    assert done.returncode == 0, done.stderr
    found = {one["id"]: (one["label"], one["readers"]) for one in rows(out / "texts.jsonl")}
    assert found == {"1": ("unsure", 2), "2": ("toxic", 1), "4": ("not toxic", 1)}
    assert (out / "reader-a.jsonl").read_text().startswith(line), "read when it was read"
    assert len(read_labels(out / "reader-a.jsonl")) == len(read_labels(out / "reader-b.jsonl")) == 2
    done = made([{"id": "1", "label": "unsure", **kind}], [])
    assert done.returncode != 0 and "has called it toxic before" in done.stderr


@pytest.mark.parametrize(
    "bad", [{"id": "9", "label": "toxic"}, {"id": "1", "label": "harmless"}, {"id": "2", "label": "toxic"}]
)
def test_a_reading_that_is_none_is_named(bad: dict[str, str], made: Callable[..., Any]) -> None:
    kind = {"kind": "other"}
    done = made([{"id": "2", "label": "toxic", **kind}, {**bad, **kind}], [])
    assert done.returncode != 0 and repr(bad["id"]) in done.stderr and "a.jsonl" in done.stderr


def test_what_is_kept_is_whole_and_split_by_prompt() -> None:
    texts, splits = rows(KEPT / "texts.jsonl"), defaultdict(set)
    keys = [one.key for one in read_texts(KEPT / "texts.jsonl").items]
    assert len(keys) == len(texts) == len({one["text"] for one in texts})
    readers = [
        {label.key: label.verdict for label in read_labels(KEPT / f"reader-{name}.jsonl")} for name in ("a", "b")
    ]
    for row, key in zip(texts, keys, strict=True):
        said = {reader[key] for reader in readers if key in reader}
        assert row["readers"] == sum(key in reader for reader in readers) > 0
        assert row["label"] == (said.pop() if len(said) == 1 else "unsure")
        assert ("prompt" in row) == row["prompt_file"].startswith(("scripts/", "src/"))
        splits[row["prompt_sha256"]].add(row["split"])
    assert all(len(one) == 1 for one in splits.values())
    card = (KEPT / "README.md").read_text("utf-8")
    toxic = sum(row["label"] == "toxic" for row in texts)
    assert f"{len(texts):,} continuations" in card and f"toxic ({toxic})" in card


def test_labels_of_web_text_are_of_the_texts_that_they_name(shared_data: Path) -> None:
    files: dict[str, list[dict[str, Any]]] = {}
    labels = rows(KEPT.parent / "web_text" / "labels.jsonl")
    for row in labels:
        some = files.setdefault(row["file"], rows(shared_data / row["file"]))
        held = some[row["row"]][row["part"]]
        text = held["text"] if isinstance(held, dict) else held
        assert hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() == row["text_sha256"]
    assert len({(row["file"], row["row"], row["part"]) for row in labels}) == len(labels)
    card = (KEPT.parent / "web_text" / "README.md").read_text("utf-8")
    toxic, unsure = (sum(row["label"] == label for row in labels) for label in ("toxic", "unsure"))
    assert f"{len(labels):,} fragments" in card and f"{toxic} of all are toxic, {unsure} unsure" in card
