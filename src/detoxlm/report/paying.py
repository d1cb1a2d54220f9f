"""Who pays for a detoxification: groups whose text gets measurably worse than other text, in words and as a table."""

from __future__ import annotations

from detoxlm.metrics import METRICS, MOST
from detoxlm.report.facts import Run, bounded
from detoxlm.report.nested import Block
from detoxlm.results import Estimate, Naming, Price, WhoIsNamed, WhoPays

#: So many groups are named in a sentence; the table has all.
_NAMED = 4
#: How shares of continuations are printed, and their changes.
_SHARE = METRICS["empty_fraction"]


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


def unnamed(run: Run) -> str:
    """Say that mentions of groups get lost more than those of others, against the untouched model; "" if they do not.

    That is, where an interval of the difference of the two changes is above 0.
    """
    change = _change_of_names(run)
    if change is None:
        return ""
    lost = [
        f"groups of people {what} {_SHARE.show_difference(estimate)} more often than others, beyond the untouched model"
        for what, estimate in (("go unnamed", change.gap.dropped), ("get no text", change.gap.empty))
        if bounded(estimate) and estimate.low is not None and estimate.low > 0
    ]
    return "; ".join(lost)


def who_pays_said(run: Run) -> str:
    """Say what everyday text pays, whether text about groups pays more, and who is still named; "": not measured."""
    found = paid_by(run)
    if found is None:
        return ""
    start = f"On everyday text that mentions no group perplexity is {_times(found.without.rise)} the untouched one's"
    surplus = " pays no measurable surplus" if bounded(found.all.ratio) else ": too few texts to tell a surplus"
    said = gap(found) or f"text about groups of people{surplus} ({_times(found.all.ratio)} of that)"
    return " ".join([f"{start}; {said}.", *_names_said(run)])


def _names_said(run: Run) -> list[str]:
    """Say how often prompts about people go on without saying whom they are about; nothing: it was not measured."""
    named, change = run.results.who_is_named if run.results else None, _change_of_names(run)
    if named is None:
        return []
    about = {"groups": named.all, "people of no group": named.without}
    changes = (None, None) if change is None else (change.all, change.without)
    parts = []
    for (whom, one), changed in zip(about.items(), changes, strict=True):
        more = "" if changed is None else f", {_SHARE.show_difference(changed.dropped)} against the untouched model"
        parts.append(f"{_SHARE.show(one.dropped)} of those about {whom} ({_SHARE.text(one.empty.value)} empty{more})")
    lost = unnamed(run)
    return [
        f"Where the likeliest text says again whom a prompt is about, it is not said in {' and '.join(parts)}."
        + (f" So {lost}." if lost else "")
    ]


def _change_of_names(run: Run) -> WhoIsNamed | None:
    comparison = run.results.comparison if run.results else None
    return None if comparison is None else comparison.who_is_named


def paying_block(found: WhoPays, run: Run | None = None) -> Block:
    """Lay out the price by group, the dearest first; with a run of which it was measured also who is still named."""
    groups = sorted(found.groups.items(), key=lambda item: -item[1].ratio.value)
    rows = [("no group", found.without), ("all groups", found.all), *groups]
    columns = ["perplexity, times the untouched model's", "times what texts without a group pay", "KL, nats a token"]
    cells = {
        name: [_shown(price.rise), "1" if price is found.without else _shown(price.ratio), _shown(price.kl, 4)]
        for name, price in rows
    }
    if run is not None and run.results is not None and run.results.who_is_named is not None:
        columns += ["continued with no text", "continued without naming them"]
        now, change = _by_name(run.results.who_is_named), _change_of_names(run)
        changes = {} if change is None else _by_name(change)
        for name, row in cells.items():
            row += _naming_cells(now.get(name), changes.get(name))
    return Block("Texts that mention", columns, list(cells.items()))


def _by_name(found: WhoIsNamed) -> dict[str, Naming]:
    return {"no group": found.without, "all groups": found.all, **found.groups}


def _naming_cells(now: Naming | None, change: Naming | None) -> list[str]:
    if now is None:
        return ["–", "–"]
    cells = []
    for field in ("empty", "dropped"):
        said = _SHARE.show(getattr(now, field))
        cells.append(said if change is None else f"{said}, {_SHARE.show_difference(getattr(change, field))}")
    return cells


def limit_of_paying(found: WhoPays, named: bool) -> tuple[str, str]:
    """Say what the price by group does not cover, as (short name, sentences); `named`: who is named was measured."""
    asked = "how unlikely the model finds them" + (", and whether it names whom it writes of;" if named else ",")
    return (
        "Text about minorities",
        f"Measured on {found.all.rise.n:,} kinds of sentences about {len(found.groups)} groups, each beside the same "
        f"kind without a group: {asked} not what {'else ' * named}it writes of these people. Text in dialect, "
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
