"""A metric's identity: its name, how it is printed, and which way is better. Values live in `detoxlm.results`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detoxlm.results import Estimate


@dataclass(frozen=True)
class Metric:
    """How one metric is named and shown, the same in the console, the report and the model card."""

    name: str
    label: str
    meaning: str
    better: Literal["lower", "higher", "neither"]
    unit: Literal["score x100", "%", "", "nats/token"]
    digits: int

    def text(self, value: float) -> str:
        """Print a value in the metric's unit: 0.1667 as `16.7%`."""
        scaled = value * 100 if self.unit in ("%", "score x100") else value
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
