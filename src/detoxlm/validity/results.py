"""What was found: of a scorer on one set, on every set, and of several scorers beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from detoxlm.results import Estimate
from detoxlm.validity.measures import DIMENSION_MEASURES, MEASURES

SCHEMA_VERSION: Final = 1
#: Bars of the histograms.
HISTOGRAM_BINS = 20
#: Identity terms and groups with fewer benign texts are listed, but no conclusion is drawn from them: at 30 the
#: interval of a rate near 5% is already 16 points wide.
FEWEST_MENTIONS = 30


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
                one.name: {name: _dump_dimension(found) for name, found in one.dimensions.items()}
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
                    "false_positives": _dump_failures(one.false_positives),
                    "false_negatives": _dump_failures(one.false_negatives),
                }
                for one in sets
            }
        return data


@dataclass(frozen=True)
class Study:
    """Several scorers on the same texts."""

    #: By label (see `detoxlm.scorers.several.labelled`), in the order in which they were named.
    scorers: dict[str, Validity]
    #: By label and set: each metric minus the first scorer's, paired; the first scorer has no entry.
    differences: dict[str, dict[str, dict[str, Estimate]]]
    #: One line for each scorer that could not be loaded.
    missing: list[str]
    created: str
    settings: dict[str, Any]

    @property
    def first(self) -> Validity:
        """The scorer that the others are compared with."""
        return next(iter(self.scorers.values()))

    def as_dict(self) -> dict[str, Any]:
        """Return validity.json, as docs/scorers.md describes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "detoxlm": version("detoxlm"),
            "created": self.created,
            "settings": self.settings,
            "data": {
                one.name: {
                    "source": one.source,
                    "sha256": one.sha256,
                    "targets": "labels" if one.binary else "scores",
                    "toxic": one.toxic,
                    "n": one.n,
                    "notes": list(one.notes),
                }
                for one in self.first.sets.values()
            },
            "scorers": {label: validity.as_dict() for label, validity in self.scorers.items()},
            "differences_from_the_first": {
                label: {
                    name: {metric: rounded(estimate) for metric, estimate in found.items()}
                    for name, found in sets.items()
                }
                for label, sets in self.differences.items()
            },
            "not_loaded": self.missing,
        }


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


def rounded(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as validity.json holds it: value, low and high with four digits, and n."""
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in estimate.model_dump().items()}


def _dump_group(group: Group) -> dict[str, Any]:
    return {"rate": rounded(group.rate), "difference": rounded(group.difference), "n": group.n}


def _dump_dimension(found: DimensionValidity) -> dict[str, Any]:
    metrics = {name: rounded(estimate) for name, estimate in found.metrics.items()}
    return {**metrics, "positive": found.positive, "n": found.n}


def _dump_failures(failures: Sequence[Failure]) -> dict[str, Any]:
    return {
        str(rank): {"score": round(one.score, 4), "target": round(one.target, 4), "text": one.text}
        for rank, one in enumerate(failures, start=1)
    }
