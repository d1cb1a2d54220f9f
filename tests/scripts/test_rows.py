"""What the benchmarks of methods share: by whom their rows are judged."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import rows

from detoxlm.results import ScorerInfo
from detoxlm.scorers import load_scorer


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
