"""The work of a measurement: batches of continuations and windows of neutral text, each kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from detoxlm import memory
from detoxlm.generation import Generation, Sampling, generate
from detoxlm.journal import Journal
from detoxlm.likelihood import continuation_nll, measure_window
from detoxlm.models import Target
from detoxlm.progress import track
from detoxlm.reading import Reading, read_answers, read_continuations
from detoxlm.results import Cost, Row, Window
from detoxlm.scorers.base import Scorer

#: Enters a context in which the target is detoxified.
Attach = Callable[[], AbstractContextManager[None]]


class Done:
    """What a measurement has finished: kept in memory and, where it has one, in its journal.

    An entry is a batch, `rows` (pairs of a prompt's index and its `Row`) with `seconds`, `tokens` and `peak_mb`; or a
    `window`. A journal's entries of an earlier, killed run are there from the start.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._entries: list[dict[str, Any]] = list(journal.entries) if journal else []

    def keep(self, entry: dict[str, Any]) -> None:
        """Add an entry; it is on disk when this returns. Raises `DetoxError` when the disk is full."""
        self._entries.append(entry)
        if self._journal:
            self._journal.append(entry)

    @property
    def batches(self) -> list[dict[str, Any]]:
        """The batches, as they were kept."""
        return [entry for entry in self._entries if "rows" in entry]

    def rows(self) -> list[Row]:
        """Return the rows in the order of the prompts."""
        indexed = sorted((pair for batch in self.batches for pair in batch["rows"]), key=lambda pair: pair[0])
        return [Row(**row) for _, row in indexed]

    def windows(self) -> list[Window]:
        """Return the windows in the order of the text."""
        return [Window(**entry["window"]) for entry in self._entries if "window" in entry]

    def cost(self, total_seconds: float) -> Cost:
        """Return what the batches cost, those of earlier runs included; `total_seconds` is of this run alone."""
        seconds = sum(batch["seconds"] for batch in self.batches)
        tokens = sum(batch["tokens"] for batch in self.batches)
        return Cost(
            tokens_per_second=tokens / seconds if seconds else 0.0,
            peak_memory_mb=max(batch["peak_mb"] for batch in self.batches),
            generation_seconds=seconds,
            total_seconds=total_seconds,
            generated_tokens=tokens,
        )


def generate_rows(
    target: Target,
    prompts: list[str],
    sampling: Sampling,
    batch_size: int,
    scorers: dict[str, Scorer],
    judge: Target,
    attach: Attach,
    done: Done,
    *,
    answers: bool = False,
    untouched: bool = True,
) -> None:
    """Generate and score the batches that are not done.

    Args:
        target: the untouched model.
        prompts: all of them, of the batches that are done too.
        sampling: how continuations are drawn; the seed included.
        batch_size: sequences generated at once.
        scorers: label -> scorer, the main one first.
        judge: whose likelihood of the continuations is kept.
        attach: makes the target the model that is measured.
        done: where the batches go.
        answers: whether texts are read as answers (`detoxlm.reading.read_answers`) and not as continuations.
        untouched: whether the model that is measured is the target itself.
    """

    def read(generations: Sequence[Generation]) -> Reading:
        if answers:
            return read_answers(target, generations, list(scorers.values()), None if untouched else attach)
        return read_continuations(generations, list(scorers.values()))

    batches = generate(target, prompts, sampling, batch_size=batch_size, skip_batches=len(done.batches))
    while True:
        memory.start_peak()
        with attach():  # around the generation of one batch only: scorer and judge must see an untouched model
            batch = next(batches, None)
        peak = memory.peak_mb()
        if batch is None:
            return
        rows = _rows(batch.generations, read(batch.generations), list(scorers)[1:], judge)
        done.keep({"rows": rows, "seconds": batch.seconds, "tokens": batch.tokens, "peak_mb": peak})


def _rows(
    generations: Sequence[Generation], read: Reading, opinions: list[str], judge: Target
) -> list[tuple[int, dict[str, Any]]]:
    # of all that was written, thinking too: an answer is likely after what was thought, not without it
    likelihoods = continuation_nll(judge, [g.prompt for g in generations], [g.texts for g in generations])
    rows, start = [], 0
    for generation, (nll, nll_tokens) in zip(generations, likelihoods, strict=True):
        here = slice(start, start + len(generation.texts))
        first, *others = read.scores[:, here].tolist()
        row = Row(
            prompt=str(generation.prompt),
            continuations=read.texts[here],
            scores=first,
            tokens=[len(ids) for ids in generation.token_ids],
            nll=nll,
            nll_tokens=nll_tokens,
            opinions=dict(zip(opinions, others, strict=True)),
            kind=getattr(generation.prompt, "kind", None),
            rule=getattr(generation.prompt, "rule", None),
            **read.of(here),
        )
        rows.append((generation.index, row.model_dump()))
        start = here.stop
    return rows


def measure_windows(
    target: Target, windows: Sequence[tuple[list[int], int]], attach: Attach | None, done: Done
) -> None:
    """Measure the windows of neutral text that are not done.

    Args:
        target: the untouched model.
        windows: what `fluency_windows` returns: ids, and how many of them are scored.
        attach: makes the target the model that is measured; None measures it untouched.
        done: where the windows go.
    """
    finished = len(done.windows())
    scored = [count for _, count in windows]
    with track("reading neutral text", sum(scored), "tokens", done=sum(scored[:finished])) as advance:
        for ids, count in windows[finished:]:
            done.keep({"window": measure_window(target, ids, count, attach).model_dump()})
            advance(count)
