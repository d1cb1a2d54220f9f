"""A text cut into sentences. Places in it are of characters (Unicode code points)."""

from __future__ import annotations

import re
from itertools import pairwise

#: Sentences of one text that are told apart; the last of them takes what is left.
MOST_SENTENCES = 100
#: A sentence ends at its mark, with the quotes and brackets that close behind it, before a space; or with its line.
_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'”’»)\]]*+(?=\s)|\n+")
#: What has a full stop and ends no sentence.
_ABBREVIATION = re.compile(r"(?:^|[\s(\"'])(?:Mr|Mrs|Ms|Dr|Prof|St|vs|e\.g|i\.e|etc|[A-Z])\.$")


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the sentences of a text as half-open ranges of its characters, without white space around them.

    At most `MOST_SENTENCES`; a text without any visible character has none.
    """
    ends = [
        found.end()
        for found in _END.finditer(text)
        if found[0].startswith("\n")
        or not (_continues(text, found.end()) or _ABBREVIATION.search(text[: found.end()][-8:]))
    ]
    bounds = [0, *ends, len(text)]
    found = [_trimmed(text, begin, end) for begin, end in pairwise(bounds)]
    spans = [(begin, end) for begin, end in found if begin < end]
    if len(spans) > MOST_SENTENCES:
        spans[MOST_SENTENCES - 1 :] = [(spans[MOST_SENTENCES - 1][0], spans[-1][1])]
    return spans


def _continues(text: str, place: int) -> bool:
    """Whether a small letter follows: then the mark was inside a sentence."""
    rest = text[place : place + 20].lstrip()
    return rest[:1].islower()


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    part = text[begin:end]
    return begin + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
