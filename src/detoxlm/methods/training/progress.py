"""The training in the terminal: a bar, and a line for every look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback

from detoxlm.progress import say, track

#: What a line shows of a look.
COLUMNS = ("toxicity", "toxic_fraction", "drift", "perplexity", "refusals", "answer_tokens")


class Progress(TrainerCallback):
    """Shows the steps, and what each look saw."""

    def __init__(self, steps: int, before: Sequence[dict[str, float]]) -> None:
        self.steps, self.before = steps, before
        self.stack = ExitStack()
        self.done = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar, and name the columns of the lines."""
        self.done = state.global_step
        self.advance = self.stack.enter_context(track("fine-tuning", self.steps, "steps", done=self.done))
        say(f"{'step':>6} " + " ".join(f"{name:>14}" for name in COLUMNS))
        for look in self.before:
            _line(look["step"], look)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        self.advance(state.global_step - self.done)
        self.done = state.global_step

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Write a line."""
        _line(state.global_step, {name: metrics[f"eval_{name}"] for name in COLUMNS})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        self.stack.close()


def _line(step: float, look: Mapping[str, float]) -> None:
    say(f"{step:6.0f} " + " ".join(f"{look[name]:14.4f}" for name in COLUMNS))
