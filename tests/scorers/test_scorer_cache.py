"""The score cache: hits, keys, damage, and two processes at once."""

import errno
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import torch

from detoxlm.errors import DetoxError
from detoxlm.scorers import Scorer
from detoxlm.scorers.cache import CachedScorer


class Counting(Scorer):
    """Scores a text by its length / 100 and remembers what it was asked."""

    name = "counting"

    def __init__(self, version="1", revision="r", batch_size=4):
        self.version, self.revision, self.batch_size, self.asked = version, revision, batch_size, []

    def _score_batch(self, texts):
        self.asked.append(texts)
        return np.array([len(text) / 100 for text in texts])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores" / "s.sqlite"


def test_only_misses_reach_the_scorer_each_once(path):
    CachedScorer(Counting(), path).score(["a", "bb"])
    inner, steps = Counting(), []
    scores = CachedScorer(inner, path).score(["ccc", "a", "ccc", "bb", "\ud800"], steps.append)
    assert inner.asked == [["ccc", "\ud800"]]
    assert scores.tolist() == [0.03, 0.01, 0.03, 0.02, 0.01]
    assert sum(steps) == 5


def test_more_texts_than_one_query_holds(path):
    texts = ["x" * (i % 90) + str(i) for i in range(1300)]
    expected = CachedScorer(Counting(batch_size=100), path).score(texts)
    inner = Counting()
    assert np.array_equal(CachedScorer(inner, path).score(texts), expected)
    assert inner.asked == []


@pytest.mark.parametrize("other", [{"version": "2"}, {"revision": "s"}])
def test_another_version_or_revision_is_another_key(path, other):
    CachedScorer(Counting(), path).score(["a"])
    inner = Counting(**other)
    CachedScorer(inner, path).score(["a"])
    assert inner.asked == [["a"]]


def test_finished_batches_survive_a_failure(path):
    class Failing(Counting):
        def _score_batch(self, texts):
            if self.asked:
                raise DetoxError("down")
            return super()._score_batch(texts)

    with pytest.raises(DetoxError, match="down"):
        CachedScorer(Failing(), path).score([str(i) for i in range(8)])
    inner = Counting()
    CachedScorer(inner, path).score([str(i) for i in range(8)])
    assert inner.asked == [["4", "5", "6", "7"]]


def test_batch_size_of_the_wrapper_is_used(path):
    inner = Counting()
    cached = CachedScorer(inner, path)
    cached.batch_size = 2
    cached.score(["a", "b", "c"])
    assert [len(batch) for batch in inner.asked] == [2, 1]


def test_dimensions_come_from_disk_where_toxicity_is_the_only_one(path):
    CachedScorer(Counting(), path).score(["a", "bb"])
    inner, steps = Counting(), []
    found = CachedScorer(inner, path).score_dimensions(["a", "ccc", "bb"], steps.append)
    assert {name: scores.tolist() for name, scores in found.items()} == {"toxicity": [0.01, 0.03, 0.02]}
    assert inner.asked == [["ccc"]] and sum(steps) == 3
    CachedScorer(Counting(), path).score_dimensions(["dddd"])
    CachedScorer(inner, path).score(["dddd"])
    assert inner.asked == [["ccc"]], "and they are kept there"


def test_further_dimensions_are_the_scorers_own_with_its_halved_batches(path):
    class Several(Counting):
        dimensions, device = ("toxicity", "insult"), torch.device("cpu")

        def _score_dimensions_batch(self, texts):
            self.asked.append(len(texts))
            if len(texts) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return np.array([[len(text) / 100, 0.5] for text in texts])

    inner, steps = Several(), []
    cached = CachedScorer(inner, path)
    found = cached.score_dimensions(["a", "bb", "ccc", "dddd", "eeeee"], steps.append)
    assert found["toxicity"].tolist() == [0.01, 0.02, 0.03, 0.04, 0.05]
    assert found["insult"].tolist() == [0.5] * 5
    assert inner.asked == [4, 2, 2, 1] and sum(steps) == 5
    assert cached.batch_size == 2, "and so it stays"


def test_no_text_is_stored(path):
    CachedScorer(Counting(), path).score(["a secret sentence"])
    assert b"secret" not in b"".join(file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("damage", ["all", "middle"])
def test_a_damaged_file_is_moved_aside(path, damage):
    CachedScorer(Counting(batch_size=100), path).score([str(i) for i in range(2000)])
    data = path.read_bytes()
    assert len(data) > 40_000
    path.write_bytes(b"not a database" * 500 if damage == "all" else data[:8192] + b"\xff" * (len(data) - 8192))
    inner = Counting(batch_size=100)
    with pytest.warns(UserWarning, match="damaged"):
        assert CachedScorer(inner, path).score([str(i) for i in range(2000)])[7] == 0.01
    assert list(path.parent.glob("s.sqlite.damaged-*"))
    again = Counting()
    CachedScorer(again, path).score([str(i) for i in range(2000)])
    assert again.asked == []


def test_an_unusable_place_does_not_stop_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="going on without it"):
        assert CachedScorer(Counting(), tmp_path / "file" / "s.sqlite").score(["a", "bb"]).tolist() == [0.01, 0.02]


def test_a_stored_value_out_of_range_is_scored_again(path):
    CachedScorer(Counting(), path).score(["a"])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE scores SET score = 7")
    database.close()
    assert CachedScorer(Counting(), path).score(["a"]).tolist() == [0.01]


def test_processes_share_one_file(path):
    code = """
import sys, warnings
import numpy as np
from pathlib import Path
from detoxlm.scorers import Scorer
from detoxlm.scorers.cache import CachedScorer
warnings.simplefilter("error")
class Length(Scorer):
    name, version, revision, batch_size = "counting", "1", "r", 20
    def _score_batch(self, texts):
        return np.array([len(t) / 100 for t in texts])
first = int(sys.argv[2])
texts = ["y" * (i % 50) + str(i) for i in range(first, first + 400)]
got = CachedScorer(Length(), Path(sys.argv[1])).score(texts)
assert got.tolist() == [len(t) / 100 for t in texts]
"""
    runs = [subprocess.Popen([sys.executable, "-c", code, str(path), str(first)]) for first in (0, 200, 400)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    inner = Counting()
    CachedScorer(inner, path).score(["y" * (i % 50) + str(i) for i in range(800)])
    assert inner.asked == []


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system"), PermissionError(errno.EACCES, "no")])
def test_a_cache_that_is_read_only_is_read_and_nothing_is_added(path, error, monkeypatch, caplog):
    CachedScorer(Counting(), path).score(["a", "bb"])
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("detoxlm.scorers.cache.FileLock.acquire", refuse)
    inner = Counting()
    scorer = CachedScorer(inner, path)
    for _ in range(2):
        assert scorer.score(["a", "ccc", "bb"]).tolist() == [0.01, 0.03, 0.02]
    assert inner.asked == [["ccc"], ["ccc"]]
    assert caplog.text.count("is read-only: its scores are used, and none are added") == 1
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_read_only_folder_without_a_cache_is_warned_of_once(path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("detoxlm.scorers.cache.Path.mkdir", refuse)
    scorer = CachedScorer(Counting(), path)
    with pytest.warns(UserWarning, match="cannot be used .*; going on without it"):
        assert scorer.score(["a"]).tolist() == [0.01]
    assert scorer.score(["bb"]).tolist() == [0.02]
