"""The server without its socket: routes, keys, bodies, errors, and the log of accesses, which holds no text."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import detoxlm
from detoxlm.serve import multipart, native, openapi
from detoxlm.serve.analysis import Analyzer
from detoxlm.serve.batching import Batcher, QueueFullError
from detoxlm.serve.discovery import discovery_document
from detoxlm.serve.engine import Engine
from detoxlm.serve.keys import Keys
from detoxlm.serve.languages import Detector
from detoxlm.serve.metrics import Metrics
from detoxlm.serve.refusals import STATUS, RefusedError, scorer_failed
from detoxlm.serve.web import Handler, Watched, body_of, guarded, while_there

log = logging.getLogger("detoxlm.serve")

#: Bytes of a body: of one comment with its context, and of a batch or a list of texts.
ONE, MANY = 2**20, 16 * 2**20
#: Requests of one batch that are worked on, or wait for room in the queue, at a time.
_TOGETHER = 64


@dataclass(frozen=True)
class Limits:
    """What a server bounds."""

    #: Bytes of UTF-8 of a comment or text.
    max_bytes: int = 20_480
    #: Texts that may wait for the scorer.
    queue: int = 1024
    #: Seconds that a client may take to send a body; of NDJSON, between two parts of it.
    seconds: float = 60.0


class _Server:
    """The handlers of the routes."""

    def __init__(self, engine: Engine, detector: Detector, keys: Keys | None, limits: Limits) -> None:
        self.metrics = Metrics()
        self.batcher = Batcher(engine.score, engine.slots, limits.queue, self.metrics)
        self.metrics.waiting = lambda: self.batcher.waiting
        self.identity = engine.identity
        self.keys = keys
        self.limits = limits
        self.analyzer = Analyzer(
            self.batcher.score, self.identity.name, self.identity.dimensions, detector, limits.max_bytes
        )

    async def _method(
        self, path: str, body: bytes, query: Mapping[str, str], headers: Mapping[str, str], patient: bool = False
    ) -> dict[str, Any]:
        """Answer a request to one of the API's methods, alone or, then `patient`, out of a batch."""
        if self.keys is not None:
            self.keys.check(query, headers)
        if query.get("alt", "json") != "json":
            raise RefusedError(400, "Only alt=json is answered here.")
        return self.analyzer.suggest(body) if path == _SUGGEST else await self.analyzer.analyze(body, patient)

    async def method(self, request: Request) -> Response:
        """`comments:analyze` and `comments:suggestscore`."""
        body = await body_of(request, ONE, self.limits.seconds)
        work = self._method(request.scope["path"], body, request.query_params, request.headers)
        return _json(await while_there(request, work))

    async def batch(self, request: Request) -> Response:
        """Several of those in one body."""
        body = await body_of(request, MANY, self.limits.seconds)
        parts = multipart.parts_of(body, request.headers.get("content-type", ""))
        together = asyncio.Semaphore(_TOGETHER)

        async def answered(part: multipart.Part) -> tuple[multipart.Part, int, dict[str, Any], dict[str, str]]:
            try:
                if part.method != "POST" or part.path not in (_ANALYZE, _SUGGEST):
                    raise RefusedError(404, "A batch has requests to comments:analyze and comments:suggestscore.")
                async with together:
                    query = {**request.query_params, **part.query}
                    headers = {name.lower(): str(value) for name, value in part.headers.items()}
                    headers = {**request.headers, **headers}
                    found = await self._method(part.path, part.body, query, headers, patient=True)
                return part, 200, found, {}
            except Exception as error:  # every part has an answer of its own
                refusal = refusal_of(error)
                return part, refusal.code, refusal.body(), refusal.headers

        answers = await while_there(request, asyncio.gather(*map(answered, parts)))
        kind = f"multipart/mixed; boundary={multipart.BOUNDARY}"
        return Response(multipart.batch_of(answers), media_type=kind)

    async def score(self, request: Request) -> Any:
        """Our own route."""
        if self.keys is not None:
            self.keys.check(request.query_params, request.headers)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() in _NDJSON:
            dimensions = request.query_params.get("dimensions") == "true"
            limits = self.limits
            return native.Lines(
                request, self.batcher.score, self.identity, dimensions, limits.max_bytes, refusal_of, limits.seconds
            )
        texts, dimensions = native.texts_of(await body_of(request, MANY, self.limits.seconds), self.limits.max_bytes)
        work = native.answer(self.batcher.score, self.identity, texts, dimensions)
        return _json(await while_there(request, work))

    async def discovery(self, request: Request) -> Response:
        """What Google's clients build themselves from."""
        version = request.query_params.get("version", "v1alpha1")
        if version != "v1alpha1":
            raise RefusedError(404, "Only version v1alpha1 is here.")
        return _json(discovery_document(str(request.base_url)))

    async def openapi(self, request: Request) -> Response:
        """All of this, for programs."""
        return _json(openapi.openapi_document(str(request.base_url), self.identity, detoxlm.__version__))

    async def page(self, request: Request) -> Response:
        """All of this, for people."""
        policy = {"Content-Security-Policy": _PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(openapi.page(str(request.base_url), self.identity), headers=policy)

    async def health(self, request: Request) -> Response:
        """Whether the server answers, and who scores."""
        attributes = list(self.analyzer.attributes)
        return _json({"status": "ok", **self.identity.as_dict(), "attributes": attributes})

    async def metrics_page(self, request: Request) -> Response:
        """Counts and times for Prometheus."""
        page = self.metrics.page(self.identity.as_dict())
        return PlainTextResponse(page, media_type="text/plain; version=0.0.4")


_PAGE_POLICY = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_ANALYZE, _SUGGEST = "/v1alpha1/comments:analyze", "/v1alpha1/comments:suggestscore"
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")


def create_app(
    engine: Engine,
    detector: Detector,
    keys: Keys | None = None,
    limits: Limits | None = None,
    origins: Sequence[str] = (),
) -> Starlette:
    """Return the server as an ASGI application; whoever made `engine` closes it.

    Args:
        engine: what scores.
        detector: what tells languages.
        keys: those that requests have to bring; None: no key is asked for.
        limits: what is bounded.
        origins: the web pages that browsers may let ask, as `https://example.org`; `*` is every one.
    """
    server = _Server(engine, detector, keys, limits or Limits())
    handlers: list[tuple[str, str, Handler]] = [
        (_ANALYZE, "POST", server.method),
        (_SUGGEST, "POST", server.method),
        ("/batch", "POST", server.batch),
        ("/batch/commentanalyzer/v1alpha1", "POST", server.batch),
        ("/score", "POST", server.score),
        ("/$discovery/rest", "GET", server.discovery),
        ("/discovery/v1/apis/commentanalyzer/v1alpha1/rest", "GET", server.discovery),
        ("/", "GET", server.page),
        ("/openapi.json", "GET", server.openapi),
        ("/healthz", "GET", server.health),
        ("/metrics", "GET", server.metrics_page),
    ]
    app = Starlette(
        routes=[Route(path, guarded(handler, _answer_of), methods=[method]) for path, method, handler in handlers],
        exception_handlers={HTTPException: _not_here},
    )
    known = frozenset(path for path, _, _ in handlers)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"], max_age=3600
        )
    app.add_middleware(Watched, counted=server.metrics, known=known)
    return app


def refusal_of(error: Exception) -> RefusedError:
    """Return what an error is answered with. Of those that are no refusals the log has the kind, and never a text."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, QueueFullError):
        message = f"Too many texts wait for the scorer. Try again in {error.seconds} s."
        return RefusedError(429, message, headers={"Retry-After": str(error.seconds)})
    # a scorer's message may quote the text that it failed on
    cause = f" from {type(error.__cause__).__name__}" if error.__cause__ is not None else ""
    log.error("a request failed: %s%s", type(error).__name__, cause)
    return scorer_failed()


def _json(value: dict[str, Any]) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), media_type="application/json; charset=UTF-8")


def _answer_of(error: Exception) -> Response:
    return _refused(refusal_of(error))


def _refused(refusal: RefusedError) -> Response:
    return JSONResponse(refusal.body(), refusal.code, {**refusal.headers}, "application/json; charset=UTF-8")


async def _not_here(request: Request, error: Exception) -> Response:
    """Answer what no route is for."""
    assert isinstance(error, HTTPException)
    code = error.status_code if error.status_code in STATUS else 404
    said = "No such method at this address." if code == 405 else "No such address. Comments go to " + _ANALYZE + "."
    return _refused(RefusedError(code, said, headers=dict(error.headers or {})))
