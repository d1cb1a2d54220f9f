"""`detoxlm scorers validate`: measures scorers on files of labelled texts and writes what was found."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from detoxlm.errors import DetoxError, UsageError
from detoxlm.files import check_output_folder, write_atomically
from detoxlm.lock import only_writer
from detoxlm.progress import track
from detoxlm.scorers import SCORERS, load_scorer
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.several import labelled
from detoxlm.settings import ValidateSettings
from detoxlm.validity.judge import differences, distinct_texts, measure_set, score_sets
from detoxlm.validity.results import Study, Validity
from detoxlm.validity.sets import read_sets

log = logging.getLogger("detoxlm")


def run(specs: Sequence[str], settings: ValidateSettings) -> Study:
    """Measure the scorers that `specs` name on the files of the settings, and save what is found to their `output`.

    Shows progress on standard error.

    Raises:
        UsageError: an output that cannot be written, no data, a file or column that cannot be used, or a scorer that
            cannot be loaded. With `skip_missing` the last is only said, unless none is left.
        DetoxError: a scorer failed.
    """
    if settings.output is None:
        return _measured(specs, settings)
    check_output_folder(settings.output)
    with only_writer(settings.output / "validity.json"):
        study = _measured(specs, settings)
        save(study, settings.output)
        return study


def _measured(specs: Sequence[str], settings: ValidateSettings) -> Study:
    sets = read_sets(
        settings.data or [],
        text=settings.text,
        label=settings.label,
        group=settings.group,
        document=settings.document,
        limit=settings.limit,
        seed=settings.seed,
        skip_bad_rows=settings.skip_bad_rows,
        labels=settings.labels or [],
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


def save(study: Study, folder: Path) -> None:
    """Write `validity.json` and `validity.html` to a folder, each whole or not at all.

    Raises:
        DetoxError: the folder cannot be written.
    """
    data = json.dumps(study.as_dict(), ensure_ascii=False, indent=1) + "\n"
    # A text may hold half a character, which UTF-8 cannot.
    write_atomically(folder / "validity.json", data.encode("utf-8", "replace"))
    write_validity(study, folder / "validity.html")


def write_validity(study: Study, path: Path) -> None:
    """Write what was found as one self-contained HTML page, with the promises of `detoxlm.report.write_report`.

    Raises:
        DetoxError: the file cannot be written.
    """
    from detoxlm.validity.page import render  # matplotlib and jinja2 load here

    write_atomically(Path(path), render(study).encode("utf-8", "replace"))
