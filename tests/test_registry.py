"""Methods and scorers of other packages, in hand-written dist-info folders: what is wrong with one is one clear line.

What is said of a name is tested on a registry of its own; lists, commands and --help in processes that see the folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import run_commands

from detoxlm.errors import UsageError
from detoxlm.methods import METHODS
from detoxlm.registry import Registry
from detoxlm.scorers import SCORERS
from detoxlm.settings import ScorerOptions

#: A method that could be fitted, by the name that it is given.
METHOD = """
from detoxlm.methods.editing.surgery import Surgery, SurgeryDetoxifier
class OneDetoxifier(SurgeryDetoxifier):
    method = "{name}"
class One(Surgery):
    name, summary, detoxifier_type = "{name}", "of another package", OneDetoxifier
"""
SCORER = """
import numpy as np
from detoxlm.scorers import Scorer, ScorerEntry
class One(Scorer):
    name, version, revision = "{name}", "1", "1"
    def _score_batch(self, texts):
        return np.full(len(texts), 0.25)
def create(argument, device):
    return One()
def fails():
    raise OSError("no such disk\\nand more")
ENTRY = ScorerEntry("{name}[:x]", "of another package", "{module}:create", False, {missing})
"""


def method(name: str, more: str = "") -> str:
    return METHOD.format(name=name) + more


def scorer(name: str, module: str, missing: str = "lambda: None") -> str:
    return SCORER.format(name=name, module=module, missing=missing)


#: package: (group, name, attribute, source), each of them with something wrong but the two called good.
PACKAGES = {
    "good-method": ("methods", "good", "One", method("good")),
    "raises": ("methods", "raising", "One", r'raise ImportError("no module named moon\nand more")'),
    "leaves": ("methods", "leaving", "One", "import sys; sys.exit(3)"),
    "lacks": ("methods", "lacking", "One", ""),
    "twice-a": ("methods", "twice", "One", method("twice")),
    "twice-b": ("methods", "twice", "One", method("twice")),
    "usurper": ("methods", "fusion", "One", method("fusion")),
    "no-method": ("methods", "function", "one", "def one(): pass"),
    "half-method": ("methods", "half", "One", method("half", "One.detoxifier_type = None")),
    "otherwise": ("methods", "otherwise", "One", method("something-else")),
    "saved-otherwise": ("methods", "saved", "One", method("saved", "OneDetoxifier.method = 'surgery'")),
    "good-scorer": ("scorers", "fine", "ENTRY", scorer("fine", "good_scorer")),
    "no-entry": ("scorers", "class", "One", scorer("class", "no_entry")),
    "checks": ("scorers", "checking", "ENTRY", scorer("checking", "checks", "fails")),
    "lost": ("scorers", "lost", "ENTRY", scorer("lost", "nowhere")),
    "formless": ("scorers", "formless", "ENTRY", scorer("formless", "x").replace("x:create", "formless")),
    "grabber": ("scorers", "ngram", "ENTRY", scorer("ngram", "grabber")),
}
MEND = "Mend or uninstall that package."
#: What is said of each name that something is wrong with, by group.
SAID = {
    "methods": {
        "raising": "raises:One of the package raises is broken: ImportError: no module named moon. " + MEND,
        "leaving": "leaves:One of the package leaves is broken: SystemExit: 3. " + MEND,
        "lacking": "lacks:One of the package lacks is broken: AttributeError: module 'lacks' has no attribute 'One'. "
        + MEND,
        "twice": "twice_a:One of the package twice-a and twice_b:One of the package twice-b claim this name; uninstall "
        "all but one of them.",
        "fusion": "the built-in method is used; usurper:One of the package usurper claims its name too.",
        "function": "no_method:one of the package no-method is broken: ValueError: it is no method: <function one",
        "half": "half_method:One of the package half-method is broken: ValueError: its detoxifier_type has no "
        "`method`; subclass detoxlm.methods.Detoxifier. " + MEND,
        "otherwise": "otherwise:One of the package otherwise is broken: ValueError: it calls itself 'something-else', "
        "its entry point 'otherwise'. " + MEND,
        "saved": "saved_otherwise:One of the package saved-otherwise is broken: ValueError: it calls itself 'surgery', "
        "its entry point 'saved'. " + MEND,
        # what an interrupted installation leaves: a dist-info folder without METADATA, so without a name
        "nameless": "nowhere:One of the package ? is broken: ModuleNotFoundError: No module named 'nowhere'. " + MEND,
    },
    "scorers": {
        "class": "no_entry:One of the package no-entry is broken: ValueError: it is no scorer: <class 'no_entry.One'> "
        "is no detoxlm.scorers.ScorerEntry. " + MEND,
        "formless": "formless:ENTRY of the package formless is broken: ValueError: its factory 'formless' is no "
        "`module:function`. " + MEND,
        "ngram": "the built-in scorer is used; grabber:ENTRY of the package grabber claims its name too.",
    },
}
#: What can be used of the others' packages. `lost` fails when it is loaded, as its module is imported only then.
WORKING = {"methods": ["good"], "scorers": ["fine", "checking", "lost"]}
#: The built-in names, asked for before any test adds packages: a registry looks through them once.
BUILT_IN = {"methods": list(METHODS), "scorers": list(SCORERS)}
REAL: dict[str, Registry] = {"methods": METHODS, "scorers": SCORERS}


def write_packages(folder: Path) -> Path:
    """Write the packages and their dist-info; each says on import that it was imported."""
    for package, (group, name, attribute, source) in PACKAGES.items():
        module = package.replace("-", "_")
        witness = f"from pathlib import Path\nPath({str(folder / 'imported')!r}).mkdir(exist_ok=True)\n"
        witness += f"Path({str(folder / 'imported' / module)!r}).touch()\n"
        (folder / f"{module}.py").write_text(witness + source)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[detoxlm.{group}]\n{name} = {module}:{attribute}\n")
    (folder / "nameless-1.0.dist-info").mkdir()
    (folder / "nameless-1.0.dist-info" / "entry_points.txt").write_text("[detoxlm.methods]\nnameless = nowhere:One\n")
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture
def fresh(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Registry]:
    """Return `fresh("methods" or "scorers")`: a registry that finds the packages, with the checks of the real one."""
    monkeypatch.syspath_prepend(str(packages))
    return lambda group: Registry(f"detoxlm.{group}", group[:-1], REAL[group]._check, REAL[group]._order)


@pytest.mark.parametrize(("group", "name"), [(g, name) for g in SAID for name in SAID[g] if name not in BUILT_IN[g]])
def test_what_is_broken_is_named_with_its_package_and_the_fix_when_it_is_used(
    group: str, name: str, fresh: Callable[[str], Registry]
) -> None:
    registry = fresh(group)
    assert name in registry, "a broken name is known: asking for it says what is wrong, not that there is no such thing"
    for ask in (registry.get_known, registry.__getitem__):
        with pytest.raises(UsageError) as refused:
            ask(name)
        assert str(refused.value).startswith(f"{group[:-1]}: {name}: {SAID[group][name]}")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("group", list(SAID))
def test_all_others_work_and_problems_names_the_rest(group: str, fresh: Callable[[str], Registry]) -> None:
    registry = fresh(group)
    working, problems = registry.working(), registry.problems()
    ours = BUILT_IN[group]
    assert list(working)[: len(ours)] == ours, "the built-in ones first, in their order"
    assert all(working[name] == REAL[group][name] for name in ours)
    assert sorted(set(working) - set(ours)) == sorted(WORKING[group])
    assert problems.keys() == SAID[group].keys()
    assert all(problems[name].startswith(said) for name, said in SAID[group].items())
    with pytest.raises(UsageError, match=rf"{group[:-1]}: unknown name 'xyz'\. Known: "):
        registry.get_known("xyz")


def test_what_is_put_in_by_hand_wins_and_can_be_taken_out(fresh: Callable[[str], Registry]) -> None:
    registry, surgery = fresh("methods"), METHODS["surgery"]
    registry["raising"] = surgery
    assert registry.get_known("raising") is surgery
    assert "raising" not in registry.problems()
    del registry["raising"]
    assert "raising" not in registry
    assert "raising" not in list(registry)
    with pytest.raises(KeyError):
        del registry["raising"]


def test_scorers_of_others_are_known_behind_a_rule(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ScorerOptions(scorer="regex:a,fine").scorer == ["regex:a,fine"], "no package has it: words of the pattern"
    monkeypatch.syspath_prepend(str(packages))
    with pytest.raises(ValueError, match="'fine' after a rule would be taken for a part of regex"):
        ScorerOptions(scorer="regex:a,fine")


def test_help_imports_nothing_of_others(tmp_path: Path) -> None:
    ((code, shown, _),) = run_commands(write_packages(tmp_path), tmp_path, ["--help"])
    assert code == 0
    assert "methods" in shown
    assert not (tmp_path / "imported").exists()


@pytest.mark.more
def test_lists_name_what_is_broken_beside_what_works(packages: Path) -> None:
    table, methods, scorers = run_commands(
        packages, packages, ["methods"], ["methods", "--json"], ["scorers", "--json"]
    )
    shown, lines = table[1].rsplit("┘\n", 1)
    assert all(f"│ {name} " in shown for name in ("fusion", "good"))
    assert [line.partition(": ")[0] for line in lines.splitlines()] == list(reported := problems_of(methods[1]))
    assert lines == "".join(f"{name}: {problem}\n" for name, problem in reported.items())

    assert reported.keys() == SAID["methods"].keys()
    assert all(reported[name].startswith(said) for name, said in SAID["methods"].items())
    assert [row["method"] for row in json.loads(methods[1]) if "problem" not in row] == [*BUILT_IN["methods"], "good"]

    here: dict[str, list[str]] = {}
    for row in json.loads(scorers[1]):
        here.setdefault(row["scorer"], []).append(row["here"])
    assert here["fine[:x]"] == ["ready"]
    assert here["checking[:x]"] == ["its own check failed: OSError: no such disk"]
    assert here["ngram"] == ["ready", SAID["scorers"]["ngram"]]
    assert all(here[name] == [SAID["scorers"][name]] for name in ("class", "formless"))


def problems_of(output: str) -> dict[str, str]:
    return {row["method"]: row["problem"] for row in json.loads(output) if "problem" in row}


@pytest.mark.more
def test_commands_that_use_what_is_broken_end_with_its_one_line_and_others_work(packages: Path) -> None:
    lost = "its factory nowhere:create cannot be imported: ModuleNotFoundError: No module named 'nowhere'. "
    expected = {
        ("fit", "raising", "embedded", "-o", "out"): f"method: raising: {SAID['methods']['raising']}",
        ("methods", "twice"): f"method: twice: {SAID['methods']['twice']}",
        ("score", "a text", "--scorer", "class"): f"scorer: class: {SAID['scorers']['class']}",
        ("score", "a text", "--scorer", "lost"): f"scorer: lost: {lost}Mend or uninstall its package.",
    }
    works = ["score", "a text", "--json", *(f"--scorer={name}" for name in ("fine", "checking", "ngram"))]
    *refused, scored = run_commands(packages, packages, *expected, works)
    for (code, shown, errors), said in zip(refused, expected.values(), strict=True):
        assert (code, shown, errors) == (2, "", f"detoxlm: {said}\n")
    assert scored[0] == 0
    toxicity = {row["scorer"]: row["toxicity"] for row in json.loads(scored[1])}
    assert (toxicity["fine"], toxicity["checking"]) == (0.25, 0.25)
    assert toxicity["ngram"] < 0.2, "the built-in one, not the one that claims its name"
