"""Tells text of models that repeats eight words in a row of other people's text, which the project does not keep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scorer_data import read

#: So many words in a row, letters and digits alone, are a copy. Shorter runs are met by chance.
RUN = 8
_WORD = re.compile(r"[^\W_]+")
#: File of the data folder -> the columns that hold text.
SOURCES = {
    "paradetox/train.jsonl": ("toxic", "nontoxic"),
    "paradetox/dev.jsonl": ("toxic", "nontoxic"),
    "jigsaw/comments.jsonl": ("text",),
    "civil/annotated.jsonl": ("text",),
    "toxic_spans/train.jsonl": ("text",),
    "toxigen/prompts_dev.jsonl": ("prompt",),
    "rtp/train.jsonl": ("prompt", "continuation"),
    "rtp/prompts_challenge_dev.jsonl": ("prompt", "continuation"),
    "rtp/prompts_nontoxic_dev.jsonl": ("prompt", "continuation"),
    "hatemoji/train.jsonl": ("text",),
    "hatemoji/validation.jsonl": ("text",),
    "wikipedia_talk/scored.jsonl": ("text",),
    "chat/harmless_requests.jsonl": ("messages",),
}


def runs(text: str) -> Iterator[int]:
    """Yield a hash of every run of `RUN` words of a text."""
    words = _WORD.findall(text.casefold())
    for i in range(len(words) - RUN + 1):
        yield hash(tuple(words[i : i + RUN]))


def runs_of_others(data: Path) -> set[int]:
    """Return the runs of all text in the data folder that machine text follows. Hashes are of this process."""
    found: set[int] = set()
    for name, columns in SOURCES.items():
        for row in read(data / name):
            for column in columns:
                held = row[column]
                if isinstance(held, list):
                    held = held[-1]["content"]
                found.update(runs(held["text"] if isinstance(held, dict) else held))
    return found


def is_copied(text: str, others: set[int]) -> bool:
    """Tell whether a text shares a run with them."""
    return any(run in others for run in runs(text))
