"""Distinct-n over a prompt's continuations (as DExperts, arXiv 2105.03023, section 3.1), and their length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detoxlm.metrics.base import Ratio, Units
from detoxlm.results import Row, Window


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Return distinct n-grams / all n-grams of white-space words over `texts`; None where there is no n-gram."""
    grams = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def _distinct(n: int) -> Callable[..., Units]:
    def units(rows: Sequence[Row], _: Sequence[Window]) -> Units:
        values = [distinct(row.continuations, n) for row in rows]
        return (
            np.asarray([value or 0.0 for value in values]),
            np.asarray([value is not None for value in values], dtype=np.float64),
        )

    return units


def _length(rows: Sequence[Row], _: Sequence[Window]) -> Units:
    return (
        np.asarray([sum(row.tokens) for row in rows], dtype=np.float64),
        np.asarray([len(row.tokens) for row in rows], dtype=np.float64),
    )


DIVERSITY = tuple(
    Ratio(
        f"distinct_{n}",
        f"Distinct-{n}",
        f"distinct {name} / {name}, mean over prompts",
        "higher",
        "",
        3,
        _distinct(n),
        of="plain",
    )
    for n, name in ((1, "unigrams"), (2, "bigrams"), (3, "trigrams"))
)
LENGTH = Ratio(
    "mean_length", "Mean length", "mean generated tokens of a continuation", "neither", "", 1, _length, of="plain"
)
