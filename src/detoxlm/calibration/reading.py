"""Reads a target's text with a calibrator that has another tokenizer, or only sees token ids: each token once.

`Reader` keeps the calibrator's KV cache by *content*: whatever a decoding loop does to its rows (beams, repeats,
dropped rows, cropped candidates), the longest prefix that some row of the last call had is reused and only the rest is
read. Rows of text change length when they are tokenised again; tokens that no longer hold are masked out where they
are, and the holes are squeezed out now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from transformers import DynamicCache

#: The cache is squeezed when more than this share of its columns is empty in every row.
_HOLES = 0.25
#: A row's text is tokenised again from its last fixed place; the place moves on when the rest is longer than this.
_TAIL = 48
#: Tokens at the end of the text that never become fixed: the next token may still merge with them.
_LOOSE = 8


@dataclass(frozen=True)
class Line:
    """A row of target tokens and the calibrator's tokens for its text."""

    ids: list[int]  # the target's
    tokens: list[int]  # the calibrator's
    fixed: int = 0  # so many of `ids` are behind a place that later tokens cannot change,
    fixed_tokens: list[int] = field(default_factory=list)  # and these are their `tokens`


class Translator(Protocol):
    """Turns target token ids into calibrator token ids."""

    def line(self, ids: list[int], before: Line | None = None) -> Line:
        """Translate a row; `before` is a shorter row that it may continue."""


class SameTokens:
    """The translator between two models with one tokenizer."""

    def line(self, ids: list[int], before: Line | None = None) -> Line:
        """Return the row as it is."""
        return Line(ids, ids)


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


class Reader:
    """Gives the calibrator's final hidden states for rows of target tokens."""

    def __init__(
        self, decoder: nn.Module, translator: Translator, window: int | None, width: int, *, cached: bool = True
    ) -> None:
        """Take the calibrator's decoder (its own cache layers from 0 on), its context window and its width.

        `cached` False reads every row afresh: sliding-window layers count columns, and holes would shift them.
        """
        self._decoder, self._translator, self._window, self._width = decoder, translator, window, width
        self._cached = cached
        self.forget()

    def forget(self) -> None:
        """Drop what was read."""
        self._lines: list[Line] = []
        self._tokens: list[list[int]] = []  # what is in the cache, by row,
        self._columns: list[list[int]] = []  # and where
        self._cache = DynamicCache()
        self._mask = torch.zeros(0, 0, dtype=torch.long)
        self._states = torch.zeros(0, self._width)

    # --- one state a row, cached ------------------------------------------------------------------------------------

    @torch.inference_mode()
    def last_states(self, rows: Sequence[list[int]]) -> torch.Tensor:
        """Return the state [rows, d] at the end of each row of target token ids, reading only what is new."""
        if not self._cached:
            return torch.cat([self.states(ids, 1) for ids in rows])
        parents = [self._parent(ids, i) for i, ids in enumerate(rows)]
        lines = [
            self._translator.line(ids, self._lines[parent] if parent is not None else None)
            for ids, parent in zip(rows, parents, strict=True)
        ]
        tokens = [self._clip(line.tokens) for line in lines]
        if all(parent is None for parent in parents):
            self.forget()
            device = next(self._decoder.parameters()).device
            self._mask = torch.zeros(len(rows), 0, dtype=torch.long, device=device)
            self._states = torch.zeros(len(rows), self._width, device=device)
            self._tokens, self._columns = [[] for _ in rows], [[] for _ in rows]
        else:
            self._select([0 if parent is None else parent for parent in parents])
        new = [self._roll_back(i, row) for i, row in enumerate(tokens)]
        self._lines = lines
        longest = max(map(len, new))
        if longest:
            self._read(new, tokens, longest)
        return self._states

    def _parent(self, ids: list[int], i: int) -> int | None:
        """Return the row of the last call that `ids` continues best: usually the same row without the last token."""
        if i < len(self._lines) and ids[: len(self._lines[i].ids)] == self._lines[i].ids:
            return i
        best, shared = None, 0
        for j, line in enumerate(self._lines):
            length = _shared(ids, line.ids)
            if length > shared:
                best, shared = j, length
        return best

    def _clip(self, tokens: list[int]) -> list[int]:
        """Keep the end of what does not fit the window; the cut moves in steps, so that most calls can reuse."""
        return tokens[_cut(len(tokens), self._window) :]

    def _select(self, parents: list[int]) -> None:
        if parents == list(range(len(self._tokens))):
            return
        chosen = torch.tensor(parents, device=self._mask.device)
        self._cache.batch_select_indices(chosen)
        self._mask, self._states = self._mask[chosen], self._states[chosen]
        self._tokens = [list(self._tokens[j]) for j in parents]
        self._columns = [list(self._columns[j]) for j in parents]

    def _roll_back(self, i: int, tokens: list[int]) -> list[int]:
        """Mask out what row i no longer begins with, and return what is left to read."""
        kept = _shared(tokens, self._tokens[i])
        if kept == len(tokens) < len(self._tokens[i]):
            kept -= 1  # shorter than before: the state at its end is gone, read the last token again
        if stale := self._columns[i][kept:]:
            self._mask[i, stale] = 0
        self._tokens[i], self._columns[i] = self._tokens[i][:kept], self._columns[i][:kept]
        return tokens[kept:]

    def _read(self, new: list[list[int]], tokens: list[list[int]], longest: int) -> None:
        self._squeeze()
        device, past = self._mask.device, self._mask.shape[1]
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in new], device=device)
        fresh = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in new], device=device)
        starts = torch.tensor([len(row) for row in self._tokens], device=device)
        self._mask = torch.cat([self._mask, fresh], 1)
        hidden = self._decoder(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=(starts[:, None] + fresh.cumsum(1) - 1).clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        ends = [(i, len(row) - 1) for i, row in enumerate(new) if row]
        which, at = (torch.tensor(part, device=device) for part in zip(*ends, strict=True))
        self._states = self._states.to(hidden.dtype).index_copy(0, which, hidden[which, at])
        for i, row in enumerate(new):
            self._columns[i] += range(past, past + len(row))
        self._tokens = [list(row) for row in tokens]

    def _squeeze(self) -> None:
        """Close the holes in the cache where there are many."""
        width, longest = self._mask.shape[1], max(map(len, self._columns))
        if width < 64 or width - longest <= _HOLES * width:
            return
        padded = [[0] * (longest - len(columns)) + columns for columns in self._columns]
        index = torch.tensor(padded, device=self._mask.device)
        for layer in self._cache.layers:
            where = index[:, None, :, None]
            layer.keys = layer.keys.gather(2, where.expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3]))
            layer.values = layer.values.gather(2, where.expand(-1, layer.values.shape[1], -1, layer.values.shape[3]))
        self._columns = [list(range(longest - len(columns), longest)) for columns in self._columns]
        self._mask = torch.tensor(
            [[0] * (longest - len(columns)) + [1] * len(columns) for columns in self._columns], device=index.device
        )

    # --- a state at each of the last tokens, uncached ---------------------------------------------------------------

    @torch.inference_mode()
    def states(self, ids: list[int], keep: int) -> torch.Tensor:
        """Return the states [keep, d] after each of the last `keep` target tokens of one row, by reading it once.

        The text before each token is tokenised as `last_states` would; where that differs from the tokens of the whole
        text, the differing tokens hang on the common prefix as a branch that no other token sees.
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
            cut = _cut(len(rows[start]), self._window)
            stop = start
            while stop < len(rows) and _cut(len(rows[stop]), self._window) == cut:
                stop += 1
            out.append(self._tree([row[cut:] for row in rows[start:stop]]))
            start = stop
        return torch.cat(out)

    def _tree(self, rows: list[list[int]]) -> torch.Tensor:
        """Return the state at the end of each row [rows, d]; the rows are read as one tree of tokens."""
        trunk = rows[-1]
        tokens, positions = list(trunk), list(range(len(trunk)))
        ancestors: list[list[int]] = []  # of the tokens behind the trunk: the branch so far
        shared_of: list[int] = []
        ends: list[int] = []
        for row in rows:
            shared = _shared(row, trunk)
            branch: list[int] = []
            for place in range(shared, len(row)):
                branch.append(len(tokens))
                tokens.append(row[place])
                positions.append(place)
                ancestors.append(list(branch))
                shared_of.append(shared)
            ends.append(branch[-1] if branch else shared - 1)
        parameter = next(self._decoder.parameters())
        seen = torch.ones(len(tokens), len(tokens), dtype=torch.bool, device=parameter.device).tril()
        for offset, (branch, shared) in enumerate(zip(ancestors, shared_of, strict=True)):
            row_of = len(trunk) + offset
            seen[row_of] = False
            seen[row_of, :shared] = True
            seen[row_of, branch] = True
        mask: torch.Tensor | None = None
        if ancestors:
            blocked = torch.finfo(parameter.dtype).min
            mask = torch.zeros_like(seen, dtype=parameter.dtype).masked_fill(~seen, blocked)[None, None]
        hidden = self._decoder(
            input_ids=torch.tensor([tokens], device=parameter.device),
            attention_mask=mask,
            position_ids=torch.tensor([positions], device=parameter.device),
            use_cache=False,
        ).last_hidden_state[0]
        return hidden[torch.tensor(ends, device=parameter.device)]


def _shared(a: list[int], b: list[int]) -> int:
    """Length of the longest common prefix."""
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


def _cut(length: int, window: int | None) -> int:
    """How many first tokens of a row to leave out, in steps of half a window."""
    if window is None or length <= window:
        return 0
    half = max(1, window // 2)
    return half * -(-(length - window) // half)
