"""The example package, installed as a user installs one: by pip, into a folder that a process of its own is shown."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import environment_with, run_commands

EXAMPLE = Path(__file__).parents[1] / "examples" / "banned-words"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed it to, without the network."""
    place = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, place / "source")  # setuptools builds in the source's own folder
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", place / "site", place / "source"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place / "site"


@pytest.mark.more
def test_its_own_tests_pass_against_the_installed_package(installed: Path) -> None:
    """They hold the method to every host, with a strength for each request, and to what is saved and loaded."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={EXAMPLE}",
        EXAMPLE / "tests",
    ]
    done = subprocess.run(command, env=environment_with(installed), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.more
def test_its_method_and_scorer_serve_the_commands_like_any_other(
    installed: Path, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    # on a tiny model a token is a byte: banning all that can be seen shows in whatever it writes
    model, banned = str(tiny_folder("llama")), [sign for sign in map(chr, range(33, 127)) if sign != ","]
    (tmp_path / "words.txt").write_text("idiot\nfool\n")
    write = ["generate", model, "the old", "--max-new-tokens", "60", "--json"]
    results = run_commands(
        installed,
        tmp_path,
        ["methods", "--json"],
        ["fit", "banned-words", model, "-o", "banned", "--set", f"words={','.join(banned)}", "--set", "strength=7"],
        write,
        [*write, "--detoxifier", "banned", "--strength", "100"],
        ["scorers", "--json"],
        ["score", "you fool", "--scorer", "wordlist:words.txt", "--json"],
        ["score", "you fool", "--scorer", "wordlist:none.txt"],
    )
    assert [code for code, _, _ in results] == [0, 0, 0, 0, 0, 0, 2], [errors for _, _, errors in results]
    methods, _, before, after, scorers, scored, refused = results

    (listed,) = [row for row in json.loads(methods[1]) if row["method"] == "banned-words"]
    assert listed["kind"] == "decoding"
    assert "problem" not in listed
    saved = json.loads((tmp_path / "banned" / "detoxifier.json").read_text("utf-8"))
    assert saved["method"] == "banned-words"
    assert saved["settings"] == {"words": ",".join(banned), "strength": 7.0}
    untouched, detoxified = ({*"".join(row["continuation"] for row in json.loads(x[1]))} for x in (before, after))
    assert untouched & {*banned}
    assert not detoxified & {*banned}

    (listed,) = [row for row in json.loads(scorers[1]) if row["scorer"] == "wordlist:<file>"]
    assert listed["here"] == "ready"
    (row,) = json.loads(scored[1])
    assert (row["scorer"], row["toxicity"]) == ("wordlist", 0.5)
    assert refused[1:] == (
        "",
        "detoxlm: scorer: wordlist:none.txt does not exist; name a text file with a word a line.\n",
    )
