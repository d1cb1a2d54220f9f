"""How far a scorer can be trusted: its scores against labelled texts, with intervals, groups and worst mistakes.

A target is what people, or Perspective, said of a text: a toxicity in [0, 1]. A text is toxic when its target is at
least 0.5, and is called toxic when its score is. Everything has a 95% percentile bootstrap interval that resamples
source documents, because texts of one document are alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.identity import mentioned_groups, mentioned_terms
from detoxlm.metrics.bootstrap import RESAMPLES, interval
from detoxlm.metrics.ranks import levels, spearman_of
from detoxlm.metrics.toxicity import THRESHOLD
from detoxlm.results import Estimate
from detoxlm.scorers.base import Scorer

#: From here on a target or a score means toxic; the recipes' toxic fraction uses the same number.
TOXIC = THRESHOLD
#: Equal-width bins of the score, for the calibration curve and its error.
BINS = 10
#: Bars of the histograms.
HISTOGRAM_BINS = 20
#: Identity terms and groups with fewer benign texts are listed, but no conclusion is drawn from them: at 30 the
#: interval of a rate near 5% is already 16 points wide.
FEWEST_MENTIONS = 30
#: Numbers in one block of resamples: 16 MB of float64, however many texts there are.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Measure:
    """One number of a scorer's validity, the same in the console, the page and the documentation."""

    label: str
    meaning: str
    better: Literal["higher", "lower"]
    percent: bool = False

    def show(self, estimate: Estimate | None, *, sign: bool = False) -> str:
        """Print an estimate with its interval: `0.943 [0.938, 0.948]`, `7.1% [6.0, 8.2]`; `sign`: of a difference.

        None, such as the rank correlation of a scorer that gives all texts one score, is a dash.
        """
        if estimate is None:
            return "–"
        plus, scale, digits = "+" if sign else "", 100 if self.percent else 1, 1 if self.percent else 3
        unit = (" points" if sign else "%") if self.percent else ""
        text = f"{estimate.value * scale:{plus}.{digits}f}{unit}"
        if estimate.low is not None and estimate.high is not None:
            text += f" [{estimate.low * scale:{plus}.{digits}f}, {estimate.high * scale:{plus}.{digits}f}]"
        return text.replace("-", "−")


MEASURES: dict[str, Measure] = {
    "auc": Measure("AUC", "chance that a toxic text scores above a benign one; 0.5 is a coin", "higher"),
    "spearman": Measure("Spearman", "rank correlation of scores with targets that are scores themselves", "higher"),
    "calibration_error": Measure(
        "ECE", "expected calibration error: mean gap between mean score and mean target over ten bins", "lower"
    ),
    "accuracy": Measure("Accuracy", "share of texts on the right side of 0.5", "higher", percent=True),
    "false_positive_rate": Measure(
        "False positives", "share of benign texts scored 0.5 or more", "lower", percent=True
    ),
    "false_negative_rate": Measure("False negatives", "share of toxic texts scored below 0.5", "lower", percent=True),
}
#: What is shown of further dimensions; validity.json has the others too.
DIMENSION_MEASURES = ("auc", "spearman", "calibration_error")


# --- the numbers themselves -----------------------------------------------------------------------------------------


def auc(score: np.ndarray, target: np.ndarray) -> float:
    """Return the area under the ROC curve, in [0, 1]; ties count half. NaN with one class only.

    Args:
        score: float [N].
        target: float [N] in [0, 1]; at least 0.5 is toxic.
    """
    return float(_auc_draws(score, target, np.ones((1, len(score))))[0])


def spearman(score: np.ndarray, target: np.ndarray) -> float:
    """Return Spearman's rank correlation of float [N] with float [N], in [-1, 1]; ties share their mean rank.

    NaN where either is constant.
    """
    return float(spearman_of(score, target)(np.ones((1, len(score))))[0])


def calibration_error(score: np.ndarray, target: np.ndarray) -> float:
    """Return the expected calibration error, in [0, 1]: |mean score - mean target| over bins, weighted by count.

    Ten bins of equal width, closed below, the last one on both sides; see Naeini et al. 2015. A score of 0.7 is
    calibrated where targets are labels if 70% of such texts are toxic, and where they are scores if their mean is 0.7.
    """
    gaps = np.bincount(_bins(score, BINS), score - target, minlength=BINS)
    return float(np.abs(gaps).sum() / len(score))


def accuracy(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of texts whose score and target lie on the same side of 0.5."""
    return float(((score >= TOXIC) == (target >= TOXIC)).mean())


def false_positive_rate(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of benign texts with a score of at least 0.5; NaN without benign texts."""
    benign = target < TOXIC
    return float((score[benign] >= TOXIC).mean()) if benign.any() else float("nan")


def false_negative_rate(score: np.ndarray, target: np.ndarray) -> float:
    """Return the share of toxic texts with a score below 0.5; NaN without toxic texts."""
    toxic = target >= TOXIC
    return float((score[toxic] < TOXIC).mean()) if toxic.any() else float("nan")


def is_binary(target: np.ndarray) -> bool:
    """Say whether targets are labels (0 and 1 only) and not scores: then there is no Spearman to speak of."""
    return bool(np.isin(target, (0.0, 1.0)).all())


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
    return _Study(score, target, documents, seed, resamples).estimates()


# --- texts and what is measured on them -----------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelledSet:
    """Texts with what is known of them; all sequences are as long as `texts`."""

    name: str
    texts: Sequence[str]
    #: Toxicity in [0, 1]; labels are 0.0 and 1.0.
    targets: np.ndarray
    #: Source document of each text, resampled together; None: equal texts are one document.
    documents: Sequence[str] | None = None
    #: Identity groups that each text mentions; None: `detoxlm.identity` looks for them in the text.
    groups: Sequence[frozenset[str]] | None = None
    #: File that the texts are from, and the SHA-256 of all of it; empty where they are from none.
    source: str = ""
    sha256: str | None = None
    #: What a reader must know: rows that were skipped, a sample that was drawn.
    notes: tuple[str, ...] = ()
    #: Targets of further dimensions (insult, threat …) by name, in [0, 1]; NaN where nothing was said of a text.
    dimensions: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class CalibrationBin:
    """Texts whose scores fall in one bin."""

    low: float
    high: float
    n: int
    mean_score: float
    mean_target: Estimate


@dataclass(frozen=True)
class Group:
    """False positives on the benign texts that mention one group or term."""

    name: str
    #: Benign texts that mention it.
    n: int
    rate: Estimate
    #: `rate` minus the rate over all benign texts, resampled together.
    difference: Estimate


@dataclass(frozen=True)
class Failure:
    """A text on the wrong side of 0.5."""

    text: str
    score: float
    target: float


@dataclass(frozen=True)
class DimensionValidity:
    """What one scorer did on one further dimension (insult, threat …) of a set."""

    #: Texts of which the set says something there, and those of them at 0.5 or more.
    n: int
    positive: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class SetValidity:
    """What one scorer did on one set of texts."""

    name: str
    n: int
    toxic: int
    #: Whether targets are labels and not scores.
    binary: bool
    metrics: dict[str, Estimate]
    #: Bins that hold a text, from low scores to high ones.
    calibration: list[CalibrationBin]
    #: (false positive rate, true positive rate) from (0, 0) to (1, 1); empty with one class only.
    roc: list[tuple[float, float]]
    #: Benign and toxic texts by score, `HISTOGRAM_BINS` counts each.
    histogram: tuple[list[int], list[int]]
    groups: list[Group]
    terms: list[Group]
    #: The most confident mistakes first.
    false_positives: list[Failure]
    false_negatives: list[Failure]
    #: The further dimensions that the scorer has and the set knows.
    dimensions: dict[str, DimensionValidity] = field(default_factory=dict)
    source: str = ""
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    #: Every resample of every metric, for paired differences: float [resamples].
    draws: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def furthest_terms(self) -> list[Group]:
        """The identity terms by how far their false positive rate lies above the overall one, furthest first.

        Terms with fewer than `FEWEST_MENTIONS` benign texts are left out.
        """
        known = [term for term in self.terms if term.n >= FEWEST_MENTIONS]
        return sorted(known, key=lambda term: -term.difference.value)


@dataclass(frozen=True)
class Validity:
    """What one scorer did on every set."""

    scorer: str
    version: str
    revision: str
    sets: dict[str, SetValidity]

    def as_dict(self, *, texts: bool = True) -> dict[str, Any]:
        """Return the scorer's part of validity.json, as docs/scorers.md describes it; numbers have four digits.

        It has the form of `Scorer.validity`, so that reports can show it.

        Args:
            texts: put the failures in, word for word. False: for a file that must not hold third-party text.
        """
        sets = self.sets.values()
        data: dict[str, Any] = {
            "scorer": f"{self.scorer} {self.version}",
            "revision": self.revision,
            "validity": {
                one.name: {**{name: rounded(e) for name, e in one.metrics.items()}, "toxic": one.toxic, "n": one.n}
                for one in sets
            },
            "identity_false_positives": {
                one.name: {
                    "overall": rounded(one.metrics["false_positive_rate"]),
                    "by_group": {group.name: _dump_group(group) for group in one.groups},
                    "by_term": {term.name: _dump_group(term) for term in one.terms},
                }
                for one in sets
                if "false_positive_rate" in one.metrics
            },
            "dimensions": {
                one.name: {
                    name: {
                        **{key: rounded(e) for key, e in found.metrics.items()},
                        "positive": found.positive,
                        "n": found.n,
                    }
                    for name, found in one.dimensions.items()
                }
                for one in sets
                if one.dimensions
            },
            "calibration_curve": {
                one.name: {
                    f"{b.low:.1f} to {b.high:.1f}": {
                        "mean_score": round(b.mean_score, 4),
                        "mean_target": rounded(b.mean_target),
                        "n": b.n,
                    }
                    for b in one.calibration
                }
                for one in sets
            },
            "curves": {
                one.name: {
                    "roc_false_positive_rate": [round(x, 4) for x, _ in one.roc],
                    "roc_true_positive_rate": [round(y, 4) for _, y in one.roc],
                    "histogram_benign": one.histogram[0],
                    "histogram_toxic": one.histogram[1],
                }
                for one in sets
            },
        }
        if texts:
            data["failures"] = {
                one.name: {
                    kind: {
                        str(rank): {"score": round(f.score, 4), "target": round(f.target, 4), "text": f.text}
                        for rank, f in enumerate(found, start=1)
                    }
                    for kind, found in (
                        ("false_positives", one.false_positives),
                        ("false_negatives", one.false_negatives),
                    )
                }
                for one in sets
            }
        return data


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
    study = _Study(score, data.targets, documents, seed, resamples)
    if len(data.texts) != len(study.score):
        raise UsageError(f"{data.name}: {len(data.texts)} texts and {len(study.score)} scores; expected one each.")
    columns = data.groups if data.groups is not None else mentioned_groups(data.texts)
    return SetValidity(
        name=data.name,
        n=len(study.score),
        toxic=int(study.toxic.sum()),
        binary=is_binary(study.target),
        metrics=study.estimates(),
        calibration=study.calibration(),
        roc=_roc(study.score, study.toxic),
        histogram=_histogram(study.score, study.toxic),
        groups=study.groups(columns),
        terms=study.groups(mentioned_terms(data.texts)),
        false_positives=_failures(data, study, ~study.toxic & study.called, failures),
        false_negatives=_failures(data, study, study.toxic & ~study.called, failures),
        dimensions={
            name: _dimension(said, data.dimensions[name], documents, seed, resamples)
            for name, said in (further or {}).items()
            if not np.isnan(data.dimensions[name]).all()
        },
        source=data.source,
        sha256=data.sha256,
        notes=data.notes,
        draws=study.draws,
    )


def _dimension(
    score: np.ndarray, target: np.ndarray, documents: Sequence[str], seed: int, resamples: int
) -> DimensionValidity:
    known = np.flatnonzero(~np.isnan(target))
    metrics = measure(
        score[known], target[known], [documents[i] for i in known.tolist()], seed=seed, resamples=resamples
    )
    return DimensionValidity(len(known), int((target[known] >= TOXIC).sum()), metrics)


def dimension_rows(sets: Mapping[str, SetValidity]) -> list[list[str]]:
    """Return what console and page show of further dimensions, for one set's validity by scorer.

    A row is: dimension, scorer, share of texts at 0.5 or more, then `DIMENSION_MEASURES` with their intervals.
    """
    return [
        [
            name.replace("_", " "),
            label,
            f"{found.positive / found.n:.1%}",
            *(MEASURES[key].show(found.metrics.get(key)) for key in DIMENSION_MEASURES),
        ]
        for name in dict.fromkeys(name for one in sets.values() for name in one.dimensions)
        for label, one in sets.items()
        if (found := one.dimensions.get(name)) is not None
    ]


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
        name: _interval(
            other.metrics[name].value - first.metrics[name].value,
            # without an interval each, as of a single document, there is none of their difference
            other.draws[name] - first.draws[name] if first.metrics[name].low is not None else np.empty(0),
            first.metrics[name].n,
        )
        for name in first.metrics
        if name in other.metrics
    }


# --- resampling -----------------------------------------------------------------------------------------------------


class _Study:
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
        self.document = np.arange(n) if documents is None else _numbered(documents)
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
            found["auc"][rows] = _auc_draws(self.score, self.target, by_text)
            if not is_binary(self.target):
                found["spearman"][rows] = correlation(by_text)
        if is_binary(self.target):
            del found["spearman"]
        bins = _bins(self.score, BINS)
        gaps = self._sums([np.where(bins == i, self.score - self.target, 0.0) for i in range(BINS)])
        right, wrong_benign, wrong_toxic, benign, toxic = self._sums(
            [self.called == self.toxic, ~self.toxic & self.called, self.toxic & ~self.called, ~self.toxic, self.toxic]
        )
        return {
            **found,
            "calibration_error": np.abs(gaps).sum(axis=0) / (benign + toxic),
            "accuracy": right / (benign + toxic),
            "false_positive_rate": _ratio(wrong_benign, benign),
            "false_negative_rate": _ratio(wrong_toxic, toxic),
        }

    def estimates(self) -> dict[str, Estimate]:
        found = {}
        everything, wrong = np.ones(len(self.score), dtype=bool), self.called != self.toxic
        over = {"false_positive_rate": ~self.toxic, "false_negative_rate": self.toxic}
        values = {
            "auc": auc,
            "spearman": spearman,
            "calibration_error": calibration_error,
            "accuracy": accuracy,
            "false_positive_rate": false_positive_rate,
            "false_negative_rate": false_negative_rate,
        }
        for name in MEASURES:
            if name not in self.draws or not np.isfinite(value := values[name](self.score, self.target)):
                continue
            if MEASURES[name].percent:
                chosen = over.get(name, everything)
                hits = ~wrong if name == "accuracy" else wrong
                found[name] = self._proportion(hits, chosen, self.draws[name])
            else:
                found[name] = _interval(value, self._spread(self.draws[name], everything), len(self.score))
        return found

    def calibration(self) -> list[CalibrationBin]:
        bins, binary = _bins(self.score, BINS), is_binary(self.target)
        held = [bins == i for i in range(BINS)]
        sums = self._sums([np.where(inside, self.target, 0.0) for inside in held] + held)
        found = []
        for i, inside in enumerate(held):
            n = int(inside.sum())
            if not n:
                continue
            draws = _ratio(sums[i], sums[BINS + i])
            mean = (
                self._proportion(self.toxic, inside, draws)
                if binary
                else _interval(float(self.target[inside].mean()), self._spread(draws, inside), n)
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
            draws = _ratio(top, bottom)
            rate = self._proportion(self.called, inside, draws)
            difference = _interval(rate.value - value, self._spread(draws - overall, inside), rate.n)
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
        estimate = _interval(float(hits[chosen].mean()), self._spread(draws, chosen), n)
        if estimate.value not in (0.0, 1.0):
            return estimate
        reach = 1 - 0.025 ** (1 / units)
        low, high = (0.0, reach) if estimate.value == 0 else (1 - reach, 1.0)
        return Estimate(value=estimate.value, low=low, high=high, n=n)

    def _spread(self, draws: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        # One document has no spread: all its resamples are itself.
        return draws if len(np.unique(self.document[chosen])) > 1 else draws[:0]


def _numbered(documents: Sequence[str] | np.ndarray) -> np.ndarray:
    number: dict[Any, int] = {}
    return np.array([number.setdefault(document, len(number)) for document in documents])


def _interval(value: float, draws: np.ndarray, n: int) -> Estimate:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Estimate(value=value, n=n)
    low, high = interval(known)
    return Estimate(value=value, low=low, high=high, n=n)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _bins(score: np.ndarray, count: int) -> np.ndarray:
    return np.minimum((score * count).astype(int), count - 1)


def _auc_draws(score: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of each resample, where text i counts `weights[r, i]` times: weights [R, N], result [R].

    The probability that a toxic text scores above a benign one, ties half (Mann-Whitney U over the number of pairs).
    """
    order, starts, _ = levels(score)
    toxic = (target >= TOXIC)[order]
    ordered = weights[:, order]
    positive = np.add.reduceat(ordered * toxic, starts, axis=1)
    negative = np.add.reduceat(ordered * ~toxic, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return _ratio((positive * below).sum(axis=1), pairs)


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
    bins = _bins(score, HISTOGRAM_BINS)
    benign, bad = (np.bincount(bins[chosen], minlength=HISTOGRAM_BINS).tolist() for chosen in (~toxic, toxic))
    return benign, bad


def _failures(data: LabelledSet, study: _Study, wrong: np.ndarray, count: int) -> list[Failure]:
    """The mistakes with the widest gap between score and target, each text once; ties in the order of the file."""
    found = [
        Failure(data.texts[i], study.score[i].item(), study.target[i].item()) for i in np.flatnonzero(wrong).tolist()
    ]
    found.sort(key=lambda failure: -abs(failure.score - failure.target))
    return list({failure.text: failure for failure in reversed(found)}.values())[::-1][:count] if count else []


def rounded(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as validity.json holds it: value, low and high with four digits, and n."""
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in estimate.model_dump().items()}


def _dump_group(group: Group) -> dict[str, Any]:
    return {"rate": rounded(group.rate), "difference": rounded(group.difference), "n": group.n}
