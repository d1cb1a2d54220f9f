"""docs/commands.md is written from the command line, and `--check` tells when it is not what the definitions say."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from detoxlm.settings import FitSettings, ValidateSettings, explained

ROOT = Path(__file__).parents[1]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts can be imported."""
    monkeypatch.syspath_prepend(ROOT / "scripts")


@pytest.fixture
def pages(scripts: None) -> ModuleType:
    return importlib.import_module("command_pages")


@pytest.fixture
def generated(scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that writes and checks, at home in `tmp_path`."""
    module = importlib.import_module("generated")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def test_the_page_is_what_the_definitions_say(pages: ModuleType) -> None:
    assert (ROOT / "docs" / "commands.md").read_text("utf-8") == pages.command_pages(), "run scripts/command_pages.py"


def test_the_page_does_not_depend_on_the_terminal(pages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        seen.add(pages.command_pages())
    assert len(seen) == 1


@pytest.mark.parametrize(("command", "kind"), [("fit", FitSettings), ("scorers validate", ValidateSettings)])
def test_a_section_has_every_option_with_help_range_and_default(
    command: str, kind: type[FitSettings] | type[ValidateSettings], pages: ModuleType
) -> None:
    section = pages.command_pages().split(f"\n## detoxlm {command}\n")[1].split("\n## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("- `")]
    for name, field in kind.model_fields.items():
        (line,) = [line for line in listed if f"--{name.replace('_', '-')}" in line.split("`")[1].split()]
        assert explained(field) in line.replace("\\<", "<")
        if field.default not in (None, False) and not isinstance(field.default, list):
            assert line.endswith(f"[default: {field.default}]")


def test_help_is_markdown_outside_of_code(pages: ModuleType) -> None:
    assert pages._markdown("a [default: <id> *] `x <y>`") == "a [default: \\<id> \\*] `x <y>`"


def test_check_writes_nothing_and_fails_where_the_file_differs(
    generated: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    said = "docs/page.md: not what the definitions say; `python scripts/pages.py` writes it again."
    monkeypatch.setattr("sys.argv", ["somewhere/pages.py", "--check"])
    with pytest.raises(SystemExit, match=said):
        generated.main(page, "new")
    assert not page.exists()
    page.write_text("old")
    with pytest.raises(SystemExit, match=said):
        generated.main(page, "new")
    assert page.read_text() == "old"
    monkeypatch.setattr("sys.argv", ["somewhere/pages.py"])
    generated.main(page, "new")
    monkeypatch.setattr("sys.argv", ["somewhere/pages.py", "--check"])
    generated.main(page, "new")
    assert page.read_text() == "new"
