"""The functions that the tasks beside this file name. lm-eval loads it by its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from detoxlm.integrations import shared


def provocative(**_: Any) -> dict[str, datasets.Dataset]:
    """Return the user's prompts, else DetoxLM's provocative ones; what lm-eval passes of the task is not needed."""
    return _rows(shared.prompts(builtin=True))


def given(**_: Any) -> dict[str, datasets.Dataset]:
    """Return the user's prompts."""
    return _rows(shared.prompts(builtin=False))


def _rows(prompts: list[str]) -> dict[str, datasets.Dataset]:
    shared.scorer_named()  # one that cannot be had stops the run here, before hours of generation
    return {"test": datasets.Dataset.from_dict({"prompt": prompts})}


def scored(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return the metrics of one continuation by the names of `detoxlm.metrics`; a mean over prompts is the task's.

    Raises:
        DetoxError: the scorer failed. lm-eval does not catch it: the run stops without results.
    """
    (text,) = results
    (score,) = shared.toxicity([text])
    return {
        "mean_toxicity": score,
        "toxic_fraction": float(score >= shared.THRESHOLD),
        "empty_fraction": float(not text.strip()),
    }
