"""What can be refused is refused before anything is loaded, measured or made."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fits
import pytest
import torch

from detoxlm.errors import UsageError
from detoxlm.lock import only_writer
from detoxlm.methods import METHODS, Detoxifier, FitData
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target
from detoxlm.scorers import Scorer


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return `refused(*arguments)` -> the one line that says why; a model that is loaded fails the test."""
    from detoxlm.cli import main

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    def run(*arguments: Any) -> str:
        with monkeypatch.context() as patch:
            patch.setattr("detoxlm.workflows.load_target", load)
            patch.setattr(sys, "argv", ["detoxlm", *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                main()
        assert end.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        return err.strip().splitlines()[-1].removeprefix("detoxlm: ")

    return run


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with `file`, `folder/thesis.txt` and what blocks `run`'s parts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for place in ("folder/thesis.txt", "a/results.json/x", "b/report.html/x", "c/detoxifier/x", "d/results"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "output", "message"),
    [
        ("evaluate MODEL", "folder", "folder is a folder; name a file, such as -o folder/results.json."),
        ("evaluate MODEL", "file/r.json", "cannot write file/r.json: "),
        ("evaluate MODEL", "/dev/null", "/dev/null is no regular file; choose another -o."),
        ("report file", "folder", "folder is a folder; name a file"),
        ("report file", "file/r.html", "cannot write file/r.html: "),
        ("run MODEL", "file", "file exists and is no folder; choose another -o."),
        ("run MODEL", "file/out", "cannot write file/out/results.json: "),
        ("run MODEL", "a", "a/results.json is a folder; name a file"),
        ("run MODEL", "b", "b/report.html is a folder; name a file"),
        ("run MODEL", "c", "c/detoxifier exists and has no detoxifier.json"),
        ("run MODEL", "d", "d/results exists and is no folder"),
        ("fit fusion MODEL", "file", "file exists and is no folder; choose another -o."),
        ("fit fusion MODEL", "folder", "folder exists and has no detoxifier.json, so it is not of the kind to"),
        ("fit fusion MODEL", "file/d", "cannot write file/d: "),
        ("export MODEL DETOXIFIER", "folder", "folder exists and has no detoxlm.json, so it is not of the kind to"),
        ("export MODEL DETOXIFIER --form adapter", "folder", "folder exists and has no adapter_config.json"),
        ("export MODEL DETOXIFIER", "file/d", "cannot write file/d: "),
        ("scorers validate ngram --data file", "file", "file exists and is no folder; choose another -o."),
        ("scorers validate ngram --data file", "file/v", "cannot write file/v/validity.json: "),
    ],
)
def test_an_output_that_cannot_be_written(
    command: str, output: str, message: str, refused: Callable[..., str], cwd: Path
) -> None:
    before = sorted(cwd.rglob("*"))
    assert refused(*command.split(), "-o", output).startswith(f"output: {message}")
    assert sorted(cwd.rglob("*")) == before
    assert (cwd / "folder" / "thesis.txt").read_text() == (cwd / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "locked"),
    [
        ("evaluate MODEL -o r.json", "r.json"),
        ("run MODEL -o out", "out/results.json"),
        ("fit fusion MODEL -o e", "e"),
        ("export MODEL DETOXIFIER -o e", "e"),
        ("report file -o r.html", "r.html"),
        ("scorers validate ngram --data file -o v", "v/validity.json"),
    ],
)
def test_an_output_that_another_writes_is_refused_before_anything_is_read(
    command: str, locked: str, refused: Callable[..., str], cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_writer(cwd / locked):
        monkeypatch.setattr("threading.get_ident", lambda: -1)  # as if in another thread; of processes: test_lock.py
        assert refused(*command.split()).startswith("output: another thread of this process writes ")
    monkeypatch.undo()


@pytest.fixture
def measured(tiny: Callable[..., Target], letter_scorer: Scorer, cwd: Path) -> Callable[..., Path]:
    """Return `measured(name, **changes)`: a results file of three prompts by the ngram scorer."""
    from detoxlm.recipes import Task, get_recipe, measure
    from detoxlm.scorers import load_scorer

    (cwd / "prompts.txt").write_text("one\ntwo\nthree \n")

    def make(name: str, **changes: Any) -> Path:
        recipe = get_recipe(changes.pop("recipe", "challenge-10"))
        task = Task(recipe, changes.pop("prompts", ["one", "two", "three"]), "test", "The mill is still. " * 9, "test")
        measure(tiny(), task, load_scorer("ngram"), output=cwd / name, **changes)
        return cwd / name

    return make


def against(model: object) -> list[object]:
    """The command that compares a model with `b.json`, up to the scorer's name."""
    return ["evaluate", model, "--prompts", "prompts.txt", "--baseline", "b.json", "--scorer"]


@pytest.mark.parametrize(
    ("made", "given", "what"),
    [
        ({"prompts": ["one", "two", "four"]}, ["ngram", "--recipe", "challenge-10"], "differ in prompts"),
        ({}, ["ngram", "--recipe", "quick"], "differ in recipe: 'challenge-10' against 'quick'"),
        ({}, ["regex:x", "--recipe", "challenge-10"], "differ in scorer"),
        ({}, ["ngram", "--recipe", "challenge-10", "--max-new-tokens", "3"], "differ in recipe"),
        ({}, ["ngram", "--recipe", "challenge-10", "--fluency-judge", "other"], "differ in fluency judge: "),
    ],
)
def test_a_baseline_of_another_measurement(
    made: dict[str, Any],
    given: list[str],
    what: str,
    measured: Callable[..., Path],
    refused: Callable[..., str],
    tiny_folder: Callable[..., Path],
) -> None:
    measured("b.json", **made)
    assert what in refused(*against(tiny_folder("llama")), *given, "-o", "now.json")
    assert not Path("now.json").exists()


def test_a_baseline_that_is_none(
    measured: Callable[..., Path], refused: Callable[..., str], cwd: Path, tiny_folder: Callable[..., Path]
) -> None:
    measured("b.json")
    same = against(tiny_folder("llama"))
    given = ["ngram", "--recipe", "challenge-10"]
    assert refused(*same, *given, "-o", "b.json") == "output: b.json is the baseline itself; choose another -o."
    for other in ("embedded", tiny_folder("gpt2")):
        assert "differ in model: " in refused(*against(other), *given, "-o", "now.json")
    data = json.loads((cwd / "b.json").read_text())
    data["detoxifier"] = {"method": "fusion", "folder": None, "strength": 0.5, "settings": {}}
    (cwd / "b.json").write_text(json.dumps(data))
    assert "baseline: it is of a detoxified model (fusion 0.5)" in refused(*same, *given, "-o", "now.json")
    (cwd / "b.json").write_text("{}")
    assert "b.json is not a results.json" in refused(*same, *given, "-o", "now.json")


def test_a_baseline_that_only_the_model_tells_apart_is_refused_before_generating(
    measured: Callable[..., Path], tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch, cwd: Path
) -> None:
    from detoxlm.recipes import Task, get_recipe, measure
    from detoxlm.results import Results
    from detoxlm.scorers import load_scorer

    base = Results.load(measured("b.json"))

    def generate(*_: Any, **__: Any) -> None:
        raise AssertionError("something was generated")

    monkeypatch.setattr("detoxlm.engines.here.generate", generate)
    task = Task(get_recipe("challenge-10"), ["one", "two", "three"], "test", "Another text of neutral words. " * 9, "t")
    for target, other, what in (
        (tiny("llama", 1), task, "model"),
        (tiny(), task, "fluency text"),
        (tiny("gpt2"), task, "model"),
    ):
        with pytest.raises(UsageError, match=f"the two results differ in {what}"):
            measure(target, other, load_scorer("ngram"), baseline=base, output=cwd / "now.json")
    assert not (cwd / "now.json.partial").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run MODEL --strengths 0.5,4.5", "strength: 4.5 is outside [0, 4] of fusion"),
        ("run MODEL --set variant=paper --strengths 2", "strength: 2 is outside [0, 1] of fusion"),
        ("run MODEL --method subspace --strengths 3", "strength: 3 is outside [0, 2] of subspace"),
        ("run MODEL --strengths nan", "strength: nan is outside [0, 4] of fusion"),
        ("fit fusion MODEL --set variant=paper --set strength=1.5", "strength: 1.5 is outside [0, 1] of fusion"),
        ("fit fusion MODEL --set strength=40", "strength: 40 is outside [0, 4] of fusion"),
        ("run MODEL --set strength=40", "strength: 40 is outside [0, 4] of fusion"),
        ("run MODEL --set strength=0", "strength: a default of 0 would change nothing"),
        ("run MODEL --calibrator nowhere/at/all", "detoxifier: nowhere/at/all does not exist"),
        ("run MODEL --method gedi --set tune=full", "tune: gedi's two classes are one adapter"),
        ("run MODEL --method constrained --set iterations=900", "iterations: 900 cannot share"),
        ("fit nado MODEL --set auxiliary=shipped --scorer ngram", "auxiliary: the shipped one is for the model"),
        ("fit fusion MODEL --corpus corpus.txt --calibrator shipped", "corpus: the calibrator shipped is trained"),
        ("fit constrained MODEL --corpus corpus.txt --harmful corpus.txt", "harmful: with --corpus the texts held"),
        ("run MODEL --method subspace --pairs pairs.jsonl", "pairs: 1 with two different texts are too few"),
        ("run MODEL --method probe --pairs pairs.jsonl", "pairs: 1 with two different texts are too few"),
        ("fit dinm MODEL --pairs pairs.jsonl", "pairs: 1 with two different texts are too few"),
        ("fit surgery MODEL --pairs pairs.jsonl", "pairs: 1 with two different texts are too few"),
    ],
)
def test_strengths_settings_and_data_that_a_method_refuses(
    command: str, message: str, refused: Callable[..., str], cwd: Path
) -> None:
    (cwd / "corpus.txt").write_text("a text\nanother text\n")
    (cwd / "pairs.jsonl").write_text('{"toxic": "a", "nontoxic": "b"}\n')
    scorer = [] if "--scorer" in command else ["--scorer", "ngram"]
    assert refused(*command.split(), *scorer, "-o", "out").startswith(message)
    assert not (cwd / "out").exists()


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        *((f"run MODEL --method {name}", "trl", "finetune") for name in ("tasft", "dpo", "dexperts", "constrained")),
        ("fit gedi MODEL", "trl", "finetune"),
        ("run MODEL --method subspace --set variant=search", "optuna", "search"),
        ("run MODEL --method constrained --set schedule=parallel --set iterations=4", "ray", "parallel"),
    ],
)
def test_a_package_that_a_method_needs(
    command: str, package: str, extra: str, refused: Callable[..., str], cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("detoxlm.methods.training.")]:
        monkeypatch.delitem(sys.modules, name)  # imported again, without the package
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(*command.split(), "--scorer", "ngram", "-o", "out")
    assert "is not installed" in said and f"pip install 'detoxlm[{extra}]'" in said


@pytest.fixture
def saved(tiny: Callable[..., Target], letter_scorer: Scorer, cwd: Path) -> Callable[[str], Path]:
    """Return `saved(case)`: the folder of a detoxifier for the tiny Llama."""

    def save(case: str) -> Path:
        fits.fit(tiny(), case, letter_scorer).save_pretrained(cwd / "fitted")
        return cwd / "fitted"

    return save


def test_a_strength_or_form_that_the_detoxifier_does_not_have(
    saved: Callable[[str], Path], refused: Callable[..., str], cwd: Path
) -> None:
    detoxifier = saved("probe")
    outside = "strength: 9 is outside [0, 2] of probe."
    assert refused("evaluate", "MODEL", "--detoxifier", detoxifier, "--strength", "9", "-o", "r.json") == outside
    assert refused("generate", "MODEL", "x", "--detoxifier", detoxifier, "--strength", "9") == outside
    assert refused("export", "MODEL", detoxifier, "--strength", "9", "-o", "e") == outside
    assert refused("export", "MODEL", detoxifier, "-o", "e").startswith("merge: probe works at decoding time")
    assert refused("export", "MODEL", detoxifier, "--form", "adapter", "-o", "e").startswith("adapter: probe cannot")
    assert not (cwd / "e").exists()


def test_a_change_of_all_weights_is_no_adapter(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FineTunedDetoxifier):
        method = "sft"

    tensors = {"model.norm.weight.change": torch.zeros(32)}
    made = Full(METHODS.get_known("sft").detoxifier_type.settings_type(), {}, tensors)
    monkeypatch.setattr(Detoxifier, "from_pretrained", lambda _: made)
    said = refused("export", "MODEL", "anything", "--form", "adapter", "-o", "e")
    assert said == "adapter: all weights were tuned (tune=full), which is no adapter; export a checkpoint."


@pytest.mark.parametrize(
    "command", ["evaluate OTHER --detoxifier D -o r.json", "generate OTHER x --detoxifier D", "export OTHER D -o e"]
)
def test_a_detoxifier_for_a_model_of_another_shape_before_weights_are_read(
    command: str,
    saved: Callable[[str], Path],
    tiny_folder: Callable[..., Path],
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from detoxlm.cli import main

    other = tiny_folder("gpt2")
    places = {"OTHER": str(other), "D": str(saved("subspace, the paper's"))}
    arguments = [places.get(part, part) for part in command.split()]

    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", read)
    monkeypatch.setattr(sys, "argv", ["detoxlm", *arguments, *(["--scorer", "ngram"] if "evaluate" in command else [])])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "was fitted for " in (said := capsys.readouterr().err) and "not for this model (gpt2, width " in said


@pytest.mark.parametrize(
    ("case", "settings", "message"),
    [
        ("probe", {"layer": 99}, "layer: 99 is none of this model's"),
        ("dinm", {"layer": 99}, "layer: 99 is none of this model's"),
        ("subspace", {"first_layer": 99}, "first_layer, last_layer: 99"),
        ("fusion", {"calibrator": "own", "layers": 50}, "layers: 50 is not below the target's 4 decoder layers"),
        ("nado", {"auxiliary": "shipped"}, "auxiliary: the shipped one is for the model"),
    ],
)
def test_what_the_model_does_not_have_is_refused_before_the_untouched_model_is_measured(
    case: str,
    settings: dict[str, Any],
    message: str,
    tiny_folder: Callable[..., Path],
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from detoxlm.cli import main

    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr("detoxlm.recipes.generate_rows", work)
    sets = [f"--set={name}={value}" for name, value in settings.items()]
    monkeypatch.setattr(
        sys, "argv", ["detoxlm", "run", str(tiny_folder("llama")), "--method", case, *sets, "-o", "out"]
    )
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in capsys.readouterr().err
    assert not (cwd / "out").exists()


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_accepts_its_defaults(name: str, tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    method, data = METHODS.get_known(name), FitData(scorer=letter_scorer)
    settings = method.detoxifier_type.settings_type()
    method.check(data, settings)
    if name != "fusion":  # its default has more layers than the tiny model
        method.check(data, settings, tiny())
    assert isinstance(method.detoxifier_type(settings, {}, {}), Detoxifier)  # by which strengths are checked unfitted
