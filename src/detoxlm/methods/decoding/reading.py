"""Reads rows of tokens beside a target, whatever a host does to its rows: each token once.

A `Reader` keeps its decoders' KV cache ragged: tokens that no longer hold are masked out where they are, and the holes
are squeezed out now and then. With another tokenizer a row's own tokens may change at its end whenever it grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache

from detoxlm.architecture import FAMILIES
from detoxlm.caching import parameters_of
from detoxlm.methods.decoding.translation import Line, SameTokens, Translator

#: The cache is squeezed when more than this share of its columns is empty in every row.
_HOLES = 0.25


def counts_columns(config: object) -> bool:
    """Tell whether a decoder's layers look back through a sliding window: they count cache columns, holes included."""
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def can_be_ragged(config: Any) -> bool:
    """Tell whether tokens can be masked out of a decoder's cache: it keeps no states, and counts no columns.

    Of families that the table does not list it is not known, and they are read afresh.
    """
    return config.model_type in FAMILIES and not counts_columns(config)


class Reader:
    """Gives decoders' final hidden states, side by side, for rows of target tokens."""

    def __init__(
        self,
        decoders: Sequence[nn.Module],
        *,
        translator: Translator | None = None,
        context: int | None = None,
    ) -> None:
        """Start without rows.

        Args:
            decoders: their cache layers are numbered from 0. Where one cannot be ragged, rows are read afresh.
            translator: of the target's tokens; None: they are the decoders' own.
            context: most tokens that the decoders can read; longer rows lose their beginning.
        """
        self._decoders = tuple(decoders)
        self._translator, self._context = translator or SameTokens(), context
        self._cached = all(can_be_ragged(decoder.config) for decoder in self._decoders)
        parameter = next(self._decoders[0].parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._forget(0)

    def _forget(self, rows: int) -> None:
        self._lines = [Line()] * rows
        self._tokens: list[list[int]] = [[] for _ in range(rows)]  # the readers' for each row,
        self._cuts = [0] * rows  # of which so many are left out, for the context,
        self._held = [0] * rows  # and so many of the others have been read
        self._columns: list[list[int]] = [[] for _ in range(rows)]  # where those are in the cache
        self._caches = [DynamicCache() for _ in self._decoders]
        self._mask = torch.zeros(rows, 0, dtype=torch.long, device=self._device)
        #: The state at the end of each row [rows, D]; D is known from the first token on.
        self.last = torch.zeros(rows, 0, dtype=self._dtype, device=self._device)
        #: The states [rows, T, D] at the tokens that the last `show` has read, and how many those are in each row.
        self._states, self._counts = self.last[:, None][:, :0], [0] * rows

    # --- rows -------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def select(self, parents: Sequence[int | None]) -> None:
        """Let row i be from now on what row parents[i] has been, and an empty one for None."""
        if list(parents) == list(range(len(self._tokens))):
            return
        if all(parent is None for parent in parents):
            self._forget(len(parents))
            return
        chosen = torch.tensor([parent or 0 for parent in parents], device=self._device)
        for cache in self._caches:
            cache.batch_select_indices(chosen)
        self._mask, self.last, self._states = self._mask[chosen], self.last[chosen], self._states[chosen]
        for i, parent in enumerate(parents):
            if parent is None:
                self._mask[i] = 0
        self._lines = [Line() if j is None else self._lines[j] for j in parents]
        self._cuts, self._held, self._counts = (
            [0 if j is None else numbers[j] for j in parents] for numbers in (self._cuts, self._held, self._counts)
        )
        self._tokens, self._columns = (
            [[] if j is None else list(rows[j]) for j in parents] for rows in (self._tokens, self._columns)
        )

    @torch.inference_mode()
    def show(self, rows: Sequence[list[int]], kept: Sequence[int]) -> None:
        """Bring every row to these target tokens: take back what no longer holds, read what is new.

        Of each row only what follows its `kept` first tokens is looked at: they are as they were.
        """
        lines = [line.cut(min(n, len(line))) for line, n in zip(self._lines, kept, strict=True)]
        grown = self._translator.grow(lines, [ids[len(line) :] for ids, line in zip(rows, lines, strict=True)])
        self._lines = [one.line for one in grown]
        new = [self._replace(i, one.at, one.tokens) for i, one in enumerate(grown)]
        self._counts = [0] * len(rows)
        if not any(new):
            return
        self._states = (self._read if self._cached else self._read_afresh)(new)
        self._counts = [len(row) for row in new]
        self._held = [len(tokens) - cut for tokens, cut in zip(self._tokens, self._cuts, strict=True)]
        self._keep()

    def new(self, row: int) -> torch.Tensor:
        """Return the states [t, D] at the t tokens that the last `show` has read in a row."""
        return self._states[row, : self._counts[row]]

    def _keep(self) -> None:
        """Keep the states at the ends of the rows that have grown."""
        if not self.last.shape[1]:
            self.last = self._states.new_zeros(len(self._states), self._states.shape[2])
        grown = [i for i, count in enumerate(self._counts) if count]
        rows = torch.tensor(grown, device=self._device)
        ends = torch.tensor([self._counts[i] - 1 for i in grown], device=self._device)
        self.last = self.last.index_copy(0, rows, self._states[rows, ends])

    def _replace(self, i: int, at: int, tokens: list[int]) -> list[int]:
        """Let the tokens of row i from `at` on be these, mask out others, and return what is left to read.

        A row that does not fit the context loses its beginning; the cut moves in steps, so that most calls can reuse.
        """
        row = self._tokens[i]
        same = at + shared(tokens, row[at:])
        row[same:] = tokens[same - at :]
        cut = _cut(len(row), self._context)
        kept = min(max(0, same - cut), self._held[i]) if cut == self._cuts[i] else 0
        if kept and kept == len(row) - cut < self._held[i]:
            kept -= 1  # shorter than before: the state at its end is gone, read the last token again
        if self._cached and (stale := self._columns[i][kept:]):
            self._mask[i, stale] = 0
            del self._columns[i][kept:]
        self._cuts[i], self._held[i] = cut, kept
        return row[cut + kept :]

    def _read(self, new: list[list[int]]) -> torch.Tensor:
        begun = [i for i, row in enumerate(new) if row and not self._columns[i]]
        if begun and any(self._columns):
            return self._read_apart(begun, new)
        self._squeeze()
        device, past, longest = self._device, self._mask.shape[1], max(map(len, new))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in new], device=device)
        fresh = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in new], device=device)
        starts = torch.tensor([len(columns) for columns in self._columns], device=device)
        self._mask = torch.cat([self._mask, fresh], 1)
        positions = (starts[:, None] + fresh.cumsum(1) - 1).clamp(min=0)
        states = [
            decoder(
                input_ids=ids, attention_mask=self._mask, position_ids=positions, past_key_values=cache, use_cache=True
            ).last_hidden_state
            for decoder, cache in zip(self._decoders, self._caches, strict=True)
        ]
        for i, row in enumerate(new):
            self._columns[i] += range(past, past + len(row))
        return side_by_side(states)

    def _read_apart(self, begun: list[int], new: list[list[int]]) -> torch.Tensor:
        """Read rows that begin by themselves: a long one must not cost every other row a pass over as many columns."""
        apart = Reader(self._decoders, context=self._context)
        apart._forget(len(begun))
        found = dict(zip(begun, apart._read([new[i] for i in begun]), strict=True))
        self._take(begun, apart)
        rest = [[] if i in found else row for i, row in enumerate(new)]
        if any(rest):
            found |= {i: row for i, row in enumerate(self._read(rest)) if i not in found}
        width = max(len(row) for row in found.values())
        nothing = found[begun[0]][:0]
        rows = [found.get(i, nothing) for i in range(len(new))]
        return torch.stack([F.pad(row, (0, 0, 0, width - len(row))) for row in rows])

    def _take(self, rows: list[int], other: Reader) -> None:
        """Put what another reader has read, row by row, at the end of the columns of these rows, which are empty."""
        longest = max(map(len, other._columns))
        if (more := longest - self._mask.shape[1]) > 0:
            self._mask = F.pad(self._mask, (more, 0))
            self._columns = [[column + more for column in columns] for columns in self._columns]
        width = self._mask.shape[1]
        for cache, read in zip(self._caches, other._caches, strict=True):
            for layer, source in zip(cache.layers, read.layers, strict=True):
                layer.keys, layer.values = (F.pad(x, (0, 0, width - x.shape[2], 0)) for x in (layer.keys, layer.values))
                for i, row, columns in zip(rows, range(len(rows)), other._columns, strict=True):
                    layer.keys[i, :, width - len(columns) :] = source.keys[row][:, columns]
                    layer.values[i, :, width - len(columns) :] = source.values[row][:, columns]
        for i, columns in zip(rows, other._columns, strict=True):
            self._columns[i] = list(range(width - len(columns), width))
            self._mask[i] = 0
            self._mask[i, self._columns[i]] = 1

    def _read_afresh(self, new: list[list[int]]) -> torch.Tensor:
        longest, found = max(map(len, new)), {}
        for i, row in enumerate(new):
            if row:
                whole = self._tokens[i][self._cuts[i] :]
                states = self._forward(whole, list(range(len(whole))), None)[-len(row) :]
                found[i] = F.pad(states, (0, 0, 0, longest - len(row)))
        nothing = torch.zeros_like(next(iter(found.values())))
        return torch.stack([found.get(i, nothing) for i in range(len(new))])

    def _squeeze(self) -> None:
        """Close the holes in the cache where there are many."""
        width, longest = self._mask.shape[1], max(map(len, self._columns))
        if width < 64 or width - longest <= _HOLES * width:
            return
        index = self._mask.argsort(dim=1, stable=True)[:, width - longest :]  # holes come first, the rest as it stands
        for layer in (layer for cache in self._caches for layer in cache.layers):
            where = index[:, None, :, None]
            layer.keys = layer.keys.gather(2, where.expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3]))
            layer.values = layer.values.gather(2, where.expand(-1, layer.values.shape[1], -1, layer.values.shape[3]))
        self._columns = [list(range(longest - len(columns), longest)) for columns in self._columns]
        self._mask = self._mask.gather(1, index)

    # --- a state at each of the last tokens of a text, uncached -----------------------------------------------------

    @torch.inference_mode()
    def states(self, ids: list[int], keep: int) -> torch.Tensor:
        """Return the states [keep, D] after each of the last `keep` target tokens of one text, by reading it once.

        The text before each token is tokenised as `show` would; where that differs from the tokens of the whole text,
        the differing tokens hang on the common prefix as a branch that no other token sees.
        """
        line, tokens = Line(), list[int]()
        rows: list[list[int]] = []
        for end in range(max(1, len(ids) - keep + 1), len(ids) + 1):
            (grown,) = self._translator.grow([line], [ids[len(line) : end]])
            line, tokens = grown.line, tokens[: grown.at] + grown.tokens
            rows.append(tokens)
        out: list[torch.Tensor] = []
        start = 0
        while start < len(rows):  # rows that are cut at the same place are read together
            cut = _cut(len(rows[start]), self._context)
            stop = start
            while stop < len(rows) and _cut(len(rows[stop]), self._context) == cut:
                stop += 1
            out.append(self._tree([row[cut:] for row in rows[start:stop]]))
            start = stop
        return torch.cat(out)

    def _tree(self, rows: list[list[int]]) -> torch.Tensor:
        """Return the state at the end of each row [rows, D]; the rows are read as one tree of tokens."""
        trunk = rows[-1]
        tokens, positions = list(trunk), list(range(len(trunk)))
        ancestors: list[list[int]] = []  # of the tokens behind the trunk: the branch so far
        shared_of: list[int] = []
        ends: list[int] = []
        for row in rows:
            common = shared(row, trunk)
            branch: list[int] = []
            for place in range(common, len(row)):
                branch.append(len(tokens))
                tokens.append(row[place])
                positions.append(place)
                ancestors.append(list(branch))
                shared_of.append(common)
            ends.append(branch[-1] if branch else common - 1)
        seen = torch.ones(len(tokens), len(tokens), dtype=torch.bool, device=self._device).tril()
        for offset, (branch, common) in enumerate(zip(ancestors, shared_of, strict=True)):
            row_of = len(trunk) + offset
            seen[row_of] = False
            seen[row_of, :common] = True
            seen[row_of, branch] = True
        mask: torch.Tensor | None = None
        if ancestors:
            blocked = torch.finfo(self._dtype).min
            mask = torch.zeros_like(seen, dtype=self._dtype).masked_fill(~seen, blocked)[None, None]
        return self._forward(tokens, positions, mask)[torch.tensor(ends, device=self._device)]

    def _forward(self, tokens: list[int], positions: list[int], mask: torch.Tensor | None) -> torch.Tensor:
        """Return the states [T, D] of one text, read without a cache."""
        ids, places = (torch.tensor([numbers], device=self._device) for numbers in (tokens, positions))
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": places, "use_cache": False}
        hidden = []
        for decoder in self._decoders:
            takes = parameters_of(decoder)
            own = {name: value for name, value in given.items() if name in takes}
            hidden.append(decoder(**own).last_hidden_state[0])
        return side_by_side(hidden)


def side_by_side(states: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the states of several decoders [..., d] as one [..., D]."""
    return states[0] if len(states) == 1 else torch.cat(list(states), -1)


def shared(a: list[int], b: list[int]) -> int:
    """Return the length of the longest common prefix."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length  # a[:low] is shared, a[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _cut(length: int, context: int | None) -> int:
    """How many first tokens of a row to leave out, in steps of half a context."""
    if context is None or length <= context:
        return 0
    half = max(1, context // 2)
    return half * -(-(length - context) // half)
