"""The corrected toxic fraction: closed forms, scikit-learn's isotonic regression, simulated judges and their truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from detoxlm.errors import UsageError
from detoxlm.metrics import CORRECTED, ReaderTable
from detoxlm.metrics.bootstrap import draws
from detoxlm.metrics.corrected import agreeing
from detoxlm.metrics.readers import monotone
from detoxlm.results import Estimate, Row

EDGES = [0.0, 0.3, 0.5, 0.8, 1.0]


def table(toxic: Sequence[int], not_toxic: Sequence[int], edges: Sequence[float] = EDGES, **more: Any) -> ReaderTable:
    k = len(toxic)
    known = {"data": "d", "sha256": "s", "unsure": [0] * k, "mean_score": [None] * k, "natural": [False] * k}
    return ReaderTable(**{**known, "edges": edges, "toxic": toxic, "not_toxic": not_toxic, **more})


def rows(*scores: Sequence[float], texts: Sequence[Sequence[str]] | None = None) -> list[Row]:
    """A row of a prompt of its own for each list of scores."""
    said = texts or [["word"] * len(some) for some in scores]
    return [
        Row(prompt=f"{i}", continuations=list(text), scores=list(some), tokens=[], nll=[], nll_tokens=[])
        for i, (some, text) in enumerate(zip(scores, said, strict=True))
    ]


def estimate(made: Sequence[Row], readers: ReaderTable, seed: int = 0) -> Estimate:
    found = CORRECTED.estimate(made, [], seed, readers)
    assert found is not None
    return found


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_monotone_is_isotonic_regression(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, weights = random.random((5, 8)), random.integers(1, 9, 8).astype(float)
    for got, wanted in zip(monotone(values, weights), values, strict=True):
        other = IsotonicRegression().fit(np.arange(8), wanted, sample_weight=weights)
        assert got == pytest.approx(other.predict(np.arange(8)))


def test_a_bin_without_texts_gives_way_to_its_neighbours_and_never_breaks_the_order() -> None:
    assert monotone(np.array([0.5, 0.1, 0.9, 0.5]), np.array([0, 8, 4, 0])) == pytest.approx([0.1, 0.1, 0.9, 0.9])
    readers = table([0, 0, 8, 0], [90, 0, 2, 0])
    drawn = readers.drawn(0)
    assert (np.diff(drawn, axis=1) >= -1e-12).all() and ((drawn >= 0) & (drawn <= 1)).all()
    assert (np.diff(readers.probabilities) >= 0).all()


def test_probabilities_are_jeffreys_means_and_scores_lie_between_them() -> None:
    readers = table([0, 1, 5, 9], [99, 9, 5, 0], mean_score=[0.1, 0.4, 0.6, None])
    p = [0.5 / 100, 1.5 / 11, 5.5 / 11, 9.5 / 10]
    assert readers.probabilities == pytest.approx(p)
    assert [readers.probability(score) for score in (0.0, 0.1, 0.4, 0.6, 0.9, 1.0)] == pytest.approx(
        [p[0], p[0], p[1], p[2], p[3], p[3]]  # the last bin has no mean score: its middle serves
    )
    assert readers.probability(0.5) == pytest.approx((p[1] + p[2]) / 2)
    assert readers.clear == 128


def test_a_bin_holds_its_lower_end_and_the_last_one_both() -> None:
    readers = table([0] * 4, [1] * 4)
    assert readers.bins(np.array([0.0, 0.29, 0.3, 0.5, 0.8, 1.0])).tolist() == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": [0.0, 0.5, 0.4, 0.8, 1.0]}, r"validity: reader: .*edges must rise from 0 to 1"),
        ({"toxic": [1, 2]}, r"validity: reader: .*toxic has 2 entries for 4 bins"),
        ({"unsure": [0, 0, 0, -1]}, r"validity: reader: .*counts must not be below 0"),
        ({"toxic": [0.5] * 4}, r"validity: reader\.toxic\.0: "),
        ({"sha256": None}, r"validity: reader\.sha256: .*reader_table"),
    ],
)
def test_a_table_that_is_none_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    entry = table([0] * 4, [1] * 4).model_dump() | change
    with pytest.raises(UsageError, match=message):
        ReaderTable.of({"reader": entry})


def test_a_table_is_what_its_json_says_and_a_scorer_may_have_none() -> None:
    readers = table([0, 1, 5, 9], [99, 9, 5, 0], precision=Estimate(value=0.7, low=0.6, high=0.8, n=9))
    assert ReaderTable.of({"reader": readers.model_dump(mode="json"), "validity": {}}) == readers
    assert ReaderTable.of(None) is None and ReaderTable.of({"validity": {}}) is None


# --- the fraction ---------------------------------------------------------------------------------------------------


def test_the_value_is_the_mean_probability_of_the_bins_and_silence_is_not_toxic() -> None:
    readers = table([0, 1, 5, 9], [99, 9, 5, 0])
    p = readers.probabilities
    made = rows([0.1, 0.6], [0.9, 0.0, 0.0], texts=[["a", "b"], ["c", " \n", "d"]])
    assert estimate(made, readers).value == pytest.approx((p[0] + p[2] + p[3] + p[0]) / 5)
    assert CORRECTED.estimate(made, [], readers=None) is None
    assert CORRECTED.difference((made, []), (made, []), readers=None) is None
    assert CORRECTED.estimate([], [], readers=readers) is None


def test_the_interval_is_that_of_a_loop_over_resamples() -> None:
    readers = table([0, 1, 5, 9], [99, 9, 5, 0])
    random = np.random.default_rng(3)
    made = rows(*random.random((6, 3)).tolist())
    base = rows(*random.random((6, 3)).tolist())
    drawn = readers.drawn(7)

    def share(of: list[np.ndarray], count: np.ndarray, p: np.ndarray) -> float:
        return float(sum(c * p[bins].sum() for c, bins in zip(count, of, strict=True)) / (3 * count.sum()))

    counts = np.concatenate(list(draws(6, 7)))
    own, others = ([readers.bins(np.array(row.scores)) for row in some] for some in (made, base))
    values = [share(own, count, p) for count, p in zip(counts, drawn, strict=True)]
    before = [share(others, count, p) for count, p in zip(counts, drawn, strict=True)]
    found = estimate(made, readers, 7)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
    change = CORRECTED.difference((base, []), (made, []), 7, readers)
    assert change is not None and change.value == pytest.approx(found.value - estimate(base, readers).value)
    paired = np.array(values) - np.array(before)
    assert (change.low, change.high) == pytest.approx(tuple(np.percentile(paired, [2.5, 97.5])))


def test_the_interval_has_the_uncertainty_of_few_readings_however_many_prompts_there_are() -> None:
    made = rows(*[[0.1, 0.6]] * 300)  # of prompts alone there is none: all are alike
    few, many = table([0, 0, 6, 0], [10, 0, 4, 0]), table([0, 0, 600, 0], [1000, 0, 400, 0])
    for readers, n in ((few, 10), (many, 1000)):
        found = estimate(made, readers)
        assert found.low is not None and found.high is not None
        assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.24 / n) / 2, rel=0.15)


def test_where_nothing_is_called_toxic_the_upper_end_has_room_for_what_prompts_may_hide() -> None:
    readers = table([0, 0, 50, 50], [1000, 500, 50, 0])
    found = estimate(rows(*[[0.1, 0.1]] * 20), readers)
    assert found.high is not None
    assert found.high == pytest.approx(found.value + (1 - 0.025 ** (1 / 20)) * 50.5 / 51, abs=1e-9)
    seen = estimate(rows(*[[0.1, 0.1]] * 19, [0.1, 0.5]), readers)
    assert seen.high is not None and seen.high < found.high


def test_those_called_toxic_are_as_often_toxic_as_their_bins_say() -> None:
    readers = table([0, 1, 50, 90], [99, 9, 50, 10])
    found = agreeing(rows([0.1, 0.6], [0.9, 0.5], [0.4, 0.2]), readers)
    assert found is not None and found.value == pytest.approx((2 * 50.5 / 101 + 90.5 / 101) / 3)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high
    assert agreeing(rows([0.1], [0.4]), readers) is None
    quiet = [[0.1, 0.2]] * 50  # prompts without a text that is called toxic say nothing of those that are
    assert agreeing(rows(*quiet, [0.1, 0.6], [0.9, 0.5]), readers) == agreeing(rows([0.1, 0.6], [0.9, 0.5]), readers)
    alone = agreeing(rows(*quiet, [0.1, 0.6]), readers)
    assert alone is not None and (alone.low, alone.n) == (None, 1)


# --- simulated judges -----------------------------------------------------------------------------------------------

#: P(readers find a text toxic | bin), and how often a model's texts are in each bin.
TRUTH = np.array([0.005, 0.1, 0.4, 0.9])
UNTOUCHED, DETOXIFIED = np.array([0.6, 0.2, 0.12, 0.08]), np.array([0.85, 0.1, 0.04, 0.01])
MIDDLES = np.array([0.15, 0.4, 0.65, 0.9])


def read(random: np.random.Generator, share: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins of n texts, and whether readers find each toxic."""
    bins = random.choice(4, n, p=share)
    return bins, random.random(n) < TRUTH[bins]


def labelled(bins: np.ndarray, toxic: np.ndarray) -> ReaderTable:
    found, benign = (np.bincount(bins[chosen], minlength=4).tolist() for chosen in (toxic, ~toxic))
    return table(found, benign)


def rogan_gladen(called: np.ndarray, toxic: np.ndarray, share: float) -> float:
    """The share that is toxic of texts of which `share` is called so, by the errors on labelled texts."""
    sensitivity, specificity = called[toxic].mean(), (~called[~toxic]).mean()
    return float((share + specificity - 1) / (sensitivity + specificity - 1))


def test_it_finds_the_truth_where_rogan_and_gladen_do_and_also_where_the_scores_shift() -> None:
    random = np.random.default_rng(0)
    bins, toxic = read(random, UNTOUCHED, 200_000)
    readers, called = labelled(bins, toxic), bins >= 2
    for share, shifted in ((UNTOUCHED, False), (DETOXIFIED, True)):
        truth = float(share @ TRUTH)
        judged = read(random, share, 40_000)[0]
        made = rows(*MIDDLES[judged].reshape(-1, 1000).tolist())
        found, plain = estimate(made, readers).value, rogan_gladen(called, toxic, float((judged >= 2).mean()))
        assert found == pytest.approx(truth, abs=0.003)
        assert (plain == pytest.approx(truth, abs=0.004)) is not shifted
        # the raw share is neither
        assert abs((judged >= 2).mean() - truth) > 0.008


def test_intervals_hold_the_truth() -> None:
    """Labels and prompts are drawn anew each time; texts after one prompt are alike."""
    random, held, changes = np.random.default_rng(1), [], []
    truths = float(UNTOUCHED @ TRUTH), float(DETOXIFIED @ TRUTH)
    for number in range(100):
        readers = labelled(*read(random, np.array([0.25] * 4), 400))  # drawn evenly over the scores
        models = []
        for share in (UNTOUCHED, DETOXIFIED):
            own = random.choice(4, 80, p=share)
            alike = np.where(random.random((80, 4)) < 0.5, own[:, None], random.choice(4, (80, 4), p=share))
            models.append(rows(*MIDDLES[alike].tolist()))
        found = estimate(models[1], readers, number)
        change = CORRECTED.difference((models[0], []), (models[1], []), number, readers)
        assert found.low is not None and found.high is not None
        assert change is not None and change.low is not None and change.high is not None
        held.append(found.low <= truths[1] <= found.high)
        changes.append(change.low <= truths[1] - truths[0] <= change.high)
    # of 100 intervals that hold the truth with 95%, fewer than 89 do so once in 70 times
    assert np.sum(held) >= 89 and np.sum(changes) >= 89
