"""The HTML report and the model card, which read `detoxlm.results.Results` and nothing else.

Importing this package is cheap: matplotlib, jinja2 and huggingface_hub load at the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detoxlm.results import Results

if TYPE_CHECKING:
    from detoxlm.report.recommendation import Recommendation


def write_report(
    results: Sequence[Results], path: Path, *, title: str | None = None, strength: float | None = None
) -> None:
    """Write one self-contained HTML page: it loads nothing from anywhere and runs no script but its own.

    Args:
        results: the untouched model and the detoxified runs of the same recipe, model, prompts and scorer, in any
            order; one alone is enough. A run's `comparison` gives the paired differences.
        path: the file to write; an existing one is replaced whole.
        title: the page's title; default: model and recipe.
        strength: the strength that the headline speaks of; default: the recommended one (`recommended`), else that
            of the clearest result.

    Raises:
        UsageError: no results, no such strength, or results whose numbers must not be compared; the message says
            what differs.
        DetoxError: the file cannot be written.
    """
    from detoxlm.files import write_atomically
    from detoxlm.report.html import render

    write_atomically(Path(path), render(results, title=title, strength=strength).encode("utf-8", "replace"))


def recommended(results: Sequence[Results]) -> Recommendation | None:
    """Say which strength the results recommend, or that none is; None: none of them is detoxified.

    Args:
        results: as for `write_report`.

    Raises:
        UsageError: as `write_report`.
    """
    from detoxlm.report.facts import arrange
    from detoxlm.report.recommendation import recommend

    return recommend(arrange(results))


def model_card(
    results: Sequence[Results],
    *,
    base_model: str | None,
    license: str | None = None,
    usage: str = "",
    strength: float | None = None,
    form: Literal["detoxifier", "checkpoint"] = "detoxifier",
) -> str:
    """Return the README.md of a detoxifier or of a detoxified model, for the Hub: metadata and results included.

    Args:
        results: as for `write_report`.
        base_model: the Hub id of the model this one was made from; None: not on the Hub.
        license: the Hub's name of the licence, such as `apache-2.0`.
        usage: Python code that loads and runs the model; empty: the card has no such section.
        strength: as for `write_report`.
        form: `checkpoint`: the card is of plain weights with the edit at that strength in them, and says nothing of
            other strengths.

    Raises:
        UsageError: no results, or results whose numbers must not be compared; a checkpoint without an edit.
    """
    from detoxlm.report.card import render

    return render(results, base_model=base_model, license=license, usage=usage, strength=strength, form=form)


__all__ = ["model_card", "recommended", "write_report"]
