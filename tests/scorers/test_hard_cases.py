"""The embedded scorer on hand-written hard cases, written without sight of its training data and never trained on.

`hard_cases.jsonl` holds the cases and the labels; `hard_cases_failing.json` lists the texts that the scorer is known to
get wrong. Those are strict xfails: a case that starts to pass has to be taken off the list.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from detoxlm.scorers import load_scorer

#: The least share of all cases, known failures included, that the scorer must get right.
LEAST_PASSING_PERCENT = 80
#: The score from which a text counts as toxic.
THRESHOLD = 0.5

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    kind: str
    text: str
    toxic: bool


def read_cases() -> list[Case]:
    lines = (FOLDER / "hard_cases.jsonl").read_text(encoding="utf-8").splitlines()
    return [Case(**json.loads(line)) for line in lines]


CASES = read_cases()
FAILING: list[str] = json.loads((FOLDER / "hard_cases_failing.json").read_text(encoding="utf-8"))


def parameters() -> list[object]:
    """Return one parameter per case, named by its kind and its number within the kind."""
    seen: Counter[str] = Counter()
    found: list[object] = []
    for case in CASES:
        seen[case.kind] += 1
        marks = [pytest.mark.xfail(strict=True, reason="listed in hard_cases_failing.json")]
        known = case.text in FAILING
        found.append(pytest.param(case, id=f"{case.kind}-{seen[case.kind]}", marks=marks if known else []))
    return found


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    """Return the score of every case's text, all scored in one call."""
    scorer = load_scorer("embedded")
    if scorer.name != "embedded":
        pytest.skip(f"the hard cases are for the scorer named embedded; load_scorer gave {scorer.name}")
    texts = [case.text for case in CASES]
    return dict(zip(texts, scorer.score(texts).tolist(), strict=True))


def is_right(case: Case, scores: dict[str, float]) -> bool:
    return (scores[case.text] >= THRESHOLD) == case.toxic


@pytest.mark.parametrize("case", parameters())
def test_hard_case(case: Case, scores: dict[str, float]) -> None:
    assert is_right(case, scores), f"score {scores[case.text]:.3f}, labelled toxic={case.toxic}: {case.text}"


def test_enough_hard_cases_pass(scores: dict[str, float]) -> None:
    wrong = Counter(case.kind for case in CASES if not is_right(case, scores))
    percent = 100 * (1 - wrong.total() / len(CASES))
    assert percent >= LEAST_PASSING_PERCENT, f"{percent:.1f}% of {len(CASES)} right; wrong by kind: {dict(wrong)}"


def test_texts_are_distinct_and_known_failures_are_cases() -> None:
    texts = [case.text for case in CASES]
    assert len(set(texts)) == len(texts)
    assert len(set(FAILING)) == len(FAILING)
    assert set(FAILING) <= set(texts)
