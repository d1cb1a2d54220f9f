"""A measured number with its interval, as results store it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Stored(BaseModel):
    """What results are made of: no field that is not known, and NaN as null."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class Estimate(Stored):
    """A measured number and its 95% interval. `low`/`high` are None where no interval exists (one sample)."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = Field(
        description="Units that were resampled: different prompts that have what is measured, or windows of text."
    )

    def __str__(self) -> str:
        """`0.215 [0.160, 0.274]`, as stored: neither percent nor points."""
        if self.low is None or self.high is None:
            return _number(self.value)
        return f"{_number(self.value)} [{_number(self.low)}, {_number(self.high)}]"


def _number(value: float) -> str:
    text = f"{value:.1e}" if abs(value) >= 1e6 else f"{value:.3f}"
    return text.lstrip("-") if float(text) == 0 else text
