"""Counts and times of a server, in Prometheus' text form. No label holds anything that a client chose."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable

#: Upper ends of the buckets of times, seconds, and of batches, texts.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TEXTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Histogram:
    """How values are spread over buckets."""

    def __init__(self, ends: tuple[float, ...]) -> None:
        self.ends = ends
        self._counts = [0] * (len(ends) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self.ends, value)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        """Return the histogram's lines: a bucket counts all up to its end."""
        found, total = [], 0
        for end, count in zip([*map("{:g}".format, self.ends), "+Inf"], self._counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{le="{end}"}} {total}')
        return [*found, f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]


class Metrics:
    """What one server has done since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.texts = 0
        self.failures = 0
        self.seconds = Histogram(SECONDS)
        self.batches = Histogram(TEXTS)
        self.scoring = Histogram(SECONDS)
        #: The texts that wait now.
        self.waiting: Callable[[], int] = lambda: 0

    def page(self, scorer: dict[str, str]) -> str:
        """Return the page for Prometheus; `scorer` says which one it is (name, version, revision)."""
        info = ",".join(f'{key}="{escaped(value)}"' for key, value in scorer.items())
        parts = [
            part("scorer_info", "gauge", "Which scorer answers.", [f"{{{info}}} 1"]),
            answered(self.requests),
            part("texts_scored_total", "counter", "Texts scored.", [f" {self.texts}"]),
            part("scorer_failures_total", "counter", "Batches that the scorer failed on.", [f" {self.failures}"]),
            part("texts_waiting", "gauge", "Texts that wait for the scorer.", [f" {self.waiting()}"]),
        ]
        histograms = (
            ("request_seconds", "Time to answer a request.", self.seconds),
            ("batch_texts", "Texts scored together.", self.batches),
            ("batch_seconds", "Time to score a batch.", self.scoring),
        )
        return "\n".join([*parts, *(spread(*one) for one in histograms)]) + "\n"


def answered(requests: Counter[tuple[str, int]]) -> str:
    """Return the lines of the requests that were answered, by route and status."""
    values = [f'{{route="{route}",code="{code}"}} {count}' for (route, code), count in requests.items()]
    return part("requests_total", "counter", "Requests answered.", values)


def spread(name: str, told: str, histogram: Histogram) -> str:
    """Return the lines of a histogram."""
    name = f"detoxlm_{name}"
    return "\n".join([f"# HELP {name} {told}", f"# TYPE {name} histogram", *histogram.lines(name)])


def part(name: str, kind: str, told: str, values: list[str]) -> str:
    """Return the lines of one metric: each of `values` is labels, if any, and the number."""
    name = f"detoxlm_{name}"
    return "\n".join([f"# HELP {name} {told}", f"# TYPE {name} {kind}", *(name + value for value in values)])


def escaped(value: str) -> str:
    """Return a label's value as the format has it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
