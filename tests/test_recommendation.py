"""What a run recommends, what that changes, and what it leaves where nothing is to be recommended."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from devices import DEVICE
from fits import Forgetful

from detoxlm.cli import main
from detoxlm.errors import UsageError
from detoxlm.methods import Detoxifier
from detoxlm.results import Results
from detoxlm.scorers import Scorer

FUSION = ["variant=paper", "layers=2", "steps=3", "train_batch=4", "samples=2"]


class Run:
    """`detoxlm run` on a tiny model, with a scorer of the test's choice."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.out, self.printed, self._model = folder / "out", "", model
        self._prompts, self._text = folder / "prompts.txt", folder / "text.txt"
        self._prompts.write_text("".join(f"this is prompt {i} of\n" for i in range(12)))
        self._pairs = folder / "pairs.jsonl"
        pairs = [{"toxic": f"eeee eeee e {i}", "nontoxic": f"good good {i}"} for i in range(16)]
        self._pairs.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        self._text.write_text("The mill by the river has been still for many years. " * 5)
        measured = {"--recipe": "challenge-10", "--prompts": self._prompts, "--fluency-text": self._text}
        self._measured = [part for option in measured.items() for part in option]

    def command(self, *arguments: Any) -> str:
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            patch.setattr(sys, "argv", ["detoxlm", *map(str, arguments)])
            patch.setenv("DETOXLM_DEVICE", DEVICE)
            patch.setenv("DETOXLM_DTYPE", "float32")
            patch.setattr("detoxlm.workflows.load_scorers", lambda *_, **__: {self.scorer.name: self.scorer})
            with pytest.raises(SystemExit) as done:
                main()
        assert not done.value.code
        return said.getvalue()

    def __call__(self, scorer: Scorer, method: str, strengths: str, sets: Sequence[str], *more: Any) -> str:
        self.scorer = scorer
        settings = [part for one in sets for part in ("--set", one)]
        settings += ["--pairs", self._pairs] if method == "surgery" else []
        command = ["run", self._model, "--method", method, "--strengths", strengths, "-o", self.out]
        self.printed = self.command(*command, *self._measured, *settings, *more)
        return self.printed

    def evaluate(self, detoxifier: Path, output: Path) -> Results:
        self.command("evaluate", self._model, "--detoxifier", detoxifier, *self._measured, "-o", output)
        return Results.load(output)


@pytest.fixture
def run(tiny_folder: Callable[..., Path], tmp_path: Path) -> Run:
    return Run(tiny_folder("llama"), tmp_path)


@pytest.fixture(scope="module")
def fused(tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run at two strengths, that both leave nothing toxic."""
    made = Run(tiny_folder("llama"), tmp_path_factory.mktemp("fused"))
    made(Forgetful(12), "fusion", "0.2,0.6", FUSION)
    return made


@pytest.fixture(scope="module")
def edited(tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same of a method that edits weights."""
    made = Run(tiny_folder("llama"), tmp_path_factory.mktemp("edited"))
    made(Forgetful(12), "surgery", "0.5,1", ["rows=0.5"])
    return made


def test_the_recommended_strength_becomes_the_detoxifiers_own(fused: Run) -> None:
    assert "Recommended strength: 0.2 of fusion" in fused.printed, "the smaller one will do"
    results = Results.load(fused.out / "results.json")
    assert results.strength == 0.2 and results.comparison is not None
    detoxifier = Detoxifier.from_pretrained(fused.out / "detoxifier")
    assert detoxifier.recommended_strength == 0.2 != detoxifier.default_strength
    assert fused.evaluate(fused.out / "detoxifier", fused.out / "again.json").strength == 0.2
    assert "Recommended strength: 0.2" in (fused.out / "report.html").read_text()
    card = (fused.out / "detoxifier" / "README.md").read_text()
    assert "Recommended strength: 0.2" in card and "attached(target.model):" in card


def test_a_run_that_is_repeated_reads_what_it_measured(fused: Run, caplog: pytest.LogCaptureFixture) -> None:
    files = {path: path.read_bytes() for path in (fused.out / "results").iterdir()}
    told = json.loads(fused(Forgetful(0), "fusion", "0.2,0.6", FUSION, "--json"))
    assert told["recommended_strength"] == 0.2
    assert caplog.text.count("read, not repeated") == 3, "what is recommended is no part of a measurement's name"
    assert {path: path.read_bytes() for path in (fused.out / "results").iterdir()} == files, "nor speed timed again"


def test_speed_is_compared_at_the_strength_that_is_spoken_of(edited: Run) -> None:
    spoken, other = (Results.load(edited.out / "results" / f"surgery-{strength}.json") for strength in ("0.5", "1"))
    assert spoken.speed is not None and spoken.speed.n == 7 and other.speed is None
    assert Results.load(edited.out / "results.json").speed == spoken.speed
    assert f"surgery 0.5 has {spoken.speed.value:.2f}x the untouched model's speed [" in edited.printed
    assert "Tokens/s" not in edited.printed, "of runs that were not timed side by side"


def test_a_checkpoint_tells_only_of_the_edit_in_its_weights(edited: Run) -> None:
    own = (edited.out / "model" / "README.md").read_text()
    made = json.loads((edited.out / "model" / "detoxlm.json").read_text())
    assert made["detoxifier"]["strength"] == 0.5
    assert "library_name: transformers" in own and "surgery at strength 0.5" in own
    assert "surgery 1" not in own and "Detoxifier" not in own and "ecommended strength" not in own
    assert "picked on the same prompts" in own
    other = (edited.out / "detoxifier" / "README.md").read_text()
    assert "library_name: detoxlm" in other and "surgery 1" in other and "not the model itself" in other


def test_where_nothing_fell_nothing_is_recommended_in_any_place(run: Run, edited: Run) -> None:
    shutil.copytree(edited.out, run.out)
    harmless = Forgetful(0)
    harmless.revision = "another"
    printed = run(harmless, "surgery", "0.5,1", ["rows=0.5"])
    assert "Nothing is recommended" in printed and "ecommended strength" not in printed
    assert not (run.out / "model").exists(), "no checkpoint as if it were better; the earlier run's is not this one's"
    results = Results.load(run.out / "results.json")
    assert results.detoxifier is None and any("Nothing is recommended" in note for note in results.notes)
    assert Results.load(run.out / "results" / "untouched.json").notes == results.notes[:-1]
    assert Detoxifier.from_pretrained(run.out / "detoxifier").recommended_strength is None
    for page in ("report.html", "detoxifier/README.md"):
        text = (run.out / page).read_text()
        assert "Nothing is recommended" in text and "Recommended strength" not in text
    told = json.loads(run(harmless, "surgery", "0.5,1", ["rows=0.5"], "--json"))
    assert told["recommended_strength"] is None and told["recommendation"].startswith("Nothing is recommended")


@pytest.mark.parametrize("bad", [None, "", [], {}, True, "1", 0, -1, 99, float("nan")])
def test_a_recommended_strength_that_is_none_is_refused_by_field_and_file(
    bad: Any, edited: Run, tmp_path: Path
) -> None:
    file = shutil.copytree(edited.out / "detoxifier", tmp_path / "detoxifier") / "detoxifier.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "recommended_strength": bad}))
    with pytest.raises(UsageError, match=rf"recommended_strength in {file}"):
        Detoxifier.from_pretrained(file.parent)
