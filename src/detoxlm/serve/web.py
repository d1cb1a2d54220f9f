"""What servers share between the socket and their handlers: bodies, clients that go away, and a log without texts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detoxlm.serve.metrics import Histogram
from detoxlm.serve.refusals import RefusedError

log = logging.getLogger("detoxlm.serve")
access_log = logging.getLogger("detoxlm.serve.access")

#: Bytes that are read and thrown away of a body that is too long, so that its sender reads why and sees no reset.
_THROWN_AWAY = 64 * 2**20

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Any]]


async def body_of(request: Request, most: int, seconds: float) -> bytes:
    """Return a body of at most `most` bytes, which has to come within so many seconds.

    Raises:
        RefusedError: it is longer, or comes too slowly.
        ClientDisconnect: it never came.
    """
    chunks, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= most:
                    chunks.append(chunk)
                elif size > _THROWN_AWAY:
                    break
    except TimeoutError:
        raise RefusedError(408, f"The body did not come within {seconds:g} s.") from None
    if size > most:
        raise RefusedError(413, f"Request payload size exceeds the limit: {most} bytes.")
    return b"".join(chunks)


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` gives; where the client goes before, end it: nobody needs the answer.

    Raises:
        ClientDisconnect: it went.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


class Counted(Protocol):
    """Where requests are counted, by route and status, and their seconds."""

    requests: Counter[tuple[str, int]]
    seconds: Histogram


class Watched:
    """Counts every request and writes a line of it: who, what route, which answer, how long; nothing that it said."""

    def __init__(self, app: ASGIApp, counted: Counted, known: frozenset[str]) -> None:
        self._app = app
        self._counted = counted
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, as an ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, code, size = time.perf_counter(), 0, 0

        async def watched(message: Message) -> None:
            nonlocal code, size
            code = message.get("status", code)
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:  # the server ends, and its last minute is over
            log.error("a request was not done in time and has no answer")
        finally:
            seconds = time.perf_counter() - began
            # the path of an unknown address may be a text, and the query has the key
            route = scope["path"] if scope["path"] in self._known else "other"
            method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
            self._counted.requests[route, code] += 1
            self._counted.seconds.add(seconds)
            client = (scope.get("client") or ("-",))[0]
            access_log.info("%s %s %s %d %dB %.1fms", client, method, route, code, size, 1000 * seconds)


def guarded(handler: Handler, answer_of: Callable[[Exception], Response]) -> Handler:
    """Return a handler whose errors are answers: what `answer_of` makes of them."""

    async def safe(request: Request) -> Any:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; the log shows it
        except Exception as error:
            return answer_of(error)

    return safe
