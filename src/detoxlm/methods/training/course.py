"""What a training run remembers from step to step, and across an interruption: a price, and its history."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

#: The price of drift at the start, its limits, and how fast it follows the drift.
PRICE, LOWEST, HIGHEST, STEP = 10.0, 4.0, 200.0, 0.1
#: How fast the running mean of the drift forgets.
FORGET = 0.8
#: A look counts as within the limit up to so many times the drift: it is measured on few texts.
MARGIN = 1.25
#: How fast a weight follows the share of violations, and how many times larger or smaller than at first it may become.
LOOK, RANGE = 0.5, 32.0


class Course(TrainerCallback, ExportableState):
    """The price of what the objective's `penalty` returns.

    Without `weight` it follows the drift that is measured (dual ascent), between two limits. The lowest price keeps it
    from falling to nothing while nothing has been learned yet, as it would: then the first steps that do learn would
    be free, and go far too far. A `weight` is the price; with `delta` it is where the price starts, which then follows
    the share of violations at every look.
    """

    def __init__(self, drift: float = math.inf, weight: float | None = None, delta: float | None = None) -> None:
        self.limit, self.weight, self.delta = drift, weight, delta
        self.price = PRICE if weight is None else weight
        self.running = 0.0
        self.curve: list[list[float]] = []
        self.watched: list[dict[str, Any]] = []

    def follow(self, drift: float) -> None:
        """Take in the drift of a step, in nats per token."""
        self.running = FORGET * self.running + (1 - FORGET) * drift
        if self.weight is None:
            change = math.exp(STEP * max(-1.0, min(2.0, self.running / self.limit - 1)))
            self.price = min(HIGHEST, max(LOWEST, self.price * change))

    def look(self, seen: dict[str, Any]) -> None:
        """Take in a look at the model."""
        self.watched.append(seen)
        if self.weight is not None and self.delta is not None:
            change = math.exp(LOOK * max(-1.0, min(1.0, seen["toxic_fraction"] / self.delta - 1)))
            self.price = min(RANGE * self.weight, max(self.weight / RANGE, self.price * change))

    def frontier(self, seen: dict[str, Any]) -> float:
        """Return what is smallest for the look to keep: the least toxic one within the limit on drift.

        Without a limit there is a corpus to learn, and the last look has learned most of it.
        """
        if math.isinf(self.limit):
            return -float(seen["step"])
        return float(seen["toxicity"]) if self.within(seen) else 1 + float(seen["drift"])

    def within(self, seen: dict[str, Any]) -> bool:
        """Return whether a look is within the limit on drift."""
        return float(seen["drift"]) <= MARGIN * self.limit

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        attributes = {name: getattr(self, name) for name in ("price", "running", "curve", "watched")}
        arguments = {"drift": self.limit, "weight": self.weight, "delta": self.delta}
        return {"args": arguments, "attributes": attributes}
