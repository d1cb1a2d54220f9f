"""Continuous batching: requests join and leave between steps, and what one gets does not depend on the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from detoxlm.errors import DetoxError
from detoxlm.generation import Sampling, end_tokens, next_token
from detoxlm.passes import Prefill
from detoxlm.serving.host import Host
from detoxlm.serving.prefixes import Prefixes
from detoxlm.serving.rows import Drawn, Job, Piece, Row, joined, kept
from detoxlm.serving.text import Text
from detoxlm.sizing import is_out_of_memory

#: Tokens of prompts that are read between two steps of the rows that are being written: what those wait for, at most,
#: but for a detoxifier that reads beside the model: it reads a prompt whole when it joins.
#: Also the tokens of one prompt that are read at once, whoever else is there, so that it is read in one way only.
CHUNK = 256


@dataclass
class Counts:
    """What a batch has done."""

    #: Tokens drawn, of these the untouched model's, and those that a detoxifier should have acted on and had not.
    tokens: int = 0
    plain: int = 0
    unfused: int = 0
    #: Tokens of prompts that were read, and those that had been read before.
    prompts: int = 0
    cached: int = 0


@dataclass
class _Joining:
    """A job whose prompt is being read, for the first of its rows."""

    job: Job
    rows: list[Row]
    state: Prefill
    read: int = 0


class Batch:
    """The rows of one model. All calls are in one thread."""

    def __init__(self, host: Host, most: int, prefix_tokens: int = 0) -> None:
        """Take the host, how many rows may be decoded together, and how many tokens of ended ones are kept."""
        self._host, self._most = host, most
        self._prefixes = Prefixes(prefix_tokens)
        self._ends = frozenset(end_tokens(host.target))
        self._joining: _Joining | None = None
        self._rows: list[Row] = []
        self._state: Prefill | None = None
        self.counts = Counts()

    def __len__(self) -> int:
        """Return how many rows there are, with those whose prompt is being read."""
        joining = self._joining  # read once: other threads count too
        return len(self._rows) + (joining.job.count if joining else 0)

    def turn(self, waiting: deque[Job]) -> None:
        """Take from `waiting` whom there is room for, read some of their prompts, and write a token of every row.

        What goes wrong for one request is told to it alone; what goes wrong for all, to all.
        """
        try:
            self._leave([row for row in self._rows if row.job.cancelled])
            self._join(waiting)
            if self._rows:
                self._step()
        except Exception as error:  # out of memory, for one: the rows are lost, and the server goes on
            self._fail(error)

    def end(self, waiting: deque[Job], error: Exception) -> None:
        """Tell all, and those that wait, of an error: there are no more turns."""
        self._fail(error)
        for job in waiting:
            if not job.cancelled:  # else nobody listens any more
                job.tell(error)

    # --- joining ----------------------------------------------------------------------------------------------------

    def _join(self, waiting: deque[Job]) -> None:
        for job in [job for job in list(waiting) if job.cancelled]:  # others may add to it meanwhile
            waiting.remove(job)
        left = CHUNK
        while left > 0:
            if self._joining is not None and self._joining.job.cancelled:
                self._host.drop(self._joining.rows)
                self._joining = None
            try:
                if self._joining is None and not self._begin(waiting):
                    return
                left -= self._read()
            except Exception as error:
                if self._joining is None or is_out_of_memory(error):  # where there is no memory, no row can go on
                    raise
                self._host.drop(self._joining.rows)
                self._joining.job.tell(error)
                self._joining = None

    def _begin(self, waiting: deque[Job]) -> bool:
        """Begin with the job that waits longest, if there is one and room for it."""
        if not waiting or len(self._rows) + waiting[0].count > self._most:
            return False
        job = waiting.popleft()
        rows = [Row(job, sample, Text(self._host.target, job.stops)) for sample in range(job.count)]
        self._joining = one = _Joining(job, rows, self._host.empty())
        found = self._prefixes.state(job.ids, self._host.target.device) if self._host.reads_plainly(rows[0]) else None
        if found is not None:
            one.state, one.read = found, found.ids.shape[1]
        job.cached = one.read
        self.counts.cached += job.cached
        self._host.add(rows[0])
        return True

    def _read(self) -> int:
        """Read the next tokens of the prompt; at its end the job's rows join the others. Returns how many were read."""
        one = self._joining
        assert one is not None
        tokens = one.job.ids[one.read : one.read + CHUNK]
        one.read += len(tokens)
        last = one.read == len(one.job.ids)
        one.state = self._host.read(one.rows[0], one.state, tokens, last=last)
        self.counts.prompts += len(tokens)
        if last:
            self._host.fork(one.rows[0], one.rows[1:])
            state = one.state.repeated(one.job.count)
            self._state = state if self._state is None else joined(self._state, state)
            self._rows += one.rows
            self._joining = None
        return len(tokens)

    # --- writing ----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _step(self) -> None:
        """Draw a token of every row, or take what is given, tell it, and let the model read it."""
        assert self._state is not None
        logits = self._state.logits
        for row in self._broken(logits):
            self._leave([row])
        if not self._rows:
            return
        logits = self._state.logits
        noise = torch.tensor([row.noise() for row in self._rows], dtype=torch.float64, device=logits.device)
        tokens = self._draw(logits, noise)
        tokens = [row.given[0] if row.given else token for row, token in zip(self._rows, tokens, strict=True)]
        told = self._told(logits, tokens, noise)
        done: list[Row] = []
        for row, drawn in zip(self._rows, told, strict=True):
            if row.given:
                self.counts.prompts += 1
            else:
                self.counts.tokens += 1
                self.counts.plain += row.untouched
            piece = row.add(drawn, self._ends)
            if piece is not None:
                row.job.tell(piece)
                if piece.finish is not None:
                    done.append(row)
        going = [token for row, token in zip(self._rows, tokens, strict=True) if row not in done]
        self._leave(done)
        if self._rows:
            self._state = self._host.extend(self._rows, self._state, going)

    def _broken(self, logits: torch.Tensor) -> list[Row]:
        """Tell the rows that cannot be drawn from why, and return them with all others of their jobs."""
        finite = _finite(logits).tolist()
        failed: dict[Job, DetoxError] = {}
        for row, sound in zip(self._rows, finite, strict=True):
            if not sound or (row.plain is not None and not _finite(row.plain)):
                failed[row.job] = DetoxError("the model's logits are NaN or infinite")
            elif row.steered and not row.acted:
                self.counts.unfused += 1
                failed[row.job] = DetoxError("the detoxifier did not act")
        for job, error in failed.items():
            job.cancelled = True
            job.tell(error)
        return [row for row in self._rows if row.job in failed]

    def _draw(self, logits: torch.Tensor, noise: torch.Tensor) -> list[int]:
        """Draw a token of every row, by its own settings and its own random stream."""
        alike: dict[tuple[float, float, int], list[int]] = {}
        for i, row in enumerate(self._rows):
            sampling = row.job.sampling
            alike.setdefault((sampling.temperature, sampling.top_p, sampling.top_k), []).append(i)
        found = torch.empty(len(self._rows), dtype=torch.long, device=logits.device)
        for (temperature, top_p, top_k), rows in alike.items():
            sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
            found[rows] = next_token(logits[rows], sampling, noise[rows])
        return [int(token) for token in found.tolist()]

    def _told(self, logits: torch.Tensor, tokens: Sequence[int], noise: torch.Tensor) -> list[Drawn]:
        """Return what is told of drawn and given tokens: what the detoxified model says, whatever the temperature."""
        told = [Drawn(token) for token in tokens]
        asking = [i for i, row in enumerate(self._rows) if row.job.logprobs is not None]
        if asking:
            found = logits[asking].log_softmax(-1)
            most = max(self._rows[i].job.logprobs or 0 for i in asking)
            top = found.topk(min(most, found.shape[-1]))
            for i, logprobs, values, ids in zip(asking, found, top.values.tolist(), top.indices.tolist(), strict=True):
                likeliest = tuple(zip(ids, values, strict=True))[: self._rows[i].job.logprobs]
                told[i] = Drawn(tokens[i], float(logprobs[tokens[i]]), likeliest)
        for i, row in enumerate(self._rows):
            if row.plain is not None and not row.given:
                instead = int(next_token(row.plain[None], row.job.sampling, noise[i : i + 1])[0])
                told[i] = replace(told[i], instead=None if instead == tokens[i] else instead)
        return told

    # --- leaving ----------------------------------------------------------------------------------------------------

    def _leave(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        gone = set(rows)
        for i, row in enumerate(self._rows):
            # of several continuations of one prompt the first; of a prompt that is scored, none: nobody goes on with it
            if row in gone and row.sample == 0 and not row.job.echo and self._host.reads_plainly(row):
                assert self._state is not None
                self._prefixes.keep(self._state, i)
        left = [i for i, row in enumerate(self._rows) if row not in gone]
        self._host.drop(rows)
        self._rows = [self._rows[i] for i in left]
        assert self._state is not None
        self._state = kept(self._state, left) if left else None

    def _fail(self, error: Exception) -> None:
        """Tell all rows of an error and begin anew."""
        rows = [*self._rows, *(self._joining.rows if self._joining else [])]
        self._joining, self._rows, self._state = None, [], None
        self._host.clear()
        for job in dict.fromkeys(row.job for row in rows):
            job.tell(error)


def _finite(logits: torch.Tensor) -> torch.Tensor:
    """Return whether a token can be drawn from logits [..., V]: bool [...]."""
    return torch.isfinite(logits.max(-1).values)  # NaN wins a max


def answer(host: Host, job: Job) -> dict[int, Piece]:
    """Return what comes of one job alone, by sample: for tests and to warm up."""
    pieces: dict[int, Piece] = {}

    def tell(piece: Piece | Exception) -> None:
        if isinstance(piece, Exception):
            raise piece
        before = pieces.get(piece.sample, Piece(piece.sample, "", []))
        pieces[piece.sample] = Piece(
            piece.sample, before.text + piece.text, [*before.drawn, *piece.drawn], piece.finish
        )

    job.tell = tell
    batch, waiting = Batch(host, job.count), deque([job])
    while waiting or len(batch):
        batch.turn(waiting)
    return pieces
