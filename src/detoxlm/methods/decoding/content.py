"""Rows known by their content alone: whatever a decoding loop does to its batch, a row goes on from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.reading import shared
from detoxlm.methods.decoding.session import Session


class ByContent:
    """A session over the rows of a batch, named 0 to B - 1: beams, repeats, dropped rows and candidates are found."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self.session = Session(steering)

    def __deepcopy__(self, memo: Any) -> ByContent:
        """Return one that has read nothing: assisted decoding copies caches, and no decoder need be copied for that."""
        return ByContent(self._steering)

    def follow(self, rows: Sequence[list[int]]) -> Session:
        """Return the session, with these rows of target tokens read: only what is new in any of them."""
        before = [self.session.ids(i) for i in range(len(self.session))]
        parents = [_parent(ids, i, before) for i, ids in enumerate(rows)]
        self.session.arrange({i: parent for i, parent in enumerate(parents) if parent is not None})
        for i, parent in enumerate(parents):
            if parent is None:
                self.session.add(i, 0.0)
        self.session.show(dict(enumerate(rows)))
        return self.session


def _parent(ids: list[int], i: int, before: Sequence[list[int]]) -> int | None:
    """Return the row of the last call that `ids` continues best: usually the same row without the last token."""
    if i < len(before) and ids[: len(before[i])] == before[i]:
        return i
    best, longest = None, 0
    for j, other in enumerate(before):
        length = shared(ids, other)
        if length > longest:
            best, longest = j, length
    return best
