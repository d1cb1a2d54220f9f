"""Judges a scorer on sets of labelled texts, and scores that are already there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.identity import mentioned_groups, mentioned_terms
from detoxlm.metrics.bootstrap import RESAMPLES
from detoxlm.metrics.ranks import levels
from detoxlm.results import Estimate
from detoxlm.scorers.base import Scorer
from detoxlm.validity.measures import TOXIC, bin_of, is_binary
from detoxlm.validity.resampling import Resampled, estimated
from detoxlm.validity.results import HISTOGRAM_BINS, DimensionValidity, Failure, SetValidity, Validity
from detoxlm.validity.sets import LabelledSet


def measure(
    score: np.ndarray,
    target: np.ndarray,
    documents: Sequence[str] | np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Return the `MEASURES` of some scores with 95% intervals; those that do not exist here are left out.

    AUC, false positives and false negatives need texts of the classes that they speak of, Spearman needs targets that
    are not just 0 and 1.

    Args:
        score: float [N] in [0, 1].
        target: float [N] in [0, 1].
        documents: where each text comes from, [N]; texts of one document are resampled together. None: every text is
            a document of its own.
        seed: seed of the resampling.
        resamples: how often to resample.

    Raises:
        UsageError: no texts, lengths that differ, or a number outside [0, 1].
    """
    return Resampled(score, target, documents, seed, resamples).estimates()


def validate(
    scorer: Scorer,
    sets: Sequence[LabelledSet],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    failures: int = 20,
    progress: Callable[[int], None] | None = None,
) -> Validity:
    """Score every set and measure the scorer on it. Each distinct text is scored once, however many sets hold it.

    Args:
        scorer: the scorer to judge.
        sets: what to judge it on; names must differ.
        seed: seed of the resampling; two scorers with the same seed, sets and resamples can be compared.
        resamples: how often to resample.
        failures: how many false positives and how many false negatives to keep of each set.
        progress: called with the number of texts just scored, up to `distinct_texts(sets)`.

    Raises:
        UsageError: no sets, two of one name, an empty one, targets outside [0, 1], or lengths that differ.
        DetoxError: the scorer failed.
    """
    scores = score_sets(scorer, sets, progress)
    measured = {}
    for one in sets:
        score, further = scores[one.name]
        measured[one.name] = measure_set(one, score, further=further, seed=seed, resamples=resamples, failures=failures)
    return Validity(scorer.name, scorer.version, scorer.revision, measured)


def score_sets(
    scorer: Scorer, sets: Sequence[LabelledSet], progress: Callable[[int], None] | None = None
) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Return the scores of every set by its name, float [N], and by dimension those that set and scorer both have.

    Arguments and errors are those of `validate`.
    """
    names = [one.name for one in sets]
    if not sets or len(set(names)) < len(names):
        raise UsageError(f"sets: {', '.join(names) or 'none'}; give at least one set, and each a name of its own.")
    texts = distinct_texts(sets)
    place = {text: number for number, text in enumerate(texts)}
    known = {name for one in sets for name in one.dimensions}
    if known & {*scorer.dimensions}:
        every = scorer.score_dimensions(texts, progress)
        headline = every[scorer.dimensions[0]]
    else:
        every, headline = {}, scorer.score(texts, progress)
    found = {}
    for one in sets:
        chosen = [place[text] for text in one.texts]
        further = {name: scores[chosen] for name, scores in every.items() if name in one.dimensions}
        found[one.name] = headline[chosen], further
    return found


def distinct_texts(sets: Sequence[LabelledSet]) -> list[str]:
    """Return the texts of all sets, each once, in the order in which they first occur."""
    return list(dict.fromkeys(text for one in sets for text in one.texts))


def measure_set(
    data: LabelledSet,
    score: np.ndarray,
    *,
    further: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    failures: int = 20,
) -> SetValidity:
    """Measure scores that are already there, float [N] in [0, 1] in the order of `data.texts`; see `validate`.

    `further` are those of further dimensions, by names that `data.dimensions` has.
    """
    documents = data.documents if data.documents is not None else data.texts
    resampled = Resampled(score, data.targets, documents, seed, resamples)
    if len(data.texts) != len(resampled.score):
        raise UsageError(f"{data.name}: {len(data.texts)} texts and {len(resampled.score)} scores; expected one each.")
    columns = data.groups if data.groups is not None else mentioned_groups(data.texts)
    return SetValidity(
        name=data.name,
        n=len(resampled.score),
        toxic=int(resampled.toxic.sum()),
        binary=is_binary(resampled.target),
        metrics=resampled.estimates(),
        calibration=resampled.calibration(),
        roc=_roc(resampled.score, resampled.toxic),
        histogram=_histogram(resampled.score, resampled.toxic),
        groups=resampled.groups(columns),
        terms=resampled.groups(mentioned_terms(data.texts)),
        false_positives=_failures(data, resampled, ~resampled.toxic & resampled.called, failures),
        false_negatives=_failures(data, resampled, resampled.toxic & ~resampled.called, failures),
        dimensions={
            name: _dimension(said, data.dimensions[name], documents, seed, resamples)
            for name, said in (further or {}).items()
            if not np.isnan(data.dimensions[name]).all()
        },
        source=data.source,
        sha256=data.sha256,
        notes=data.notes,
        draws=resampled.draws,
    )


def _dimension(
    score: np.ndarray, target: np.ndarray, documents: Sequence[str], seed: int, resamples: int
) -> DimensionValidity:
    known = np.flatnonzero(~np.isnan(target))
    metrics = measure(
        score[known], target[known], [documents[i] for i in known.tolist()], seed=seed, resamples=resamples
    )
    return DimensionValidity(len(known), int((target[known] >= TOXIC).sum()), metrics)


def differences(first: SetValidity, other: SetValidity) -> dict[str, Estimate]:
    """Return `other - first` for every metric that both have, with paired 95% intervals.

    Both must come from `validate` with the same set, seed and resamples: then resample i drew the same documents for
    both.

    Raises:
        UsageError: the two were not measured on the same texts.
    """
    if (first.name, first.n, first.toxic) != (other.name, other.n, other.toxic) or any(
        len(first.draws[name]) != len(other.draws[name]) for name in first.draws.keys() & other.draws.keys()
    ):
        raise UsageError(f"differences: {first.name} and {other.name} are not the same texts, resampled alike.")
    return {
        name: estimated(
            other.metrics[name].value - first.metrics[name].value,
            # without an interval each, as of a single document, there is none of their difference
            other.draws[name] - first.draws[name] if first.metrics[name].low is not None else np.empty(0),
            first.metrics[name].n,
        )
        for name in first.metrics
        if name in other.metrics
    }


def _roc(score: np.ndarray, toxic: np.ndarray) -> list[tuple[float, float]]:
    """Points of the ROC curve, at most about 200: a plot shows no more."""
    if toxic.all() or not toxic.any():
        return []
    order, starts, _ = levels(-score)
    hits = np.cumsum(np.add.reduceat(toxic[order].astype(int), starts)) / toxic.sum()
    alarms = np.cumsum(np.add.reduceat((~toxic)[order].astype(int), starts)) / (~toxic).sum()
    x, y = np.concatenate([[0.0], alarms]), np.concatenate([[0.0], hits])
    # Both rise, so equal steps of their sum are equal steps along the curve, wherever most texts are.
    kept = np.unique(np.searchsorted(x + y, np.linspace(0, 2, 201) - 1e-9))
    kept = np.union1d(kept[kept < len(x)], [0, len(x) - 1])
    return list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


def _histogram(score: np.ndarray, toxic: np.ndarray) -> tuple[list[int], list[int]]:
    bins = bin_of(score, HISTOGRAM_BINS)
    benign, bad = (np.bincount(bins[chosen], minlength=HISTOGRAM_BINS).tolist() for chosen in (~toxic, toxic))
    return benign, bad


def _failures(data: LabelledSet, resampled: Resampled, wrong: np.ndarray, count: int) -> list[Failure]:
    """The mistakes with the widest gap between score and target, each text once; ties in the order of the file."""
    score, target = resampled.score, resampled.target
    found = [Failure(data.texts[i], score[i].item(), target[i].item()) for i in np.flatnonzero(wrong).tolist()]
    found.sort(key=lambda failure: -abs(failure.score - failure.target))
    widest: dict[str, Failure] = {}
    for failure in found:
        widest.setdefault(failure.text, failure)
    return list(widest.values())[:count]
