"""`detoxlm label` in a real terminal: what is shown, what keys do, and what is left when it is killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sessions import Terminal, environment, verdicts

from detoxlm.labels.files import read_labels
from detoxlm.labels.texts import read_texts

Open = Callable[..., Terminal]


def shown_text(shown: str) -> str:
    """The text of a screen, between its head and its keys."""
    return shown.rsplit("Text ", 1)[1].split("\n\n", 1)[1].rsplit("\n\n", 1)[0]


def test_keys_label_undo_and_quit_and_the_next_session_goes_on(terminal: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    session = terminal(texts, "-o", labels)
    first = session.until()
    assert "1 toxic: " in first and "Text 1 of 5" in first
    session.press("1")
    second = session.until()
    assert "-> toxic" in second and "Text 2 of 5" in second
    session.press("x\x1b[1~3")  # a key that means nothing; Home, in which there is a 1; and 3
    session.until("-> unsure")
    session.until()
    session.press("u")
    assert shown_text(session.until()) == shown_text(second)
    session.press("2")
    session.until()
    session.press("q")
    said = session.rest()
    assert "2 of 5 texts labelled: 1 toxic, 1 not toxic, 0 unsure" in said
    command = f"detoxlm label {texts} -o {labels}"
    assert f"Go on with: {command}\n" in said and f"--data {texts} --labels {labels}" in said
    assert verdicts(labels) == ["toxic", "not toxic"]

    again = terminal(texts, "-o", labels)
    seen = [again.until()]
    assert "Text 3 of 5" in seen[0]
    for _ in range(2):
        again.press("2")
        seen.append(again.until())
    again.press("1")
    assert "5 of 5 texts labelled: 2 toxic, 3 not toxic, 0 unsure" in again.rest()
    assert not {shown_text(one) for one in seen} & {shown_text(first), shown_text(second)}
    assert {label.key for label in read_labels(labels)} == {text.key for text in read_texts(texts).items}


def test_texts_are_shown_as_they_are_and_steer_nothing(terminal: Open, texts: Path, tmp_path: Path) -> None:
    session = terminal(texts, "-o", tmp_path / "labels.jsonl")
    screens = [session.until()]
    for _ in range(4):
        session.press("2")
        screens.append(session.until())
    every = "\n".join(screens)
    assert "\x1b" not in every and "\u202e" not in every
    assert r"  <b>&bold</b> \x1b[2J\u202e <script>alert(1)</script>" in every
    assert "  line one\n  line two\n" in every and "  | She said:\n\n  you fool\n" in every
    assert "0.88" not in every  # scores are shown to who asks for them alone


def test_scores_are_shown_where_asked_for(terminal: Open, texts: Path, tmp_path: Path) -> None:
    session = terminal(texts, "-o", tmp_path / "labels.jsonl", "--show-scores")
    screens = session.until()
    for _ in range(4):
        session.press("2")
        screens += session.until()
    assert screens.count("scored") == 1 and "scored 0.88" in screens


def test_the_seed_alone_decides_the_order(terminal: Open, texts: Path, tmp_path: Path) -> None:
    def order(seed: int, name: str) -> list[str]:
        session = terminal(texts, "-o", tmp_path / name, "--seed", seed)
        found = [shown_text(session.until())]
        for _ in range(4):
            session.press("2")
            found.append(shown_text(session.until()))
        return found

    first = order(0, "a")
    assert first == order(0, "b") and sorted(first) == sorted(order(1, "c")) and first != order(1, "d")


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_killed_session_has_lost_nothing(stop: signal.Signals, terminal: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    session = terminal(texts, "-o", labels)
    session.until()
    for key in "13":
        session.press(key)
        session.until()
    session.process.send_signal(stop)
    session.process.wait(20)
    assert verdicts(labels) == ["toxic", "unsure"]
    again = terminal(texts, "-o", labels)
    assert "Text 3 of 5" in again.until()


def test_two_sessions_do_not_write_one_file(terminal: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    terminal(texts, "-o", labels).until()
    said = terminal(texts, "-o", labels).until("choose another -o.")
    assert re.search(r"another command writes .*labels.jsonl now \(process \d+", said)


@pytest.mark.parametrize(
    ("content", "before", "said"),
    [
        ([{"words": "a"}], None, "no column `text`"),
        ([{"text": "a"}], [{"text_sha256": "b" * 64}], "has 1 labels, and none is of these texts. Name the file"),
        (
            [{"text": "a"}],
            [{"text_sha256": "b" * 64, "reader": "ann"}],
            "holds labels of 'ann', and a file is one reader's",
        ),
        ([{"text": "a"}], [{"text_sha256": "b" * 64}] * 2, "lines 1 and 2 label one text; take one of them out"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    content: Any, before: Any, said: str, write: Callable[[str, Any], Path], call: Callable[..., tuple[int, str, str]]
) -> None:
    texts = write("texts.jsonl", content)
    labels = texts.with_name("labels.jsonl")
    if before is not None:
        write("labels.jsonl", [{"prompt_sha256": None, "label": "toxic", "reader": "reader", **row} for row in before])
    code, out, error = call("label", texts, "-o", labels)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert said in error
    assert before is None or len(labels.read_text("utf-8").splitlines()) == len(before)


def test_labels_of_other_texts_stay_and_are_told_of(terminal: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "a quiet day"}\n{"text": "of another file"}\n')
    first = terminal(other, "-o", labels)
    for key in "22":
        first.until()
        first.press(key)
    assert "2 of 2 texts labelled" in first.rest()
    second = terminal(texts, "-o", labels)
    assert re.search(r"1 of its labels are of other texts; they stay\.", second.until("Text 2 of 5"))
    second.until()
    second.press("1")
    second.until()
    second.press("q")
    second.rest()
    assert verdicts(labels) == ["not toxic", "not toxic", "toxic"]


def test_without_a_terminal_it_says_what_to_do(texts: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "detoxlm.cli", "label", str(texts), "-o", str(tmp_path / "labels.jsonl")]
    found = subprocess.run(command, input="1", capture_output=True, text=True, env=environment(), check=False)
    assert found.returncode == 2
    assert (
        found.stderr
        == "detoxlm: label: it needs a terminal to show texts and read keys; --page shows them in a browser.\n"
    )


def test_what_was_typed_before_a_text_is_shown_does_not_label_it(terminal: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    session = terminal(texts, "-o", labels)
    session.until()
    session.press("111")
    session.until("Text 2 of 5")
    session.until()
    session.press("q")
    assert "1 of 5 texts labelled" in session.rest()
    assert verdicts(labels) == ["toxic"]
