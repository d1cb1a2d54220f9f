"""Two measurements side by side: what must agree for that, and the paired differences."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS, TOXICITY, ReaderTable, differences, group_differences, who_is_named
from detoxlm.metrics.readers import labels_of
from detoxlm.results import PRINTS, Comparison, OpinionChange, Results, Row, ScorerInfo

log = logging.getLogger(__name__)


def settled_by(
    *,
    recipe: str,
    model: str,
    scorer: ScorerInfo,
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
        scorer: the main one.
        prompts: in their order.
        samples: of each prompt.
        windows: scored tokens of each window of the fluency text.
        judge: the fluency judge.
        settings: of the results; hashes and sampling are read.
    """
    found: dict[str, Any] = {
        "recipe": recipe,
        "model": model,
        "scorer": scorer.identity,
        "prompts": prompts,
        "samples per prompt": samples,
        "fluency text": windows,
        "fluency judge": judge,
    }
    if (labels := labels_of(scorer.validity)) is not None:
        found["readers' labels"] = labels
    found["form"] = settings.get("form", "plain")  # earlier versions asked in plain form alone
    found |= {f"{what} ({key})": settings[key] for what, key in PRINTS if key in settings}
    if "sampling" in settings:  # a recipe of one's own may keep its name
        found["sampling"] = {**settings["sampling"], "seed": None}
    return found


def _settled(results: Results) -> dict[str, Any]:
    return settled_by(
        recipe=results.recipe,
        model=results.model.name,
        scorer=results.scorer,
        prompts=[row.prompt for row in results.rows],
        samples=[len(row.scores) for row in results.rows],
        windows=[window.tokens for window in results.windows if window.groups is None],
        judge=results.fluency_judge,
        settings=results.settings,
    )


def refuse_unlike(base: Results, known: Mapping[str, Any]) -> None:
    """Raise `UsageError` where `base` cannot be the baseline of a measurement of which so much is known.

    Args:
        base: results of the untouched model.
        known: parts of what `settled_by` returns; of more nothing is said.

    Raises:
        UsageError: it is of a detoxified model, or differs in recipe, prompts, form, samples, scorer, readers' labels,
            model, fluency text or fluency judge.
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


def is_compared(base: Results, now: Results) -> bool:
    """Tell whether `now.comparison` is with this very measurement of the untouched model.

    Its metrics do not tell alone: measured again it may have further opinions and prompts. Its seconds do.
    """
    kept = now.comparison
    return kept is not None and (kept.baseline, kept.baseline_cost) == (base.metrics, base.cost)


def compare(base: Results, now: Results) -> None:
    """Set `now.comparison` to the paired differences from the untouched `base`.

    A further scorer's differences need both models' texts scored by it; one that scored only `now` is warned about.

    Raises:
        UsageError: the two differ in recipe, prompts, form, samples, scorer, readers' labels, model, fluency text or
            fluency judge, and so cannot be paired; or `base` is of a detoxified model.
    """
    refuse_unlike(base, _settled(now))
    opinions: dict[str, OpinionChange] = {}
    for label, opinion in now.opinions.items():
        untouched = base.opinions.get(label)
        if untouched is None or untouched.scorer.identity != opinion.scorer.identity:
            log.warning("baseline: %s did not score it, so its second opinion is of the new model only.", label)
            continue
        seen = [(seen_by(label, r.rows), r.windows) for r in (base, now)]
        opinions[label] = OpinionChange(
            baseline=untouched.metrics,
            difference=differences(TOXICITY, seen[0], seen[1], _readers_of_both(untouched.scorer, opinion.scorer)),
        )
    difference = differences(
        METRICS.values(), (base.rows, base.windows), (now.rows, now.windows), _readers_of_both(base.scorer, now.scorer)
    )
    now.comparison = Comparison(
        baseline=base.metrics,
        baseline_cost=base.cost,
        difference=difference,
        opinions=opinions,
        groups=group_differences(base.rows, now.rows),
        who_is_named=who_is_named(now.identity_rows, base.identity_rows),
    )


def _readers_of_both(first: ScorerInfo, second: ScorerInfo) -> ReaderTable | None:
    """Return what readers said of the scorer's texts; None where the two differ in that, or one does not know."""
    one, other = ReaderTable.of(first.validity), ReaderTable.of(second.validity)
    return one if one == other else None
