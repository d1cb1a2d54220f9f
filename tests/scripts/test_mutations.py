"""The list of mutations fits the code: each can still be made, and its test is there."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))
from mutations import Mutation, main, read_mutations  # noqa: E402

MUTATIONS = read_mutations()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.breaks)
def test_a_mutation_can_be_made_and_leaves_code_that_parses(mutation: Mutation, tmp_path: Path) -> None:
    there = ROOT / "src" / "detoxlm" / mutation.file
    copy = tmp_path / "detoxlm" / mutation.file
    copy.parent.mkdir(parents=True)
    shutil.copy(there, copy)
    mutation.apply(tmp_path)
    before, after = (ast.dump(ast.parse(path.read_text(encoding="utf-8"))) for path in (there, copy))
    assert before != after


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.breaks)
def test_its_test_is_there(mutation: Mutation) -> None:
    file, _, name = mutation.test.partition("::")
    defined = ast.walk(ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8")))
    names = {node.name for node in defined if isinstance(node, ast.FunctionDef)}
    assert not name or name.partition("[")[0] in names


def test_a_text_that_is_not_there_or_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "detoxlm").mkdir()
    (tmp_path / "detoxlm" / "one.py").write_text("x = 1\ny = 2\ny = 2\n")
    for before, times in (("z = 3", 0), ("y = 2", 2)):
        with pytest.raises(ValueError, match=f"one.py: not once but {times} times"):
            Mutation("", "one.py", before, "", "").apply(tmp_path)
    Mutation("", "one.py", "x = 1", "x = 2", "").apply(tmp_path)
    assert (tmp_path / "detoxlm" / "one.py").read_text() == "x = 2\ny = 2\ny = 2\n"


def test_a_choice_of_none_is_refused_and_runs_no_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mutations.py", "--only", "no such file"])
    with pytest.raises(SystemExit):
        main()
    assert "no mutation's file or test contains 'no such file'" in capsys.readouterr().err
