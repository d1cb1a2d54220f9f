"""The server without its socket: routes, keys, bodies, errors and streams."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import detoxlm
from detoxlm.scorers.base import Scorer
from detoxlm.serve.batching import QueueFullError
from detoxlm.serve.keys import Keys
from detoxlm.serve.refusals import RefusedError
from detoxlm.serve.web import Handler, Watched, body_of, guarded, while_there
from detoxlm.serving.answers import Answers, Written, usage
from detoxlm.serving.asking import Asked, Asking
from detoxlm.serving.engine import Engine
from detoxlm.serving.errors import ApiError, form_of, model_failed
from detoxlm.serving.forms import Body, Chat, Completion, Texts, parsed
from detoxlm.serving.metrics import Metrics
from detoxlm.serving.page import POLICY, page
from detoxlm.serving.rows import Piece
from detoxlm.serving.served import Served

log = logging.getLogger("detoxlm.serve")

#: Bytes of a body, and seconds that it may take to come.
MOST, SECONDS = 4 * 2**20, 60.0
_COMPLETIONS, _CHAT = "/v1/completions", "/v1/chat/completions"


@dataclass
class _Work:
    """One request, and what has come of it."""

    engine: Engine
    metrics: Metrics
    began: float = field(default_factory=time.perf_counter)
    asked: Asked | None = None
    _told: asyncio.Queue[tuple[int, Piece | Exception]] = field(default_factory=asyncio.Queue)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def tell(self, index: int, told: Piece | Exception) -> None:
        """Take what the engine tells, in its thread."""
        self._loop.call_soon_threadsafe(self._told.put_nowait, (index, told))

    def begin(self, asked: Asked) -> None:
        """Put it into the queue.

        Raises:
            QueueFullError: there is no room.
        """
        self.asked = asked
        self.engine.submit(asked.jobs)

    def stop(self) -> None:
        """Give its rows free; after its end this does nothing."""
        if self.asked is not None:
            self.engine.cancel(self.asked.jobs)

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yield what comes, until all continuations have ended; whoever stops listening gives their rows free.

        Raises:
            Exception: what the engine tells in place of a piece.
        """
        assert self.asked is not None
        left, first = self.asked.count, True
        try:
            while left:
                index, told = await self._told.get()
                if isinstance(told, Exception):
                    raise told
                if first:
                    self.metrics.first.add(time.perf_counter() - self.began)
                    first = False
                left -= told.finish is not None
                yield index, told
        finally:
            if left:
                self.stop()


class _Events(StreamingResponse):
    """A stream of events; a client that goes away sets its rows free at once, and not when garbage is collected."""

    def __init__(self, work: _Work, events: AsyncIterator[str], headers: dict[str, str]) -> None:
        super().__init__(events, 200, headers, "text/event-stream")
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as an ASGI application."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.stop()


class _Server:
    """The handlers of the routes."""

    def __init__(
        self,
        served: Served,
        engine: Engine,
        metrics: Metrics,
        keys: Keys | None,
        most: int,
        scorer: Scorer | None,
    ) -> None:
        self.served, self.engine, self.metrics, self.keys = served, engine, metrics, keys
        self.scorer, self.scoring = scorer, asyncio.Lock()
        self.asking = Asking(served, most)
        self.started = int(time.time())

    async def completions(self, request: Request) -> Response:
        """Continue prompts."""
        return await self._write(request, Completion, self.asking.completion)

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._write(request, Chat, self.asking.chat)

    async def _write(self, request: Request, kind: type[Body], ask: Callable[..., Asked]) -> Response:
        self._check_key(request)
        body = parsed(kind, await body_of(request, MOST, SECONDS))
        work = _Work(self.engine, self.metrics)
        asked = ask(body, work.tell)
        described = self.served.described(asked.model, asked.strength)
        answers = Answers(
            self.served.target,
            asked.model,
            described,
            chat=kind is Chat,
            logprobs=asked.jobs[0].logprobs is not None,
            explain=asked.jobs[0].explain,
        )
        work.begin(asked)
        if asked.stream:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return _Events(work, _stream(work, asked, answers), headers)
        return JSONResponse(await while_there(request, _whole(work, asked, answers)))

    async def models(self, request: Request) -> Response:
        """What `model` may be."""
        self._check_key(request)
        return JSONResponse({"object": "list", "data": [self._model(name) for name in self.served.names]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        self._check_key(request)
        name = request.path_params["name"]
        if name not in self.served.names:
            raise ApiError(404, "No such model is served here.", "model", "model_not_found")
        return JSONResponse(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        served = self.served
        detoxifier = served.detoxifiers.get(name) or next(iter(served.detoxifiers.values()), None)
        about: dict[str, Any] = served.described(name, served.chosen(name, None)[1])
        if detoxifier is not None:
            about["max_strength"] = detoxifier.max_strength
        return {
            "id": name,
            "object": "model",
            "created": self.started,
            "owned_by": "detoxlm",
            "max_model_len": served.window,
            "detoxlm": about,
        }

    async def page(self, request: Request) -> Response:
        """All of this, for people."""
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(page(self.served, self.scorer), headers=headers)

    async def toxicity(self, request: Request) -> Response:
        """Score texts, for the page: one request at a time, beside the model."""
        self._check_key(request)
        texts = parsed(Texts, await body_of(request, MOST, SECONDS)).texts
        if self.scorer is None:
            raise ApiError(404, "No scorer is served here.")
        async with self.scoring:
            scores = await asyncio.to_thread(self.scorer.score, texts)
        return JSONResponse({"scorer": self.scorer.name, "scores": [round(float(score), 4) for score in scores]})

    async def health(self, request: Request) -> Response:
        """Whether the server answers."""
        return JSONResponse({"status": "ok", "model": self.served.name, "version": detoxlm.__version__})

    async def metrics_page(self, request: Request) -> Response:
        """Counts and times for Prometheus."""
        page = self.metrics.page(self.served.name, detoxlm.__version__)
        return PlainTextResponse(page, media_type="text/plain; version=0.0.4")

    def _check_key(self, request: Request) -> None:
        if self.keys is None:
            return
        scheme, _, token = (request.headers.get("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not self.keys.has(token):
            raise ApiError(
                401, "Incorrect or missing API key; send `Authorization: Bearer KEY`.", None, "invalid_api_key"
            )


async def _whole(work: _Work, asked: Asked, answers: Answers) -> dict[str, Any]:
    written = [Written() for _ in range(asked.count)]
    async for index, piece in work.pieces():
        written[index].add(piece)
    tokens = sum(len(one.drawn) for one in written) - asked.echoed_tokens
    return answers.whole(written, usage(asked.prompt_tokens, tokens, asked.cached_tokens))


async def _stream(work: _Work, asked: Asked, answers: Answers) -> AsyncIterator[str]:
    """Yield server-sent events; an error after the first of them is one more."""
    tokens = -asked.echoed_tokens
    try:
        async for index, piece in work.pieces():
            tokens += len(piece.drawn)
            yield _event(answers.part(index, piece))
        if asked.include_usage:
            yield _event(answers.last(usage(asked.prompt_tokens, tokens, asked.cached_tokens)))
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield _event(form_of(refusal_of(error)))


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def refusal_of(error: Exception) -> RefusedError:
    """Return what an error is answered with. Of those that are no refusals the log has the kind, and never a text."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, QueueFullError):
        message = f"Too many requests wait. Try again in {error.seconds} s."
        return ApiError(429, message, None, "queue_full", {"Retry-After": str(error.seconds)})
    log.error("a request failed: %s", type(error).__name__)
    return model_failed()


def _answer_of(error: Exception) -> Response:
    return _refused(refusal_of(error))


def _refused(refusal: RefusedError) -> Response:
    return JSONResponse(form_of(refusal), refusal.code, {**refusal.headers})


async def _not_here(request: Request, error: Exception) -> Response:
    """Answer what no route is for."""
    assert isinstance(error, HTTPException)
    said = "No such method at this address." if error.status_code == 405 else "No such address; requests go to /v1/."
    return _refused(ApiError(error.status_code, said, headers=dict(error.headers or {})))


def create_app(
    served: Served,
    engine: Engine,
    metrics: Metrics,
    keys: Keys | None,
    most: int,
    scorer: Scorer | None = None,
) -> Starlette:
    """Return the server as an ASGI application; whoever made `engine` closes it.

    Args:
        served: what is served.
        engine: what writes.
        metrics: where requests are counted.
        keys: those that requests have to bring; None: no key is asked for.
        most: rows that one prompt may have.
        scorer: whose toxicity the page shows; None: it shows none.
    """
    server = _Server(served, engine, metrics, keys, most, scorer)
    handlers: list[tuple[str, str, Handler]] = [
        (_COMPLETIONS, "POST", server.completions),
        (_CHAT, "POST", server.chat),
        ("/v1/models", "GET", server.models),
        ("/v1/models/{name:path}", "GET", server.model),
        ("/", "GET", server.page),
        ("/toxicity", "POST", server.toxicity),
        ("/healthz", "GET", server.health),
        ("/metrics", "GET", server.metrics_page),
    ]
    app = Starlette(
        routes=[Route(path, guarded(handler, _answer_of), methods=[method]) for path, method, handler in handlers],
        exception_handlers={HTTPException: _not_here},
    )
    app.add_middleware(Watched, counted=metrics, known=frozenset(path for path, _, _ in handlers))
    return app
