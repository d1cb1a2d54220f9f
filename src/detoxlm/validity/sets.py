"""Texts with what is known of them, and the reader that makes sets of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.items import Loaded, describe_skipped
from detoxlm.judged import JudgedText, read_judged
from detoxlm.labels.files import Verdict, read_labels
from detoxlm.labels.texts import Key, Readable, read_texts


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
    labels: Sequence[str | Path] = (),
) -> list[LabelledSet]:
    """Read files of labelled texts; `detoxlm.judged.read_judged` says which layouts are known.

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
        labels: files of `detoxlm label`: the targets of texts as `detoxlm.labels.texts.read_texts` reads them, in place
            of columns. Texts of one prompt are one document.

    Raises:
        UsageError: no sources, one that is named twice or cannot be read, an unusable row, or no labelled text; a file
            of labels that cannot be used, or columns named beside one.
    """
    if not sources:
        raise UsageError("data: no files; name at least one with --data FILE.")
    if twice := [str(source) for source in sources if [str(s) for s in sources].count(str(source)) > 1]:
        raise UsageError(f"data: {twice[0]} is named twice; name it once.")
    said = _said(labels)
    if labels and (named := [name for name, column in (("label", label), ("document", document)) if column]):
        raise UsageError(f"{named[0]}: with --labels there is no such column; leave --{named[0]} out.")
    stems = [Path(source).stem for source in sources]
    found: list[LabelledSet] = []
    for source, stem in zip(sources, stems, strict=True):
        name = stem if stems.count(stem) == 1 else "_".join(Path(source).with_suffix("").parts[-2:])
        if labels:
            texts = read_texts(source, column=text, skip_bad_rows=skip_bad_rows, option="--text")
            found.append(_read_by(name, texts, said, limit, seed))
            continue
        loaded = read_judged(
            source, text=text, label=label, group=group, document=document, skip_bad_rows=skip_bad_rows
        )
        found += _sets_of(name, loaded, limit, seed)
    return found


def _said(files: Sequence[str | Path]) -> dict[Key, set[Verdict]]:
    """What readers said of each text, by its key."""
    said: dict[Key, set[Verdict]] = {}
    for file in files:
        for label in read_labels(file):
            said.setdefault(label.key, set()).add(label.verdict)
    return said


def _read_by(
    name: str, loaded: Loaded[Readable], said: Mapping[Key, set[Verdict]], limit: int | None, seed: int
) -> LabelledSet:
    """Return the texts that all their readers find toxic, or all not toxic."""
    notes = [skipped] if (skipped := describe_skipped(loaded)) else []
    texts = [text for text in loaded.items if text.key in said]
    if not texts:
        raise UsageError(
            f"labels: none is of a text in {loaded.source}; name with --data what was given to `detoxlm label`."
        )
    unclear = [text for text in texts if said[text.key] not in ({"toxic"}, {"not toxic"})]
    for count, what in (
        (len(loaded.items) - len(texts), "without a label"),
        (len(unclear), "that readers are unsure of"),
    ):
        if count:
            notes.append(f"{loaded.source}: {count} texts {what} left out")
    clear = [text for text in texts if said[text.key] in ({"toxic"}, {"not toxic"})]
    if not clear:
        raise UsageError(f"labels: no text in {loaded.source} is clear to its readers; label more of them.")
    clear = [clear[i] for i in _chosen(len(clear), loaded.source, limit, seed, notes)]
    return LabelledSet(
        name,
        [text.text for text in clear],
        np.array([float("toxic" in said[text.key]) for text in clear]),
        [text.prompt or text.text for text in clear],
        None,
        loaded.source,
        loaded.sha256,
        tuple(notes),
    )


def _chosen(count: int, source: str, limit: int | None, seed: int, notes: list[str]) -> list[int]:
    """Draw `limit` of so many rows, in their order, and note it; None: all."""
    if limit is None or limit >= count:
        return list(range(count))
    notes.append(f"{source}: {limit} of {count} rows, drawn with seed {seed}")
    drawn: list[int] = np.sort(np.random.default_rng(seed).choice(count, size=limit, replace=False)).tolist()
    return drawn


def _dimensions(texts: Sequence[JudgedText]) -> dict[str, np.ndarray]:
    """The targets of further dimensions by name, float [N]; NaN where nothing was said."""
    names = dict.fromkeys(name for one in texts for name in one.dimensions)
    return {name: np.array([one.dimensions.get(name, np.nan) for one in texts]) for name in names}


def _sets_of(name: str, loaded: Loaded[list[JudgedText]], limit: int | None, seed: int) -> list[LabelledSet]:
    rows, notes = loaded.items, [skipped] if (skipped := describe_skipped(loaded)) else []
    rows = [rows[i] for i in _chosen(len(rows), loaded.source, limit, seed, notes)]
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
