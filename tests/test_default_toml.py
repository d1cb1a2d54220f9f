"""configs/detoxlm.toml: it is what the definitions say, it changes nothing, and what is uncommented is accepted."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from types import ModuleType

import pytest

from detoxlm import settings as definitions
from detoxlm.fitting import method_settings
from detoxlm.methods import METHODS, get_method
from detoxlm.settings import Settings
from detoxlm.sources import read_toml, resolve

ROOT = Path(__file__).parents[1]
FILE = ROOT / "configs" / "detoxlm.toml"
COMMANDS = [kind for name, kind in vars(definitions).items() if name.endswith("Settings") and kind is not Settings]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No DETOXLM_ variable of the developer's own."""
    for name in list(os.environ):
        if name.startswith("DETOXLM_"):
            monkeypatch.delenv(name)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that writes the file."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("default_toml")


def uncommented(text: str) -> str:
    """The text with the `#` taken from every setting that has a default."""
    return re.sub(r"^#(\w+ = \S)", r"\1", text, flags=re.MULTILINE)


def names(text: str) -> list[str]:
    return re.findall(r"^#(\w+) =", text, re.MULTILINE)


def test_the_file_is_what_the_definitions_say(script: ModuleType) -> None:
    assert FILE.read_text("utf-8") == script.default_toml(), "run `python scripts/default_toml.py`"


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_the_file_as_it_is_changes_nothing(kind: type[Settings]) -> None:
    assert resolve(kind, {}, FILE) == resolve(kind, {})


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_a_command_accepts_its_parts_uncommented_and_they_are_its_defaults(
    kind: type[Settings], script: ModuleType, tmp_path: Path
) -> None:
    parts = [script.part(one) for one in script.kinds() if issubclass(kind, one)]
    name = kind.__name__.removesuffix("Settings").lower()
    command = {"validate": "scorers validate", "servescorer": "serve-scorer", "vllmcheck": "vllm-check"}.get(name, name)
    for text in parts:
        heading = " ".join(text.partition("\n\n")[0].replace("#", "").split())
        assert command in heading.rstrip(".").rpartition("For: ")[2].split(", ")
    mine = "\n".join(parts)
    assert sorted(names(mine)) == sorted(kind.model_fields)
    assert all(text in FILE.read_text("utf-8") for text in parts)
    config = tmp_path / "mine.toml"
    config.write_text(uncommented(mine), encoding="utf-8")
    assert resolve(kind, {}, config) == resolve(kind, {})
    assert {name for name, field in kind.model_fields.items() if field.default is not None} == set(read_toml(config))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_accepts_its_table_uncommented_and_it_is_its_defaults(
    method: str, script: ModuleType, tmp_path: Path
) -> None:
    kind = get_method(method).detoxifier_type.settings_type
    table = script.table(method)
    assert names(table) == list(kind.model_fields)
    assert table in FILE.read_text("utf-8")
    config = tmp_path / "mine.toml"
    config.write_text(uncommented(table), encoding="utf-8")
    assert method_settings(get_method(method), config, []) == kind()
    assert resolve(definitions.RunSettings, {}, config) == definitions.RunSettings()
