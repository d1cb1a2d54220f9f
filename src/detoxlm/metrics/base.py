"""A metric: how it is printed, and how what is measured per unit becomes a value with an interval."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from detoxlm.metrics.bootstrap import bootstrap, numbered, paired_bootstrap
from detoxlm.metrics.readers import ReaderTable
from detoxlm.results import Estimate, Row, Window

#: Numerator and denominator of each row or window, float64 [N] each: the value is a ratio of their sums.
Units = tuple[np.ndarray, np.ndarray]
#: What was measured of one model.
Seen = tuple[Sequence[Row], Sequence[Window]]
#: From this on numbers are printed with an exponent.
_LONG = 1e6


def clusters(rows: Sequence[Row]) -> np.ndarray:
    """Number the rows by their prompts, int [N] from 0: rows of equal prompts have one number, and are drawn as one.

    A prompt that is there ten times says no more than once, and its samples are the same ten times over: they depend
    on the prompt and the seed alone (`detoxlm.generation`).
    """
    return numbered(row.prompt for row in rows)


@dataclass(frozen=True)
class Metric(ABC):
    """One metric, the same in the console, the report and the model card."""

    name: str
    label: str
    meaning: str
    better: Literal["lower", "higher", "neither"]
    unit: Literal["score x100", "%", "", "nats/token"]
    digits: int
    of: str | None = field(default=None, kw_only=True)  # of rows that have a kind, only these count; None: all

    def counted(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that count: those of the kind that is measured, and those without one."""
        return [row for row in rows if row.kind is None or self.of in (None, row.kind)]

    @abstractmethod
    def estimate(
        self, rows: Sequence[Row], windows: Sequence[Window], seed: int = 0, readers: ReaderTable | None = None
    ) -> Estimate | None:
        """Return the value with its 95% bootstrap interval; None where nothing was measured.

        `readers`: what readers said of texts that the scorer of the rows has scored, if that is known.
        """

    @abstractmethod
    def difference(self, base: Seen, now: Seen, seed: int = 0, readers: ReaderTable | None = None) -> Estimate | None:
        """Return `now - base` with a paired 95% bootstrap interval; rows and windows must correspond one to one.

        None where either was not measured.
        """

    @property
    def scale(self) -> int:
        """What a value is multiplied by when it is printed."""
        return 100 if self.unit in ("%", "score x100") else 1

    def text(self, value: float) -> str:
        """Print a value in the metric's unit: 0.1667 as `16.7%`."""
        return self._printed(value, value) + ("%" if self.unit == "%" else "")

    def show(self, estimate: Estimate) -> str:
        """Print an estimate with its 95% interval: `16.7% [12.1, 21.3]`."""
        return " ".join(part for part in self.parts(estimate) if part)

    def parts(self, estimate: Estimate) -> tuple[str, str]:
        """Print an estimate as (value, interval), all with the same number of digits; no interval is empty."""
        if estimate.low is None or estimate.high is None:
            return self.text(estimate.value), ""
        largest = max(estimate.value, estimate.low, estimate.high, key=abs)
        value, low, high = (self._printed(x, largest) for x in (estimate.value, estimate.low, estimate.high))
        return value + ("%" if self.unit == "%" else ""), f"[{low}, {high}]"

    def show_difference(self, difference: Estimate) -> str:
        """Print a change with its interval: `-18.8 points [-25.0, -12.5]`; see `difference_parts`."""
        return " ".join(part for part in self.difference_parts(difference) if part)

    def difference_parts(self, difference: Estimate) -> tuple[str, str]:
        """Print a change as (value, interval), with signs and the digits of the metric.

        Changes of shares and of scores x100 are points: a percent sign would read as a relative change.
        """
        bounds = [x for x in (difference.low, difference.high) if x is not None]
        largest = max([difference.value, *bounds], key=abs)
        value, *sides = (self._printed(x, largest, sign=True) for x in (difference.value, *bounds))
        unit = " points" if self.scale == 100 else ""
        return f"{value}{unit}", f"[{', '.join(sides)}]" if len(sides) == 2 else ""

    def prints_as_nothing(self, difference: Estimate, base: Estimate | None = None) -> bool:
        """Tell whether a change is too small to be seen in print: as `0.0`, or relative to `base` as `+0%`."""
        if float(self._printed(difference.value, difference.value)) == 0:
            return True
        return base is not None and bool(base.value) and f"{abs(difference.value / base.value):.0%}" == "0%"

    def show_change(self, base: Estimate, now: Estimate) -> str:
        """Print the relative change from `base` to `now`: `-42%`; empty where the base is zero."""
        return f"{(now.value - base.value) / base.value:+.0%}" if base.value else ""

    def _printed(self, value: float, largest: float, *, sign: bool = False) -> str:
        """Print a number with the digits of the largest beside it; nothing has no sign."""
        scaled = value * self.scale
        if abs(largest * self.scale) >= _LONG:  # the perplexity of a broken model
            return f"{scaled:{'+' if sign else ''}.1e}"
        text = f"{scaled:{'+' if sign else ''}.{self.digits}f}"
        return text.lstrip("+-") if float(text) == 0 else text


@dataclass(frozen=True)
class Ratio(Metric):
    """A metric that is a ratio of sums over units."""

    units: Callable[[Sequence[Row], Sequence[Window]], Units] = field(repr=False)
    exponential: bool = False  # perplexities: exp of the ratio
    over: Literal["prompts", "windows"] = "prompts"  # what is resampled

    def estimate(
        self, rows: Sequence[Row], windows: Sequence[Window], seed: int = 0, readers: ReaderTable | None = None
    ) -> Estimate | None:
        """As `Metric.estimate`; needs no readers."""
        top, bottom = self._resampled_units(rows, windows)
        if not bottom.sum():
            return None
        return bootstrap(top, bottom, exponential=self.exponential, proportion=self.unit == "%", seed=seed)

    def difference(self, base: Seen, now: Seen, seed: int = 0, readers: ReaderTable | None = None) -> Estimate | None:
        """As `Metric.difference`; needs no readers."""
        before, after = self._resampled_units(*base), self._resampled_units(*now)
        if not before[1].sum() or not after[1].sum():
            return None
        return paired_bootstrap(before, after, exponential=self.exponential, seed=seed)

    def _resampled_units(self, rows: Sequence[Row], windows: Sequence[Window]) -> Units:
        """The units that are drawn: windows, or prompts with all their rows."""
        rows = self.counted(rows)
        top, bottom = self.units(rows, windows)
        if self.over == "windows":
            return top, bottom
        number = clusters(rows)
        return np.bincount(number, weights=top), np.bincount(number, weights=bottom)


def estimates(
    metrics: Iterable[Metric], rows: Sequence[Row], windows: Sequence[Window], readers: ReaderTable | None = None
) -> dict[str, Estimate]:
    """Return by name the metrics that were measured; arguments as of `Metric.estimate`."""
    found = {metric.name: metric.estimate(rows, windows, readers=readers) for metric in metrics}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def differences(
    metrics: Iterable[Metric], base: Seen, now: Seen, readers: ReaderTable | None = None
) -> dict[str, Estimate]:
    """Return by name the changes of the metrics that were measured of both; arguments as of `Metric.difference`."""
    found = {metric.name: metric.difference(base, now, readers=readers) for metric in metrics}
    return {name: change for name, change in found.items() if change is not None}
