"""The text of a comment, out of HTML. Places in it are of characters (Unicode code points)."""

from __future__ import annotations

import re
from html import unescape

_TEXT = re.compile(r"[^<&]+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});?")
#: A tag with its quotes closed, in which a `>` ends nothing; else one up to the next `>`.
_TAG = re.compile(r"""<(/?)([a-zA-Z][a-zA-Z0-9]*+)(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_LOOSE_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*+)[^>]*+>")
_DECLARATION = re.compile(r"<[!?/][^>]*+>")
#: Characters of a tag; what begins a longer one is text.
_LONGEST_TAG = 2048
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
