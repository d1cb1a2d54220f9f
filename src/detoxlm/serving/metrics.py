"""Counts and times of the model's server, for Prometheus. No label holds anything that a client chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from detoxlm.serve.metrics import SECONDS, Histogram, answered, escaped, part, spread
from detoxlm.serving.batch import Counts

#: Upper ends of the buckets of whole requests, seconds.
_LONG = (*SECONDS, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """What one server has done since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds = Histogram(_LONG)
        self.first = Histogram(_LONG)
        self.steps = Histogram(SECONDS)
        #: What the batch has counted, the rows that are decoded now, and those that wait.
        self.counts = Counts()
        self.running: Callable[[], int] = lambda: 0
        self.waiting: Callable[[], int] = lambda: 0

    def page(self, model: str, version: str) -> str:
        """Return the page for Prometheus."""
        counts = self.counts
        info = f'{{model="{escaped(model)}",version="{escaped(version)}"}} 1'
        numbers = [
            ("model_info", "gauge", "Which model answers.", info),
            ("tokens_total", "counter", "Tokens written.", f" {counts.tokens}"),
            ("untouched_tokens_total", "counter", "Of these, the untouched model's (strength 0).", f" {counts.plain}"),
            (
                "unfused_tokens_total",
                "counter",
                "Tokens that a detoxifier should have acted on and had not; they were not sent.",
                f" {counts.unfused}",
            ),
            ("prompt_tokens_total", "counter", "Tokens of prompts read.", f" {counts.prompts}"),
            ("cached_tokens_total", "counter", "Tokens of prompts that had been read before.", f" {counts.cached}"),
            ("rows_running", "gauge", "Continuations that are being written.", f" {self.running()}"),
            ("rows_waiting", "gauge", "Continuations that wait for a place.", f" {self.waiting()}"),
        ]
        parts = [part(name, kind, told, [value]) for name, kind, told, value in numbers]
        histograms = (
            ("request_seconds", "Time to answer a request.", self.seconds),
            ("first_token_seconds", "Time from a request to its first text.", self.first),
            ("step_seconds", "Time of a step: a token of every continuation, and prompts that join.", self.steps),
        )
        return "\n".join([answered(self.requests), *parts, *(spread(*one) for one in histograms)]) + "\n"
