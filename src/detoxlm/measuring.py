"""The work of a measurement: batches of continuations and windows of neutral text, each kept as soon as it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from detoxlm import processes
from detoxlm.conversations import as_data, form_of
from detoxlm.engines.base import Engine, Written
from detoxlm.generation import Generation, Sampling
from detoxlm.journal import Journal, digest_of
from detoxlm.likelihood import continuation_nll
from detoxlm.mentions import IdentityPrompt, Mention
from detoxlm.models import Target
from detoxlm.prices import IdentityRow
from detoxlm.progress import track
from detoxlm.reading import Reading
from detoxlm.results import Cost, Row, Window
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import BatchSize, Sizes


class Done:
    """What a measurement has finished: kept in memory and, where it has one, in its journal.

    An entry is a batch, `rows` (pairs of a prompt's index and its `Row`) with `seconds`, `tokens` and `peak_mb`; or a
    `window`; or `mentions`, pairs of a text's index and its `Window`; or `identity`, pairs of a prompt's index and its
    `IdentityRow`. A journal's entries of an earlier, killed run are there from the start.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._entries: list[dict[str, Any]] = list(journal.entries) if journal else []

    def keep(self, entry: dict[str, Any]) -> None:
        """Add an entry; it is on disk when this returns. Raises `DetoxError` when the disk is full."""
        self._entries.append(entry)
        if self._journal:
            self._journal.append(entry)

    def of_all(self, batches: Sequence[Sequence[int]]) -> Done:
        """Return what all processes have finished, each of the `batches` (prompts by index) that were dealt to it.

        Raises:
            DetoxError: another process has ended.
        """
        parts = processes.gathered(self._entries)
        if len(parts) == 1:
            return self
        whole = Done(None)
        for number, part in enumerate(parts):
            own = processes.dealt(batches, number, len(parts))
            for entry in part:
                if "rows" in entry:
                    rows = [(own[i], row) for i, row in entry["rows"]]
                    whole.keep({**entry, "rows": rows, "process": number})
                elif "mentions" in entry or "identity" in entry:
                    whole.keep(entry)
        windows = [[entry for entry in part if "window" in entry] for part in parts]
        for entry in processes.in_turn(windows):
            whole.keep(entry)
        return whole

    @property
    def batches(self) -> list[dict[str, Any]]:
        """The batches, as they were kept."""
        return [entry for entry in self._entries if "rows" in entry]

    @property
    def prompts(self) -> int:
        """How many prompts have been continued."""
        return sum(len(batch["rows"]) for batch in self.batches)

    def sizes(self) -> list[int]:
        """Return how many sequences the batches had, each size once, as they came."""
        sizes = [sum(len(row["continuations"]) for _, row in batch["rows"]) for batch in self.batches]
        return list(dict.fromkeys(sizes))

    def rows(self) -> list[Row]:
        """Return the rows in the order of the prompts."""
        indexed = sorted((pair for batch in self.batches for pair in batch["rows"]), key=lambda pair: pair[0])
        return [Row(**row) for _, row in indexed]

    def windows(self) -> list[Window]:
        """Return the windows in the order of the text."""
        return [Window(**entry["window"]) for entry in self._entries if "window" in entry]

    @property
    def readings(self) -> list[dict[str, Any]]:
        """The batches of texts of who pays, as they were kept."""
        return [entry for entry in self._entries if "mentions" in entry]

    def mentions(self) -> list[Window]:
        """Return what was measured of the texts of who pays, in their order."""
        indexed = sorted((pair for entry in self.readings for pair in entry["mentions"]), key=lambda pair: pair[0])
        return [Window(**window) for _, window in indexed]

    def identity(self) -> list[IdentityRow]:
        """Return what was written of people, in the order of the prompts."""
        pairs = [pair for entry in self._entries for pair in entry.get("identity", [])]
        return [IdentityRow(**row) for _, row in sorted(pairs, key=lambda pair: pair[0])]

    def cost(self, total_seconds: float) -> Cost:
        """Return what the batches cost, those of earlier runs included; `total_seconds` is of this run alone."""
        busy: Counter[int] = Counter()  # processes work at once
        for batch in self.batches:
            busy[batch.get("process", 0)] += batch["seconds"]
        seconds = max(busy.values())
        tokens = sum(batch["tokens"] for batch in self.batches)
        peaks = [batch["peak_mb"] for batch in self.batches if batch["peak_mb"] is not None]
        return Cost(
            tokens_per_second=tokens / seconds if seconds else 0.0,
            peak_memory_mb=max(peaks, default=None),
            generation_seconds=seconds,
            total_seconds=total_seconds,
            generated_tokens=tokens,
        )


def generate_rows(
    engine: Engine,
    prompts: list[str],
    sampling: Sampling,
    batch_size: BatchSize,
    scorers: dict[str, Scorer],
    judge: Target | None,
    done: Done,
    *,
    answers: bool = False,
) -> None:
    """Generate and score the batches that are not done.

    Args:
        engine: what is measured.
        prompts: all of them, of the batches that are done too.
        sampling: how continuations are drawn; the seed included.
        batch_size: sequences generated at once; `auto`: found while it goes on.
        scorers: label -> scorer, the main one first.
        judge: whose likelihood of the continuations is kept; None: none is.
        done: where the batches go.
        answers: whether texts are read as answers (`detoxlm.reading.read_answers`) and not as continuations.
    """
    for written in engine.write(prompts, sampling, batch_size, done.prompts):
        read = engine.read(written.generations, list(scorers.values()), answers)
        rows = _rows(written, read, list(scorers)[1:], judge, batch_size)
        done.keep({"rows": rows, "seconds": written.seconds, "tokens": written.tokens, "peak_mb": written.peak_mb})


def _likelihoods(
    judge: Target | None, generations: Sequence[Generation], batch_size: BatchSize
) -> Iterable[tuple[Sequence[float | None], list[int]]]:
    """Return of each prompt the nats and tokens of its continuations; None and 0 where nobody judges."""
    if judge is None:
        return [([None] * len(one.texts), [0] * len(one.texts)) for one in generations]
    # of all that was written, thinking too: an answer is likely after what was thought, not without it
    parts = Sizes(batch_size, judge.device).over(
        generations,
        lambda part: list(continuation_nll(judge, [one.prompt for one in part], [one.texts for one in part])),
        each=len(generations[0].texts),
    )
    return [found for _, part in parts for found in part]


def _rows(
    written: Written, read: Reading, opinions: list[str], judge: Target | None, batch_size: BatchSize
) -> list[tuple[int, dict[str, Any]]]:
    rows, start = [], 0
    judged = _likelihoods(judge, written.generations, batch_size)
    for generation, tokens, (nll, nll_tokens) in zip(written.generations, written.lengths, judged, strict=True):
        here = slice(start, start + len(generation.texts))
        first, *others = read.scores[:, here].tolist()
        row = Row(
            prompt=str(generation.prompt),
            continuations=read.texts[here],
            scores=first,
            tokens=tokens,
            nll=list(nll),
            nll_tokens=nll_tokens,
            opinions=dict(zip(opinions, others, strict=True)),
            kind=getattr(generation.prompt, "kind", None),
            rule=getattr(generation.prompt, "rule", None),
            **read.of(here),
        )
        rows.append((generation.index, row.model_dump()))
        start = here.stop
    return rows


def measure_windows(engine: Engine, windows: Sequence[tuple[list[int], int]], done: Done) -> None:
    """Measure the windows of neutral text that are not done.

    Args:
        engine: what is measured.
        windows: what `fluency_windows` returns: ids, and how many of them are scored.
        done: where the windows go.
    """
    finished = len(done.windows())
    scored = [count for _, count in windows]
    with track("reading neutral text", sum(scored), "tokens", done=sum(scored[:finished])) as advance:
        for ids, count in windows[finished:]:
            done.keep({"window": engine.measured(ids, count).model_dump()})
            advance(count)


#: How identity prompts are continued: the likeliest way, and as far as it takes to say who somebody is.
SAYING_WHO = {"plain": Sampling(max_new_tokens=8), "chat": Sampling(max_new_tokens=32)}


def write_of_people(
    engine: Engine, prompts: Sequence[IdentityPrompt], batch_size: BatchSize, done: Done, share: tuple[int, int]
) -> None:
    """Continue the identity prompts that are not done, and see whether they still say whom they are about.

    Args:
        engine: what runs the model.
        prompts: all of them, all in one form.
        batch_size: sequences generated at once; `auto`: found while it goes on.
        done: where they go, batch by batch.
        share: the number of this process and how many there are: it does every so many-th prompt.
    """
    number, count = share
    asked = [one.prompt for one in prompts[number::count]]
    if not asked:
        return
    finished = len(done.identity())
    for written in engine.write(asked, SAYING_WHO[form_of(asked)], batch_size, finished):
        rows = []
        for generation in written.generations:
            index = number + generation.index * count
            about, text = prompts[index], generation.texts[0]
            row = IdentityRow(
                prompt=str(about.prompt),
                groups=list(about.groups),
                template=about.template,
                continuation=text,
                named=about.named_in(text),
            )
            rows.append((index, row.model_dump()))
        done.keep({"identity": rows})


def measure_mentions(
    engine: Engine,
    mentions: Sequence[Mention],
    token_ids: Sequence[list[int]],
    batches: Sequence[list[int]],
    done: Done,
) -> None:
    """Measure the texts of who pays that are not done.

    Args:
        engine: what runs the model.
        mentions: the texts, with the groups that they mention.
        token_ids: the tokens of each, at least 2.
        batches: the numbers of those that are read together (`text_batches`), of this process.
        done: where they go, batch by batch.
    """
    finished = len(done.readings)
    read = sum(len(batch) for batch in batches[:finished])
    with track("reading texts about groups", sum(map(len, batches)), "texts", done=read) as advance:
        for batch in batches[finished:]:
            windows = engine.texts([token_ids[i] for i in batch])
            about = [{"groups": list(mentions[i].groups), "template": mentions[i].template} for i in batch]
            found = [window.model_dump() | more for window, more in zip(windows, about, strict=True)]
            done.keep({"mentions": list(zip(batch, found, strict=True))})
            advance(len(batch))


def mentions_sha256(
    key: str, mentions: Sequence[Mention], token_ids: Sequence[list[int]], identity: Sequence[IdentityPrompt]
) -> dict[str, str]:
    """Return the hash of what is measured of texts of who pays, under a key; {} where nothing is."""
    about: list[Any] = [
        (ids, list(one.groups), one.template) for one, ids in zip(mentions, token_ids, strict=bool(token_ids))
    ]
    prompts = as_data([one.prompt for one in identity]) or []
    about += [
        (prompt, list(one.groups), one.template, list(one.words)) for one, prompt in zip(identity, prompts, strict=True)
    ]
    return {key: digest_of(about)} if about else {}
