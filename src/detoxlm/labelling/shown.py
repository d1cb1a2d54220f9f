"""What readers see beside a text, and how its characters are made harmless."""

from __future__ import annotations

import unicodedata

from detoxlm.labels.files import Verdict

#: What each answer means, in short; docs/reading.md has the whole guide.
MEANING: dict[Verdict, str] = {
    "toxic": "it insults, demeans, hates, threatens, harasses, swears at somebody or is sexually crude, and the writer "
    "means it or joins in",
    "not toxic": "anything else: a report, a quotation, medicine, history, law, scripture, a violent story, nonsense, "
    "words that only look bad",
    "unsure": "it could be read both ways",
}
#: Control and format characters, halves of characters, and the line ends that only Unicode knows.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINER = "\u200d"  # within one emoji


def plain(text: str) -> str:
    r"""Return a text with the characters spelt out that would steer a terminal or turn the order of letters.

    Line ends stay, tabs are spaces; U+001B is `\x1b` and U+202E `\u202e`.
    """
    return "".join(map(_spelt, text.replace("\r\n", "\n").expandtabs(4)))


def _spelt(char: str) -> str:
    if char in ("\n", _JOINER) or unicodedata.category(char) not in _UNSEEN:
        return char
    number = ord(char)
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
