"""The text of a comment: out of HTML, and cut into sentences. Places in it are of characters (Unicode code points)."""

from __future__ import annotations

import re
from html import unescape
from itertools import pairwise

#: Sentences of one comment that get a score of their own; the last of them takes what is left.
MOST_SENTENCES = 100
_TEXT = re.compile(r"[^<&]+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});?")
#: A tag with its quotes closed, in which a `>` ends nothing; else one up to the next `>`.
_TAG = re.compile(r"""<(/?)([a-zA-Z][a-zA-Z0-9]*+)(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_LOOSE_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*+)[^>]*+>")
_DECLARATION = re.compile(r"<[!?/][^>]*+>")
#: Characters of a tag; what begins a longer one is text.
_LONGEST_TAG = 2048
#: A sentence ends at its mark, with the quotes and brackets that close behind it, before a space; or with its line.
_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'”’»)\]]*+(?=\s)|\n+")
#: What has a full stop and ends no sentence.
_ABBREVIATION = re.compile(r"(?:^|[\s(\"'])(?:Mr|Mrs|Ms|Dr|Prof|St|vs|e\.g|i\.e|etc|[A-Z])\.$")
#: Elements that people do not read, and those that begin and end a line.
_UNREAD = frozenset({"script", "style", "head", "template"})
_LINES = "p div br li ul ol tr td th table blockquote pre h1 h2 h3 h4 h5 h6 hr section article"
_BLOCKS = frozenset(_LINES.split())


def text_of_html(source: str) -> tuple[str, list[int]]:
    """Return what a reader of HTML sees, and for each of its characters, and its end, the place in the source.

    It takes time in proportion to the source, whatever that is; the parser of the standard library does not.
    """
    characters: list[str] = []
    places: list[int] = []
    here = 0
    while here < len(source):
        said, end = _piece(source, here)
        characters.extend(said)
        # text is where it is; what stands for other text is where it begins
        places.extend(range(here, end) if said == source[here:end] else [here] * len(said))
        here = end
    return "".join(characters), [*places, len(source)]


def _piece(source: str, here: int) -> tuple[str, int]:
    """Return what the piece of HTML that begins here says, and where it ends."""
    if text := _TEXT.match(source, here):
        return text[0], text.end()
    within = here + _LONGEST_TAG
    if source[here] == "&":
        entity = _ENTITY.match(source, here)
        return (unescape(entity[0]), entity.end()) if entity else ("&", here + 1)
    if source.startswith("<!--", here):
        return "", _after(source, source.find("-->", here + 4), 3)
    if tag := _TAG.match(source, here, within) or _LOOSE_TAG.match(source, here, within):
        name = tag[2].lower()
        if name in _UNREAD and not tag[1]:
            closing = re.compile(f"</{name}", re.IGNORECASE).search(source, tag.end())
            return "", closing.start() if closing else len(source)
        return "\n" if name in _BLOCKS else "", tag.end()
    if declaration := _DECLARATION.match(source, here, within):
        return "", declaration.end()
    return "<", here + 1


def _after(source: str, found: int, length: int) -> int:
    return len(source) if found < 0 else found + length


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
