"""How large a batch should be: what a scorer's batches have taken tells what the next may hold."""

from __future__ import annotations

#: Seconds that a batch should take: what a request waits for that arrives when one has just begun.
BUDGET = 0.2
#: A batch is let take longer than that where it must, for its fixed part not to be more than one in this many of it:
#: batches that are too small would make everybody wait longer.
WORTH = 5
#: What is known of the scorer before it has scored: it takes this cost in a batch's time.
FIRST = 4_000.0
#: Weight of all that was seen, at each new batch.
_MEMORY = 0.9
#: A batch about as large as those before (by this part of it) that takes so many times what was looked for, or so many
#: times less, tells of the machine's speed; one of another size may tell of what is fixed.
_ALIKE, _SURPRISE = 0.3, 1.5
#: A batch is at most so many times the largest of late.
_GROWTH = 2.0
#: Costs that differ by less than this part of their mean do not tell the fixed part from the rest.
_SPREAD = 0.1


class Pace:
    """The time of a batch as a fixed part and one in proportion to its cost, by least squares over recent batches."""

    def __init__(self) -> None:
        self._weight = self._cost = self._seconds = self._squares = self._products = 0.0
        self._largest = FIRST
        #: The fixed seconds of a batch, and those of a unit of cost.
        self._fixed, self._rate = 0.0, BUDGET / FIRST

    def add(self, cost: float, seconds: float) -> None:
        """Learn from a batch."""
        alike = self._weight and abs(cost - self._cost / self._weight) < _ALIKE * cost
        change = seconds / (self._fixed + self._rate * cost)
        if alike and not 1 / _SURPRISE < change < _SURPRISE:
            # the machine has got busy, or free: all that was seen would take so much longer now, what is fixed too
            self._seconds, self._products, self._fixed = (
                change * one for one in (self._seconds, self._products, self._fixed)
            )
        self._weight = _MEMORY * self._weight + 1
        self._cost = _MEMORY * self._cost + cost
        self._seconds = _MEMORY * self._seconds + seconds
        self._squares = _MEMORY * self._squares + cost * cost
        self._products = _MEMORY * self._products + cost * seconds
        self._largest = max(cost, FIRST, _MEMORY * self._largest)
        mean, taken = self._cost / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - mean * mean
        if spread > (_SPREAD * mean) ** 2:
            slope = (self._products / self._weight - mean * taken) / spread
            self._fixed = max(0.0, taken - slope * mean)
        else:  # forgotten slowly: then batches change, and tell again
            self._fixed *= _MEMORY
        # by chance the slope may come out as nothing: but what costs more takes longer
        self._fixed = min(self._fixed, 0.9 * taken)
        self._rate = max((taken - self._fixed) / mean, 1e-12)

    @property
    def limit(self) -> float:
        """The cost that a batch may have."""
        wanted = max(BUDGET - self._fixed, (WORTH - 1) * self._fixed) / self._rate
        return min(wanted, _GROWTH * self._largest)

    def seconds(self, cost: float) -> float:
        """Return how long a cost will take, in batches of that size."""
        return cost * (self._rate + self._fixed / self.limit)
