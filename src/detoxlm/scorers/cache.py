"""Keeps the scores of slow scorers on disk, so that a text is paid for once."""

from __future__ import annotations

import errno
import hashlib
import logging
import sqlite3
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from filelock import FileLock

from detoxlm.errors import list_of_texts
from detoxlm.files import cache_dir
from detoxlm.scorers.base import Scorer

log = logging.getLogger(__name__)

#: Seconds to wait while another process writes.
BUSY_SECONDS = 30.0
#: Keys in one query; SQLite's oldest limit is 999 variables.
_CHUNK = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
  scorer TEXT NOT NULL, version TEXT NOT NULL, revision TEXT NOT NULL, text BLOB NOT NULL, score REAL NOT NULL,
  PRIMARY KEY (scorer, version, revision, text)
) WITHOUT ROWID
"""


class CachedScorer(Scorer):
    """Wraps a scorer: texts that it has scored before, with the same weights, come from disk.

    The key is (name, version, revision, SHA-256 of the text); no text is stored. Several processes may use one file.
    A cache that cannot be used never stops a run: a damaged file is moved aside, and a full or locked one is left
    alone, each with a warning. One that is read-only is read, and nothing is added to it.
    """

    def __init__(self, scorer: Scorer, path: Path | None = None) -> None:
        """Wrap `scorer`; `path` is the SQLite file, None: `scores/scores.sqlite` in the cache folder."""
        self.inner = scorer
        self.name, self.version, self.revision = scorer.name, scorer.version, scorer.revision
        self.validity, self.dimensions = scorer.validity, scorer.dimensions
        self._path = path or cache_dir() / "scores" / "scores.sqlite"
        self._usable, self._prepared, self._read_only = True, False, False

    @property
    def batch_size(self) -> int:
        """The inner scorer's, which halves it where memory runs out."""
        return self.inner.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.inner.batch_size = size

    def score(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the toxicity of each text as `Scorer.score` does; only texts not on disk reach the inner scorer.

        Each distinct text is scored once. What is scored is stored after every batch, so a run that is stopped keeps
        it.

        Raises:
            UsageError: as `Scorer.score`.
            DetoxError: the inner scorer failed or answered out of contract; nothing of that batch is stored.
        """
        texts = list_of_texts("texts", texts)
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        copies: dict[bytes, list[int]] = {}
        for index, key in enumerate(keys):
            copies.setdefault(key, []).append(index)
        scores = np.empty(len(texts), dtype=np.float64)

        def put(key: bytes, value: float) -> None:
            scores[copies[key]] = value
            if progress is not None:
                progress(len(copies[key]))

        known = self._lookup(list(copies))
        for key, value in known.items():
            put(key, value)
        missing = [key for key in copies if key not in known]
        size = self.batch_size
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]
            values = self.inner.score([texts[copies[key][0]] for key in chunk])
            self._store(list(zip(chunk, values.tolist(), strict=True)))
            for key, value in zip(chunk, values.tolist(), strict=True):
                put(key, value)
        return scores

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return self.score(texts)

    def score_dimensions(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> dict[str, np.ndarray]:
        """Return every dimension as `Scorer.score_dimensions` does; from disk where the headline is all there is.

        Raises:
            UsageError, DetoxError: as `score`.
        """
        if self.dimensions == Scorer.dimensions:
            return {"toxicity": self.score(texts, progress)}
        return self.inner.score_dimensions(texts, progress)  # only the headline is kept on disk

    def _lookup(self, keys: list[bytes]) -> dict[bytes, float]:
        found: dict[bytes, float] = {}

        def read(database: sqlite3.Connection) -> None:
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                # A stored value out of range cannot be ours; it counts as not stored.
                found.update(
                    database.execute(
                        "SELECT text, score FROM scores WHERE scorer = ? AND version = ? AND revision = ? "
                        f"AND score BETWEEN 0 AND 1 AND text IN ({','.join('?' * len(chunk))})",
                        (self.name, self.version, self.revision, *chunk),
                    )
                )

        self._use(read)
        return found

    def _store(self, rows: list[tuple[bytes, float]]) -> None:
        if self._read_only:
            return

        def write(database: sqlite3.Connection) -> None:
            database.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)",
                [(self.name, self.version, self.revision, key, score) for key, score in rows],
            )

        self._use(write)

    def _use(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do `work` in one transaction. On trouble warn and go on: the caller then sees an empty cache."""
        try:
            for _ in range(2):  # the second try is on the new file that replaces a damaged one
                if not self._usable:
                    return
                try:
                    self._prepare()
                    with closing(self._connected()) as database, database:
                        work(database)
                    return
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError as error:
                    self._move_aside(error)
        except (sqlite3.OperationalError, OSError) as error:
            self._usable = False
            warnings.warn(f"score cache: {self._path} cannot be used ({error}); going on without it.", stacklevel=4)

    def _prepare(self) -> None:
        """Create the file once. Under a lock: SQLite does not wait its turn when two processes switch to WAL."""
        if self._prepared:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock", timeout=BUSY_SECONDS), closing(self._connected()) as database:
                # Write-ahead log: readers do not wait for a writer. The setting stays in the file.
                database.execute("PRAGMA journal_mode=WAL")
                database.execute(_SCHEMA)
        except (OSError, sqlite3.OperationalError) as error:
            refused = getattr(error, "errno", None) in (errno.EROFS, errno.EACCES, errno.EPERM)
            if not (refused or "readonly" in str(error)) or not self._path.is_file():
                raise
            log.warning("score cache: %s is read-only: its scores are used, and none are added.", self._path)
            self._read_only = True
        self._prepared = True

    def _connected(self) -> sqlite3.Connection:
        if self._read_only:  # immutable: without the files beside it that readers of a write-ahead log make
            return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        return sqlite3.connect(self._path, timeout=BUSY_SECONDS)

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        self._prepared = False
        with FileLock(f"{self._path}.lock", timeout=BUSY_SECONDS):
            if self._is_sound():  # another process was faster
                return
            aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
            self._path.rename(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        warnings.warn(
            f"score cache: {self._path} is damaged ({error}); moved to {aside}, starting a new one.", stacklevel=5
        )

    def _is_sound(self) -> bool:
        if not self._path.exists():
            return True
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as database:
                return bool(database.execute("PRAGMA quick_check").fetchone() == ("ok",))
        except sqlite3.DatabaseError:
            return False
