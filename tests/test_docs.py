"""README and docs: their Python runs as it is printed, the CLI carries out their commands.

`embedded` is replaced by a tiny random model and the built-in prompts by a few: this tests the documentation, not the
model. The real commands run in `make demo`.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import re
import shlex
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fits import Forgetful
from safetensors.torch import save_file

import detoxlm.data
from detoxlm.cli import main
from detoxlm.methods import METHODS
from detoxlm.methods.fusion.calibrator import Calibrator, cut_calibrator
from detoxlm.methods.fusion.storage import pack_change
from detoxlm.models import load_target
from detoxlm.scorers import SCORERS

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "banned-words"
ENTRY_POINTS = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
FRONT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", EXAMPLE / "README.md"]
PAGES = sorted([*FRONT, *(ROOT / "docs").rglob("*.md")])
CARDS = sorted((ROOT / "src").rglob("weights/*.md"))
MODULES = sorted((ROOT / "src").rglob("*.py"))
CONCEPTS = ROOT / "docs" / "concepts.md"
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
    """A folder beside `shared`, where `embedded` is a tiny model, prompts are few, and the example is installed."""
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
        found = original_load(str(tiny_folder("llama")) if name == "embedded" else name, **options)
        found.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"  # as the real one has one
        return found

    for module in ("detoxlm.data", "detoxlm.workflows"):
        monkeypatch.setattr(f"{module}.builtin_prompts", few_prompts)
    monkeypatch.setattr("detoxlm.methods.editing.pairs.GAP", 0.0)  # a random model says nothing toxic
    # nor clean: of what it says, all is learned from as both
    monkeypatch.setattr("detoxlm.methods.training.texts.HARMFUL", 0.0)
    monkeypatch.setattr("detoxlm.methods.training.texts.CLEAN", 1.0)
    monkeypatch.setattr("detoxlm.methods.training.texts._new", lambda harmful, _: harmful[:20])
    for module in ("detoxlm.models", "detoxlm.workflows", "detoxlm.methods.fusion.foreign"):
        monkeypatch.setattr(f"{module}.load_target", tiny_embedded)
    monkeypatch.setattr("detoxlm.checks.EMBEDDED_TARGET", str(tiny_folder("llama")))  # by it baselines are compared
    monkeypatch.setattr(
        "detoxlm.methods.fusion.foreign.SHIPPED", tiny_calibrator(original_load(str(tiny_folder("llama"))), place)
    )
    monkeypatch.syspath_prepend(str(EXAMPLE / "src"))
    for group, registry in {"detoxlm.methods": METHODS, "detoxlm.scorers": SCORERS}.items():
        for name, where in ENTRY_POINTS[group].items():
            module, _, attribute = where.partition(":")
            monkeypatch.setitem(registry, name, getattr(importlib.import_module(module), attribute))
    return place


#: Pages whose commands train a model for many tables: minutes.
LONG_PAGES = ("tasft.md", "constrained.md", "nado.md", "dexperts.md", "gedi.md", "tuning-baselines.md")


#: Those that fit or measure: half a minute.
MORE_PAGES = ("fusion.md", "use.md", "subspace.md", "chat.md", "who-pays.md")


def mark_of(page: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] * (page.name in LONG_PAGES) + [pytest.mark.more] * (page.name in MORE_PAGES)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=mark_of(page)) for page in PAGES],
    ids=lambda page: f"{page.parent.name}-{page.name}",
)
def test_python_and_commands_run_as_printed_in_the_order_of_the_page(
    page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"__name__": "docs"}
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


@pytest.mark.parametrize(
    ("page", "module", "group"),
    [("adding-a-method.md", "method.py", "detoxlm.methods"), ("adding-a-scorer.md", "scorer.py", "detoxlm.scorers")],
)
def test_pages_show_the_example_as_it_is(page: str, module: str, group: str) -> None:
    shown = blocks(ROOT / "docs" / page)
    assert ("python", (EXAMPLE / "src" / "detoxlm_banned_words" / module).read_text("utf-8")) in shown
    (entry,) = (tomllib.loads(body)["project"]["entry-points"] for language, body in shown if language == "toml")
    assert entry == {group: ENTRY_POINTS[group]}


def fewer_steps(command: str) -> list[str]:
    """What makes a command short: four steps of a fit find every error of sixty; and long answers fill a tiny model."""
    if "--recipe chat" in command:
        return ["--max-new-tokens", "12"]
    _, verb, method, *_ = [*shlex.split(command), ""]
    trains = verb == "fit" and "steps" in METHODS[method].detoxifier_type.settings_type.model_fields
    return ["--set", "steps=4"] if trains and "steps=" not in command else []


def commands(body: str) -> list[str]:
    """The `detoxlm` commands of a shell block; any other line must be one that others test."""
    lines = [line.split("  #")[0].strip() for line in body.replace("\\\n", " ").splitlines()]
    ours = [line for line in lines if line and not line.startswith(OTHERS)]
    assert all(line.startswith("detoxlm ") for line in ours), ours
    return ours


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*PAGES, *CARDS, ROOT / "CHANGELOG.md"], ids=lambda page: f"{page.parent.name}-{page.name}"
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} links to {target}, which is not there"
        if section:
            assert section in anchors(there), f"{page.name} links to {target}#{section}, which is no section"


@pytest.mark.parametrize("page", [*PAGES, *CARDS, *MODULES], ids=lambda page: f"{page.parent.name}-{page.name}")
def test_files_and_names_that_are_told_of_are_where_they_are_said_to_be(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(
        r"(?<![\w/.])((?:src|tests|scripts|benchmarks|examples|docs|methods|detoxlm)/[\w/-]+\.\w+)", text
    ):
        places = (page.parent / path, ROOT / path, ROOT / "src" / path, ROOT / "src" / "detoxlm" / path)
        assert any(place.exists() for place in places), f"{page.name} tells of {path}, which is not there"
    for name in re.findall(r"`(detoxlm(?:\.\w+)+)`", text):
        assert name == "detoxlm.json" or found(name), f"{page.name} tells of {name}, which is not there"


def found(name: str) -> bool:
    """Whether a dotted name is a module or something in one."""
    module, _, attribute = name.rpartition(".")
    if importlib.util.find_spec(module) is None:
        return False
    return hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: f"{page.parent.name}-{page.name}")
def test_options_of_other_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shared = (ROOT / "benchmarks" / "rows.py").read_text("utf-8")
    for script, rest in re.findall(r"python ((?:benchmarks|scripts)/\w+\.py)([^`#\n]*)", text):
        known = (ROOT / script).read_text("utf-8") + shared
        for option in re.findall(r"(?<=\s)(--?[a-z][\w-]*)", rest):
            assert f'"{option}"' in known, f"{page.name}: {script} has no {option}"


def table(page: Path, *header: str) -> list[list[str]]:
    """The cells of the one table of a page whose header begins so."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    (start,) = (i for i, row in enumerate(rows) if tuple(row[: len(header)]) == header)
    body = rows[start + 2 :]
    return body[: next((i for i, row in enumerate(body[1:], 1) if set("".join(row)) <= set("-")), len(body) + 1) - 1]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_methods_has_all_of_them() -> None:
    rows = {quoted(row[0])[0]: row for row in table(ROOT / "docs" / "methods" / "README.md", "method", "kind")}
    assert list(rows) == list(METHODS)
    for name, (_, kind, papers, *_) in rows.items():
        assert kind == METHODS[name].detoxifier_type.kind
        assert set(papers.split(", ")) <= set(re.findall(r"\d{4}\.\d{5}", METHODS[name].paper)), name


def test_the_front_page_says_what_the_page_of_results_says() -> None:
    few, all_ = (
        table(page, "strength", "Toxic fraction") for page in (ROOT / "README.md", ROOT / "docs" / "results.md")
    )
    assert few == [[*strength_to_mean, perplexity] for *strength_to_mean, _, perplexity, _ in all_]


def test_the_table_of_strengths_is_what_the_code_takes() -> None:
    from detoxlm.report.recommendation import MANY_EMPTY, MUCH_WORSE

    told = set()
    for names, *numbers in table(CONCEPTS, "method", "default"):
        settings = dict(part.split("=") for part in quoted(names) if "=" in part)
        for name in (part for part in quoted(names) if "=" not in part):
            kind = METHODS[name].detoxifier_type
            made = kind(kind.settings_type(**settings), {}, {})
            strengths = ", ".join(f"{one:g}" for one in made.default_strengths)
            assert numbers == [f"{made.default_strength:g}", strengths, f"{made.max_strength:g}"], names
            told.add(name)
    assert told == set(METHODS)
    told = CONCEPTS.read_text("utf-8")
    assert f"by at most {MUCH_WORSE:.0%}" in told and f"by at most {100 * MANY_EMPTY:.0f} points" in told


def test_the_table_of_data_is_what_the_code_reads(tmp_path: Path) -> None:
    from detoxlm.data import read_corpus, read_pairs, read_prompts, read_texts
    from detoxlm.errors import UsageError

    rows = {row[0]: row for row in table(CONCEPTS, "option", "what it is")}
    (tmp_path / "none.jsonl").write_text('{"x": "no column that is known"}\n')
    for option, read in (
        ("`--prompts` of `run` and `evaluate`", read_prompts),
        ("`--corpus`", read_corpus),
        ("`--pairs`", read_pairs),
        ("`--file` of `score`", read_texts),
    ):
        with pytest.raises(UsageError) as refused:
            read(tmp_path / "none.jsonl")
        wanted = set(quoted(str(refused.value).partition("; found")[0]))
        beside = {read_prompts: {"--column"}, read_texts: {"--column"}, read_corpus: {"prompt", "--corpus-column"}}
        assert wanted | beside.get(read, {"prompt"}) == set(quoted(rows[option][2])), option
    for option in ("corpus", "harmful", "pairs", "prompts"):
        cell = rows["`--prompts` of `fit`" if option == "prompts" else f"`--{option}`"][3]
        named = set(quoted(cell))
        told = set(METHODS) - named if cell.startswith("all") else named
        assert told == {name for name, method in METHODS.items() if option in method.reads}, option


def test_a_run_leaves_what_is_listed(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "detoxlm run embedded --method surgery --pairs ../shared/data/paradetox/dev.jsonl --strengths 1 -o out"
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    # 4 prompts, 2 samples each: what the edited model says is less toxic, so that the edit is recommended
    monkeypatch.setattr("detoxlm.workflows.load_scorers", lambda *_, **__: {"forgetful": Forgetful(8)})
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    listed = {quoted(row[0])[0].replace("METHOD-STRENGTH", "surgery-1") for row in table(CONCEPTS, "path")}
    left = {str(path.relative_to(workplace / "out")) for path in (workplace / "out").rglob("*") if path.is_file()}
    folders = ("model/", "results/chat/")  # listed as such
    assert {next((one for one in folders if path.startswith(one)), path) for path in left} == listed
    assert "model/detoxlm.json" in left


def test_the_toml_of_the_docs_is_valid_settings(tmp_path: Path) -> None:
    from detoxlm.methods.fusion import FusionSettings
    from detoxlm.settings import RunSettings
    from detoxlm.sources import read_toml, resolve

    (example,) = (body for language, body in blocks(ROOT / "docs" / "concepts.md") if language == "toml")
    (tmp_path / "example.toml").write_text(example)
    assert resolve(RunSettings, {}, tmp_path / "example.toml").seed == 7
    assert FusionSettings(**read_toml(tmp_path / "example.toml")["fusion"]).layers == 4
