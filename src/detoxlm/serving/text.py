"""A continuation as it grows: what of it can be sent already, and where it stops."""

from __future__ import annotations

from collections.abc import Sequence

from detoxlm.generation import decode
from detoxlm.models import Target

#: What a decoder writes for a character whose bytes are not all there yet, or never will be.
_UNFINISHED = "�"


class Text:
    """The text of growing token ids: characters are kept back until they are whole, and what may begin a stop."""

    def __init__(self, target: Target, stops: Sequence[str] = ()) -> None:
        """Take the model whose tokens they are, and the strings before which the text ends."""
        self._target, self._stops = target, [stop for stop in stops if stop]
        self._ids: list[int] = []
        #: Tokens before `_read` are text already; those from `_start` are decoded again, for the next to join on.
        self._start = self._read = 0
        self._kept = ""
        #: Whether a stop string was written.
        self.stopped = False

    def add(self, token: int) -> str:
        """Return what can be sent now that this token is there; after a stop it is the rest."""
        self._ids.append(token)
        return self._sent(self._new())

    def end(self) -> str:
        """Return what was kept back: there are no more tokens."""
        if self.stopped:
            return ""
        sent = self._sent(self._new(whole=True))
        kept, self._kept = self._kept, ""
        return sent + kept

    def _new(self, whole: bool = False) -> str:
        """Return the characters that the last tokens have finished."""
        before = decode(self._target, self._ids[self._start : self._read])
        now = decode(self._target, self._ids[self._start :])
        if len(now) <= len(before) or (now.endswith(_UNFINISHED) and not whole):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return now[len(before) :]

    def _sent(self, new: str) -> str:
        text = self._kept + new
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._kept = True, ""
            return text[: min(found)]
        begun = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._kept = text[len(text) - begun :]
        return text[: len(text) - begun]


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text could be the beginning of a stop."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
