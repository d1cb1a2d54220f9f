"""Which language a comment is in, conservatively: only what is surely not English is refused."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from detoxlm.scorers.text import plain_unicode

#: Of a text, the characters that are looked at.
_READ = 2000
#: Surely another language: so sure a guess, on so many letters, with fewer of English's small words than this share.
#: Chosen on texts of English data sets, many misspelt, in capitals or full of emoji: benchmarks/languages.py.
SURE, ENOUGH, FEW = 0.9, 20, 0.15
#: Letters of other scripts, with not one Latin letter beside them, that are enough.
_OTHER_SCRIPT = 4
#: A guess that is less likely than its opposite is none: then the text is taken for English.
_GUESS = 0.5
_SMALL = (
    "the a an and is are was were be to of in on for with that this it you i he she we they not have do my your so but "
    "what who if at from just like get no all"
)
_SMALL_WORDS = frozenset(_SMALL.split())


@dataclass(frozen=True)
class Found:
    """What was found of a text's language."""

    #: The likeliest language, ISO 639-1; `en` where nothing speaks against it; `und` of a text without letters.
    language: str
    #: Whether it is surely not English.
    other: bool


class Detector:
    """Tells which language a text is in."""

    def __init__(self) -> None:
        """Load py3langid's model, 2 MB; about a second."""
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def detect(self, text: str) -> Found:
        """Return the language of a text of any length."""
        text = plain_unicode(text[:_READ])
        letters = [c for c in text if c.isalpha()]
        if not letters:
            return Found("und", False)
        guess, confidence = self._identifier.classify(text)
        if guess == "en":
            return Found("en", False)
        if len(letters) >= _OTHER_SCRIPT and not any(_latin(c) for c in letters):
            return Found(guess, True)
        words = re.findall(r"[^\W\d_']+", text.lower())
        small = sum(word in _SMALL_WORDS for word in words) / max(1, len(words))
        other = confidence >= SURE and len(letters) >= ENOUGH and small < FEW
        return Found(guess if other or confidence >= _GUESS else "en", other)


def _latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def is_english(tag: str) -> bool:
    """Whether a language tag (`en`, `en-GB`, `EN_us`, `eng`) names English."""
    return re.split(r"[-_]", tag.strip().lower())[0] in ("en", "eng")
