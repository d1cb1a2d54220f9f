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
        self._lines: list[Line | None] = [None] * rows
        self._tokens: list[list[int]] = [[] for _ in range(rows)]  # what is in the cache, by row,
        self._columns: list[list[int]] = [[] for _ in range(rows)]  # and where
        self._caches = [DynamicCache() for _ in self._decoders]
        self._mask = torch.zeros(rows, 0, dtype=torch.long, device=self._device)
        #: The state at the end of each row [rows, D]; D is known from the first token on.
        self.last = torch.zeros(rows, 0, dtype=self._dtype, device=self._device)
        #: For each row the states [t, D] at the t tokens that the last `show` has read in it.
        self.new: list[torch.Tensor] = [self.last[:0]] * rows

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
        self._mask, self.last = self._mask[chosen], self.last[chosen]
        for i, parent in enumerate(parents):
            if parent is None:
                self._mask[i] = 0
        self.new = [self.last[:0] if j is None else self.new[j] for j in parents]
        self._lines = [None if j is None else self._lines[j] for j in parents]
        self._tokens, self._columns = (
            [[] if j is None else list(rows[j]) for j in parents] for rows in (self._tokens, self._columns)
        )

    @torch.inference_mode()
    def show(self, rows: Sequence[list[int]]) -> None:
        """Bring every row to these target tokens: take back what no longer holds, read what is new."""
        lines = [
            before if before is not None and before.ids == ids else self._translator.line(ids, before)
            for ids, before in zip(rows, self._lines, strict=True)
        ]
        self._lines = list(lines)
        tokens = [self._clip(line.tokens) for line in lines]
        new = [self._roll_back(i, row) for i, row in enumerate(tokens)]
        self.new = [self.last[:0]] * len(rows)
        if not any(new):
            return
        read = self._read if self._cached else self._read_afresh
        self._keep(read(new, tokens))
        self._tokens = [list(row) for row in tokens]

    def _keep(self, new: list[torch.Tensor]) -> None:
        """Take the states [t, D] at the new tokens of every row."""
        width = new[0].shape[1]
        self.new = new
        if not self.last.shape[1]:
            self.last = new[0].new_zeros(len(new), width)
        grown = [i for i, states in enumerate(new) if len(states)]
        ends = torch.stack([new[i][-1] for i in grown])
        self.last = self.last.index_copy(0, torch.tensor(grown, device=self._device), ends)

    def _clip(self, tokens: list[int]) -> list[int]:
        """Keep the end of what does not fit the context; the cut moves in steps, so that most calls can reuse."""
        return tokens[_cut(len(tokens), self._context) :]

    def _roll_back(self, i: int, tokens: list[int]) -> list[int]:
        """Mask out what row i no longer begins with, and return what is left to read."""
        kept = shared(tokens, self._tokens[i])
        if kept and kept == len(tokens) < len(self._tokens[i]):
            kept -= 1  # shorter than before: the state at its end is gone, read the last token again
        if self._cached and (stale := self._columns[i][kept:]):
            self._mask[i, stale] = 0
        self._tokens[i], self._columns[i] = self._tokens[i][:kept], self._columns[i][:kept]
        return tokens[kept:]

    def _read(self, new: list[list[int]], tokens: list[list[int]]) -> list[torch.Tensor]:
        begun = [i for i, row in enumerate(new) if row and not self._columns[i]]
        if begun and any(self._columns):
            return self._read_apart(begun, new, tokens)
        self._squeeze()
        device, past, longest = self._device, self._mask.shape[1], max(map(len, new))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in new], device=device)
        fresh = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in new], device=device)
        starts = torch.tensor([len(row) for row in self._tokens], device=device)
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
        hidden = side_by_side(states)
        return [hidden[i, : len(row)] for i, row in enumerate(new)]

    def _read_apart(self, begun: list[int], new: list[list[int]], tokens: list[list[int]]) -> list[torch.Tensor]:
        """Read rows that begin by themselves: a long one must not cost every other row a pass over as many columns."""
        apart = Reader(self._decoders, context=self._context)
        apart._forget(len(begun))
        found = apart._read([new[i] for i in begun], [tokens[i] for i in begun])
        self._take(begun, apart)
        rest = [[] if i in begun else row for i, row in enumerate(new)]
        states = self._read(rest, tokens) if any(rest) else [found[0][:0]] * len(new)
        for i, own in zip(begun, found, strict=True):
            states[i] = own
        return states

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

    def _read_afresh(self, new: list[list[int]], tokens: list[list[int]]) -> list[torch.Tensor]:
        found = [
            self._forward(whole, list(range(len(whole))), None)[-len(row) :] if row else None
            for row, whole in zip(new, tokens, strict=True)
        ]
        nothing = next(states for states in found if states is not None)[:0]
        return [nothing if states is None else states for states in found]

    def _squeeze(self) -> None:
        """Close the holes in the cache where there are many."""
        width, longest = self._mask.shape[1], max(map(len, self._columns))
        if width < 64 or width - longest <= _HOLES * width:
            return
        padded = [[0] * (longest - len(columns)) + columns for columns in self._columns]
        index = torch.tensor(padded, device=self._device)
        for layer in (layer for cache in self._caches for layer in cache.layers):
            where = index[:, None, :, None]
            layer.keys = layer.keys.gather(2, where.expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3]))
            layer.values = layer.values.gather(2, where.expand(-1, layer.values.shape[1], -1, layer.values.shape[3]))
        self._columns = [list(range(longest - len(columns), longest)) for columns in self._columns]
        self._mask = torch.tensor(
            [[0] * (longest - len(columns)) + [1] * len(columns) for columns in self._columns], device=self._device
        )

    # --- a state at each of the last tokens of a text, uncached -----------------------------------------------------

    @torch.inference_mode()
    def states(self, ids: list[int], keep: int) -> torch.Tensor:
        """Return the states [keep, D] after each of the last `keep` target tokens of one text, by reading it once.

        The text before each token is tokenised as `show` would; where that differs from the tokens of the whole text,
        the differing tokens hang on the common prefix as a branch that no other token sees.
        """
        line: Line | None = None
        rows: list[list[int]] = []
        for end in range(1, len(ids) + 1):
            line = self._translator.line(ids[:end], line)
            if end > len(ids) - keep:
                rows.append(line.tokens)
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
