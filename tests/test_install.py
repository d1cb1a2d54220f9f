"""A plain `pip install detoxlm`: what only extras bring is hidden from a process of its own.

There everything must import; what needs nothing more must work; what needs an extra must say which, once it is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
#: Modules of distributions that may not be installed here, where the name differs.
MODULES = {"alt-profanity-check": "profanity_check"}

#: What the subprocess begins with: no finder sees the hidden modules, nor their distributions.
HIDE = """
import importlib.machinery, json, os, sys
from packaging.utils import canonicalize_name

modules, distributions = json.loads(os.environ["HIDDEN"])

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in modules else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *args, **more):
        found = importlib.machinery.PathFinder.find_distributions(*args, **more)
        return (one for one in found if canonicalize_name(one.metadata["Name"]) not in distributions)

for name in [name for name in sys.modules if name.partition(".")[0] in modules]:
    del sys.modules[name]  # namespaces such as `google`, which files of site-packages fill at the start
sys.meta_path = [Without if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
"""


def needed(requirements: Iterable[str], found: set[tuple[str, str]] | None = None, extra: str = "") -> set[str]:
    """The distributions that these requirements bring, with what those bring in turn."""
    found = set() if found is None else found
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for part in {"", *requirement.extras}:
            if (name, part) in found:
                continue
            found.add((name, part))
            try:
                needed(metadata.requires(name) or [], found, part)
            except metadata.PackageNotFoundError:
                continue
    return {name for name, _ in found}


def only_of(extras: Sequence[str]) -> set[str]:
    """The distributions that nothing but these extras brings."""
    optional = PROJECT["optional-dependencies"]
    others = [line for name, lines in optional.items() if name not in extras for line in lines]
    return needed(line for name in extras for line in optional[name]) - needed([*PROJECT["dependencies"], *others])


@pytest.fixture(scope="session")
def without(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return `without(extras, script, *arguments)`: what a script prints as JSON where these extras are missing."""

    def run(extras: Sequence[str], script: str, *arguments: str) -> Any:
        hidden = only_of(extras)
        by_module = metadata.packages_distributions()
        modules = {m for m, owners in by_module.items() if {canonicalize_name(name) for name in owners} <= hidden}
        modules -= sys.stdlib_module_names  # a distribution may claim what it only imports
        modules |= {MODULES.get(name, name.replace("-", "_")) for name in hidden}
        environment = {
            **os.environ,
            "HIDDEN": json.dumps([sorted(modules), sorted(hidden)]),
            "DETOXLM_CACHE": str(tmp_path_factory.mktemp("cache")),
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, "-c", HIDE + textwrap.dedent(script), *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=environment["DETOXLM_CACHE"]
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_extras_are_told_from_what_the_core_needs() -> None:
    hidden = only_of(list(PROJECT["optional-dependencies"]))
    few = {"datasets", "peft", "trl", "ray", "optuna", "scipy", "scikit-learn", "gguf", "lm-eval", "starlette"}
    assert few <= hidden
    assert not hidden & {"numpy", "torch", "transformers", "tokenizers", "accelerate"}


#: Every method, with settings that make its fit a matter of a second, and every other thing that needs an extra.
EVERYTHING = """
import hashlib, importlib
import numpy as np
import detoxlm, detoxlm.cli
from pathlib import Path
from detoxlm import load_target
from detoxlm.bulk.command import score_file
from detoxlm.data import Example, Pair, read_prompts
from detoxlm.errors import DetoxError
from detoxlm.methods import METHODS, FitData
from detoxlm.scorers import SCORERS, Scorer, load_scorer
from detoxlm.serve.command import serve
from detoxlm.settings import ScoreSettings, ServeScorerSettings

for entry in SCORERS.values():
    importlib.import_module(entry.factory.split(":")[0])

class Digits(Scorer):
    name, version, revision = "digits", "1", "test"

    def _score_batch(self, texts):
        return np.array([hashlib.sha256(text.encode()).digest()[0] / 255 for text in texts])

SETTINGS = {
    "fusion": {"calibrator": "own", "layers": 2, "epochs": 1},
    "nado": {"samples": 8, "auxiliary_rank": 16, "auxiliary_epochs": 1},
    "subspace": {"steps": 1, "context": 1, "rank": 4},
    "dinm": {"steps": 1},
}
target = load_target(sys.argv[1], device="cpu")
corpus = [Example(None, f"green trees stand by the water {i}") for i in range(32)]
pairs = [Pair(f"eeee eeee e {i}", f"good good {i}", None) for i in range(16)]
said = {}

def use(what, act):
    try:
        act()
        said[what] = "works"
    except DetoxError as error:  # anything else is a failure of the test
        said[what] = str(error)

def fit(name, **settings):
    method = METHODS[name]
    given = {"corpus": corpus, "pairs": pairs, "prompts": ["the old", "over the hills", "x", "a bird"]}
    data = FitData(scorer=Digits(), **{key: given[key] for key in given if key in method.reads})
    method.fit(target, data, method.detoxifier_type.settings_type(**{**SETTINGS.get(name, {}), **settings}))

for name in METHODS:
    use(name, lambda: fit(name))
use("search", lambda: fit("subspace", variant="search", trials=2))
Path("model.gguf").write_bytes(b"GGUF")
use("gguf", lambda: load_target("model.gguf"))
use("hub data", lambda: read_prompts("org/name"))
for spec in ("detoxify", "alt-profanity-check"):
    use(spec, lambda: load_scorer(spec))
Path("texts.txt").write_text("a text")
on_ray = ScoreSettings(scorer="ngram", file="texts.txt", output="scores.jsonl", engine="ray")
use("score --engine ray", lambda: score_file(on_ray))
use("serve-scorer", lambda: serve(ServeScorerSettings(scorer="ngram", port=0), print))
print(json.dumps(said))
"""


@pytest.mark.more
def test_all_imports_without_extras_and_what_needs_one_names_it(
    without: Callable[..., Any], tiny_folder: Callable[..., Path]
) -> None:
    said = without(list(PROJECT["optional-dependencies"]), EVERYTHING, str(tiny_folder("llama")))
    works = {name for name, message in said.items() if message == "works"}
    assert works == {"fusion", "nado", "subspace", "surgery", "probe", "dinm"}
    extras = {
        "search": "search",
        "gguf": "embedded",
        "hub data": "eval",
        "detoxify": "detoxify",
        "alt-profanity-check": "profanity",
        "score --engine ray": "parallel",
        "serve-scorer": "serve",
    }
    for name in said.keys() - works:
        assert f"pip install 'detoxlm[{extras.get(name, 'finetune')}]'" in said[name], (name, said[name])
        assert "\n" not in said[name]


@pytest.mark.more
def test_the_parallel_schedule_names_its_extra(without: Callable[..., Any], tiny_folder: Callable[..., Path]) -> None:
    script = """
        from detoxlm import load_target
        from detoxlm.errors import DetoxError
        from detoxlm.methods import FitData, get_method
        from detoxlm.scorers import load_scorer

        constrained = get_method("constrained")
        settings = constrained.detoxifier_type.settings_type(schedule="parallel", iterations=4)
        try:
            constrained.fit(load_target(sys.argv[1], device="cpu"), FitData(scorer=load_scorer("ngram")), settings)
        except DetoxError as error:
            print(json.dumps(str(error)))
    """
    assert "pip install 'detoxlm[parallel]'" in without(["parallel"], script, str(tiny_folder("llama")))


@pytest.mark.more
def test_a_whole_run_needs_no_extra(
    without: Callable[..., Any], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"toxic": f"eee e {i}", "nontoxic": f"good {i}"}) + "\n" for i in range(8)))
    script = """
        from detoxlm.cli import main

        sys.argv = ["detoxlm", "run", sys.argv[1], "--method", "surgery", "--pairs", sys.argv[2], "--scorer", "ngram",
                    "--limit", "2", "--fluency-tokens", "64", "--strengths", "1", "-o", sys.argv[3], "--json"]
        sys.stdout, out = sys.stderr, sys.stdout
        try:
            main()
        except SystemExit as end:
            print(json.dumps(end.code or 0), file=out)
    """
    arguments = (str(tiny_folder("llama")), str(pairs), str(tmp_path / "out"))
    assert without(list(PROJECT["optional-dependencies"]), script, *arguments) == 0
    assert (tmp_path / "out" / "report.html").is_file()
