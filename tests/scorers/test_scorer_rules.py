"""Constraints by rule: what they say, what they refuse, and how they are named on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers import SCORERS, load_scorer
from detoxlm.scorers.cache import CachedScorer
from detoxlm.scorers.rules import WorstScorer
from detoxlm.settings import ScorerOptions

TEXTS = ["no numbers", "room 101", "Really?", "in 1999?"]


def test_a_regular_expression_is_found_or_not() -> None:
    assert load_scorer(r"regex:\d{2,3}").score(TEXTS).tolist() == [0, 1, 0, 1]
    assert load_scorer(r"regex:(?i)^really\?$").score(TEXTS).tolist() == [0, 0, 1, 0]


def test_the_worst_of_several_counts() -> None:
    assert load_scorer(r"any:regex:\d + regex:\?").score(TEXTS).tolist() == [0, 1, 1, 1]


def test_parts_keep_their_scores_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SCORERS["regex"]
    monkeypatch.setitem(SCORERS, "regex", replace(entry, cached=True))
    for cache in (True, False):
        worst = load_scorer(r"any:regex:\d + regex:\? + ngram", cache=cache)
        assert isinstance(worst, WorstScorer)
        assert [isinstance(part, CachedScorer) for part in worst.parts] == [cache, cache, False]


def test_a_function_of_the_users_is_called_by_file_or_module(tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    path.write_text("def loud(text):\n    return text.isupper()\ndef broken(text):\n    return 1 / 0\n")
    loud = load_scorer(f"python:{path}:loud")
    assert loud.score(["SHOUT", "say"]).tolist() == [1, 0]
    with pytest.raises(DetoxError, match=r"broken: it failed on 'some text': division by zero"):
        load_scorer(f"python:{path}:broken").score(["some text"])
    assert load_scorer("python:math:cos").score(["0"] * 0).tolist() == []
    path.write_text("def loud(text):\n    return not text.isupper()\n")
    assert load_scorer(f"python:{path}:loud").revision != loud.revision, "another rule has another identity"


def test_what_stands_beside_a_function_is_a_part_of_the_rule(tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    body = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nWORDS = {'WORD'}\n"
        "@dataclass\nclass Kept:\n    word: str\ndef found(text):\n    return Kept(text).word in WORDS\n"
    )
    made = []
    for word in ("cat", "dog"):
        path.write_text(body.replace("WORD", word))
        made.append(load_scorer(f"python:{path}:found"))
    assert [one.score(["cat", "dog"]).tolist() for one in made] == [[1, 0], [0, 1]]
    assert made[0].revision != made[1].revision
    path.write_text("def found(text:\n")
    with pytest.raises(UsageError, match=r"rules\.py cannot be imported: SyntaxError"):
        load_scorer(f"python:{path}:found")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("regex", "regex needs a pattern"),
        ("regex:(", "is no regular expression"),
        ("python:nothing", "python needs a function"),
        ("python:math:nothing", "there is no function nothing in math"),
        ("python:no_such_module_here:f", "no_such_module_here cannot be imported: ModuleNotFoundError"),
        ("python:/nowhere/x.py:f", r"/nowhere/x\.py cannot be imported: FileNotFoundError"),
        ("any:embedded", "any needs two scorers"),
        ("any:regex:a + nobody", "unknown name 'nobody'"),
    ],
)
def test_rules_that_are_none_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_scorer(spec)


def test_rules_keep_their_commas_on_the_command_line() -> None:
    assert ScorerOptions(scorer=r"embedded, regex:\d{1,3}").scorer == ["embedded", r"regex:\d{1,3}"]
    for given in (r"regex:\d,ngram", r"regex:\d, hub:a/b", "any:embedded + regex:a, regex:b"):
        with pytest.raises(ValueError, match="after a rule would be taken for a part of"):
            ScorerOptions(scorer=given)
    for words in ("regex:a,any python", "regex:[a,embedded]", r"regex:\bhub,b"):  # names within a pattern are words
        assert ScorerOptions(scorer=words).scorer == [words]
    given = [r"regex:\d{1,2}", "ngram, openai", "any:regex:a{1,2} + ngram"]
    assert ScorerOptions(scorer=given).scorer == [r"regex:\d{1,2}", "ngram", "openai", "any:regex:a{1,2} + ngram"]


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("argument", ["", ":2"])
def test_every_scorer_is_known_behind_a_rule(name: str, argument: str) -> None:
    if name in ("hub", "regex", "python", "any"):
        argument = ":x"  # without one they are no scorers
    with pytest.raises(ValueError, match=f"'{name}' after a rule would be taken for a part of regex"):
        ScorerOptions(scorer=rf"ngram, regex:\bfoo\b, {name}{argument}")
