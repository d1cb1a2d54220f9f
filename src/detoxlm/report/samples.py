"""Which texts the report shows: the worst samples, and the same prompts before and after."""

from __future__ import annotations

import random
from dataclasses import dataclass

from detoxlm.metrics import ReaderTable
from detoxlm.report.facts import Run, Study
from detoxlm.results import Row

#: From this score on a text is blurred until the reader asks for it.
TOXIC = 0.5
WORST_SHOWN = 10
CONTESTED_SHOWN = 5
#: Prompts in each list of the side-by-side view; three lists keep the page near 40 prompts.
PAIRS_SHOWN = 13
#: A model can run on without end; the page cannot.
TEXT_SHOWN = 500


@dataclass(frozen=True)
class Sample:
    """One continuation as shown."""

    label: str
    prompt: str
    text: str
    score: float
    mean: float
    #: Whether the text is hidden at first: any scorer finds it toxic.
    blurred: bool
    #: That readers would find it toxic; None: the scorer's validity does not say.
    probability: float | None


@dataclass(frozen=True)
class Contested:
    """One continuation about which scorers disagree, with the score of each by its label."""

    prompt: str
    text: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Pair:
    """One prompt with the worst continuation of every run."""

    prompt: str
    samples: list[Sample]


@dataclass(frozen=True)
class PairList:
    """One choice of the side-by-side filter."""

    name: str
    title: str
    meaning: str
    pairs: list[Pair]


def worst(run: Run) -> list[Sample]:
    """Return the continuations of a run with the highest scores, highest first."""
    if run.results is None:
        return []
    rows, readers = run.results.rows, ReaderTable.of(run.results.scorer.validity)
    ranked = sorted(
        ((score, i, j) for i, row in enumerate(rows) for j, score in enumerate(row.scores)),
        key=lambda entry: (-entry[0], entry[1], entry[2]),
    )
    return [_sample(run, rows[i], j, readers) for _, i, j in ranked[:WORST_SHOWN]]


def contested(run: Run) -> list[Contested]:
    """Return the continuations whose scores by different scorers lie farthest apart, the farthest first."""
    if run.results is None:
        return []
    main, rows = run.results.scorer.name, run.results.rows
    scored = [
        (i, j, {main: score} | {label: scores[j] for label, scores in row.opinions.items()})
        for i, row in enumerate(rows)
        for j, score in enumerate(row.scores)
    ]
    apart = [(max(scores.values()) - min(scores.values()), i, j, scores) for i, j, scores in scored]
    ranked = sorted((entry for entry in apart if entry[0] > 0), key=lambda entry: (-entry[0], entry[1], entry[2]))
    return [
        Contested(_short(rows[i].prompt), _short(rows[i].continuations[j]), scores)
        for _, i, j, scores in ranked[:CONTESTED_SHOWN]
    ]


def side_by_side(study: Study, after: Run) -> list[PairList]:
    """Return the same prompts before and after: largest improvements, what got worse, and a random draw."""
    runs = [run for run in study.runs if run.results is not None]
    before, readers = study.untouched, ReaderTable.of(study.common.scorer.validity)
    usable = [i for i in range(study.prompts) if all(run.results and run.results.rows[i].scores for run in runs)]
    drawn = sorted(random.Random(0).sample(usable, min(PAIRS_SHOWN, len(usable))))
    lists = []
    if before is not None and before.results is not None and after is not before:
        change = {i: _worst_score(after, i) - _worst_score(before, i) for i in usable}
        improved = sorted((i for i in usable if change[i] < 0), key=lambda i: (change[i], i))
        worsened = sorted((i for i in usable if change[i] > 0), key=lambda i: (-change[i], i))
        for name, title, chosen, direction in (
            ("improved", "Largest improvement", improved, "fell"),
            ("worsened", "Got worse", worsened, "rose"),
        ):
            meaning = (
                f"{len(chosen)} of {len(usable)} prompts: the worst score {direction} from the untouched model to "
                f"{after.label}; the largest changes, {PAIRS_SHOWN} at most. Picked for their change, so not typical."
            )
            lists.append(PairList(name, title, meaning, [_pair(runs, i, readers) for i in chosen[:PAIRS_SHOWN]]))
    meaning = f"{len(drawn)} of {len(usable)} prompts, drawn with a fixed seed: what is typical."
    return [*lists, PairList("random", "Random", meaning, [_pair(runs, i, readers) for i in drawn])]


def _worst_score(run: Run, i: int) -> float:
    return max(run.results.rows[i].scores) if run.results else 0.0


def _pair(runs: list[Run], i: int, readers: ReaderTable | None) -> Pair:
    samples = []
    for run in runs:
        if run.results is not None:
            row = run.results.rows[i]
            samples.append(_sample(run, row, row.scores.index(max(row.scores)), readers))
    return Pair(samples[0].prompt, samples)


def _sample(run: Run, row: Row, j: int, readers: ReaderTable | None) -> Sample:
    mean = sum(row.scores) / len(row.scores)
    blurred = any(scores[j] >= TOXIC for scores in (row.scores, *row.opinions.values()))
    probability = readers.probability(row.scores[j]) if readers and row.continuations[j].strip() else None
    return Sample(run.label, _short(row.prompt), _marked(row, j), row.scores[j], mean, blurred, probability)


def _marked(row: Row, j: int) -> str:
    """Return a continuation to show; of an answer the worst window is marked, and is shown."""
    text = row.continuations[j]
    begin, end = (row.where[j] if row.where else None) or (0, len(text))
    if not text[:begin].strip() and not text[end:].strip():
        return _short(text)
    marked = f"{text[:begin]}⟦{text[begin:end]}⟧{text[end:]}"
    left_out = begin if end > TEXT_SHOWN else 0
    return f"({left_out:,} characters) … {_short(marked[left_out:])}" if left_out else _short(marked)


def _short(text: str) -> str:
    text = text.strip()  # a continuation starts with the space that parts it from its prompt
    if len(text) <= TEXT_SHOWN:
        return text
    return f"{text[:TEXT_SHOWN]} … ({len(text) - TEXT_SHOWN:,} more characters)"
