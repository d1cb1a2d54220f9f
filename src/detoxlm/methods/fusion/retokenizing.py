"""Reads a target's text with a calibrator that has another tokenizer.

Both tokenizers cut a text into words before they cut words into tokens, and so what stands before the last word is
settled: `The quick bro|wn fox` can still change at its end alone. A row is therefore translated word by word, and
words that were met before are looked up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from detoxlm.methods.decoding.translation import Grown, Line

#: Without spaces (Chinese, Japanese, Thai) a row is cut once its tail is longer than this,
_TAIL = 48
#: so far from its end that what comes cannot reach back to there.
_LOOSE = 16
#: Words that are remembered, of at most so many target tokens.
_WORDS, _WORD = 65536, 16
#: A token that spans two words: its reader does not cut a text where words begin. Space, or what stands for it.
_SPANNING = re.compile("[^\\s\u0120\u2581][ \u0120\u2581][^\\W\\d_]")
#: A byte of a character that a SentencePiece vocabulary lacks.
_BYTE = re.compile("<0x[0-9A-F]{2}>")
#: What texts hold, word by word; a reader that cuts before every word gives the tokens of its parts.
_PROBE = ["Some", " words", " of 123", " and (x)", " or _y", " w0rds.", ' "q"', " n't", " \u65e5\u672c", " na\u00efve",
          " e\u0301", " \U0001f642", " a\n", "b", "  c", "\td;"]  # fmt: skip


class Retokenizer:
    """The translator between two tokenizers: decodes with the target's, encodes with the calibrator's.

    A character that the target has not finished (it may spell one in several byte tokens) is left out until it is.
    """

    def __init__(self, target_tokenizer: Any, calibrator_tokenizer: Any) -> None:
        # the tokenizers' own library: transformers' wrapper takes several times as long
        self._target, self._calibrator = target_tokenizer.backend_tokenizer, calibrator_tokenizer.backend_tokenizer
        self._anchor = target_tokenizer("a", add_special_tokens=False)["input_ids"]
        self._before_anchor = len(self._decode([self._anchor])[0])
        special = calibrator_tokenizer("", add_special_tokens=True)["input_ids"]
        bos, eos = calibrator_tokenizer.bos_token_id, calibrator_tokenizer.eos_token_id
        self._start = [bos] if bos is not None and special[:1] == [bos] else []
        #: What the calibrator reads where there is no text at all.
        self._nothing = next(token for token in (bos, eos, 0) if token is not None)
        #: What stands before a text that goes on from another, so that no space is put there, and its tokens.
        self._behind = next((text for text in ("", "a") if self._parts(text, "a b", "a", " b")), None)
        self._behind_tokens = len(self._encode([self._behind])[0]) if self._behind else 0
        #: Whether the calibrator's tokens of a text are those of its words; else rows are translated whole, always.
        self._by_words = self._behind is not None and self._cuts_before_words()
        #: What target tokens spell behind others, and words as translated. Spelled "": nothing, or a byte that is a
        #: character only together with all bytes beside it, so that no cut may part them.
        self._spelled: dict[int, str] = {}
        self._words: dict[tuple[int, ...], list[int]] = {}

    def grow(self, lines: Sequence[Line], new: Sequence[list[int]]) -> list[Grown]:
        """Translate rows that have grown, in few calls of the tokenizers for all of them."""
        tails = [line.tail + more for line, more in zip(lines, new, strict=True)]
        if self._by_words:
            self._spell({token for more in new for token in more})
        cuts = [self._last_word(tail) if self._by_words else 0 for tail in tails]
        parts = [
            (tail[a:b], not line.begun and not a)
            for line, tail, cut in zip(lines, tails, cuts, strict=True)
            for a, b in ((0, cut), (cut, len(tail)))
        ]
        translated = self._translated(parts)
        grown = []
        for i, (line, tail, cut) in enumerate(zip(lines, tails, cuts, strict=True)):
            left, right = translated[2 * i : 2 * i + 2]
            if line.begun + cut == 0:
                left, right = [], self._start + right or [self._nothing]
            elif not line.begun:
                left = self._start + left
            after = Line(line.begun + cut, line.fixed + len(left), tail[cut:])
            grown.append(Grown(after, line.fixed, left + right))
        if self._by_words:
            for i, one in enumerate(grown):
                if len(one.line.tail) > _TAIL:
                    grown[i] = self._without_spaces(one)
        return grown

    # --- where a row can be cut -------------------------------------------------------------------------------------

    def _last_word(self, tail: list[int]) -> int:
        """Return where the last word begins, with its space, behind another; 0: nowhere."""
        for k in range(len(tail) - 1, 0, -1):
            word = self._spelled[tail[k]]
            if word[:1] != " ":
                continue
            if word == " " and k + 1 < len(tail):
                word += self._spelled[tail[k + 1]]
            if word[1:2].isalpha() and self._spelled[tail[k - 1]][-1:].strip() not in ("", "\ufffd"):
                return k
        return 0

    def _without_spaces(self, grown: Grown) -> Grown:
        """Cut a tail between two letters, where both sides are translated as they are together; else leave it."""
        line = grown.line
        first = not line.begun
        tokens = grown.tokens[line.fixed - grown.at :]  # those of the tail
        last = len(line.tail) - _LOOSE
        spelled = [self._spelled[token] for token in line.tail]
        cuts = [  # where the tokens beside do not say that it is none
            cut
            for cut in range(last, max(0, last - _LOOSE), -1)
            if all(end == "\ufffd" or _uncased(end) for end in (spelled[cut - 1][-1:], spelled[cut][:1]))
        ]
        texts = self._texts([part for cut in cuts for part in ((line.tail[:cut], first), (line.tail[cut:], False))])
        for cut, before, after in zip(cuts, texts[::2], texts[1::2], strict=True):
            if _uncased(before[-1:]) and _uncased(after[:1]):
                left, right = self._translated([(line.tail[:cut], first), (line.tail[cut:], False)])
                left = self._start + left if first else left
                if left + right == tokens:
                    moved = Line(line.begun + cut, line.fixed + len(left), line.tail[cut:])
                    return Grown(moved, grown.at, grown.tokens)
        return grown

    def _cuts_before_words(self) -> bool:
        """Tell whether no token of the calibrator spans two words, and a text's tokens are those of its parts."""
        if any(_SPANNING.search(token) for token in self._calibrator.get_vocab(with_added_tokens=True)):
            return False
        if any(added.rstrip or added.lstrip for added in self._calibrator.get_added_tokens_decoder().values()):
            return False  # such a token takes the space that a word begins with
        for k in range(1, len(_PROBE)):
            right = "".join(_PROBE[k:])
            if right[:1] == " " and right[1:2].isalpha():
                left = "".join(_PROBE[:k])
                if not self._parts(self._behind or "", left + right, left, right):
                    return False
        return True

    def _parts(self, behind: str, text: str, left: str, right: str) -> bool:
        """Tell whether the tokens of a text are those of its left side and, behind what stands there, its right."""
        whole, first, anchor, second = self._encode([text, left, behind, behind + right])
        return second[: len(anchor)] == anchor and whole == first + second[len(anchor) :]

    # --- the tokenizers ---------------------------------------------------------------------------------------------

    def _translated(self, parts: Sequence[tuple[list[int], bool]]) -> list[list[int]]:
        """Return the calibrator's tokens of some target tokens each; True: a text begins with them."""
        found: list[list[int] | None] = [
            [] if first or not ids else self._words.get(tuple(ids)) for ids, first in parts
        ]
        missing = [i for i, (ids, first) in enumerate(parts) if ids and (first or found[i] is None)]
        if missing:
            texts = [text.rstrip("\ufffd") for text in self._texts([parts[i] for i in missing])]
            behind = ["" if parts[i][1] else self._behind or "" for i in missing]
            encoded = self._encode([before + text for before, text in zip(behind, texts, strict=True)])
            if len(self._words) > _WORDS:
                self._words.clear()
            for i, tokens in zip(missing, encoded, strict=True):
                ids, first = parts[i]
                found[i] = made = tokens if first else tokens[self._behind_tokens :]
                if not first and len(ids) <= _WORD:
                    self._words[tuple(ids)] = made
        return [tokens or [] for tokens in found]

    def _texts(self, parts: Sequence[tuple[list[int], bool]]) -> list[str]:
        """Decode; True: a text begins here (elsewhere SentencePiece decoders would drop a leading space)."""
        decoded = self._decode([ids if first else self._anchor + ids for ids, first in parts])
        return [text if first else text[self._before_anchor :] for text, (_, first) in zip(decoded, parts, strict=True)]

    def _spell(self, tokens: set[int]) -> None:
        """Learn what target tokens spell."""
        unknown = sorted(tokens - self._spelled.keys())
        if not unknown:
            return
        for token, text in zip(unknown, self._decode([[*self._anchor, token] for token in unknown]), strict=True):
            byte = _BYTE.fullmatch(self._target.id_to_token(token) or "")
            self._spelled[token] = "" if byte else text[self._before_anchor :]

    def _decode(self, rows: Sequence[list[int]]) -> list[str]:
        return list(self._target.decode_batch([list(ids) for ids in rows], skip_special_tokens=True))

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._calibrator.encode_batch_fast(texts, add_special_tokens=False)]


def _uncased(character: str) -> bool:
    """Tell whether a character is a letter of a script without capitals: those are written without spaces, or cut."""
    return unicodedata.category(character) == "Lo" if character else False
