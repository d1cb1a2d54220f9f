"""`POST /score`: our own route. A list of texts as JSON, or as many as there are, a line each, as NDJSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from detoxlm.serve.engine import Identity
from detoxlm.serve.messages import json_of
from detoxlm.serve.refusals import RefusedError, malformed, shown

#: Texts that are handed to the scorer at a time.
SLICE = 256
#: Slices of answers that are kept for a client that sends on and does not read yet.
_UNREAD = 1000


class Score(Protocol):
    """`Batcher.score`."""

    def __call__(self, texts: list[str], patient: bool = False) -> Awaitable[np.ndarray]:
        """Return float64 [texts, dimensions]."""


def texts_of(body: bytes, max_bytes: int) -> tuple[list[str], bool]:
    """Return the texts of a JSON body, and whether all dimensions are asked for.

    Raises:
        RefusedError: it is malformed, or a text is too long; names which.
    """
    given = json_of(body)
    if not isinstance(given, dict):
        raise malformed("", 'The body is not an object like {"texts": ["…"], "dimensions": false}.')
    for name in given:
        if name not in ("texts", "dimensions"):
            raise malformed(shown(name), f'Unknown name "{shown(name)}"; known: texts, dimensions.')
    texts, dimensions = given.get("texts"), given.get("dimensions", False)
    if not isinstance(texts, list):
        raise malformed("texts", "texts is no list of texts.")
    if not isinstance(dimensions, bool):
        raise malformed("dimensions", "dimensions is neither true nor false.")
    return [text_of(text, f"texts[{i}]", max_bytes) for i, text in enumerate(texts)], dimensions


def text_of(value: Any, field: str, max_bytes: int) -> str:
    """Return a value that is a text of at most `max_bytes` in UTF-8.

    Raises:
        RefusedError: it is not.
    """
    if not isinstance(value, str):
        raise malformed(field, f"{field} is not a string.")
    if len(value.encode()) > max_bytes:
        raise malformed(field, f"{field} is longer than {max_bytes:,} bytes.")
    return value


async def answer(score: Score, identity: Identity, texts: list[str], dimensions: bool) -> dict[str, Any]:
    """Return the answer to a list of texts: who scored, `scores`, and with `dimensions` all that it says, by name.

    Raises:
        QueueFullError, Exception: as `Batcher.score`; once a part is scored the rest waits for room.
    """
    slices = [texts[start : start + SLICE] for start in range(0, len(texts), SLICE)]
    parts = [await score(part, patient=number > 0) for number, part in enumerate(slices)]
    table = np.concatenate(parts) if parts else np.empty((0, len(identity.dimensions)))
    found = {**identity.as_dict(), "scores": table[:, 0].tolist()}
    if dimensions:
        found["dimensions"] = dict(zip(identity.dimensions, table.T.tolist(), strict=True))
    return found


class Lines:
    """The answer to NDJSON, which is scored while it comes: for each line `{"text": …}` a line, in order.

    A line is answered with its number, from 1, and `toxicity` (with `dimensions` all that the scorer says), or with an
    `error` in place of scores. Memory holds what has come and is not scored, and answers that are not read yet.
    """

    def __init__(
        self,
        request: Request,
        score: Score,
        identity: Identity,
        dimensions: bool,
        max_bytes: int,
        refusal: Callable[[Exception], RefusedError],
        seconds: float,
    ) -> None:
        """Take the request; `refusal` says what an error is answered with, `seconds` how long a client may pause."""
        self._request = request
        self._score = score
        self._names = identity.dimensions if dimensions else identity.dimensions[:1]
        self._max_bytes = max_bytes
        #: Bytes of a line; every character of a text may be spelt \\u0041.
        self._longest = 6 * max_bytes + 1024
        self._refusal = refusal
        self._seconds = seconds
        # clients that read only when all is sent would else wait for us, and we for them
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue(_UNREAD)
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(2)  # one, and the end
        self._gone = self._late = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as an ASGI application."""
        headers = [(b"content-type", b"application/x-ndjson")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            group.create_task(self._work())
            while (chunk := await self._answers.get()) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            reading.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _read(self) -> None:
        """Read one chunk ahead, so that a client that is gone is seen while its lines are scored."""
        stream = aiter(self._request.stream())
        try:
            while True:
                async with asyncio.timeout(self._seconds):
                    chunk = await anext(stream)
                if chunk:
                    await self._chunks.put(chunk)
        except StopAsyncIteration:
            await self._chunks.put(None)
            await self._request.receive()  # nothing can come any more but that it is gone
            self._gone = True
        except ClientDisconnect:
            self._gone = True
        except TimeoutError:
            self._late = True
        await self._chunks.put(None)

    async def _work(self) -> None:
        number = 0
        async for lines in self._slices():
            if self._gone:
                break
            await self._answers.put(await self._answered(lines, number + 1))
            number += len(lines)
        if self._late:
            refusal = RefusedError(408, f"No line came for {self._seconds:g} s.")
            await self._answers.put(_line({"line": number + 1, **refusal.body()}))
        await self._answers.put(None)

    async def _slices(self) -> AsyncIterator[list[bytes | None]]:
        """Yield lines, as many as have come, at most `SLICE`; None stands for one that is too long."""
        rest, over = b"", False  # the line that has not ended yet, and whether it is too long
        while (chunk := await self._chunks.get()) is not None:
            *ended, rest = (rest + chunk).split(b"\n")
            lines = [None if len(line) > self._longest else line for line in ended]
            if lines and over:
                lines[0], over = None, False
            if over or len(rest) > self._longest:
                rest, over = b"", True
            for start in range(0, len(lines), SLICE):
                yield lines[start : start + SLICE]
        if over or rest:
            yield [None if over else rest]

    async def _answered(self, lines: list[bytes | None], first: int) -> bytes:
        texts: list[str | None] = []
        answers: list[dict[str, Any]] = []
        for line in lines:
            try:
                texts.append(self._text(line))
                answers.append({})
            except RefusedError as refusal:
                texts.append(None)
                answers.append(refusal.body())
        good = [i for i, text in enumerate(texts) if text is not None]
        for i, scores in zip(good, await self._scores([texts[i] or "" for i in good]), strict=True):
            answers[i] = scores
        return b"".join(_line({"line": first + i, **one}) for i, one in enumerate(answers))

    def _text(self, line: bytes | None) -> str:
        if line is None:
            raise malformed("text", f"The line is longer than {self._longest:,} bytes.")
        given = json_of(line)
        if not isinstance(given, dict) or "text" not in given:
            raise malformed("text", 'The line is not an object with a text: {"text": "…"}.')
        return text_of(given["text"], "text", self._max_bytes)

    async def _scores(self, texts: list[str]) -> list[dict[str, Any]]:
        try:
            table = await self._score(texts, patient=True)
        except Exception as error:  # one text may have failed all: each by itself, and those that fail get an error
            if len(texts) == 1:
                return [self._refusal(error).body()]
            return [(await self._scores([text]))[0] for text in texts]
        return [dict(zip(self._names, row.tolist(), strict=False)) for row in table]


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"
