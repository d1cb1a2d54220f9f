"""How a fit went, in words: what it learned from, for how long, and how far the loss came down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

#: Kinds of texts by how methods count them; of the others (texts that were looked at, parts of these) nothing is said.
_KINDS: Final = {"harmful": "harmful", "clean": "clean", "corpus": "corpus", "prone": "violation-prone"}


def in_words(fitting: dict[str, Any]) -> str:
    """Return a few sentences about a fit, from what methods record of theirs; "" where none of it is known."""
    said = [
        *_harvested(fitting.get("harvest")),
        *_learned_from(fitting),
        *_losses(fitting),
        *_shipped(fitting),
        *_duration(fitting.get("seconds")),
    ]
    return " ".join(f"{sentence}." for sentence in said)


def _harvested(harvest: Any) -> list[str]:
    if not isinstance(harvest, dict) or not {"prompts", "continuations"} <= harvest.keys():
        return []
    toxicity = harvest.get("mean_toxicity_all")
    scored = f", of mean toxicity {toxicity:.2f}" if _number(toxicity) else ""
    chat = harvest.get("in_chat")
    parted = f" ({chat['prompts']:,} of them in chat)" if isinstance(chat, dict) and "prompts" in chat else ""
    return [
        f"The model itself wrote {_count(harvest['continuations'], 'continuation')} of "
        f"{_count(harvest['prompts'], 'prompt')}{parted} to learn from{scored}"
    ]


def _learned_from(fitting: dict[str, Any]) -> list[str]:
    parts = []
    texts = fitting.get("texts")
    if isinstance(texts, dict):
        told = {key: n for key, n in texts.items() if isinstance(n, int) and n and key in _KINDS}
        if told:
            parts.append(f"{_list([f'{n:,} {_KINDS[key]}' for key, n in told.items()])} texts")
        fitting = {"pairs": texts.get("pairs"), **fitting}
    elif isinstance(texts, int):
        parts.append(_count(texts, "text"))
    for key, noun in (("passages", "passage"), ("pairs", "pair")):
        if isinstance(fitting.get(key), int):
            parts.append(_count(fitting[key], noun) + (" of texts" if key == "pairs" else ""))
    return [f"It was fitted to {_list(parts)}"] if parts else []


def _losses(fitting: dict[str, Any]) -> list[str]:
    said = []
    auxiliary = fitting.get("auxiliary")
    for whose, curve in (
        ("The loss of its auxiliary model", auxiliary.get("loss_curve") if isinstance(auxiliary, dict) else None),
        ("The loss", fitting.get("loss_curve")),
    ):
        pairs = (
            [pair for pair in curve if isinstance(pair, list | tuple) and len(pair) == 2]
            if isinstance(curve, list)
            else []
        )
        points = [(step, loss) for step, loss in pairs if _number(step) and _number(loss)]
        if len(points) > 1:
            (_, start), (last, end) = points[0], points[-1]
            said.append(f"{whose} went from {start:.3g} to {end:.3g} in {_count(int(last), 'step')}")
    before, after = fitting.get("held_out_loss_before"), fitting.get("held_out_loss_after")
    if _number(before) and _number(after):
        said.append(f"On texts that were held out it went from {before:.3g} to {after:.3g}")
    elif _number(fitting.get("held_out_loss")):
        said.append(f"On texts that were held out it is {fitting['held_out_loss']:.3g}")
    if isinstance(fitting.get("best_step"), int):
        said.append(f"What it was at step {fitting['best_step']:,} was kept")
    return said


def _shipped(fitting: dict[str, Any]) -> list[str]:
    return [
        f"Its {part} ships with DetoxLM: it was not trained here"
        for part, account in (("calibrator", fitting.get("calibrator")), ("auxiliary model", fitting.get("auxiliary")))
        if isinstance(account, dict) and account.get("source") == "shipped"
    ]


def _duration(seconds: Any) -> list[str]:
    if not _number(seconds) or seconds < 1:  # nothing was trained
        return []
    if seconds < 90:
        return [f"The fit took {_count(round(seconds), 'second')}"]
    return [f"The fit took {_count(round(seconds / 60), 'minute')}"]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list(parts: Sequence[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
