"""The plan of the house, read from the source: imports run down, no circles, no wing knows another."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
#: The wings: a family of methods each, with all that is theirs alone.
WINGS = ("fusion", "control", "experts", "editing", "finetuning")
#: What the wings share, from the ground up; a room may import those before it.
SHARED = ("registry", "folders", "attachment", "needs", "base", "decoding", "weights", "training")
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, also within functions; not what only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("detoxlm"):
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield longer if longer in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("detoxlm"))
        else:
            yield from imports(node)


GRAPH = {name: set(imports(ast.parse(path.read_text(encoding="utf-8")))) for name, path in MODULES.items()}


def room(module: str) -> str | None:
    """The room under `methods/` that a module is in."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["detoxlm", "methods"] and len(parts) > 2 else None


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Some modules that import each other in a circle; empty where there is none."""
    state: dict[str, str] = {}

    def visit(name: str, path: list[str]) -> list[str]:
        if state.get(name) == "done" or name not in graph:
            return []
        if name in path:
            return [*path[path.index(name) :], name]
        for other in sorted(graph[name]):
            if found := visit(other, [*path, name]):
                return found
        state[name] = "done"
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_there_are_no_import_circles() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_in(GRAPH) == []


@pytest.mark.parametrize("wing", WINGS)
def test_no_wing_imports_another(wing: str) -> None:
    others = {other for name in GRAPH if room(name) == wing for other in GRAPH[name] if room(other) in WINGS}
    assert {room(other) for other in others} <= {wing}


@pytest.mark.parametrize("shared", SHARED)
def test_what_wings_share_knows_no_wing_and_only_the_rooms_below(shared: str) -> None:
    allowed = {None, *SHARED[: SHARED.index(shared) + 1]}
    for name in GRAPH:
        if room(name) == shared:
            assert {room(other) for other in GRAPH[name]} <= allowed, name


def test_the_rooms_of_the_methods_are_those_of_the_plan() -> None:
    assert {room(name) for name in MODULES} - {None} == {*WINGS, *SHARED}


def test_methods_know_nothing_of_reports_recipes_and_commands() -> None:
    above = ("detoxlm.report", "detoxlm.recipes", "detoxlm.cli", "detoxlm.workflows", "detoxlm.validity")
    for name, found in GRAPH.items():
        if name.startswith("detoxlm.methods"):
            assert not [other for other in found if other.startswith(above)], name


def test_no_file_and_no_function_is_too_long_without_a_reason() -> None:
    """A longer one has its reason in a comment above it that begins with `Long because`."""
    for path in MODULES.values():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= LONGEST_FILE or lines[0].startswith("# Long because"), path
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                length = node.end_lineno - node.lineno + 1
                above = lines[min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 2]
                assert length <= LONGEST_FUNCTION or "Long because" in above, f"{path}: {node.name} has {length} lines"


def floors() -> dict[str, int]:
    """The rooms of the picture in CONTRIBUTING.md, by module, with the line that each is on."""
    picture = (SOURCE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```\n")[1]
    rooms = [re.split(r" {2,}", line)[0].split(", ") for line in picture.splitlines() if line[0] != " "]
    return {f"detoxlm.{name.replace('/', '.')}": line for line, names in enumerate(rooms) for name in names}


def test_imports_run_down_the_picture_in_contributing() -> None:
    floor = floors()

    def room_of(module: str) -> str | None:
        """The smallest room that a module is in; the fronts of packages, which hand on names, are in none."""
        rooms = [name for name in floor if f"{module}.".startswith(f"{name}.")]
        assert rooms or module in ("detoxlm", "detoxlm.methods"), f"{module} has no room in CONTRIBUTING.md"
        return max(rooms, key=len, default=None)

    assert not [name for name in floor if name not in MODULES], "rooms that are not there"
    for module, imported in GRAPH.items():
        for other in imported:
            here, there = room_of(module), room_of(other)
            if here and there and here != there:
                assert floor[here] < floor[there], f"{module} imports {other}, which is not below it"


def test_no_two_test_modules_have_one_name() -> None:
    """Without packages pytest imports a test file by its bare name: of two that share one, the second is an error."""
    found: dict[str, Path] = {}
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.name not in ("conftest.py", "__init__.py"):
            assert path.name not in found, f"{path} and {found[path.name]}"
            found[path.name] = path
