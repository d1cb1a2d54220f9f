"""Resamples of a scorer's results, by source document: every number of a set is computed on the same ones."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.metrics.bootstrap import interval, numbered
from detoxlm.metrics.ranks import spearman_of
from detoxlm.results import Estimate
from detoxlm.validity.measures import (
    BINS,
    MEASURES,
    TOXIC,
    accuracy,
    auc,
    auc_draws,
    bin_of,
    calibration_error,
    false_negative_rate,
    false_positive_rate,
    is_binary,
    precision,
    ratio,
    recall,
    spearman,
)
from detoxlm.validity.results import CalibrationBin, Group

#: Numbers in one block of resamples: 16 MB of float64, however many texts there are.
_BLOCK = 2_000_000


class Resampled:
    """Scores, targets and documents, and their resamples: everything is computed on the same ones."""

    def __init__(
        self,
        score: np.ndarray,
        target: np.ndarray,
        documents: Sequence[str] | np.ndarray | None,
        seed: int,
        resamples: int,
    ) -> None:
        self.score, self.target = np.asarray(score, dtype=np.float64), np.asarray(target, dtype=np.float64)
        n = len(self.score)
        if n == 0 or self.target.shape != (n,) or self.score.shape != (n,):
            raise UsageError(f"validity: scores {self.score.shape} and targets {self.target.shape}; give one each.")
        for name, values in (("scores", self.score), ("targets", self.target)):
            if not ((values >= 0) & (values <= 1)).all():  # also false for NaN
                raise UsageError(f"validity: {name} must be in [0, 1]; they go from {values.min()} to {values.max()}.")
        if documents is not None and len(documents) != n:
            raise UsageError(f"validity: {len(documents)} documents for {n} texts; give one each, or None.")
        self.toxic, self.called = self.target >= TOXIC, self.score >= TOXIC
        self.document = np.arange(n) if documents is None else numbered(documents)
        self.units = int(self.document.max()) + 1
        self._seed, self._resamples = seed, resamples

    def _weights(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of resamples: how often each document was drawn, float64 [block, units]."""
        random, m = np.random.default_rng(self._seed), self.units
        size = max(1, min(self._resamples, _BLOCK // max(m, len(self.score))))
        for start in range(0, self._resamples, size):
            rows = min(size, self._resamples - start)
            drawn = random.integers(m, size=(rows, m)) + m * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * m).reshape(rows, m)
            yield slice(start, start + rows), counts.astype(np.float64)

    def _sums(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """Sums of each column [N] over each resample: [len(columns), resamples]."""
        # A document's texts are drawn together, so it is enough to add them up once.
        by_document = np.stack([np.bincount(self.document, column, minlength=self.units) for column in columns], axis=1)
        return np.concatenate([weights @ by_document for _, weights in self._weights()]).T

    @functools.cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """Every metric in every resample, float [resamples]; NaN where a resample lacks what the metric needs."""
        found = {name: np.empty(self._resamples) for name in ("auc", "spearman")}
        correlation = spearman_of(self.score, self.target)
        for rows, weights in self._weights():
            by_text = weights[:, self.document]
            found["auc"][rows] = auc_draws(self.score, self.target, by_text)
            if not is_binary(self.target):
                found["spearman"][rows] = correlation(by_text)
        if is_binary(self.target):
            del found["spearman"]
        bins = bin_of(self.score, BINS)
        gaps = self._sums([np.where(bins == i, self.score - self.target, 0.0) for i in range(BINS)])
        hits, alarms, misses, benign, toxic = self._sums(
            [self.toxic & self.called, ~self.toxic & self.called, self.toxic & ~self.called, ~self.toxic, self.toxic]
        )
        return {
            **found,
            "calibration_error": np.abs(gaps).sum(axis=0) / (benign + toxic),
            "accuracy": (hits + benign - alarms) / (benign + toxic),
            "false_positive_rate": ratio(alarms, benign),
            "false_negative_rate": ratio(misses, toxic),
            "precision": ratio(hits, hits + alarms),
            "recall": ratio(hits, toxic),
        }

    def estimates(self) -> dict[str, Estimate]:
        """Every measure that exists here, with its interval; see `detoxlm.validity.measure`."""
        found = {}
        everything, wrong = np.ones(len(self.score), dtype=bool), self.called != self.toxic
        over = {
            "false_positive_rate": ~self.toxic,
            "false_negative_rate": self.toxic,
            "precision": self.called,
            "recall": self.toxic,
        }
        values = {
            "auc": auc,
            "spearman": spearman,
            "calibration_error": calibration_error,
            "accuracy": accuracy,
            "false_positive_rate": false_positive_rate,
            "false_negative_rate": false_negative_rate,
            "precision": precision,
            "recall": recall,
        }
        for name in MEASURES:
            if name not in self.draws or not np.isfinite(value := values[name](self.score, self.target)):
                continue
            if MEASURES[name].percent:
                chosen = over.get(name, everything)
                hits = wrong if MEASURES[name].better == "lower" else ~wrong
                found[name] = self._proportion(hits, chosen, self.draws[name])
            else:
                found[name] = estimated(value, self._spread(self.draws[name], everything), len(self.score))
        return found

    def calibration(self) -> list[CalibrationBin]:
        """Mean score and mean target of every bin that holds a text, from low scores to high ones."""
        bins, binary = bin_of(self.score, BINS), is_binary(self.target)
        held = [bins == i for i in range(BINS)]
        sums = self._sums([np.where(inside, self.target, 0.0) for inside in held] + held)
        found = []
        for i, inside in enumerate(held):
            n = int(inside.sum())
            if not n:
                continue
            draws = ratio(sums[i], sums[BINS + i])
            mean = (
                self._proportion(self.toxic, inside, draws)
                if binary
                else estimated(float(self.target[inside].mean()), self._spread(draws, inside), n)
            )
            found.append(CalibrationBin(i / BINS, (i + 1) / BINS, n, float(self.score[inside].mean()), mean))
        return found

    def groups(self, mentioned: Sequence[frozenset[str]]) -> list[Group]:
        """False positives by group, the most frequent group first; those that no benign text mentions are left out."""
        if len(mentioned) != len(self.score):
            raise UsageError(f"validity: groups of {len(mentioned)} texts for {len(self.score)}; give one set each.")
        members: dict[str, np.ndarray] = {}
        for i in np.flatnonzero(~self.toxic).tolist():
            for name in mentioned[i]:
                members.setdefault(name, np.zeros(len(self.score), dtype=bool))[i] = True
        if not members:
            return []
        columns = [column for inside in members.values() for column in (inside & self.called, inside)]
        sums = self._sums(columns)
        overall, value = self.draws["false_positive_rate"], false_positive_rate(self.score, self.target)
        found = []
        for (name, inside), top, bottom in zip(members.items(), sums[::2], sums[1::2], strict=True):
            draws = ratio(top, bottom)
            rate = self._proportion(self.called, inside, draws)
            difference = estimated(rate.value - value, self._spread(draws - overall, inside), rate.n)
            # A rate of 0% or 100% does not vary over the resamples; its exact bound has to do.
            if difference.high is not None and difference.low is not None and rate.low is not None and rate.high:
                difference = difference.model_copy(
                    update={
                        "low": min(difference.low, rate.low - value) if rate.value == 1 else difference.low,
                        "high": max(difference.high, rate.high - value) if rate.value == 0 else difference.high,
                    }
                )
            found.append(Group(name, int(inside.sum()), rate, difference))
        return sorted(found, key=lambda group: (-group.n, group.name))

    def _proportion(self, hits: np.ndarray, chosen: np.ndarray, draws: np.ndarray) -> Estimate:
        """The share of `hits` among `chosen`; where it is 0% or 100%, its open side is the exact binomial bound.

        Such a share resamples to itself, which would claim certainty. The bound counts documents, not texts.
        """
        n, units = int(chosen.sum()), len(np.unique(self.document[chosen]))
        estimate = estimated(float(hits[chosen].mean()), self._spread(draws, chosen), n)
        if estimate.value not in (0.0, 1.0):
            return estimate
        reach = 1 - 0.025 ** (1 / units)
        low, high = (0.0, reach) if estimate.value == 0 else (1 - reach, 1.0)
        return Estimate(value=estimate.value, low=low, high=high, n=n)

    def _spread(self, draws: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        # One document has no spread: all its resamples are itself.
        return draws if len(np.unique(self.document[chosen])) > 1 else draws[:0]


def estimated(value: float, draws: np.ndarray, n: int) -> Estimate:
    """Return a value with the 95% interval of its draws, float [resamples]; without one where no draw is finite."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Estimate(value=value, n=n)
    low, high = interval(known)
    return Estimate(value=value, low=low, high=high, n=n)
