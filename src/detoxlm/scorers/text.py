"""Undoing disguises: what both offline scorers do to a text before they read it."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_LETTERS_SPACED = re.compile(r"(?<![^\W_])(?:[^\W\d_][ .\-_*]){3,}[^\W\d_](?![^\W_])", re.UNICODE)
_VOWEL_RUN = re.compile(r"([aeiou])\1{2,}", re.IGNORECASE)
_OTHER_RUN = re.compile(r"([^\Waeiou\d_])\1{2,}", re.UNICODE | re.IGNORECASE)
_DISGUISED = re.compile(r"[a-z0-9@$!*#%\-]+")
_LEET = str.maketrans("@$!013457", "asioieast")
_MASK_CHARS = frozenset("*#@$%!-")
_LONGEST_DISGUISED = 20
#: Words that writers mask or spell with digits. Only these are unmasked, so `c*t` stays a token of its own and
#: `mp3`, `b2b` or `$100` are left alone.
_MASKED_TEXT = (
    "fuck fucks fucked fucker fuckers fuckin fucking motherfucker motherfucking shit shits shitty shitting bullshit "
    "bitch bitches bitching ass asses asshole assholes cunt cunts dick dicks dickhead cock cocks pussy whore whores "
    "slut sluts bastard bastards nigger niggers nigga niggas faggot faggots fag fags retard retards retarded damn "
    "crap piss pissed idiot idiots stupid moron morons kill rape penis sex porn tits"
)
_MASKED_WORDS = _MASKED_TEXT.split()
_PLAIN = frozenset(_MASKED_WORDS)


def plain_unicode(text: str) -> str:
    """Return the text in NFKC (full-width, styled letters become plain) without control and zero-width characters."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cs", "Mn"))
        text = text.replace("’", "'").replace("‘", "'")
    return _CONTROL.sub("", text)


def join_spaced(text: str) -> str:
    """Join letters that were spaced to hide a word: `f u c k` and `f.u.c.k` become `fuck`."""
    return _LETTERS_SPACED.sub(_join_letters, text)


def shorten_runs(text: str) -> str:
    """Shorten runs of three or more of a letter (`sooo`, `shhhit`): one vowel, or two consonants, remain."""
    return _OTHER_RUN.sub(r"\1\1", _VOWEL_RUN.sub(r"\1", text))


def unmask(text: str) -> str:
    """Write out masked or digit-spelled profanity (`f*ck`, `sh1t`, `@sshole`) in lower-case text.

    Only where the token matches one of a fixed list of words and nothing else.
    """
    return _DISGUISED.sub(_unmask, text)


def _join_letters(match: re.Match[str]) -> str:
    return re.sub(r"[ .\-_*]", "", match.group())


def _unmask(match: re.Match[str]) -> str:
    token = match.group()
    # Punctuation at the ends is not part of the word (`shit!`, `a-`), and a number is no word (`455`).
    core = token.strip("!-#%")
    if token.isalpha() or not 3 <= len(core) <= _LONGEST_DISGUISED or not any(c.isalpha() for c in core):
        return token
    plain = core.translate(_LEET)
    if plain in _PLAIN:
        return token.replace(core, plain)
    hidden = sum(c in _MASK_CHARS for c in core)
    if 0 < hidden < len(core) and (len(core) > 3 or "-" not in core):
        # Every mask character stands for one letter. The first known word that fits is taken.
        pattern = re.compile("".join("[a-z]" if c in _MASK_CHARS else re.escape(c) for c in core))
        for word in _MASKED_WORDS:
            if len(word) == len(core) and pattern.fullmatch(word):
                return token.replace(core, word)
    return token


#: Skin tones as words; Unicode names them by the Fitzpatrick scale.
_SKIN = {0x1F3FB: "light", 0x1F3FC: "light", 0x1F3FD: "medium", 0x1F3FE: "dark", 0x1F3FF: "dark"}
_FLAG_A = 0x1F1E6
_PICTURE = re.compile("[\u203c-\u3299\U0001f000-\U0001faff]")


def name_pictures(text: str) -> str:
    """Replace emoji and other pictographs by their Unicode names: `🐒` becomes ` monkey `, a skin tone ` dark skin `.

    An uncased word-piece vocabulary has no emoji; without this, every one of them is the same unknown token.
    """
    return text if text.isascii() else _PICTURE.sub(_name_picture, text)


def _name_picture(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if code in _SKIN:
        return f" {_SKIN[code]} skin "
    if _FLAG_A <= code < _FLAG_A + 26:  # two of them make a flag; the letters are kept as letters
        return chr(code - _FLAG_A + ord("a"))
    if unicodedata.category(character) not in ("So", "Sk"):
        return character
    return f" {unicodedata.name(character, '').lower()} "
