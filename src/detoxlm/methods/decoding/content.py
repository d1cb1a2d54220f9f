"""Rows known by their content alone: whatever a decoding loop does to its batch, a row goes on from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.reading import shared
from detoxlm.methods.decoding.session import Session


@dataclass(frozen=True)
class Seen:
    """A batch as a host shows it, fetched from its device: what is new in rows that have grown, else all of them."""

    batch: torch.Tensor  # [B, T], -1 where a row has no token
    #: The row of the batch before that each goes on from; None: `rows` are whole.
    parents: list[int] | None
    rows: list[list[int]]


class ByContent:
    """A session over the rows of a batch, named 0 to B - 1: beams, repeats, dropped rows and candidates are found."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self.session = Session(steering)
        self._batch = torch.empty(0, 0, dtype=torch.long)

    def __deepcopy__(self, memo: Any) -> ByContent:
        """Return one that has read nothing: assisted decoding copies caches, and no decoder need be copied for that."""
        return ByContent(self._steering)

    def see(self, batch: torch.Tensor) -> Seen:
        """Compare a batch [B, T] of target tokens, -1 where there are none, with the one that was followed last.

        Rows that have only grown are not taken apart: a step fetches their new tokens, however long they are.
        """
        before, width = self._batch, self._batch.shape[1]
        if before.numel() and before.device == batch.device and batch.shape[1] >= width:
            parents: list[int] | None = None
            if len(batch) == len(before) and torch.equal(batch[:, :width], before):
                parents = list(range(len(batch)))
            else:  # beams: each goes on from any
                same = torch.stack([(before == row).all(1) for row in batch[:, :width]])
                if bool(same.any(1).all()):
                    parents = same.int().argmax(1).tolist()
            if parents is not None:
                return Seen(batch, parents, _listed(batch[:, width:]))
        return Seen(batch, None, _listed(batch))

    def go_on(self, seen: Seen) -> Session:
        """Return the session, with what was seen read."""
        self._batch = torch.empty(0, 0, dtype=torch.long)  # if this fails, the next batch is compared by content
        if seen.parents is None:
            session = self.follow(seen.rows)
        else:
            session = self.session
            session.arrange(dict(enumerate(seen.parents)))
            session.read(dict(enumerate(seen.rows)))
        self._batch = seen.batch
        return session

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


def _listed(batch: torch.Tensor) -> list[list[int]]:
    return [[token for token in row if token >= 0] for row in batch.tolist()]


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
