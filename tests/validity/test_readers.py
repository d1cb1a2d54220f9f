"""Scorers judged by readers' labels: `detoxlm scorers validate --labels`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import UsageError
from detoxlm.labels.files import VERDICTS, LabelFile, Verdict
from detoxlm.labels.texts import read_texts
from detoxlm.validity import read_sets

ROWS = [{"prompt": f"prompt {i // 2}", "text": f"{'bad ' * (i % 2)}text {i}"} for i in range(8)]


@pytest.fixture
def texts(write: Callable[..., Path]) -> Path:
    return write("texts.jsonl", *ROWS)


def labelled(texts: Path, said: dict[int, Verdict], reader: str = "ann") -> Path:
    """A file of labels of the texts of those rows."""
    path = texts.with_name(f"{reader}.jsonl")
    items = read_texts(texts).items
    with LabelFile(path, reader) as file:
        for row, verdict in said.items():
            file.append(items[row].key, verdict)
    return path


def test_texts_get_the_label_of_their_hash_and_their_prompt_is_their_document(texts: Path) -> None:
    labels = labelled(texts, {3: "toxic", 0: "not toxic", 2: "unsure", 5: "toxic"})
    (one,) = read_sets([texts], labels=[labels])
    assert (one.name, list(one.texts)) == ("texts", ["text 0", "bad text 3", "bad text 5"])
    assert one.targets.tolist() == [0, 1, 1] and list(one.documents or ()) == ["prompt 0", "prompt 1", "prompt 2"]
    assert one.notes == (
        f"{texts}: 4 texts without a label left out",
        f"{texts}: 1 texts that readers are unsure of left out",
    )


def test_what_two_readers_label_differently_is_left_out(texts: Path) -> None:
    ann = labelled(texts, {0: "not toxic", 1: "toxic", 2: "toxic", 3: "toxic"})
    ben = labelled(texts, {1: "toxic", 2: "not toxic", 3: "unsure", 4: "not toxic"}, "ben")
    (one,) = read_sets([texts], labels=[ann, ben])
    assert dict(zip(one.texts, one.targets.tolist(), strict=True)) == {"text 0": 0, "bad text 1": 1, "text 4": 0}


def test_the_command_judges_a_scorer_by_readers(
    texts: Path, write: Callable[..., Path], call: Callable[..., tuple[int, str, str]]
) -> None:
    rule = write("rule.py", "def bad(text):\n    return 0.9 if 'bad' in text else 0.2")
    said: dict[int, Verdict] = {i: "toxic" if i in (1, 3, 6) else "not toxic" for i in range(8)}
    labels = labelled(texts, said)
    code, out, _ = call("scorers", "validate", f"python:{rule}:bad", "--data", texts, "--labels", labels, "--json")
    assert code == 0
    (scorer,) = json.loads(out)["scorers"].values()
    found = scorer["validity"]["texts"]
    # called toxic are 1, 3, 5 and 7: two of the three that are, and two of the five that are not
    assert found["false_negative_rate"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["false_positive_rate"]["value"] == pytest.approx(2 / 5, abs=1e-4)


def test_texts_of_a_results_file_are_found_by_their_hashes(texts: Path, write: Callable[..., Path]) -> None:
    pairs = [{"prompt": {"text": row["prompt"]}, "continuation": {"text": row["text"]}} for row in ROWS]
    labels = labelled(texts, {0: "not toxic", 1: "toxic"})
    (one,) = read_sets([write("other.jsonl", *pairs)], labels=[labels])
    assert list(one.texts) == ["text 0", "bad text 1"]


@pytest.mark.parametrize(
    ("said", "options", "message"),
    [
        ({0: "unsure"}, {}, r"labels: no text in .*texts.jsonl is clear to its readers; label more of them"),
        ({0: "toxic"}, {"label": "toxic"}, r"label: with --labels there is no such column; leave --label out"),
        ({0: "toxic"}, {"text": "words"}, r"no column `words`; found: `prompt`, `text`; name another with --text"),
    ],
)
def test_what_cannot_be_used_is_said(
    said: dict[int, Verdict], options: dict[str, Any], message: str, texts: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        read_sets([texts], labels=[labelled(texts, said)], **options)


def test_labels_of_other_texts_are_refused(texts: Path, write: Callable[..., Path]) -> None:
    labels = labelled(texts, dict.fromkeys(range(3), VERDICTS[0]))
    other = write("other.jsonl", {"text": "text 0"})  # the same text, but not after its prompt
    with pytest.raises(
        UsageError, match=r"labels: none is of a text in .*other.jsonl; name with --data what was given"
    ):
        read_sets([other], labels=[labels])
    with pytest.raises(UsageError, match=r"labels: cannot read .*none.jsonl"):
        read_sets([texts], labels=[texts.with_name("none.jsonl")])
