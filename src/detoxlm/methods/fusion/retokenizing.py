"""Reads a target's text with a calibrator that has another tokenizer."""

from __future__ import annotations

from typing import Any

from detoxlm.methods.decoding.translation import Line

#: A row's text is tokenised again from its last fixed place; the place moves on when the rest is longer than this.
_TAIL = 48
#: Tokens at the end of the text that never become fixed: the next token may still merge with them.
_LOOSE = 8


class Retokenizer:
    """The translator between two tokenizers: decodes with the target's, encodes with the calibrator's.

    A character that the target has not finished (it may spell one in several byte tokens) is left out until it is.
    """

    def __init__(self, target_tokenizer: Any, calibrator_tokenizer: Any) -> None:
        self._target, self._calibrator = target_tokenizer, calibrator_tokenizer
        self._anchor = target_tokenizer("a", add_special_tokens=False)["input_ids"]
        self._before_anchor = len(self._decode(self._anchor))
        special = calibrator_tokenizer("", add_special_tokens=True)["input_ids"]
        bos, eos = calibrator_tokenizer.bos_token_id, calibrator_tokenizer.eos_token_id
        self._start = [bos] if bos is not None and special[:1] == [bos] else []
        #: What the calibrator reads where there is no text at all.
        self._nothing = next(token for token in (bos, eos, 0) if token is not None)

    def line(self, ids: list[int], before: Line | None = None) -> Line:
        """Translate a row; the fixed part of `before` is not tokenised again where the row begins with it."""
        fixed, done = 0, self._start
        if before is not None and ids[: before.fixed] == before.ids[: before.fixed]:
            fixed, done = before.fixed, before.fixed_tokens or done
        rest = ids[fixed:]
        tokens = self._encode(self.text(rest, first=not fixed))
        line = done + tokens or [self._nothing]
        if len(rest) > _TAIL:
            for cut in range(len(rest) - _LOOSE, len(rest) // 4, -1):
                right = self.text(rest[cut:], first=False)
                if right[:1] == " " and right[1:2].isalpha():
                    left = self._encode(self.text(rest[:cut], first=not fixed))
                    if left + self._encode(right) == tokens:
                        return Line(ids, line, fixed + cut, done + left)
        return Line(ids, line, fixed, done if fixed else [])

    def text(self, ids: list[int], *, first: bool) -> str:
        """Decode; `first`: the row begins here (elsewhere SentencePiece decoders would drop a leading space)."""
        text = self._decode(ids) if first else self._decode(self._anchor + ids)[self._before_anchor :]
        return text.rstrip("\ufffd")

    # the tokenizers' own library: transformers' wrapper takes several times as long, for every row and step

    def _decode(self, ids: list[int]) -> str:
        return str(self._target.backend_tokenizer.decode(ids, skip_special_tokens=True))

    def _encode(self, text: str) -> list[int]:
        return list(self._calibrator.backend_tokenizer.encode(text, add_special_tokens=False).ids)
