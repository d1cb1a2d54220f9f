"""Files of labels: a line of JSON for each text that a reader has labelled, with hashes in place of texts.

Such a file can be given away: it holds no text. `LabelFile` writes one, `read_labels` reads it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

from detoxlm.errors import DetoxError, UsageError
from detoxlm.files import append_whole
from detoxlm.labels.texts import Key

log = logging.getLogger(__name__)

Verdict = Literal["toxic", "not toxic", "unsure"]
#: What a reader may say of a text, in the order of the keys 1, 2 and 3.
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_FIX = "Mend the line, or take it out."


@dataclass(frozen=True)
class Label:
    """What one reader said of one text, and when (UTC, ISO 8601)."""

    key: Key
    verdict: Verdict
    reader: str
    created: str

    @classmethod
    def now(cls, key: Key, verdict: Verdict, reader: str) -> Label:
        """Return a label of this moment."""
        return cls(key, verdict, reader, datetime.now(UTC).isoformat(timespec="seconds"))

    def line(self) -> bytes:
        """Return the line of a file."""
        text, prompt = self.key
        row = {"text_sha256": text, "prompt_sha256": prompt, "label": self.verdict, "reader": self.reader}
        return json.dumps({**row, "created": self.created}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def read_labels(path: str | Path) -> list[Label]:
    """Read a file of labels, in its order.

    A last line that was cut off when a session was killed is left out, with a warning; that text is labelled again.

    Raises:
        UsageError: the file cannot be read or has no label, a line is none, or two lines label one text.
    """
    labels, _, _ = _read(Path(path))
    if not labels:
        raise UsageError(f"labels: {path} has no label yet; `detoxlm label FILE -o {path}` adds some.")
    return labels


def _read(path: Path) -> tuple[list[Label], list[int], int]:
    """Return the labels of a file, the place where the line of each begins, and how many bytes they fill in all."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"labels: cannot read {path}: {error.strerror}.") from None
    labels: list[Label] = []
    starts: list[int] = []
    seen: dict[Key, int] = {}
    kept = 0
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith(b"\n") and not _is_json(line):
            log.warning("%s: line %d was cut off, as by a killed session; it is left out.", path, number)
            break
        if line.strip():
            labels.append(_label(line, f"{path}:{number}"))
            starts.append(kept)
            if (before := seen.setdefault(labels[-1].key, number)) != number:
                raise UsageError(f"labels: {path}: lines {before} and {number} label one text; take one of them out.")
        kept += len(line)
    return labels, starts, kept


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _label(line: bytes, place: str) -> Label:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"labels: {place}: no JSON ({error}). {_FIX}") from None
    if not isinstance(row, dict) or "label" not in row or "text_sha256" not in row:
        raise UsageError(
            f"labels: {place}: no label, which has `text_sha256` and `label`. Is it a file that `detoxlm label` wrote?"
        )
    for name in ("text_sha256", "prompt_sha256"):
        value = row.get(name)
        is_hash = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
        if not is_hash and not (name == "prompt_sha256" and value is None):
            raise UsageError(f"labels: {place}: `{name}` is {value!r:.40}, not 64 hex digits. {_FIX}")
    if row["label"] not in VERDICTS:
        raise UsageError(f"labels: {place}: `label` is {row['label']!r:.40}, not one of {', '.join(VERDICTS)}. {_FIX}")
    key = row["text_sha256"], row.get("prompt_sha256")
    return Label(key, cast("Verdict", row["label"]), str(row.get("reader", "")), str(row.get("created", "")))


class LabelFile:
    """One reader's labels: each is on disk when `append` returns, and `undo` takes the last one out again."""

    def __init__(self, path: Path, reader: str) -> None:
        """Open a file, new or of an earlier session of the same reader.

        Raises:
            UsageError: as `read_labels`, or it holds another reader's labels.
            DetoxError: it cannot be written.
        """
        self.path, self.reader = path, reader
        self.labels, self._starts, kept = _read(path) if path.exists() else ([], [], 0)
        if others := sorted({label.reader for label in self.labels} - {reader, ""}):  # "": a line does not say
            raise UsageError(
                f"reader: {path} holds labels of {others[0]!r}, and a file is one reader's. Give another -o, or "
                f"--reader {others[0]!r}."
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
            self._file.truncate(kept)
            self._file.seek(kept)
            if kept and not path.read_bytes().endswith(b"\n"):  # an editor has taken the last line's end away
                self._file.write(b"\n")
        except OSError as error:
            raise DetoxError(f"cannot write {path}: {error.strerror}. Choose another -o.") from error

    def append(self, key: Key, verdict: Verdict) -> None:
        """Add a label.

        Raises:
            DetoxError: it cannot be written, such as on a full disk; the file is as it was.
        """
        label = Label.now(key, verdict, self.reader)
        start = self._file.tell()
        try:
            append_whole(self._file, label.line())
        except OSError as error:  # a half line that could not be taken back is left out by the next session
            raise DetoxError(
                f"cannot write {self.path}: {error.strerror}. Free space and run the same command again: it goes on "
                f"after {len(self.labels)} labels."
            ) from error
        self.labels.append(label)
        self._starts.append(start)

    def undo(self) -> Label:
        """Take the last label out of the file and return it; there must be one.

        Raises:
            DetoxError: the file cannot be written.
        """
        try:
            self._file.truncate(self._starts[-1])
            self._file.seek(self._starts[-1])
            os.fsync(self._file.fileno())
        except OSError as error:
            raise DetoxError(f"cannot write {self.path}: {error.strerror}. Run the same command again.") from error
        self._starts.pop()
        return self.labels.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def counted(labels: Sequence[Label]) -> dict[Verdict, int]:
    """Return how many labels there are of each kind, in the order of the keys."""
    return {verdict: sum(label.verdict == verdict for label in labels) for verdict in VERDICTS}
