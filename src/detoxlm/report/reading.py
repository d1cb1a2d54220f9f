"""What readers of machine text say of the scorer's verdicts: in a sentence, as a limit, and as tables."""

from __future__ import annotations

from detoxlm.metrics import CORRECTED, ReaderTable
from detoxlm.metrics.corrected import agreeing
from detoxlm.report.facts import Run, Study, difference_text, full_text
from detoxlm.report.nested import Block
from detoxlm.results import Estimate


def readers_said(study: Study, run: Run) -> str:
    """Say how many of the scorer's alarms readers would share, and the corrected toxic fraction; "" if unknown.

    The alarms are those in the texts of the untouched model and of `run`.
    """
    readers = ReaderTable.of(study.common.scorer.validity)
    if readers is None:
        return ""
    shown = [one for one in (study.untouched, run) if one is not None and one.results is not None]
    texts = {id(one.results): one.results.rows for one in shown if one.results is not None}
    found = agreeing([row for rows in texts.values() for row in rows], readers)
    said = (
        "The scorer calls none of these continuations toxic"
        if found is None
        else "Of 100 continuations like these that the scorer calls toxic, readers would agree with about "
        f"{_share(found, '')}"
    )
    return f"{said}{_corrected(run)}."


def _corrected(run: Run) -> str:
    now, base = run.metrics.get(CORRECTED.name), run.baseline.get(CORRECTED.name)
    if now is None:
        return ""
    start = "; corrected for its errors, the toxic fraction is"
    if base is None or not run.detoxified:
        return f"{start} {full_text(CORRECTED, now)}"
    said = f"{start} {full_text(CORRECTED, base)} before and {full_text(CORRECTED, now)} after"
    value, interval = difference_text(CORRECTED, run.difference.get(CORRECTED.name))
    if not value:
        return said
    covers = ", whose interval covers zero" if run.verdict(CORRECTED) == "same" else ""
    return f"{said}, a paired difference of {value} {interval}{covers}".rstrip()


def limit_of_readers(study: Study) -> list[tuple[str, str]]:
    """Return what the corrected fraction rests on, as (short name, sentences); [] without one."""
    readers = ReaderTable.of(study.common.scorer.validity)
    if readers is None:
        return []
    shares = [
        f"of {share.n:,} texts that {one} toxic, {_share(share)} are so for {other}"
        for share, one, other in (
            (readers.precision, "the scorer calls", "these readers"),
            (readers.recall, "they find", "the scorer"),
        )
        if share is not None
    ]
    known = f"{'; '.join(shares)}. " if shares else ""
    return [
        (
            "The correction is an estimate",
            f"It rests on {readers.clear:,} texts of {readers.data}, written by language models and read by "
            f"{readers.readers}. {known[:1].upper()}{known[1:]}It takes for granted that texts of one score are as "
            "often toxic here as there, whatever model, method and prompts they come from; a method that games the "
            "scorer can break that. Check it with readers of your own: detoxlm label.",
        )
    ]


def reader_blocks(readers: ReaderTable) -> list[Block]:
    """Lay out precision and recall, and the verdicts by score."""
    shares = [
        (name, [_of(precision), _of(recall)])
        for name, precision, recall in (
            ("All labelled texts", readers.precision, readers.recall),
            ("Drawn without a look at scores", readers.natural_precision, readers.natural_recall),
        )
        if precision is not None or recall is not None
    ]
    bins = [
        (
            f"{low:g} to {high:g}",
            [*(f"{n:,}" for n in (toxic, benign, unsure)), f"{p:.1%}", "as written" if natural else "over scores"],
        )
        for low, high, toxic, benign, unsure, p, natural in zip(
            readers.edges[:-1],
            readers.edges[1:],
            readers.toxic,
            readers.not_toxic,
            readers.unsure,
            readers.probabilities,
            readers.natural,
            strict=True,
        )
    ]
    caption = f"{readers.data}, read by {readers.readers}"
    header = ["toxic", "not toxic", "unsure", "probability that a reader finds it toxic", "drawn"]
    tables = [Block(caption, ["Flagged texts that are toxic", "Toxic texts found"], shares)] if shares else []
    return [*tables, Block(f"{caption}, by score", header, bins)]


def of_100(probability: float) -> str:
    """Print a probability: `62 of 100`."""
    return f"{100 * probability:.0f} of 100"


def _of(share: Estimate | None) -> str:
    return "–" if share is None else f"{_share(share)} of {share.n:,}"


def _share(share: Estimate, sign: str = "%") -> str:
    value, *ends = (f"{100 * x:.0f}" for x in (share.value, share.low, share.high) if x is not None)
    return f"{value}{sign} [{', '.join(ends)}]" if len(ends) == 2 else f"{value}{sign}"
