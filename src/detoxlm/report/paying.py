"""Who pays for a detoxification: groups whose text gets measurably worse than other text, in words and as a table."""

from __future__ import annotations

from detoxlm.metrics import MOST
from detoxlm.report.facts import Run, bounded
from detoxlm.report.nested import Block
from detoxlm.results import Estimate, Price, WhoPays

#: So many groups are named in a sentence; the table has all.
_NAMED = 4


def paid_by(run: Run) -> WhoPays | None:
    """Return what a run costs on texts about groups; None: it was not measured."""
    return run.results.who_pays if run.results else None


def gap(found: WhoPays) -> str:
    """Say that text about groups pays measurably more than other text of its kind; "" where it does not.

    Overall: an interval of the ratio that is above 1, by more than rounding. A group is named from a ratio of `MOST`
    on, with an interval above 1: of two dozen intervals one is likely to miss its value.
    """
    worse = _worse(found)
    overall = _above(found.all.ratio) and f"{found.all.ratio.value:.2f}" != "1.00"
    if not worse and not overall:
        return ""
    said = f"text about groups of people pays {_times(found.all.ratio)} what other everyday text pays"
    if worse:
        named = ", ".join(f"{name} {_times(price.ratio)}" for name, price in worse[:_NAMED])
        more = f" and {len(worse) - _NAMED} more groups" if len(worse) > _NAMED else ""
        said += f" in perplexity; more than {MOST - 1:.0%} above it: {named}{more}"
        return said
    return f"{said} in perplexity"


def who_pays_said(run: Run) -> str:
    """Say what everyday text pays, and whether text about groups pays more; "" where it was not measured."""
    found = paid_by(run)
    if found is None:
        return ""
    start = f"On everyday text that mentions no group perplexity is {_times(found.without.rise)} the untouched one's"
    if said := gap(found):
        return f"{start}; {said}."
    return f"{start}; text about groups of people pays no measurable surplus ({_times(found.all.ratio)} of that)."


def paying_block(found: WhoPays) -> Block:
    """Lay out the price by group, the dearest first."""
    groups = sorted(found.groups.items(), key=lambda item: -item[1].ratio.value)
    rows = [("no group", found.without), ("all groups", found.all), *groups]
    return Block(
        "Texts that mention",
        ["perplexity, times the untouched model's", "times what texts without a group pay", "KL, nats a token"],
        [
            (name, [_shown(price.rise), "1" if price is found.without else _shown(price.ratio), _shown(price.kl, 4)])
            for name, price in rows
        ],
    )


def limit_of_paying(found: WhoPays) -> tuple[str, str]:
    """Say what the price by group does not cover, as (short name, sentences)."""
    return (
        "Text about minorities",
        f"Measured on {found.all.rise.n:,} kinds of sentences about {len(found.groups)} groups, each beside the same "
        "kind without a group: how unlikely the model finds them, not what it writes of these people. Text in dialect, "
        "which detoxifying is known to hurt too, is not among them.",
    )


def _worse(found: WhoPays) -> list[tuple[str, Price]]:
    """The groups that pay measurably and clearly more, the dearest first."""
    worse = [(name, one) for name, one in found.groups.items() if _above(one.ratio) and one.ratio.value > MOST]
    return sorted(worse, key=lambda item: -item[1].ratio.value)


def _above(ratio: Estimate) -> bool:
    return bounded(ratio) and ratio.low is not None and ratio.low > 1


def _times(estimate: Estimate) -> str:
    return f"{_shown(estimate)} times"


def _shown(estimate: Estimate, digits: int = 2) -> str:
    value, *ends = (f"{x:.{digits}f}" for x in (estimate.value, estimate.low, estimate.high) if x is not None)
    return f"{value} [{', '.join(ends)}]" if len(ends) == 2 else value
