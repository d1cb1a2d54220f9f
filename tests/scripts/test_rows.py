"""What the benchmarks of methods share: by whom their rows are judged, and which of what is there is theirs."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fits import CASES, PROMPTS, fit

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import control
import fusion
import rows
import subspace
import tuning

from detoxlm.data import Example
from detoxlm.generation import Sampling, generate
from detoxlm.methods import FitData
from detoxlm.methods.base import describe_target
from detoxlm.models import Target
from detoxlm.results import Results, ScorerInfo
from detoxlm.scorers import load_scorer
from detoxlm.settings import Settings


def test_the_scorer_of_the_pages_can_be_named_and_the_one_that_ships_is_the_default() -> None:
    parser = argparse.ArgumentParser()
    rows.add_options(parser, (1.0,), "out.json")
    assert parser.parse_args([]).scorer == "embedded"
    assert parser.parse_args(["--rows", "nado", "fusion", "--scorer", "embedded:2"]).scorer == "embedded:2"


@pytest.mark.parametrize(
    "part",
    [control.decoding, control.own, fusion.frontier, subspace.frontier, tuning.frontier, tuning.data],
    ids=lambda part: f"{part.__module__} {part.__name__}",
)
def test_rows_are_fitted_by_the_scorer_that_is_named(
    part: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted_by: list[Any] = []
    for module in (control, fusion, subspace, tuning):
        monkeypatch.setattr(module, "load_scorer", lambda name: name)
        monkeypatch.setattr(module, "load_target", lambda _: None)
        monkeypatch.setattr(module, "measured", lambda *_: {})
        monkeypatch.setattr(module, "fit_of", lambda _, __, data, *___, **____: fitted_by.append(data().scorer))
    monkeypatch.setattr(fusion, "read_corpus", lambda _: SimpleNamespace(items=[]))
    given = {"scorer": "embedded:2", "model": "m", "strengths": [1.0], "recipes": [], "seed": 0, "seeds": [0]}
    part(argparse.Namespace(**given, output=str(tmp_path / "o.json"), corpus="texts", words=None, pairs=None))
    assert fitted_by and set(fitted_by) == {"embedded:2"}


@pytest.mark.parametrize("file", ["challenge-10-untouched.json", "untouched.json"])
def test_rows_by_another_scorer_are_not_taken_for_rows_by_this_one(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = load_scorer("ngram")
    rows.refuse_other_scorers(tmp_path / "new", scorer)  # nothing is there
    (tmp_path / file).touch()
    by = ScorerInfo(name=scorer.name, version=scorer.version, revision=scorer.revision)
    monkeypatch.setattr(rows.Results, "load", lambda _: SimpleNamespace(scorer=by))
    rows.refuse_other_scorers(tmp_path, scorer)
    by.version = "0"
    with pytest.raises(SystemExit, match=r"is by ngram 0, not ngram 1: choose another -o"):
        rows.refuse_other_scorers(tmp_path, scorer)


@pytest.fixture
def options(tmp_path: Path, letter_scorer: Any, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    monkeypatch.setattr(rows, "load_scorer", lambda name: letter_scorer if name == "letters" else load_scorer(name))
    monkeypatch.setattr(rows, "builtin_prompts", lambda *_: PROMPTS)
    given = {"output": str(tmp_path / "out.json"), "scorer": "letters", "rows": None, "prompts": None, "limit": None}
    return argparse.Namespace(**given, fluency_text=None, fluency_tokens=64, batch_size=4)


def test_rows_of_this_measurement_are_taken_and_all_others_made_again(
    options: argparse.Namespace, tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    target, fitted = tiny(), []
    data = FitData(corpus=[Example(None, f"{'eeee' * (i % 2)} words {i}") for i in range(16)], scorer=letter_scorer)

    def table(strength: float = 1.0, **changes: Any) -> list[Any]:
        settings = {**CASES["sft"][1], **changes}
        get = rows.fit_of(target, "sft", lambda: data, fitted.append, **settings)
        return rows.measured(options, target, [("sft", get, (strength,))], ["challenge-10"])["table"]

    first, path = table(), tmp_path / "out" / "challenge-10-sft-1.json"
    written = path.read_bytes()
    assert table() == first and len(fitted) == 1 and path.read_bytes() == written
    options.limit = 2
    fewer = table()
    assert len(fitted) == 1 and len(Results.load(path).rows) == 2
    assert fewer[1]["difference"] != first[1]["difference"]
    table(steps=2)
    assert len(fitted) == 2, "a fit with other settings is another"


def test_a_rows_own_name_chooses_it_alone_and_a_part_all_that_contain_it() -> None:
    names = ["learned", "learned, attention too", "searched", "paper, aligned"]
    for asked, found in (
        (None, names),
        (["learned"], ["learned"]),
        (["attention", "paper"], ["learned, attention too", "paper, aligned"]),
    ):
        assert rows.chosen(argparse.Namespace(rows=asked), names) == found
    with pytest.raises(SystemExit, match=r"--rows: none of learned; .* contains 'other'"):
        rows.chosen(argparse.Namespace(rows=["learned", "other"]), names)
    assert rows.chosen(argparse.Namespace(rows=["learned"]), []) == [], "untouched alone is measured on purpose"


@pytest.mark.parametrize(
    ("run", "part", "option"),
    [
        (control.corpus, "corpus", "comments"),
        (subspace.pairs, "pairs", "pairs"),
        (subspace.noise, "noise", "pairs"),
        (subspace.robustness, "robustness", "corpus"),
    ],
)
def test_a_part_says_what_it_needs_before_the_work(run: Any, part: str, option: str) -> None:
    with pytest.raises(SystemExit, match=f"--{option}: `{part}` needs it"):
        run(argparse.Namespace(part=part, **{option: None}))


def test_parts_write_to_files_of_their_own(tmp_path: Path) -> None:
    options = argparse.Namespace(part="speed", output=str(tmp_path / "a-PART.json"))
    rows.run_part({"speed": lambda _: {"x": 1}}, options)
    assert (tmp_path / "a-speed.json").exists()


def test_a_schedule_without_all_stages_has_no_prediction() -> None:
    stages = {stage.name: 1.0 for some in control.rounds("sequential", 4) for stage in some}
    found = control.predicted(stages, ("sequential", "parallel"), 4)
    assert found["sequential, 1 devices"] == len(stages)
    del stages["train-4"]  # it had ended before
    assert "sequential, 1 devices" not in control.predicted(stages, ("sequential", "parallel"), 4)


def test_a_schedule_for_other_workers_is_fitted_anew_and_timed_whole(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, left = tiny(), []
    made = fit(target, "sft", letter_scorer)

    def fitted(_: Any, data: FitData, __: Any) -> Any:
        assert data.workdir is not None
        left.append(data.workdir.exists())
        data.workdir.mkdir(parents=True, exist_ok=True)
        return copy.deepcopy(made)

    monkeypatch.setattr(control, "get_method", lambda name: SimpleNamespace(name=name, fit=fitted))
    data = FitData(prompts=PROMPTS, scorer=letter_scorer)
    given = {"steps": 4, "samples": 2, "check_every": 4, "iterations": 2, "output": str(tmp_path / "out.json")}
    for workers in (1, 1, 2):
        options = argparse.Namespace(**given, workers=workers)
        found = control.scheduled(options, target, data, "parallel")(tmp_path / "kept")
        assert found.fitting["wall_clock"] >= 0
    assert left == [False, False], "one fit for each number of workers, each from an empty work folder"


def test_a_schedule_alone_is_reported_without_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(control, "load_target", lambda _: None)
    monkeypatch.setattr(control, "load_scorer", lambda _: None)
    monkeypatch.setattr(control, "measured", lambda *_: {"table": []})
    one = SimpleNamespace(fitting={"wall_clock": 3.0, "stages": {"train-1": {"seconds": 2.0}}})
    monkeypatch.setattr(control, "scheduled", lambda *_: lambda _: one)
    given = {"rows": ["parallel"], "strengths": [1.0], "recipes": [], "fit_prompts": 2, "workers": 2, "iterations": 2}
    options = argparse.Namespace(**given, model="m", scorer="s", output=str(tmp_path / "out.json"))
    report = control.schedule(options)
    assert report["times"] == {"parallel": {"wall_clock": 3.0, "stages": {"train-1": 2.0}}}
    assert report["predicted"] == {} and "intervals_overlap" not in report


def test_banned_words_of_many_tokens_are_never_spelled_to_their_end(tiny: Callable[..., Target]) -> None:
    target, sampling = tiny(), Sampling(max_new_tokens=12)
    plain = next(generate(target, PROMPTS, sampling)).generations
    banned = torch.tensor([one.token_ids[0][3:6] for one in plain])
    words = fusion.BannedWords(Settings(), describe_target(target), {"banned": banned})
    with words.attached(target.model, 1.0):
        batches = list(generate(target, PROMPTS, sampling))
    made = {one.index: one.token_ids[0] for batch in batches for one in batch.generations}
    for one in plain:
        ids = made[one.index]
        assert len(ids) > 6 and ids != one.token_ids[0]
        assert not any(ids[i : i + 3] in banned.tolist() for i in range(len(ids) - 2))
