"""What the target has read for earlier requests, kept so that a conversation that goes on is not read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import takewhile

import torch
from transformers import DynamicCache

from detoxlm.passes import Prefill

#: A shorter beginning costs less to read again than to look after.
LEAST = 16


class Prefixes:
    """Keys and values of texts that were read, the ones used last, in at most so many tokens.

    They are the untouched model's: whatever a detoxifier does to logits or final states, layers before them read the
    same text alike. Rows on which one acts inside the model belong in none.
    """

    def __init__(self, most: int) -> None:
        """Keep at most `most` tokens, 0 for none."""
        self._most = most
        self._kept: OrderedDict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many tokens are kept."""
        return sum(map(len, self._kept))

    def state(self, ids: Sequence[int], device: torch.device) -> Prefill | None:
        """Return the state after the longest known beginning of a prompt; None: none is long enough to be worth it.

        At least the last token of `ids` is left to be read, for what the model says after it.
        """
        shared = {known: _shared(known, ids[:-1]) for known in self._kept}
        best = max(shared, key=shared.__getitem__, default=None)
        if best is None or shared[best] < LEAST:
            return None
        self._kept.move_to_end(best)
        length, cache = shared[best], DynamicCache()
        for i, (keys, values) in enumerate(self._kept[best]):
            cache.update(keys[:, :, :length], values[:, :, :length], i)
        read = torch.tensor([list(ids[:length])], device=device)
        return Prefill(torch.empty(0), cache, torch.ones_like(read), read)

    def keep(self, state: Prefill, row: int) -> None:
        """Keep what a row has read, in place of its beginnings; the text that was used longest ago goes first."""
        if not self._most:  # nothing is fetched from the device for nothing
            return
        chosen = state.mask[row].bool()
        ids = tuple(state.ids[row][chosen].tolist())
        if not LEAST <= len(ids) <= self._most:
            return
        for known in [known for known in self._kept if _shared(known, ids) == len(known)]:
            del self._kept[known]
        start = len(chosen) - len(ids)
        assert state.cache is not None
        self._kept[ids] = [
            (layer.keys[row : row + 1, :, start:].clone(), layer.values[row : row + 1, :, start:].clone())
            for layer in state.cache.layers
        ]
        while len(self) > self._most:
            self._kept.popitem(last=False)


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
