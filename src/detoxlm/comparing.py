"""Two measurements side by side: what must agree for that, and the paired differences."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS, TOXICITY
from detoxlm.results import PRINTS, Comparison, Estimate, OpinionChange, Results, Row

log = logging.getLogger(__name__)


def settled_by(
    *,
    recipe: str,
    model: str,
    scorer: tuple[str, str, str],
    prompts: list[str],
    samples: list[int],
    windows: list[int],
    judge: str,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what must agree where results are compared, in words for messages.

    Args:
        recipe: its name.
        model: the untouched model's name.
        scorer: the main scorer's identity.
        prompts: in their order.
        samples: of each prompt.
        windows: scored tokens of each window of the fluency text.
        judge: the fluency judge.
        settings: of the results; hashes and sampling are read.
    """
    found: dict[str, Any] = {
        "recipe": recipe,
        "model": model,
        "scorer": scorer,
        "prompts": prompts,
        "samples per prompt": samples,
        "fluency text": windows,
        "fluency judge": judge,
    }
    found["form"] = settings.get("form", "plain")  # earlier versions asked in plain form alone
    found |= {f"{what} ({key})": settings[key] for what, key in PRINTS if key in settings}
    if "sampling" in settings:  # a recipe of one's own may keep its name
        found["sampling"] = {**settings["sampling"], "seed": None}
    return found


def _settled(results: Results) -> dict[str, Any]:
    return settled_by(
        recipe=results.recipe,
        model=results.model.name,
        scorer=results.scorer.identity,
        prompts=[row.prompt for row in results.rows],
        samples=[len(row.scores) for row in results.rows],
        windows=[window.tokens for window in results.windows],
        judge=results.fluency_judge,
        settings=results.settings,
    )


def refuse_unlike(base: Results, known: Mapping[str, Any]) -> None:
    """Raise `UsageError` where `base` cannot be the baseline of a measurement of which so much is known.

    Args:
        base: results of the untouched model.
        known: parts of what `settled_by` returns; of more nothing is said.

    Raises:
        UsageError: it is of a detoxified model, or differs in recipe, prompts, form, samples, scorer, model, fluency
            text or fluency judge.
    """
    if base.detoxifier is not None and base.strength:
        raise UsageError(f"baseline: it is of a detoxified model ({base.label}), not of the untouched one.")
    for what, before in _settled(base).items():
        after = known.get(what, before)
        if before != after:
            shown = f": {before!r} against {after!r}" if isinstance(before, str) else ""
            raise UsageError(f"baseline: the two results differ in {what}{shown}; measure both the same way.")


def seen_by(label: str, rows: Sequence[Row]) -> list[Row]:
    """Return the rows as a further scorer sees them: its scores in place of the main one's."""
    return [row.model_copy(update={"scores": row.opinions[label]}) for row in rows]


def compare(base: Results, now: Results) -> None:
    """Set `now.comparison` to the paired differences from the untouched `base`.

    A further scorer's differences need both models' texts scored by it; one that scored only `now` is warned about.

    Raises:
        UsageError: the two differ in recipe, prompts, samples, scorer, model, fluency text or fluency judge, and so
            cannot be paired; or `base` is of a detoxified model.
    """
    refuse_unlike(base, _settled(now))
    difference: dict[str, Estimate] = {}
    for name, metric in METRICS.items():
        change = metric.difference((base.rows, base.windows), (now.rows, now.windows))
        if change is not None:
            difference[name] = change
    opinions: dict[str, OpinionChange] = {}
    for label, opinion in now.opinions.items():
        untouched = base.opinions.get(label)
        if untouched is None or untouched.scorer.identity != opinion.scorer.identity:
            log.warning("baseline: %s did not score it, so its second opinion is of the new model only.", label)
            continue
        seen = [(seen_by(label, r.rows), r.windows) for r in (base, now)]
        changes = {metric.name: metric.difference(seen[0], seen[1]) for metric in TOXICITY}
        opinions[label] = OpinionChange(
            baseline=untouched.metrics,
            difference={name: change for name, change in changes.items() if change is not None},
        )
    now.comparison = Comparison(
        baseline=base.metrics, baseline_cost=base.cost, difference=difference, opinions=opinions
    )
