"""Consoles that cannot show everything, or are gone: no command loses a result or shows a traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from detoxlm import console
from detoxlm.cli import main
from detoxlm.results import Results

PROMPT = "naïve 🙂 −"
FUSION = [f"--set={one}" for one in ("variant=paper", "layers=2", "steps=2", "train_batch=4", "samples=2")]


class Console:
    """Standard output and error in one encoding; strict, as Python's own standard output is."""

    def __init__(self, encoding: str) -> None:
        self.raw = [io.BytesIO(), io.BytesIO()]
        self.streams = [io.TextIOWrapper(raw, encoding=encoding) for raw in self.raw]

    def texts(self) -> list[str]:
        for stream in self.streams:
            stream.flush()
        return [raw.getvalue().decode(stream.encoding) for raw, stream in zip(self.raw, self.streams, strict=True)]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Return `shown(encoding, *arguments)` -> what a command writes to a console of that encoding; it must succeed."""

    def run(encoding: str, *arguments: Any) -> tuple[str, str]:
        seen = Console(encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", seen.streams[0])
            patch.setattr(sys, "stderr", seen.streams[1])
            patch.setattr(sys, "argv", ["detoxlm", *map(str, arguments)])
            try:
                main()
            except SystemExit as end:
                assert not end.code, seen.texts()
        out, err = seen.texts()
        assert "Traceback" not in err
        return out, err

    return run


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Prompts, a fluency text and labelled texts that an ASCII console cannot show."""
    prompts, text, labelled = (tmp_path / name for name in ("prömpts.txt", "text.txt", "labelled.csv"))
    prompts.write_text("".join(f"{PROMPT} {i}\n" for i in range(6)), encoding="utf-8")
    text.write_text("The mill by the river has been still for many years. " * 5)
    rows = "".join(f"{'idiot' if i % 2 else 'friend'} {PROMPT} {i},{i % 2}\n" for i in range(20))
    labelled.write_text(f"text,label\n{rows}", encoding="utf-8")
    return {"prompts": prompts, "text": text, "labelled": labelled}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp850"])
@pytest.mark.parametrize("command", ["methods", "scorers", "recipes", "methods fusion", "--help", "run --help"])
def test_lists_and_help_are_shown_on_every_console(command: str, encoding: str, shown: Callable[..., Any]) -> None:
    out, _ = shown(encoding, *command.split())
    assert len(out) > 200


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp850"])
def test_what_cannot_be_shown_is_escaped_and_json_stays_json(
    encoding: str, shown: Callable[..., Any], tiny_folder: Callable[..., Path]
) -> None:
    assert "idiot \\U0001f642" in shown(encoding, "score", "what an idiot 🙂", "--scorer", "ngram")[0]
    (row,) = json.loads(shown(encoding, "score", f"idiot {PROMPT}", "--scorer", "ngram", "--json")[0])
    assert row["text"] == f"idiot {PROMPT}"
    generate = ["generate", tiny_folder("llama"), PROMPT, "--max-new-tokens", "4"]
    assert "\\U0001f642" in shown(encoding, *generate)[0]
    assert json.loads(shown(encoding, *generate, "--json")[0])[0]["prompt"] == PROMPT


def test_a_console_that_can_show_it_gets_json_without_escapes(shown: Callable[..., Any]) -> None:
    assert "🙂" in shown("utf-8", "score", "🙂", "--scorer", "ngram", "--json")[0]
    assert "é" in shown("cp1252", "score", "é", "--scorer", "ngram", "--json")[0]


def test_the_long_commands_end_well_on_an_ascii_console(
    shown: Callable[..., Any], tiny_folder: Callable[..., Path], files: dict[str, Path], tmp_path: Path
) -> None:
    model, out = tiny_folder("llama"), tmp_path / "öut"
    measured = ["--prompts", files["prompts"], "--fluency-text", files["text"], "--recipe", "challenge-10"]
    shown("ascii", "evaluate", model, *measured, "--scorer", "ngram,embedded", "-o", tmp_path / "r.json")
    assert Results.load(tmp_path / "r.json").rows[0].prompt.startswith("naïve 🙂")
    said, _ = shown("ascii", "run", model, *measured, "--scorer", "ngram", "--strengths", "0.3", *FUSION, "-o", out)
    assert "\\xf6ut" in said and (out / "report.html").is_file()
    said, _ = shown("ascii", "report", out / "results.json", "-o", out / "one.html")
    assert said == f"Report: {str(out).replace('ö', chr(92) + 'xf6')}/one.html\n"
    labelled = ["--data", files["labelled"], "-o", tmp_path / "v"]
    shown("ascii", "scorers", "validate", "ngram", *labelled)
    assert (tmp_path / "v" / "validity.json").is_file()


def test_the_file_name_of_another_locale_costs_no_results(
    shown: Callable[..., Any], tiny_folder: Callable[..., Path], files: dict[str, Path], tmp_path: Path
) -> None:
    """Half a character, which neither UTF-8 nor JSON can say, is in what results, card and report say of the run."""
    prompts, out = tmp_path / os.fsdecode(b"pr\xf6mpts.txt"), tmp_path / "out"
    try:
        files["prompts"].rename(prompts)
    except OSError:
        pytest.skip("this file system has no such names")
    measured = ["--prompts", prompts, "--fluency-text", files["text"], "--recipe", "challenge-10"]
    shown(
        "utf-8", "run", tiny_folder("llama"), *measured, "--scorer", "ngram", "--strengths", "0.3", *FUSION, "-o", out
    )
    assert Results.load(out / "results.json").settings["prompts"].endswith("pr?mpts.txt")
    assert (out / "detoxifier" / "README.md").is_file() and (out / "report.html").is_file()


def in_a_process(arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "detoxlm.cli", *arguments], check=False, **options)


def test_a_locale_without_umlauts_reads_what_was_typed() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    asked = ["score", PROMPT, "--scorer", "ngram", "--json"]
    done = in_a_process(asked, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("ascii"))[0]["text"] == PROMPT


@pytest.mark.skipif(sys.platform == "win32", reason="its shells close no streams")
def test_closed_streams_cost_no_file(tmp_path: Path, files: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "detoxlm.cli", "scorers", "validate", "ngram", "--data", str(files["labelled"])]
    line = " ".join(f"'{part}'" for part in [*command, "-o", str(tmp_path / "v")])
    assert subprocess.run(["sh", "-c", f"{line} 1>&- 2>&-"], check=False).returncode == 0
    assert json.loads((tmp_path / "v" / "validity.json").read_text("utf-8"))["scorers"]["ngram"]


def test_what_was_typed_is_what_is_kept() -> None:
    assert console.as_typed("plain é 🙂") == "plain é 🙂"
    assert console.as_typed(os.fsdecode(b"\xff")) in ("\ufffd", "ÿ")
