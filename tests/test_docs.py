"""README and docs: their Python runs as it is printed, the CLI carries out their commands.

`embedded` is replaced by a tiny random model and the built-in prompts by a few: this tests the documentation, not the
model. The real commands run in `make demo`.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

import detoxlm.data
from detoxlm.calibration.calibrator import Calibrator, cut_calibrator
from detoxlm.calibration.storage import pack_change
from detoxlm.cli import main
from detoxlm.models import load_target

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
#: Commands of a shell block that are not ours, or that `.ci/run` carries out itself.
OTHERS = ("make ", "pip ", "python ", "git ", "#", "cd ")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, body) of every fenced block, in order."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, textwrap.dedent(body)) for _, language, body in found]


def tiny_calibrator(target: Any, folder: Path) -> Path:
    """An untrained calibrator for the tiny model, in the form of the shipped one."""
    cut = cut_calibrator(target.model, 2)
    weights = folder / "calibrator.safetensors"
    save_file(pack_change(Calibrator(copy.deepcopy(cut)), cut), weights)
    base = {"name": "embedded", "fingerprint": target.architecture.fingerprint}
    weights.with_suffix(".json").write_text(json.dumps({"layers": 2, "base": base}))
    return weights


@pytest.fixture
def workplace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: Callable[..., Path],
    shared_data: Path,
    short_looks: None,
) -> Path:
    """A folder beside `shared`, where `embedded` is a tiny model and prompts are few."""
    place = tmp_path / "project"
    place.mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "data").symlink_to(shared_data)
    monkeypatch.chdir(place)
    monkeypatch.setenv("DETOXLM_LIMIT", "4")
    monkeypatch.setenv("DETOXLM_FLUENCY_TOKENS", "200")
    monkeypatch.setenv("COLUMNS", "120")
    original_prompts, original_load = detoxlm.data.builtin_prompts, load_target

    def few_prompts(split: Any, kind: Any = None) -> list[str]:
        return original_prompts(split, kind)[:48]

    def tiny_embedded(name: str, **options: Any) -> Any:
        return original_load(str(tiny_folder("llama")) if name == "embedded" else name, **options)

    for module in ("detoxlm.data", "detoxlm.workflows", "detoxlm.methods.fusion", "detoxlm.editing.pairs"):
        monkeypatch.setattr(f"{module}.builtin_prompts", few_prompts)
    monkeypatch.setattr("detoxlm.editing.pairs.GAP", 0.0)  # a random model says nothing toxic
    for module in (
        "detoxlm.finetuning.texts",
        "detoxlm.control.fit",
        "detoxlm.control.tuning",
        "detoxlm.control.schedule",
    ):
        monkeypatch.setattr(f"{module}.builtin_prompts", few_prompts)
    # nor clean: of what it says, all is learned from as both
    monkeypatch.setattr("detoxlm.finetuning.texts.HARMFUL", 0.0)
    monkeypatch.setattr("detoxlm.finetuning.texts.CLEAN", 1.0)
    monkeypatch.setattr("detoxlm.finetuning.texts._new", lambda harmful, _: harmful[:20])
    for module in ("detoxlm.models", "detoxlm.workflows", "detoxlm.methods.fusion"):
        monkeypatch.setattr(f"{module}.load_target", tiny_embedded)
    monkeypatch.setattr(
        "detoxlm.methods.fusion.SHIPPED", tiny_calibrator(original_load(str(tiny_folder("llama"))), place)
    )
    return place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_and_commands_run_as_printed_in_the_order_of_the_page(
    page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from detoxlm.methods import METHODS

    known = dict(METHODS)
    namespace: dict[str, Any] = {"__name__": "docs"}
    try:
        for language, body in blocks(page):
            if language == "python":
                exec(compile(body, str(page), "exec"), namespace)
            elif language in ("bash", "console", "sh"):
                for command in commands(body):
                    monkeypatch.setattr(sys, "argv", [*shlex.split(command), *fewer_steps(command)])
                    try:
                        main()
                    except SystemExit as done:
                        assert not done.code, f"{page.name}: {command}: {capsys.readouterr().err}"
    finally:  # a page may register a method of its own
        METHODS.clear()
        METHODS.update(known)


def fewer_steps(command: str) -> list[str]:
    """What makes a fit short where the command does not say how long it is: four steps find every error of sixty."""
    from detoxlm.methods import METHODS

    _, verb, method, *_ = [*shlex.split(command), ""]
    trains = verb == "fit" and "steps" in METHODS[method].detoxifier_type.settings_type.model_fields
    return ["--set", "steps=4"] if trains and "steps=" not in command else []


def commands(body: str) -> list[str]:
    """The `detoxlm` commands of a shell block; any other line must be one that others test."""
    lines = [line.split("  #")[0].strip() for line in body.replace("\\\n", " ").splitlines()]
    ours = [line for line in lines if line and not line.startswith(OTHERS)]
    assert all(line.startswith("detoxlm ") for line in ours), ours
    return ours


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_toml_of_the_docs_is_valid_settings(tmp_path: Path) -> None:
    from detoxlm.methods.fusion import FusionSettings
    from detoxlm.settings import RunSettings, read_toml, resolve

    (example,) = (body for language, body in blocks(ROOT / "docs" / "concepts.md") if language == "toml")
    (tmp_path / "example.toml").write_text(example)
    assert resolve(RunSettings, {}, tmp_path / "example.toml").seed == 7
    assert FusionSettings(**read_toml(tmp_path / "example.toml")["fusion"]).layers == 4
