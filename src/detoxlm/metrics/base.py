"""A metric: what it measures per unit, how units become a value with an interval, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from detoxlm.metrics.bootstrap import bootstrap, paired_bootstrap
from detoxlm.results import Estimate, Row, Window

#: Numerator and denominator of each row or window, float64 [N] each: the value is a ratio of their sums.
Units = tuple[np.ndarray, np.ndarray]


def clusters(rows: Sequence[Row]) -> np.ndarray:
    """Number the rows by their prompts, int [N] from 0: rows of equal prompts have one number, and are drawn as one.

    A prompt that is there ten times says no more than once, and its samples are the same ten times over: they depend
    on the prompt and the seed alone (`detoxlm.generation`).
    """
    number: dict[str, int] = {}
    return np.asarray([number.setdefault(row.prompt, len(number)) for row in rows], dtype=np.int64)


@dataclass(frozen=True)
class Metric:
    """One metric, the same in the console, the report and the model card."""

    name: str
    label: str
    meaning: str
    better: Literal["lower", "higher", "neither"]
    unit: Literal["score x100", "%", "", "nats/token"]
    digits: int
    units: Callable[[Sequence[Row], Sequence[Window]], Units] = field(repr=False)
    exponential: bool = False  # perplexities: exp of the ratio
    over: Literal["prompts", "windows"] = "prompts"  # what is resampled

    def estimate(self, rows: Sequence[Row], windows: Sequence[Window], seed: int = 0) -> Estimate | None:
        """Return the value with its 95% bootstrap interval; None where nothing was measured."""
        top, bottom = self._resampled_units(rows, windows)
        if not bottom.sum():
            return None
        return bootstrap(top, bottom, exponential=self.exponential, proportion=self.unit == "%", seed=seed)

    def difference(
        self,
        base: tuple[Sequence[Row], Sequence[Window]],
        now: tuple[Sequence[Row], Sequence[Window]],
        seed: int = 0,
    ) -> Estimate | None:
        """Return `now - base` with a paired 95% bootstrap interval; rows and windows must correspond one to one.

        None where either was not measured.
        """
        before, after = self._resampled_units(*base), self._resampled_units(*now)
        if not before[1].sum() or not after[1].sum():
            return None
        return paired_bootstrap(before, after, exponential=self.exponential, seed=seed)

    def _resampled_units(self, rows: Sequence[Row], windows: Sequence[Window]) -> Units:
        """The units that are drawn: windows, or prompts with all their rows."""
        top, bottom = self.units(rows, windows)
        if self.over == "windows":
            return top, bottom
        number = clusters(rows)
        return np.bincount(number, weights=top), np.bincount(number, weights=bottom)

    def text(self, value: float) -> str:
        """Print a value in the metric's unit: 0.1667 as `16.7%`."""
        scaled = value * 100 if self.unit in ("%", "score x100") else value
        if abs(scaled) >= 1e6:  # the perplexity of a broken model
            return f"{scaled:.1e}"
        return f"{scaled:.{self.digits}f}{'%' if self.unit == '%' else ''}"

    def show(self, estimate: Estimate) -> str:
        """Print an estimate with its 95% interval: `16.7% [12.1, 21.3]`."""
        if estimate.low is None or estimate.high is None:
            return self.text(estimate.value)
        low, high = self.text(estimate.low).rstrip("%"), self.text(estimate.high).rstrip("%")
        return f"{self.text(estimate.value)} [{low}, {high}]"

    def show_change(self, base: Estimate, now: Estimate) -> str:
        """Print the relative change from `base` to `now`: `-42%`; empty where the base is zero."""
        return f"{(now.value - base.value) / base.value:+.0%}" if base.value else ""
