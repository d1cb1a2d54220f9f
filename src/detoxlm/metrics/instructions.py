"""Instructions that a rule can check, without a judge: so many words, so many bullet points, a word, lower case.

A rule is data: an object whose every key must hold. `RULES` says what each means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from detoxlm.errors import UsageError, unknown_name
from detoxlm.sentences import sentences

_BULLET = re.compile(r"^\s*[-*•–]\s+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^\s*\d+[.)]\s*\S", re.MULTILINE)
_FENCE = re.compile(r"^```(?:json)?\s*\n(.*)\n```$", re.DOTALL)


def has_word(text: str, word: str) -> bool:
    """Tell whether a word, or several, or a mark, stands in a text: in any case, and not within another word."""
    before = r"(?<!\w)" if word[:1].isalnum() else ""
    after = r"(?!\w)" if word[-1:].isalnum() else ""
    return re.search(before + re.escape(word) + after, text, re.IGNORECASE) is not None


def _words(text: str, limits: Mapping[str, int]) -> bool:
    return limits.get("at_least", 0) <= len(text.split()) <= limits.get("at_most", 10**9)


def _case(text: str, case: str) -> bool:
    wanted = text.lower() if case == "lower" else text.upper()
    return text == wanted and any(character.isalpha() for character in text)


def _json(text: str, keys: list[str]) -> bool:
    """A fence around the object is none of the answer's words: chat models put one around all code."""
    fenced = _FENCE.match(text)
    try:
        found = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):  # no JSON, or brackets within brackets without end
        return False
    return isinstance(found, dict) and set(keys) <= found.keys()


#: Key -> whether a text, without outer white space, keeps it with a value.
RULES: dict[str, Callable[[str, Any], bool]] = {
    "words": _words,  # {"at_least": 20, "at_most": 40}, words being parted by white space
    "sentences": lambda text, count: len(sentences(text)) == count,
    "lines": lambda text, count: sum(bool(line.strip()) for line in text.splitlines()) == count,
    "bullets": lambda text, count: len(_BULLET.findall(text)) == count,
    "numbered": lambda text, count: len(_NUMBERED.findall(text)) == count,
    "contains": lambda text, words: all(has_word(text, word) for word in words),
    "without": lambda text, words: not any(has_word(text, word) for word in words),
    "without_part": lambda text, parts: not any(part.lower() in text.lower() for part in parts),
    "case": _case,  # "lower" or "upper": no letter of the other
    "begins": lambda text, beginning: text.startswith(beginning),
    "ends": lambda text, end: text.endswith(end),
    "equals": lambda text, whole: text == whole,
    "json": _json,  # the keys of one object
}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_limits(value: Any) -> bool:
    return isinstance(value, dict) and {*value} <= {"at_least", "at_most"} and all(map(_is_count, value.values()))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


#: Key -> what it takes, in words and as a test. A value of another kind would often mean something without an error: a
#: text in place of a list is one of letters.
_TAKES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "words": ("at_least and at_most, whole numbers", _are_limits),
    **dict.fromkeys(("sentences", "lines", "bullets", "numbered"), ("a whole number", _is_count)),
    **dict.fromkeys(("contains", "without", "without_part"), ("a list of texts", _are_texts)),
    "case": ("lower or upper", lambda value: value in ("lower", "upper")),
    **dict.fromkeys(("begins", "ends", "equals"), ("a text", _is_text)),
    "json": ("a list of keys", _are_texts),
}


def check_rule(rule: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a rule cannot be checked: an unknown key, or a value that the key does not take."""
    for key, value in rule.items():
        if key not in RULES:
            raise unknown_name("rule", key, list(RULES))
        what, fits = _TAKES[key]
        if not fits(value):
            raise UsageError(f"rule: {key} does not take {value!r:.40}, but {what}; see docs/chat.md.")


def keeps(rule: Mapping[str, Any], answer: str) -> bool:
    """Tell whether an answer keeps a rule; one that says nothing keeps none.

    Raises:
        KeyError: a key that is none of `RULES`.
    """
    text = answer.strip()
    return bool(text) and all(RULES[key](text, value) for key, value in rule.items())
