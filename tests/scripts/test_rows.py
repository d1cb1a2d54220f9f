"""What the benchmarks of methods share: by whom their rows are judged, and which of what is there is theirs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fits import CASES, PROMPTS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import control
import fusion
import rows
import subspace

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


def test_rows_by_another_scorer_are_not_taken_for_rows_by_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = load_scorer("ngram")
    rows.refuse_other_scorers(tmp_path / "new", scorer)  # nothing is there
    (tmp_path / "challenge-10-untouched.json").touch()
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
        (["other"], []),
    ):
        assert rows.chosen(argparse.Namespace(rows=asked), names) == found


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
