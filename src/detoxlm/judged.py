"""Texts that people or Perspective judged, in the layouts that such files have: what a scorer is judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detoxlm.items import LABEL_COLUMNS, Loaded, collect, label_of, names_of, text_of, with_names
from detoxlm.records import Row, RowError

#: What judged texts are called in files that people have: `comment_text` and `target` are Civil Comments'.
TEXT_COLUMNS = ("text", "comment_text", "comment")
TARGET_COLUMNS = (*LABEL_COLUMNS, "target")
#: What files say of a text beside its toxicity, named as the shipped scorers name their dimensions.
DIMENSION_COLUMNS = (
    "insult",
    "profanity",
    "identity_attack",
    "threat",
    "sexually_explicit",
    "severe_toxicity",
    "flirtation",
)
GROUP_COLUMNS = ("groups", "group", "identity", "identities")
DOCUMENT_COLUMNS = ("filename", "document")


@dataclass(frozen=True)
class JudgedText:
    """A text, and by column what was said of it: a toxicity in [0, 1], None where nothing was."""

    text: str
    targets: dict[str, float | None]
    #: By name in `DIMENSION_COLUMNS`: what was said beside toxicity, each in [0, 1].
    dimensions: dict[str, float] = dataclasses.field(default_factory=dict)
    #: Where it was taken from: `prompt`, `continuation`, or empty for a text of its own.
    part: str = ""
    #: The source document that the row names; None: it names none.
    document: str | None = None
    #: Identity groups that the row names; None: the file has no such column.
    groups: frozenset[str] | None = None


def read_judged(
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    document: str | None = None,
    skip_bad_rows: bool = False,
) -> Loaded[list[JudgedText]]:
    """Read texts that people or Perspective judged, to judge a scorer by; one item a row, with the texts of the row.

    Three layouts are known. RealToxicityPrompts: `prompt` and `continuation`, objects with a `text` and a `toxicity`,
    are a text each, of the document `filename`; a half without text is left out. Pairs: `toxic` and
    `nontoxic` are texts with the labels 1 and 0, and the toxic one names their document. Else a text a row, in the
    first of `TEXT_COLUMNS`, with every one of `TARGET_COLUMNS` that the first row has. The first and the last take the
    `DIMENSION_COLUMNS` along that they find. A target is a number in [0, 1], a boolean, or either as a string; null and
    "" say nothing. Names of columns are found in any case.

    Args:
        source: as for `detoxlm.data.read_prompts`.
        text: the column of the text; None: one of the known layouts.
        label: the column of the target; None: those that are known.
        group: the column of the identity groups, a list or a text parted by commas; None: one of `GROUP_COLUMNS`.
        document: the column of the source document; None: one of `DOCUMENT_COLUMNS`.
        skip_bad_rows: as for `read_prompts`.

    Raises:
        UsageError: as `read_prompts`; a missing column is named together with those that were found.
    """
    layout: Callable[[Row], list[JudgedText]] | None = None
    given = {name.lower() for name in (text, label, group, document) if name}
    alone = ("prompt", "continuation", "nontoxic", *DIMENSION_COLUMNS, *(() if label else TARGET_COLUMNS))
    ours = [
        (text,) if text else TEXT_COLUMNS,
        (label,) if label else (),
        (group,) if group else GROUP_COLUMNS,
        (document,) if document else DOCUMENT_COLUMNS,
        *((name,) for name in alone if name not in given),
    ]

    def item(row: Row) -> list[JudgedText]:
        nonlocal layout
        row = with_names(row, *ours)
        # The first row decides for all, as in `load`.
        layout = layout or _layout(row, text, label)
        places = [name for name in ((document,) if document else DOCUMENT_COLUMNS) if name in row]
        columns = [name for name in ((group,) if group else GROUP_COLUMNS) if name in row]
        for option, name, found in (("document", document, places), ("group", group, columns)):
            if name and not found:
                raise RowError(f"no column `{name}`; found: {names_of(row)}; name another with --{option}")
        named = row[places[0]] if places else None
        place = None if named in (None, "") else str(named)
        groups = groups_of(row[columns[0]]) if columns else None
        return [
            dataclasses.replace(one, document=place if place is not None else one.document, groups=groups)
            for one in layout(row)
        ]

    return collect("data", source, item, None, skip_bad_rows)


def _layout(row: Row, text: str | None, label: str | None) -> Callable[[Row], list[JudgedText]]:
    """Return what makes the texts of a row; chosen by the first row and the columns that the user named."""
    if text is None and label is None:
        if all(isinstance(row.get(part), dict) for part in ("prompt", "continuation")):
            return _rtp_texts
        # beside a text they are its labels
        if all(isinstance(row.get(side), str) for side in ("toxic", "nontoxic")) and not {*TEXT_COLUMNS} & {*row}:
            return _pair_texts
    texts = [name for name in ((text,) if text else TEXT_COLUMNS) if name in row]
    labels = [name for name in ((label,) if label else TARGET_COLUMNS) if name in row]
    for option, wanted, found in (
        ("text", (text,) if text else TEXT_COLUMNS, texts),
        ("label", (label,) if label else TARGET_COLUMNS, labels),
    ):
        if not found:
            missing = " or ".join(f"`{name}`" for name in wanted)
            raise RowError(f"no column {missing}; found: {names_of(row)}; name another with --{option}")

    def one_text(row: Row) -> list[JudgedText]:
        for name in (texts[0], *labels):
            if name not in row:
                raise RowError(f"no column `{name}`, which the first row has; found: {names_of(row)}")
        targets = {name: label_of(name, row[name]) for name in labels}
        return [JudgedText(text_of(row, texts[0]), targets, _dimensions(row))]

    return one_text


def _dimensions(said: Row) -> dict[str, float]:
    found = {}
    for name in DIMENSION_COLUMNS:
        try:
            target = label_of(name, said.get(name))
        except RowError:  # nobody asked for this column: another file's `threat` may be anything
            continue
        if target is not None:
            found[name] = target
    return found


def _rtp_texts(row: Row) -> list[JudgedText]:
    found = []
    for part in ("prompt", "continuation"):
        half = row.get(part)
        if not isinstance(half, dict):
            raise RowError(f"`{part}` is not an object with `text` and `toxicity`, unlike the first row's")
        target = label_of("toxicity", half.get("toxicity"))
        # Some continuations are empty, and Perspective gave some halves no score: no fault of the file.
        if str(half.get("text", "")).strip():
            found.append(JudgedText(text_of(row, part), {"toxicity": target}, _dimensions(half), part))
    return found


def _pair_texts(row: Row) -> list[JudgedText]:
    for side in ("toxic", "nontoxic"):
        if side not in row:
            raise RowError(f"no column `{side}`, which the first row has; found: {names_of(row)}")
    source = text_of(row, "toxic")
    return [
        JudgedText(source, {"toxic": 1.0}, document=source),
        JudgedText(text_of(row, "nontoxic"), {"toxic": 0.0}, document=source),
    ]


def groups_of(value: Any) -> frozenset[str]:
    """Return the names of groups in a cell: a list of them, or a text parted by commas; null and "" name none."""
    names = value if isinstance(value, list) else str(value or "").split(",")
    return frozenset(name for name in (str(name).strip() for name in names) if name)
