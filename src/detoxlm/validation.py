"""`detoxlm scorers validate`: reads files of labelled texts, measures scorers on them, writes what was found."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from detoxlm.data import JudgedText, Loaded, describe_skipped, read_judged
from detoxlm.errors import DetoxError, UsageError
from detoxlm.files import write_atomically
from detoxlm.progress import track
from detoxlm.results import Estimate
from detoxlm.scorers import SCORERS, load_scorer
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.several import labelled
from detoxlm.settings import ValidateSettings
from detoxlm.validity import (
    LabelledSet,
    Validity,
    differences,
    distinct_texts,
    measure_set,
    rounded,
    score_sets,
)

SCHEMA_VERSION: Final = 1
log = logging.getLogger("detoxlm")


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

    def save(self, folder: Path) -> None:
        """Write `validity.json` and `validity.html` to a folder, each whole or not at all.

        Raises:
            DetoxError: the folder cannot be written.
        """
        from detoxlm.report import write_validity

        data = json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n"
        # A text may hold half a character, which UTF-8 cannot.
        write_atomically(folder / "validity.json", data.encode("utf-8", "replace"))
        write_validity(self, folder / "validity.html")


def run(specs: Sequence[str], settings: ValidateSettings) -> Study:
    """Measure the scorers that `specs` name on the files of the settings; shows progress on standard error.

    Raises:
        UsageError: no data, a file or column that cannot be used, or a scorer that cannot be loaded. With
            `skip_missing` the last is only said, unless none is left.
        DetoxError: a scorer failed.
    """
    sets = read_sets(
        settings.data or [],
        text=settings.text,
        label=settings.label,
        group=settings.group,
        document=settings.document,
        limit=settings.limit,
        seed=settings.seed,
        skip_bad_rows=settings.skip_bad_rows,
    )
    for note in dict.fromkeys(note for one in sets for note in one.notes):
        log.warning(note)
    scorers, missing = _load(specs, settings.skip_missing)
    found = {}
    for label, scorer in scorers.items():
        with track(f"scoring with {label}", len(distinct_texts(sets)), "texts") as advance:
            scores = score_sets(scorer, sets, advance)
        measured = {}
        with track(f"measuring {label}", sum(len(one.texts) for one in sets), "texts") as advance:
            for one in sets:
                score, further = scores[one.name]
                measured[one.name] = measure_set(
                    one, score, further=further, seed=settings.seed, failures=settings.failures
                )
                advance(len(one.texts))
        found[label] = Validity(scorer.name, scorer.version, scorer.revision, measured)
    first, *others = found
    return Study(
        scorers=found,
        differences={
            label: {one.name: differences(found[first].sets[one.name], found[label].sets[one.name]) for one in sets}
            for label in others
        },
        missing=missing,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings.model_dump(mode="json", exclude={"output"}),
    )


def _load(specs: Sequence[str], skip_missing: bool) -> tuple[dict[str, Scorer], list[str]]:
    """Load scorers by label; with `skip_missing` those that cannot be loaded are one line each instead."""
    loaded, missing = [], []
    for spec in specs:
        try:
            loaded.append(load_scorer(spec))
        except DetoxError as error:
            known = spec.partition(":")[0] in SCORERS
            if not known and Path(spec).exists():
                raise UsageError(f"scorer: {spec} is a file; name it with --data {spec}.") from None
            if not known or not skip_missing:  # a misspelt name is never what was meant
                hint = " Or go on without it: --skip-missing." if known and len(specs) > 1 else ""
                raise type(error)(f"{error}{hint}") from error
            missing.append(f"{spec}: not loaded: {error}")
            log.warning(missing[-1])
    if not loaded:
        raise UsageError("scorer: none of those named could be loaded; name one that runs here (`detoxlm scorers`).")
    return labelled(loaded), missing


def read_sets(
    sources: Sequence[str | Path],
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    document: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    skip_bad_rows: bool = False,
) -> list[LabelledSet]:
    """Read files of labelled texts; `detoxlm.data.read_judged` says which layouts are known.

    A set is named after its file, with its folder in front where two files have one name. A file with several target
    columns gives a set for each, `FILE_COLUMN`. RealToxicityPrompts gives a second set, `FILE_continuations`: the
    texts that recipes judge.

    Args:
        sources: files, or ids of Hub datasets.
        text: column of the text; None: a known one. So for `label`, `group` and `document`.
        label: column of the target, a label or a score in [0, 1].
        group: column of the identity groups.
        document: column of the source document.
        limit: use this many rows of each file, drawn with the seed; None: all.
        seed: seed of that draw.
        skip_bad_rows: leave unusable rows out, counted in `notes`, instead of raising.

    Raises:
        UsageError: no sources, one that is named twice or cannot be read, an unusable row, or no labelled text.
    """
    if not sources:
        raise UsageError("data: no files; name at least one with --data FILE.")
    if twice := [str(source) for source in sources if [str(s) for s in sources].count(str(source)) > 1]:
        raise UsageError(f"data: {twice[0]} is named twice; name it once.")
    stems = [Path(source).stem for source in sources]
    found: list[LabelledSet] = []
    for source, stem in zip(sources, stems, strict=True):
        name = stem if stems.count(stem) == 1 else "_".join(Path(source).with_suffix("").parts[-2:])
        loaded = read_judged(
            source, text=text, label=label, group=group, document=document, skip_bad_rows=skip_bad_rows
        )
        found += _sets_of(name, loaded, limit, seed)
    return found


def _dimensions(texts: Sequence[JudgedText]) -> dict[str, np.ndarray]:
    """The targets of further dimensions by name, float [N]; NaN where nothing was said."""
    names = dict.fromkeys(name for one in texts for name in one.dimensions)
    return {name: np.array([one.dimensions.get(name, np.nan) for one in texts]) for name in names}


def _sets_of(name: str, loaded: Loaded[list[JudgedText]], limit: int | None, seed: int) -> list[LabelledSet]:
    rows, notes = loaded.items, [skipped] if (skipped := describe_skipped(loaded)) else []
    if limit is not None and limit < len(rows):
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), size=limit, replace=False))
        notes.append(f"{loaded.source}: {limit} of {len(rows)} rows, drawn with seed {seed}")
        rows = [rows[i] for i in chosen.tolist()]
    texts = [one for row in rows for one in row]
    columns = list(dict.fromkeys(column for one in texts for column in one.targets))
    found = []
    for column in columns:
        judged = [one for one in texts if one.targets.get(column) is not None]
        said = (
            [f"{loaded.source}: {silent} texts without `{column}` left out"]
            if (silent := len(texts) - len(judged))
            else []
        )
        full = name if len(columns) == 1 else f"{name}_{column}"
        for suffix, part in (("", judged), ("_continuations", [one for one in judged if one.part == "continuation"])):
            if part:
                found.append(
                    LabelledSet(
                        full + suffix,
                        [one.text for one in part],
                        np.array([one.targets[column] for one in part], dtype=np.float64),
                        # A text whose row names no document is one of its own.
                        [one.text if one.document is None else one.document for one in part],
                        None
                        if any(one.groups is None for one in part)
                        else [one.groups or frozenset() for one in part],
                        loaded.source,
                        loaded.sha256,
                        (*notes, *said),
                        _dimensions(part),
                    )
                )
    if not found:
        raise UsageError(f"data: {loaded.source} has no labelled text; name the column of the targets with --label.")
    return found
