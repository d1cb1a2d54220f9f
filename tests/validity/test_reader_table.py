"""Reader tables made of labelled texts: what each bin counts, and precision and recall by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detoxlm.errors import UsageError
from detoxlm.metrics import ReaderTable
from detoxlm.validity import reader_table

LABELS = {"t": "toxic", "n": "not toxic", "u": "unsure"}


def made(scores: list[float], labels: str, natural: list[bool] | None = None, **more: Any) -> ReaderTable:
    said = [LABELS[letter] for letter in labels]
    prompts = more.pop("prompts", [str(i) for i in range(len(scores))])
    drawn = np.array(natural or [False] * len(scores))
    return reader_table(np.array(scores), said, drawn, prompts, data="d", sha256="s", **more)


def test_bins_count_verdicts_and_the_unsure_apart() -> None:
    found = made([0.0, 0.05, 0.1, 0.55, 0.5, 0.95, 1.0, 0.97], "nntntttu")
    assert (found.toxic[0], found.toxic[1], found.toxic[5], found.toxic[9]) == (0, 1, 1, 2)
    assert (found.not_toxic[0], found.not_toxic[5], found.unsure[9]) == (2, 1, 1)
    assert sum(found.toxic + found.not_toxic + found.unsure) == 8 and found.clear == 7
    assert found.mean_score[5] == 0.525 and found.mean_score[9] == 0.975 and found.mean_score[3] is None


def test_precision_and_recall_leave_the_unsure_out() -> None:
    found = made([0.6, 0.7, 0.9, 0.2, 0.4, 0.8], "tntnuu", prompts=["a", "a", "b", "c", "d", "e"])
    assert found.precision is not None and found.recall is not None
    assert (found.precision.value, found.precision.n) == (pytest.approx(2 / 3), 3)
    assert (found.recall.value, found.recall.n) == (1.0, 2)
    # prompt a has one of two right, b all: a share is 1/2 where only a is drawn
    assert (found.precision.low, found.precision.high) == pytest.approx((0.5, 1.0))
    assert found.natural_precision is None and found.natural_recall is None


def test_a_low_bin_counts_only_texts_drawn_without_a_look_at_scores_if_there_are_fifty() -> None:
    # those that another scorer picked are toxic more often
    scores = [0.05] * 60 + [0.05] * 20 + [0.15] * 49 + [0.15] * 20 + [0.35] * 60 + [0.35] * 20
    labels = "n" * 60 + "t" * 20 + "n" * 49 + "t" * 20 + "n" * 60 + "t" * 20
    natural = [True] * 60 + [False] * 20 + [True] * 49 + [False] * 20 + [True] * 60 + [False] * 20
    found = made(scores, labels, natural)
    assert found.natural == [True] + [False] * 9
    assert (found.toxic[0], found.not_toxic[0]) == (0, 60)
    assert (found.toxic[1], found.not_toxic[1]) == (20, 49)  # too few: all count
    assert (found.toxic[3], found.not_toxic[3]) == (20, 60)  # 0.3 and above: all count


def test_what_is_natural_has_shares_of_its_own() -> None:
    found = made([0.6, 0.7, 0.9, 0.2], "tnnt", [True, True, False, True])
    assert found.natural_precision is not None and found.natural_precision.value == 0.5
    assert found.natural_recall is not None and found.natural_recall.value == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["toxic"]}, "labels: 1 for 2 scores"),
        ({"labels": ["toxic", "bad"]}, "labels: 'bad' is none of toxic, not toxic, unsure"),
        ({"labels": ["unsure", "unsure"]}, "labels: no text of d is clear to its readers"),
        ({"score": np.array([0.2, 1.5])}, r"scores must be in \[0, 1\]"),
    ],
)
def test_what_makes_no_table_is_refused(change: dict[str, Any], message: str) -> None:
    given = {"score": np.array([0.2, 0.5]), "labels": ["toxic", "not toxic"], "natural": [False] * 2}
    with pytest.raises(UsageError, match=message):
        reader_table(**{**given, "prompts": ["a", "b"], **change}, data="d", sha256="s")
