"""The contract that every scorer keeps, and the registry."""

import subprocess
import sys

import numpy as np
import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers import Scorer, list_scorers, load_scorer
from detoxlm.scorers.cache import CachedScorer


class Fixed(Scorer):
    name, version, revision, batch_size = "fixed", "1", "r", 3

    def __init__(self, answer):
        self.answer = answer

    def _score_batch(self, texts):
        return self.answer(texts)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: [0.5] * (len(texts) - 1) + [float("nan")], "nan for text 2"),
        (lambda texts: [1.5] * len(texts), "1.5 for text 0"),
        (lambda texts: [-0.1] * len(texts), "-0.1 for text 0"),
        (lambda texts: [0.5], "3 texts in"),
        (lambda texts: [[0.5]] * len(texts), "3 texts in"),
    ],
    ids=["nan", "above 1", "below 0", "wrong count", "wrong shape"],
)
@pytest.mark.parametrize("cached", [False, True])
def test_an_answer_out_of_contract_raises(answer, message, cached, tmp_path):
    scorer = Fixed(answer)
    if cached:
        scorer = CachedScorer(scorer, tmp_path / "s.sqlite")
    with pytest.raises(DetoxError, match=message):
        scorer.score(["a", "b", "c"])


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("ask", ["score", "score_dimensions"])
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one single text", r"'one single text' is one text, and a list of them is expected; write \[text\]"),
        (b"bytes", "is one text"),
        (["fine", None], r"texts\[1\] is None, not a text"),
        (["a", "b", "c", "d", 7.5], r"texts\[4\] is 7\.5, not a text"),
        ([["nested"]], r"texts\[0\] is \['nested'\], not a text"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_and_nothing_is_scored(texts, message, ask, cached, tmp_path):
    scorer = Fixed(lambda texts: pytest.fail("it was scored"))
    if cached:
        scorer = CachedScorer(scorer, tmp_path / "s.sqlite")
    with pytest.raises(UsageError, match=message):
        getattr(scorer, ask)(texts)


@pytest.mark.parametrize("name", ["embedded", "ngram", "perspective-like", "reader", "regex:e", "any:ngram + regex:e"])
def test_every_offline_scorer_refuses_one_text_for_a_list(name):
    scorer = load_scorer(name)
    for ask in (scorer.score, scorer.score_dimensions):
        with pytest.raises(UsageError, match="is one text"):
            ask("one single text")
        with pytest.raises(UsageError, match=r"texts\[1\]"):
            ask(["fine", None])


def test_any_sequence_of_texts_is_scored():
    scorer = Fixed(lambda texts: [len(text) / 10 for text in texts])
    for texts in (("a", "bb"), np.array(["a", "bb"]), iter(["a", "bb"])):
        assert scorer.score(texts).tolist() == [0.1, 0.2]


def test_progress_counts_every_text():
    steps = []
    Fixed(lambda texts: np.zeros(len(texts))).score(["x"] * 7, steps.append)
    assert steps == [3, 3, 1]


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'embedded'"):
        load_scorer("embeded")


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("embedded:x", {}, "no version 'x'"),
        ("embedded", {"batch_size": 0}, "batch_size: 0"),
        ("hub", {}, "names no model"),
    ],
)
def test_bad_specifications(spec, options, message):
    with pytest.raises(UsageError, match=message):
        load_scorer(spec, **options)


def test_batch_size_reaches_the_scorer_and_embedded_is_not_cached():
    scorer = load_scorer("embedded", batch_size=5)
    assert scorer.batch_size == 5
    assert not isinstance(scorer, CachedScorer)


def test_listing_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    missing = {status.name: status.missing for status in list_scorers()}
    assert missing["embedded"] is None
    assert "OPENAI_API_KEY" in missing["openai"]
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert {s.name: s.missing for s in list_scorers()}["openai"] is None


def test_importing_and_listing_load_no_torch():
    code = (
        "import sys, detoxlm.scorers as s; s.list_scorers(); s.load_scorer('ngram').score(['a']);"
        "assert not {'torch', 'transformers', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
