"""The texts that readers are given, out of a file of texts or a results.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.items import Loaded, label_of, load, text_of, with_names
from detoxlm.records import Row, RowError
from detoxlm.results import Results

#: What files call the text that is labelled; the first that a file has is taken.
TEXT_COLUMNS = ("text", "continuation", "answer", "comment_text", "comment")
#: What a results file holds; other objects of JSON hold rows.
_RESULTS = {"schema_version", "rows", "scorer"}

#: What names a text: the SHA-256 of it, and of the prompt that it follows, if any.
Key = tuple[str, str | None]


@dataclass(frozen=True)
class Readable:
    """A text to be labelled, and the prompt that it follows: shown, and not judged."""

    text: str
    prompt: str | None = None
    #: A scorer's toxicity in [0, 1], where the file has one.
    score: float | None = None

    @property
    def key(self) -> Key:
        """What labels call it; one text after two prompts is two."""
        return sha256_of(self.text), None if self.prompt is None else sha256_of(self.prompt)


def sha256_of(text: str) -> str:
    """Return 64 hex digits that name a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_texts(
    source: str | Path, *, column: str | None = None, skip_bad_rows: bool = False, option: str = "--column"
) -> Loaded[Readable]:
    """Read the texts of a file, each once, in the order of the file.

    Of a results.json they are the continuations, empty ones left out. Any other file has a text a row, in the first of
    `TEXT_COLUMNS` that its first row has, and may have a `prompt` and, as `detoxlm score --json` writes it, a
    `toxicity`. Prompt and text may be objects with a `text`, as in RealToxicityPrompts.

    Args:
        source: a results.json, or as for `detoxlm.data.read_prompts`.
        column: the column of the text; None: one of `TEXT_COLUMNS`.
        skip_bad_rows: as for `read_prompts`.
        option: what names another column, for messages.

    Raises:
        UsageError: as `read_prompts`; a results.json without a text, or a column named for one.
    """
    if _holds_results(Path(source)):
        if column is not None:
            raise UsageError(f"{option}: {source} is a results.json, which has no columns; leave it out.")
        results = Results.load(source)
        found = [
            Readable(text, row.prompt or None, score)
            for row in results.rows
            for text, score in zip(row.continuations, row.scores, strict=True)
            if text.strip()
        ]
        if not found:
            raise UsageError(f"texts: all continuations in {source} are empty; there is nothing to read.")
        return Loaded(_once(found), [], str(source), None)
    choices = [(column,)] if column is not None else [(name,) for name in TEXT_COLUMNS]
    loaded = load("texts", source, choices, _readable, None, skip_bad_rows, option=option)
    return Loaded(_once(loaded.items), loaded.skipped, loaded.source, loaded.sha256, rows=loaded.rows)


def _once(found: list[Readable]) -> list[Readable]:
    """Leave out what has been there before."""
    first: dict[Key, Readable] = {}
    for one in found:
        first.setdefault(one.key, one)
    return list(first.values())


def _readable(texts: list[str], row: Row) -> Readable:
    row = with_names(row, ("prompt",), ("toxicity",))
    prompt = None if row.get("prompt") in (None, "", {"text": ""}) else text_of(row, "prompt")
    try:
        score = label_of("toxicity", row.get("toxicity"))
    except RowError:  # nobody asked for this column: it may hold anything
        score = None
    return Readable(texts[0], prompt, score)


def _holds_results(path: Path) -> bool:
    """Tell whether a file is a results.json, whole or of another version; else its rows are read."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        held: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(held, dict) and held.keys() >= _RESULTS
