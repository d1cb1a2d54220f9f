"""Settings: one value from four places, and errors that name the field, the value and where it came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import pytest

from detoxlm import settings as settings_module
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling
from detoxlm.settings import EvaluateSettings, FitSettings, GenerateSettings, RunSettings, Settings, explained
from detoxlm.sources import method_table, resolve, validated

KINDS = [
    kind
    for kind in vars(settings_module).values()
    if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No DETOXLM_ variable of the developer's own."""
    for name in list(os.environ):
        if name.startswith("DETOXLM_"):
            monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A config file that sets a seed, a batch size and a limit."""
    return config(tmp_path, "seed = 3\nbatch_size = 33\nlimit = 333\n")


def config(folder: Path, text: str) -> Path:
    path = folder / "detox.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_command_line_beats_environment_beats_file_beats_default(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOXLM_SEED", "2")
    monkeypatch.setenv("DETOXLM_BATCH_SIZE", "22")
    got = resolve(EvaluateSettings, {"seed": 1}, toml)
    assert (got.seed, got.batch_size, got.limit, got.fluency_tokens) == (1, 22, 333, 16384)


def test_an_option_that_was_not_given_does_not_hide_the_others(toml: Path) -> None:
    assert resolve(EvaluateSettings, {"seed": None}, toml).seed == 3


@pytest.mark.parametrize("given", [0, False, 0.0, ""])
def test_a_given_value_that_is_false_is_given_all_the_same(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    field = {int: "seed", bool: "trust_remote_code", float: "strength", str: "recipe"}[type(given)]
    monkeypatch.setenv(f"DETOXLM_{field.upper()}", "1")
    got = getattr(resolve(EvaluateSettings, {field: given}), field)
    assert got == given and type(got) is type(given)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_defaults_are_valid_and_every_field_is_explained(kind: type[Settings]) -> None:
    resolve(kind, {})
    assert all(field.description for field in kind.model_fields.values())


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (FitSettings, "batch_size", "From 1 to 4,096."),
        (FitSettings, "seed", "From 0 to 4,294,967,295."),
        (EvaluateSettings, "limit", "At least 1."),
        (GenerateSettings, "top_p", "Above 0, at most 1."),
    ],
)
def test_the_range_of_a_number_is_said_as_it_is_enforced(kind: type[Settings], name: str, said: str) -> None:
    assert explained(kind.model_fields[name]).endswith(f" {said}")


def test_every_number_of_every_method_has_a_range() -> None:
    from detoxlm.methods import METHODS

    for kind in (*KINDS, *(method.detoxifier_type.settings_type for method in METHODS.values())):
        for name, field in kind.model_fields.items():
            if {int, float} & {field.annotation, *get_args(field.annotation)}:
                assert explained(field) != field.description, f"{kind.__name__}.{name}"


def test_variables_of_other_commands_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOXLM_LIMIT", "5")
    monkeypatch.setenv("DETOXLM_CACHE", "/somewhere")
    assert resolve(EvaluateSettings, {}).limit == 5
    assert not hasattr(resolve(GenerateSettings, {}), "limit")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("False", False), ("no", False)],
)
def test_booleans_from_the_environment(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOXLM_TRUST_REMOTE_CODE", text)
    assert resolve(GenerateSettings, {}).trust_remote_code is value


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("SEED", "abc", r"seed \(environment variable DETOXLM_SEED\): Input should be a valid integer.*; got 'abc'\."),
        ("SEED", "", r"seed \(environment variable DETOXLM_SEED\).*got ''\."),
        ("SEED", "-1", r"seed .*greater than or equal to 0; got '-1'"),
        ("SEED", str(2**32), r"seed .*less than 4294967296"),
        ("TRUST_REMOTE_CODE", "maybe", r"trust_remote_code .*valid boolean.*; got 'maybe'"),
        ("TOP_P", "0", r"top_p .*greater than 0"),
        ("TOP_P", "nan", r"top_p .*got 'nan'"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(
    variable: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DETOXLM_{variable}", text)
    with pytest.raises(UsageError, match=message):
        resolve(GenerateSettings, {})


def test_a_wrong_option_is_named_as_it_was_typed() -> None:
    with pytest.raises(UsageError, match=r"batch_size \(--batch-size\): .*less than or equal to 4096; got 5000\."):
        resolve(EvaluateSettings, {"batch_size": 5000})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('seed = "abc"', r"seed \(.*detox\.toml\): .*valid integer.*; got 'abc'"),
        ("seed = 1.5", r"seed \(.*detox\.toml\): .*; got 1\.5"),
        ("scorer = 3", r"scorer \(.*detox\.toml\): .*valid list; got 3"),
        ("scorer = [3]", r"scorer \(.*detox\.toml\): .*valid string; got 3"),
        ("scorer = []", r"scorer \(.*detox\.toml\): List should have at least 1 item.*; got \[\]"),
        ("limit = 0", r"limit \(.*detox\.toml\): .*greater than or equal to 1; got 0"),
        ("[seed]\nx = 1", r"seed \(.*detox\.toml\): .*got \{'x': 1\}"),
    ],
)
def test_a_wrong_value_in_the_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(EvaluateSettings, {}, config(tmp_path, text))


def test_a_good_option_saves_from_a_bad_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOXLM_SEED", "abc")
    assert resolve(EvaluateSettings, {"seed": 1}).seed == 1


def test_an_unknown_key_is_named_with_its_file_and_the_known_ones(tmp_path: Path) -> None:
    path = config(tmp_path, "sead = 1\n")
    with pytest.raises(UsageError) as caught:
        resolve(FitSettings, {}, path)
    known = ", ".join(FitSettings.model_fields)
    assert str(caught.value) == f"sead ({path}): no such setting. Did you mean 'seed'? Known: {known}."
    assert "seed" in known


def test_tables_are_methods_settings_passed_over_here_and_read_there(tmp_path: Path) -> None:
    path = config(tmp_path, "seed = 4\n[fusion]\nlayers = 2\n")
    assert resolve(RunSettings, {}, path).seed == 4
    assert method_table(path, "fusion", ["fusion", "other"]) == {"layers": 2}
    assert method_table(path, "other", ["fusion", "other"]) == {}
    assert method_table(None, "fusion", ["fusion"]) == {}
    with pytest.raises(UsageError, match=r"config: .*: table: unknown name 'fusion'"):
        method_table(path, "other", ["other"])
    with pytest.raises(UsageError, match=r"fusion .*: no such setting"):
        resolve(RunSettings, {}, config(tmp_path, "fusion = 2\n"))


def test_scorers_are_one_list_wherever_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(EvaluateSettings, {}).scorer == ["embedded"]
    for text in ('scorer = "b, a"', 'scorer = ["b", "a"]'):
        assert resolve(EvaluateSettings, {}, config(tmp_path, text)).scorer == ["b", "a"]
    monkeypatch.setenv("DETOXLM_SCORER", "c,hub:x/y#toxic")
    assert resolve(EvaluateSettings, {}, config(tmp_path, text)).scorer == ["c", "hub:x/y#toxic"]
    assert resolve(EvaluateSettings, {"scorer": ["d", "e,f"]}).scorer == ["d", "e", "f"]
    assert resolve(EvaluateSettings, {"scorer": ["regex:a,b"]}).scorer == ["regex:a,b"]
    assert resolve(EvaluateSettings, {"scorer": ["e, any:f + g"]}).scorer == ["e", "any:f + g"]
    for empty in ([""], ["ngram", ""], ["ngram, "], [" ,"]):
        with pytest.raises(UsageError, match=r"scorer \(--scorer\): .*an empty name"):
            resolve(EvaluateSettings, {"scorer": empty})


def test_a_syntax_error_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = config(tmp_path, "seed = 1\nbatch_size = \nlimit = 2\n")
    with pytest.raises(UsageError, match=r"config: .*detox\.toml is not TOML: .*line 2"):
        resolve(EvaluateSettings, {}, path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config: cannot read .*none\.toml: No such file or directory\."):
        resolve(EvaluateSettings, {}, tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"config: cannot read .*: Is a directory\."):
        resolve(EvaluateSettings, {}, tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'scorer = "\xe9"')
    with pytest.raises(UsageError, match=r"latin\.toml is not TOML: "):
        resolve(EvaluateSettings, {}, tmp_path / "latin.toml")


def test_unicode_and_paths_in_the_file(tmp_path: Path) -> None:
    got = resolve(EvaluateSettings, {}, config(tmp_path, 'prompts = "früh.jsonl"\noutput = "a/b.json"\nstrength = 1\n'))
    assert (got.prompts, got.output, got.strength) == ("früh.jsonl", Path("a/b.json"), 1.0)


def test_validated_names_one_source_for_all_values() -> None:
    with pytest.raises(UsageError, match=r"top_k \(--set\): .*greater than or equal to 0; got -1\."):
        validated(Sampling, {"top_k": -1}, "--set")
    assert validated(Sampling, {"top_k": "5"}, "--set").top_k == 5
