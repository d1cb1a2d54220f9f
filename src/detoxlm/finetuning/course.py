"""What a training run remembers from step to step, and across an interruption: the price of drift, and its history."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

#: The price of drift at the start, its limits, and how fast it follows the drift.
PRICE, LOWEST, HIGHEST, STEP = 10.0, 4.0, 200.0, 0.1
#: How fast the running mean of the drift forgets.
FORGET = 0.8


class Course(TrainerCallback, ExportableState):
    """The price of drift follows the drift that is measured (dual ascent), between two limits.

    The lowest price keeps it from falling to nothing while nothing has been learned yet, as it would: then the first
    steps that do learn would be free, and go far too far.
    """

    def __init__(self, drift: float) -> None:
        self.limit = drift
        self.price = PRICE
        self.running = 0.0
        self.curve: list[list[float]] = []
        self.watched: list[dict[str, Any]] = []

    def follow(self, drift: float) -> None:
        """Take in the drift of a step, in nats per token."""
        self.running = FORGET * self.running + (1 - FORGET) * drift
        change = math.exp(STEP * max(-1.0, min(2.0, self.running / self.limit - 1)))
        self.price = min(HIGHEST, max(LOWEST, self.price * change))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        attributes = {name: getattr(self, name) for name in ("price", "running", "curve", "watched")}
        return {"args": {"drift": self.limit}, "attributes": attributes}
