"""What the server answers, as an OpenAPI document with an example for each route, and as a page to read and try."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from detoxlm.serve.discovery import schemas
from detoxlm.serve.engine import Identity

_ANALYZE = "/v1alpha1/comments:analyze"
#: By route: summary, kind of the body, the message that it is, an example of it, and the message of the answer.
_ROUTES: dict[str, tuple[str, str, str, Any, str]] = {
    _ANALYZE: (
        "Score a comment, as the Perspective API did",
        "application/json",
        "AnalyzeCommentRequest",
        {"comment": {"text": "You are a fool."}, "requestedAttributes": {"TOXICITY": {}}, "languages": ["en"]},
        "AnalyzeCommentResponse",
    ),
    "/v1alpha1/comments:suggestscore": (
        "Take a suggested score, and keep nothing of it",
        "application/json",
        "SuggestCommentScoreRequest",
        {
            "comment": {"text": "What a lovely morning."},
            "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.0}}},
            "clientToken": "a-token",
        },
        "SuggestCommentScoreResponse",
    ),
    "/score": (
        "Score a list of texts; as NDJSON, any number of them, a line each",
        "application/json",
        "ScoreRequest",
        {"texts": ["You are a fool.", "What a lovely morning."], "dimensions": True},
        "ScoreResponse",
    ),
}


def openapi_document(base: str, identity: Identity, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a server at `base`, an address that ends with a slash."""
    shapes = {name: _resolved(shape) for name, shape in schemas().items()} | _own_shapes()
    paths: dict[str, Any] = {path: {"post": _operation(path)} for path in _ROUTES}
    for path, (told, kind) in _PAGES.items():
        content = {kind: {"schema": {"type": "object" if kind == "application/json" else "string"}}}
        answers = {"200": {"description": told, "content": content}}
        paths[path] = {"get": {"summary": told, "operationId": _name(path), "responses": answers, "security": []}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DetoxLM's scorer server",
            "version": version,
            "description": f"Scorer {identity.name} {identity.version}, revision {identity.revision}; English only.",
        },
        "servers": [{"url": base.rstrip("/")}],
        "paths": paths,
        "components": {
            "schemas": shapes,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "query", "name": "key"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Goog-Api-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        # a key is needed only where the server was started with some
        "security": [{}, {"key": []}, {"header": []}, {"bearer": []}],
    }


def page(base: str, identity: Identity) -> str:
    """Return the page that shows each route with its example, and scores a text that is typed into it."""
    routes = "".join(
        f"<section><h2><code>POST {escape(path)}</code></h2><p>{escape(told)}.</p>"
        f"<pre>{escape(_curl(base.rstrip('/') + path, kind, example))}</pre></section>"
        for path, (told, kind, _, example, _) in _ROUTES.items()
    )
    pages = "".join(
        f'<li><a href="{escape(path)}"><code>{escape(path)}</code></a>: {escape(told)}</li>'
        for path, (told, _) in _PAGES.items()
    )
    template = files("detoxlm.serve").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        scorer=escape(f"{identity.name} {identity.version}"),
        revision=escape(identity.revision),
        routes=routes,
        pages=pages,
    )


#: By route that is got: what it says, and the kind of it.
_PAGES = {
    "/healthz": ("Whether the server answers, and who scores", "application/json"),
    "/metrics": ("Counts and times for Prometheus", "text/plain"),
    "/$discovery/rest": ("What Google's client libraries build themselves from", "application/json"),
    "/openapi.json": ("This server as an OpenAPI document", "application/json"),
}


def _operation(path: str) -> dict[str, Any]:
    told, kind, message, example, answer = _ROUTES[path]
    failed = {"description": "Refused, and why", "content": {"application/json": {"schema": _reference("Error")}}}
    found = {"description": "Answered", "content": {"application/json": {"schema": _reference(answer)}}}
    body = {kind: {"schema": _reference(message), "example": example}}
    if path == "/score":
        line = json.dumps({"text": example["texts"][0]}) + "\n"
        body["application/x-ndjson"] = {"schema": {"type": "string"}, "example": line}
    return {
        "summary": told,
        "operationId": _name(path),
        "requestBody": {"required": True, "content": body},
        "responses": {"200": found, "4XX": failed, "5XX": failed},
    }


def _name(path: str) -> str:
    return "".join(part.capitalize() for part in path.replace("$", "").replace(":", "/").replace(".", "/").split("/"))


def _curl(address: str, kind: str, example: Any) -> str:
    body = json.dumps(example).replace("'", "'\\''")
    return f"curl '{address}' -H 'Content-Type: {kind}' \\\n    -d '{body}'"


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _resolved(shape: Any) -> Any:
    """Return a shape of the discovery document as OpenAPI writes it."""
    if isinstance(shape, dict):
        if isinstance(shape.get("$ref"), str):
            return _reference(shape["$ref"])
        return {name: _resolved(value) for name, value in shape.items() if name != "id" or isinstance(value, dict)}
    return shape


def _own_shapes() -> dict[str, Any]:
    """Return the messages of our own route, and the error of all."""
    scores = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}
    text = {"type": "string"}
    detail = {"type": "array", "items": {"type": "object"}}
    error = {"code": {"type": "integer"}, "message": text, "status": text, "details": detail}
    needed = ["code", "message", "status"]
    return {
        "ScoreRequest": {
            "type": "object",
            "properties": {"texts": {"type": "array", "items": text}, "dimensions": {"type": "boolean"}},
            "required": ["texts"],
            "additionalProperties": False,
        },
        "ScoreResponse": {
            "type": "object",
            "properties": {
                **dict.fromkeys(("scorer", "version", "revision"), text),
                "scores": scores,
                "dimensions": {"type": "object", "additionalProperties": scores},
            },
            "required": ["scorer", "version", "revision", "scores"],
        },
        "Error": {
            "type": "object",
            "properties": {"error": {"type": "object", "properties": error, "required": needed}},
            "required": ["error"],
        },
    }
