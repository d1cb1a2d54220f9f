"""Texts, where they come from, and what scorers say of them: the work of `detoxlm score`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.items import Loaded, describe_skipped, load
from detoxlm.progress import track
from detoxlm.records import Row, as_json
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.several import load_scorers
from detoxlm.settings import ScoreSettings

log = logging.getLogger(__name__)

#: Keys of a row of scores that are no dimension.
_KEYS = ("line", "text", "scorer", "version")


@dataclass(frozen=True)
class Scored:
    """Texts with the word of every scorer."""

    texts: list[str]
    #: Of each text from a file its line, from 1 (parquet: the row), and the row's other columns. Empty without a file.
    origins: list[tuple[int, Row]]
    scorers: dict[str, Scorer]
    #: By scorer and dimension a score in [0, 1] for each text.
    said: dict[str, dict[str, list[float]]]

    def rows(self) -> list[dict[str, Any]]:
        """Return an object for each text and scorer, of JSON values.

        Its keys are `line` (of texts from a file), `text`, the dimensions, `scorer`, `version`, and the row's other
        columns under their own names; a column that has the name of one of those keys is `file.NAME`.
        """
        ours = {*_KEYS, *(name for every in self.said.values() for name in every)}
        made = {label: {"scorer": scorer.name, "version": scorer.version} for label, scorer in self.scorers.items()}
        found = []
        for i, text in enumerate(self.texts):
            line, columns = self.origins[i] if self.origins else (None, {})
            place = {} if line is None else {"line": line}
            others = _renamed(columns, ours)
            for label, every in self.said.items():
                scores = {name: values[i] for name, values in every.items()}
                found.append({**place, "text": text, **scores, **made[label], **others})
        return found


def score_texts(texts: Sequence[str], settings: ScoreSettings) -> Scored:
    """Score texts, or those of the file that the settings name.

    Raises:
        UsageError: both or neither are given, the file cannot be read, or a scorer cannot be loaded.
        DetoxError: a scorer failed.
    """
    if bool(texts) == (settings.file is not None):
        raise UsageError("score: give either texts or --file FILE.")
    for name in ("output", "overwrite", "prefix", "engine", "workers"):
        if getattr(settings, name) not in (None, False, "local"):
            raise UsageError(
                f"{name}: it is for --file FILE with --output; texts that are given have their scores printed."
            )
    chosen, origins = list(texts), []
    if settings.file is not None:
        loaded = _read(settings)
        chosen = [text for text, _ in loaded.items]
        origins = [(line, others) for line, (_, others) in zip(loaded.lines, loaded.items, strict=True)]
        if skipped := describe_skipped(loaded):
            log.warning(skipped)
    scorers = load_scorers(settings.scorer)
    said: dict[str, dict[str, list[float]]] = {}
    with track("scoring", len(chosen) * len(scorers), "texts") as advance:
        for label, scorer in scorers.items():
            if settings.dimensions:
                every = scorer.score_dimensions(chosen, progress=advance)
                said[label] = {name: scores.tolist() for name, scores in every.items()}
            else:
                said[label] = {"toxicity": scorer.score(chosen, progress=advance).tolist()}
    return Scored(chosen, origins, scorers, said)


def _read(settings: ScoreSettings) -> Loaded[tuple[str, Row]]:
    """Read texts, each with the other columns of its row."""
    assert settings.file is not None
    name = settings.column or "text"

    def item(texts: list[str], row: Row) -> tuple[str, Row]:
        # a nested text keeps what is beside it; a plain one is there already
        return texts[0], {key: v for key, v in row.items() if key.strip().lower() != name.lower() or v != texts[0]}

    return load("texts", settings.file, [(name,)], item, None, settings.skip_bad_rows)


def _renamed(columns: Row, ours: set[str]) -> dict[str, Any]:
    """Return columns as JSON values, under names that neither we nor another column have."""
    found: dict[str, Any] = {}
    for name, value in columns.items():
        key = str(name)
        while key in ours or (key != name and key in columns):
            key = f"file.{key}"
        found[key] = as_json(value)
    return found
