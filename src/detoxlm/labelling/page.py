"""Texts labelled on a page of this machine: a form a text, which keys answer too. It works without scripts."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from detoxlm.errors import DetoxError
from detoxlm.labelling.session import Session
from detoxlm.labelling.shown import MEANING, plain
from detoxlm.labels.files import VERDICTS
from detoxlm.labels.texts import Readable

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
#: Bytes of a form that the page sends: more was sent by something else.
_FORM = 4096


def create_app(session: Session, scores: bool, how_on: str, stop: Callable[[], None]) -> Starlette:
    """Return the page of a session.

    Args:
        session: whose texts.
        scores: show the scorer's toxicity too, where the file has it.
        how_on: the command that goes on later, for whoever stops.
        stop: ends the server.
    """
    page = _Page(session, scores, how_on, stop)
    routes = [
        Route("/", page.show),
        Route("/label", page.label, methods=["POST"]),
        Route("/undo", page.undo, methods=["POST"]),
        Route("/stop", page.stop, methods=["POST"]),
    ]
    # names of other sites that lead here are refused: their pages could read ours
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=routes, middleware=[hosts])


class _Page:
    def __init__(self, session: Session, scores: bool, how_on: str, stop: Callable[[], None]) -> None:
        self._session, self._scores, self._how_on, self._stop = session, scores, how_on, stop
        self._token = secrets.token_urlsafe()  # a form that another site sends does not have it
        made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
        self._template = made.get_template("label.html.j2")
        source = (TEMPLATES / "label.html.j2").read_text(encoding="utf-8")
        style, script = (_hash_of(source, tag) for tag in ("style", "script"))
        self._headers = {
            "Content-Security-Policy": f"default-src 'none'; style-src '{style}'; script-src '{script}'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }

    async def show(self, request: Request) -> Response:
        """The text that is next, or that none is left."""
        return self._page(request.query_params.get("said", ""))

    async def label(self, request: Request) -> Response:
        """Label a text; one that is no longer the current one, as after a second click, is left as it is."""
        form = await self._form(request)
        if form is None:
            return self._refused()
        verdict = next((one for one in VERDICTS if one == form.get("label")), None)
        current = self._session.current
        if verdict is None or current is None or form.get("text") != _name_of(current):
            return _back("old")
        return self._written(lambda: self._session.label(verdict), "")

    async def undo(self, request: Request) -> Response:
        """Take the last label back."""
        if await self._form(request) is None:
            return self._refused()
        return self._written(self._session.undo, "none")

    def _written(self, change: Callable[[], bool | None], nothing: str) -> Response:
        """Change the labels and show what is next; where nothing changed (False), say so."""
        try:
            return _back(nothing if change() is False else "")
        except DetoxError as error:
            return self._page("", str(error), status=500)

    async def stop(self, request: Request) -> Response:
        """End the server, and say how to go on."""
        if await self._form(request) is None:
            return self._refused()
        self._stop()
        return self._page("", stopped=True)

    async def _form(self, request: Request) -> dict[str, str] | None:
        """Return the fields of a form of this page; None: something else has sent it."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _FORM:
                return None
        form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        return form if secrets.compare_digest(form.get("token", "").encode(), self._token.encode()) else None

    def _refused(self) -> Response:
        said = "This page is of an earlier session. The text that is next now is below."
        return self._page("", said, status=403)

    def _page(self, said: str, error: str = "", *, stopped: bool = False, status: int = 200) -> Response:
        text = self._session.current
        lines = {
            "old": "That text had been labelled already; nothing was changed.",
            "none": "There is no label of these texts to take back.",
        }
        shown = self._template.render(
            text=None if text is None else plain(text.text),
            prompt=None if text is None or text.prompt is None else plain(text.prompt),
            score=text.score if text is not None and self._scores else None,
            name="" if text is None else _name_of(text),
            number=self._session.done + 1,
            total=self._session.total,
            summary=self._session.summary(),
            choices=list(zip("123", VERDICTS, MEANING.values(), strict=True)),
            said=error or lines.get(said, ""),
            token=self._token,
            stopped=stopped,
            how_on=self._how_on,
        )
        return HTMLResponse(shown, status_code=status, headers=self._headers)


def _back(said: str = "") -> Response:
    return RedirectResponse(f"/?said={said}" if said else "/", status_code=303)


def _name_of(text: Readable) -> str:
    return "-".join(filter(None, text.key))


def _hash_of(source: str, tag: str) -> str:
    """The hash by which a page's one script or style is allowed, and no other."""
    found = re.search(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
    assert found is not None
    return "sha256-" + base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
