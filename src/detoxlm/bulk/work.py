"""What work on a file of rows has in common, whatever is done to them: what is checked, looked at, written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from detoxlm.bulk.forms import Csv, Form, Jsonl, Values
from detoxlm.bulk.parquet import Parquet
from detoxlm.bulk.partial import Partial
from detoxlm.bulk.source import CHUNK, Chunk, Source, State
from detoxlm.errors import DetoxError, UsageError
from detoxlm.items import BadRow, skipped_line
from detoxlm.records import local_records
from detoxlm.settings import GenerateSettings, ScoreSettings

log = logging.getLogger(__name__)

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


def check(settings: ScoreSettings | GenerateSettings, columns: Sequence[str], size: int = CHUNK) -> tuple[Source, Path]:
    """Return what is read and where its rows go; raise `UsageError` where that cannot be, before anything is loaded.

    Args:
        settings: with an `output`.
        columns: what the column of the texts may be called, where no `--column` says it.
        size: rows of a chunk.
    """
    file, output = settings.file, settings.output
    assert output is not None
    if file is None:
        raise UsageError("output: it is for the texts of a file; name one with --file FILE.")
    if output.exists() and file.exists() and output.samefile(file):
        raise UsageError(f"output: {output} is the file that is read; choose another -o.")
    if settings.workers is not None and settings.engine != "ray":
        raise UsageError("workers: it is for --engine ray; without that one process does the work.")
    if settings.engine == "ray" and not (find_spec("ray") and find_spec("pandas")):
        raise UsageError("engine: ray is not installed, or lacks pandas: pip install 'detoxlm[parallel]'")
    if output.suffix.lower() not in FORMS:
        raise UsageError(f"output: {output} is of no known kind; its name must end in {', '.join(FORMS)}.")
    local_records("file", file)
    return Source(file, (settings.column,) if settings.column else tuple(columns), settings.skip_bad_rows, size), output


def look(source: Source, form: Form, done: Done, mend: str) -> Done:
    """Look at every row before the first is worked on, count them in `done`, and say which are skipped.

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
    skipped = skipped_line(str(source.path), done.bad, done.skipped, done.skipped + done.rows)
    if not done.rows:
        raise UsageError(f"file: no usable row: {skipped or f'{source.path} is empty'}.")
    form.seen()
    if skipped:
        log.warning(skipped)
    return done


def write(
    made: Iterable[tuple[Chunk, Values]], source: Source, before: State, form: Form, partial: Partial, done: Done
) -> None:
    """Write each chunk with its new values as it comes, and at the end the whole file.

    Args:
        made: the chunks that are not done, in their order.
        source: the file that is read.
        before: its state before its rows were looked at.
        form: what the chunks become.
        partial: where they are kept.
        done: what was looked at.

    Raises:
        DetoxError: the disk is full, or the file is not what was looked at.
    """
    for chunk, values in made:
        partial.append(form.render(chunk, values), len(chunk.texts))
    if source.state() != before or partial.done != done.rows:
        raise changed(source)
    partial.finish(form)


def changed(source: Source) -> DetoxError:
    """Return the error for a file that is not what it was when its rows were looked at."""
    return DetoxError(f"{source.path} was changed while it was read; start over with --overwrite.")
