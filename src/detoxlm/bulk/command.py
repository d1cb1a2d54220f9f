"""The work of `detoxlm score --file FILE --output OUTPUT`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from detoxlm.bulk.forms import Csv, Form, Jsonl
from detoxlm.bulk.judges import Judges
from detoxlm.bulk.parquet import Parquet
from detoxlm.bulk.partial import Partial, check_output
from detoxlm.bulk.source import CHUNK, Chunk, Source
from detoxlm.errors import DetoxError, UsageError
from detoxlm.items import BadRow, skipped_line
from detoxlm.lock import only_writer
from detoxlm.progress import track, waiting
from detoxlm.records import local_records
from detoxlm.settings import ScoreSettings

log = logging.getLogger(__name__)


#: What to do about a column of the file that is called like one of scores.
_MEND = "give the scores other names with --prefix, such as --prefix ours_, or rename it"
#: The kinds of file that are written, by the ending of their names.
FORMS: dict[str, type[Form]] = {form.suffix: form for form in (Jsonl, Parquet, Csv)}


@dataclass
class Done:
    """What a run has written, and where."""

    output: Path
    #: What the new columns are from: name, version and revision of each scorer, or the model and its detoxifier.
    by: list[str]
    #: The names of the new columns.
    columns: list[str]
    #: Rows that were worked on, and those that could not be used.
    rows: int = 0
    skipped: int = 0
    #: The first that could not be used.
    bad: list[BadRow] = field(default_factory=list)

    def skip(self, row: BadRow) -> None:
        """Count a row that could not be used."""
        self.skipped += 1
        if len(self.bad) < 3:
            self.bad.append(row)


def score_file(settings: ScoreSettings) -> Done:
    """Score the texts of `settings.file` and write its rows with their scores to `settings.output`, in their order.

    All rows are looked at before the first is scored, so that one that cannot be used costs no hours. A run that was
    killed goes on after its last whole chunk, and ends with the bytes of one that was not.

    Raises:
        UsageError: what cannot be done as it is asked for: see `check`, `check_output` and `Source.chunks`; a column of
            the file is called like one of scores.
        DetoxError: a scorer failed, the disk is full, or the file was changed meanwhile.
    """
    source, output = check(settings)
    with only_writer(output):
        judges = Judges.load(settings.scorer, settings.dimensions)
        columns = judges.columns(settings.prefix or "")
        form = FORMS[output.suffix.lower()](source, columns, judges.described())
        before = source.state()
        with waiting(f"reading {source.path}"):
            run = _run(settings, source, judges, columns)
            check_output(output, run, settings.overwrite)
            done = look(source, form, Done(output, judges.described(), columns), _MEND)
        if skipped := skipped_line(str(source.path), done.bad, done.skipped, done.skipped + done.rows):
            log.warning(skipped)
        partial, readers = Partial(output, run), len(judges.scorers)
        try:
            with (
                track("scoring", done.rows * readers, "texts", done=partial.done * readers) as advance,
                closing(_engine(settings)(source, judges, partial.done, advance)) as scored,
            ):
                for chunk, scores in scored:
                    partial.append(form.render(chunk, scores.T.tolist()), len(chunk.texts))
            if source.state() != before or partial.done != done.rows:
                raise DetoxError(f"{source.path} was changed while it was scored; start over with --overwrite.")
            partial.finish(form)
        finally:
            partial.close()
    return done


def check(settings: ScoreSettings) -> tuple[Source, Path]:
    """Return what is scored and where it goes; raise `UsageError` where that cannot be, before anything is loaded."""
    file, output = settings.file, settings.output
    assert output is not None
    if file is None:
        raise UsageError("output: it is for the texts of a file; name one with --file FILE.")
    if output.exists() and file.exists() and output.samefile(file):
        raise UsageError(f"output: {output} is the file that is read; choose another -o.")
    if settings.workers is not None and settings.engine != "ray":
        raise UsageError("workers: it is for --engine ray; without that one process scores.")
    if settings.engine == "ray" and not (find_spec("ray") and find_spec("pandas")):
        raise UsageError("engine: ray is not installed, or lacks pandas: pip install 'detoxlm[parallel]'")
    if output.suffix.lower() not in FORMS:
        raise UsageError(f"output: {output} is of no known kind; its name must end in {', '.join(FORMS)}.")
    local_records("file", file)
    return Source(file, (settings.column or "text",), settings.skip_bad_rows), output


def _run(settings: ScoreSettings, source: Source, judges: Judges, columns: list[str]) -> dict[str, Any]:
    """Return what decides the bytes of the output, in words for a message."""
    return {
        "scorer": ", ".join(judges.described()),
        "content of --file": source.sha256()[:16],
        "--column": source.columns[0],
        "--skip-bad-rows": source.skip,
        "columns": ", ".join(columns),
        "rows at a time": CHUNK,
    }


def look(source: Source, form: Form, done: Done, mend: str) -> Done:
    """Look at every row before the first is worked on, and count them in `done`.

    Raises:
        UsageError: a row cannot be used, none can, or one has a column that is called like one of ours: `mend` says
            what to do about that.
    """
    ours = set(form.columns)
    for chunk in source.chunks(bad=done.skip):
        for line, row in zip(chunk.lines, chunk.rows, strict=True):
            if clash := next((name for name in row if name in ours), None):
                raise UsageError(f"{source.path}:{line}: there is a column `{clash}` already; {mend}.")
        form.see(chunk)
        done.rows += len(chunk.rows)
    if not done.rows:
        reason = skipped_line(str(source.path), done.bad, done.skipped, done.skipped) or f"{source.path} is empty"
        raise UsageError(f"file: no usable row: {reason}.")
    form.seen()
    return done


#: Chunks with their scores, float64 [rows, columns].
Scored = Generator[tuple[Chunk, np.ndarray]]
#: Scores the chunks of a file from a row on, in their order; the last argument is told of texts that were scored.
Engine = Callable[[Source, Judges, int, Callable[[int], None]], Scored]


def _engine(settings: ScoreSettings) -> Engine:
    if settings.engine == "ray":
        from detoxlm.bulk.on_ray import scored

        return lambda source, judges, start, advance: scored(
            source, judges, start, advance, specs=settings.scorer, workers=settings.workers
        )
    return _scored


def _scored(source: Source, judges: Judges, start: int, advance: Callable[[int], None]) -> Scored:
    """Score in this process."""
    for chunk in source.chunks(start):
        yield chunk, judges.score(chunk.texts, advance)
