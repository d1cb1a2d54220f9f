"""The rows that one host serves with one detoxifier: what has been read of each, and its strength."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from detoxlm.errors import UsageError
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.reading import Reader, shared


@dataclass
class _Row:
    """What is known of a row; its tensors are replaced, never changed."""

    strength: float
    ids: list[int] = field(default_factory=list)
    #: Where tokens are weighed: what the readers say at every token [T, S], and the weight of every one but the first.
    said: torch.Tensor | None = None
    weights: torch.Tensor | None = None


class Session:
    """Follows rows by name, in whatever order a host keeps them. One session is for one host, in one thread.

    A host calls `add` for a new row, `read` with the new tokens of any rows, and `act` on what the target says of them;
    `roll_back` takes tokens back, `drop` forgets a row. The result is what one undisturbed pass over each row gives.
    """

    def __init__(self, steering: Steering) -> None:
        """Start without rows; `steering` is what is done to them."""
        self._steering = steering
        self._rows: dict[Hashable, _Row] = {}
        self._reader: Reader | None = None
        if steering.readers:
            self._reader = Reader(steering.readers, translator=steering.translator, context=steering.context)
        #: The rows that the reader has, in its order: those with tokens.
        self._order: list[Hashable] = []

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._rows)

    def __contains__(self, row: Hashable) -> bool:
        """Tell whether there is such a row."""
        return row in self._rows

    @property
    def rows(self) -> list[Hashable]:
        """The names of the rows, as they came."""
        return list(self._rows)

    def ids(self, row: Hashable) -> list[int]:
        """Return the tokens that were read of a row."""
        return list(self._row(row).ids)

    def add(self, row: Hashable, strength: float) -> None:
        """Begin an empty row; one of that name must not be there.

        Raises:
            UsageError: it is.
        """
        if row in self._rows:
            raise UsageError(f"row: {row!r} is there already; drop it first.")
        self._rows[row] = _Row(strength)

    def set_strength(self, row: Hashable, strength: float) -> None:
        """Act on a row with another strength from now on.

        Raises:
            UsageError: there is none of that name.
        """
        self._row(row).strength = strength

    def drop(self, row: Hashable) -> None:
        """Forget a row.

        Raises:
            UsageError: there is none of that name.
        """
        self._row(row)
        self.arrange({name: name for name in self._rows if name != row})

    def arrange(self, parents: Mapping[Hashable, Hashable]) -> None:
        """Let each row be from now on what another has been; rows that are not named are forgotten.

        Beams are this: two rows may come of one. A row keeps the strength of the one that it comes of.

        Raises:
            UsageError: a parent is not there.
        """
        for parent in parents.values():
            self._row(parent)
        if list(parents) == list(parents.values()) == list(self._rows):
            return
        place = {row: i for i, row in enumerate(self._order)}
        kept = [row for row, parent in parents.items() if parent in place]
        if self._reader is not None:
            self._reader.select([place[parents[row]] for row in kept])
        self._order = kept
        rows = {row: self._rows[parent] for row, parent in parents.items()}
        self._rows = {row: replace(known, ids=list(known.ids)) for row, known in rows.items()}

    def roll_back(self, row: Hashable, tokens: int) -> None:
        """Take back the newest tokens of a row.

        Raises:
            UsageError: it has not so many, or it is not there.
        """
        ids = self._row(row).ids
        if not 0 <= tokens <= len(ids):
            raise UsageError(f"row: {row!r} has {len(ids)} tokens; {tokens} cannot be taken back.")
        self.show({row: ids[: len(ids) - tokens]})

    def read(self, new: Mapping[Hashable, Sequence[int]]) -> None:
        """Read new tokens of some rows, any number of each.

        Raises:
            UsageError: a row is not there, or a token is below 0: a placeholder that some engines hand over.
        """
        self._check(new)
        kept = {row: len(self._rows[row].ids) for row in new}
        for row, tokens in new.items():
            self._rows[row].ids += tokens
        self._bring(kept)

    def show(self, rows: Mapping[Hashable, Sequence[int]]) -> None:
        """Bring some rows to these tokens, whatever was read of them before; each token is read once.

        Raises:
            UsageError: as `read`.
        """
        self._check(rows)
        kept = {row: shared(self._rows[row].ids, list(ids)) for row, ids in rows.items()}
        for row, ids in rows.items():
            self._rows[row].ids = list(ids)
        self._bring(kept)

    def _check(self, tokens: Mapping[Hashable, Sequence[int]]) -> None:
        for row, ids in tokens.items():
            self._row(row)
            if len(ids) and min(ids) < 0:
                raise UsageError(f"row: {row!r} has token {min(ids)}, a placeholder; give the tokens themselves.")

    def _bring(self, kept: Mapping[Hashable, int]) -> None:
        """Let the reader read what is new in some rows, of which so many first tokens are as they were."""
        if self._reader is None:
            return
        order = [row for row in self._rows if self._rows[row].ids]
        place = {row: i for i, row in enumerate(self._order)}
        self._reader.select([place.get(row) for row in order])
        self._order = order
        rows = [self._rows[row].ids for row in order]
        self._reader.show(rows, [kept.get(row, len(ids)) for row, ids in zip(order, rows, strict=True)])
        if self._steering.window is not None:
            for i, row in enumerate(order):
                if row in kept:
                    self._weigh(self._rows[row], kept[row], self._reader.new(i))

    def _weigh(self, row: _Row, kept: int, states: torch.Tensor) -> None:
        """Weigh the tokens of a row but the `kept` first ones, by what is said at the token before each."""
        said = self._steering.said(states)
        if row.said is not None:
            said = torch.cat([row.said[: len(row.ids) - len(said)], said])
        first = max(1, kept)
        old = said.new_empty(0) if row.weights is None else row.weights[: first - 1]
        new = torch.tensor(row.ids[first:], dtype=torch.long, device=said.device)
        row.weights = torch.cat([old, self._steering.weigh(said[first - 1 : -1], new)]) if len(new) else old
        row.said = said

    def act(
        self,
        rows: Sequence[Hashable],
        x: torch.Tensor,
        *,
        back: Sequence[int] | None = None,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return what the target says, changed for each row at its strength; `x` may be changed in place.

        Args:
            rows: the row of each of N positions, in any order; a row may stand there several times.
            x: logits [N, V], or states, as the steering's `place` says.
            back: how many tokens before its row's newest each position is; None: all are at the newest.
            states: the target's own final states [N, d] there, for a steering that `reads_target`.

        Raises:
            UsageError: a row is not there or has no tokens, or states are needed and not given.
        """
        strength = [self._row(row).strength for row in rows]
        if not self._steering.reads_target:
            said = self.says(rows, back)
        elif states is not None:
            said = self._steering.said(states)
        else:
            raise UsageError(f"{self._steering.name}: it acts on the target's final states; give them as `states`.")
        return self._steering.act(x, said.to(x.device), torch.tensor(strength, dtype=torch.float32, device=x.device))

    def says(self, rows: Sequence[Hashable], back: Sequence[int] | None = None) -> torch.Tensor:
        """Return what the readers say at N positions [N, S], as `Steering.act` takes it; arguments as in `act`."""
        if self._reader is None:
            return torch.empty(len(rows), 0)
        back = [0] * len(rows) if back is None else list(back)
        for name, behind in zip(rows, back, strict=True):
            count = len(self._row(name).ids)
            if not 0 <= behind < count:
                raise UsageError(f"row: {name!r} has {count} tokens; there is none {behind} before the newest.")
        if self._steering.window is not None:
            return torch.stack([self._weighed(self._rows[name], b) for name, b in zip(rows, back, strict=True)])
        place = {row: i for i, row in enumerate(self._order)}
        if not any(back):
            return self._steering.said(self._reader.last[[place[row] for row in rows]])
        furthest: dict[Hashable, int] = {}
        for name, behind in zip(rows, back, strict=True):
            furthest[name] = max(behind, furthest.get(name, 0))
        read = {name: self.says_of(self._rows[name].ids, most + 1) for name, most in furthest.items()}
        return torch.stack([read[name][-1 - behind] for name, behind in zip(rows, back, strict=True)])

    def says_of(self, ids: list[int], keep: int) -> torch.Tensor:
        """Return what the readers say at each of the last `keep` tokens of a text that is no row [keep, S], uncached.

        Not for steerings that weigh tokens.
        """
        assert self._reader is not None
        return self._steering.said(self._reader.states(ids, keep))

    def _weighed(self, row: _Row, back: int) -> torch.Tensor:
        """What is said so many tokens before the newest of a row, with the sum of the last tokens' weights [S + 1]."""
        assert self._steering.window is not None
        assert row.said is not None
        assert row.weights is not None
        end = len(row.ids) - back
        weight = row.weights[max(0, end - 1 - self._steering.window) : end - 1].sum()
        return torch.cat([row.said[end - 1], weight[None]])

    def _row(self, row: Hashable) -> _Row:
        if row not in self._rows:
            raise UsageError(f"row: there is no {row!r}; add it first.")
        return self._rows[row]
