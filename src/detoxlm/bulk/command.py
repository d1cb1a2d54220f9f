"""The work of `detoxlm score --file FILE --output OUTPUT`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial as given
from typing import Any

import numpy as np

from detoxlm.bulk.forms import Values
from detoxlm.bulk.judges import Judges, Scoring
from detoxlm.bulk.partial import Partial, check_output
from detoxlm.bulk.source import CHUNK, Chunk, Source
from detoxlm.bulk.work import FORMS, Done, check, look, write
from detoxlm.lock import only_writer
from detoxlm.progress import track, waiting
from detoxlm.settings import ScoreSettings
from detoxlm.versions import packages

#: What to do about a column of the file that is called like one of scores.
_MEND = "give the scores other names with --prefix, such as --prefix ours_, or rename it"


def score_file(settings: ScoreSettings) -> Done:
    """Score the texts of `settings.file` and write its rows with their scores to `settings.output`, in their order.

    All rows are looked at before the first is scored, so that one that cannot be used costs no hours. A run that was
    killed goes on after its last whole chunk, and ends with the bytes of one that was not.

    Raises:
        UsageError: what cannot be done as it is asked for: see `check`, `check_output` and `Source.chunks`; a column of
            the file is called like one of scores.
        DetoxError: a scorer failed, the disk is full, or the file was changed meanwhile.
    """
    source, output = check(settings, ("text",))
    with only_writer(output):
        judges = Judges.load(settings.scorer, settings.dimensions)
        columns = judges.columns(settings.prefix or "")
        form = FORMS[output.suffix.lower()](source, columns, judges.described())
        before = source.state()
        with waiting(f"reading {source.path}"):
            run = _run(settings, source, judges, columns)
            check_output(output, run, settings.overwrite)
            done = look(source, form, Done(output, judges.described(), columns), _MEND)
        partial, readers = Partial(output, run), len(judges.scorers)
        try:
            with (
                track("scoring", done.rows * readers, "texts", done=partial.done * readers) as advance,
                closing(_scored(settings, source, judges, partial.done, advance)) as scored,
            ):
                write(scored, source, before, form, partial, done)
        finally:
            partial.close()
    return done


def _run(settings: ScoreSettings, source: Source, judges: Judges, columns: list[str]) -> dict[str, Any]:
    """Return what decides the bytes of the output, in words for a message."""
    return {
        "scorer": ", ".join(judges.described()),
        "content of --file": source.sha256()[:16],
        "--column": source.columns[0],
        "--skip-bad-rows": source.skip,
        "columns": ", ".join(columns),
        "rows at a time": CHUNK,
        **packages(),
    }


def _scored(
    settings: ScoreSettings, source: Source, judges: Judges, start: int, advance: Callable[[int], None]
) -> Generator[tuple[Chunk, Values]]:
    """Yield the chunks from row `start` on with their columns of scores; `advance` is told of texts that were read."""
    if settings.engine == "local":
        for chunk in source.chunks(start):
            yield chunk, judges.score(chunk.texts, advance).T.tolist()
        return
    from detoxlm.bulk.on_ray import worked

    make = given(Scoring, settings.scorer, settings.dimensions, judges.described())
    with closing(worked(source, start, make, settings.workers)) as answers:
        for chunk, answer in answers:
            advance(len(chunk.texts) * len(judges.scorers))
            yield chunk, np.frombuffer(answer).reshape(len(chunk.texts), -1).T.tolist()
