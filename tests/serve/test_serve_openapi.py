"""The description of the server holds what the server does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from detoxlm.errors import UsageError
from detoxlm.serve.app import create_app
from detoxlm.serve.engine import in_thread
from detoxlm.settings import ServeScorerSettings
from detoxlm.sources import resolve
from tests.serve.conftest import Serve


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Return what holds a value to a schema of the document."""
    return Draft202012Validator({**schema, "components": document["components"]})


def test_every_example_is_answered_as_the_document_says(serve: Serve, toy: Any) -> None:
    client = serve(toy)
    document = client.get("/openapi.json").json()
    tried = 0
    for path, operations in document["paths"].items():
        if "post" not in operations:
            assert client.get(path).status_code == 200
            continue
        post = operations["post"]
        body = post["requestBody"]["content"]["application/json"]
        assert not list(validator(document, body["schema"]).iter_errors(body["example"]))
        answer = client.post(path, json=body["example"])
        assert answer.status_code == 200
        schema = post["responses"]["200"]["content"]["application/json"]["schema"]
        assert not list(validator(document, schema).iter_errors(answer.json()))
        tried += 1
    assert tried == 3
    lines = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/x-ndjson"]["example"]
    answer = client.post("/score", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert answer.json()["toxicity"] > 0


def test_a_refusal_is_answered_as_the_document_says(serve: Serve, toy: Any) -> None:
    client = serve(toy)
    document = client.get("/openapi.json").json()
    refused = client.post("/score", json={"texts": [None]})
    schema = document["paths"]["/score"]["post"]["responses"]["4XX"]["content"]["application/json"]["schema"]
    assert refused.status_code == 400
    assert not list(validator(document, schema).iter_errors(refused.json()))


def test_every_route_of_the_server_is_in_the_document_or_another_name_for_one(
    serve: Serve, toy: Any, detector: Any
) -> None:
    told = set(serve(toy).get("/openapi.json").json()["paths"])
    engine = in_thread(toy)
    routes = {route.path for route in create_app(engine, detector).routes if isinstance(route, Route)}
    engine.close()
    others = {"/", "/batch", "/batch/commentanalyzer/v1alpha1", "/discovery/v1/apis/commentanalyzer/v1alpha1/rest"}
    assert told | others == routes and not told & others


def test_the_page_asks_nobody_else_and_shows_what_can_be_sent(serve: Serve, toy: Any) -> None:
    client = serve(toy)
    answer = client.get("/")
    addresses = set(re.findall(r"https?://[^'\"<\s]+", answer.text.replace("&#x27;", "'")))
    assert all(one.startswith(str(client.base_url)) for one in addresses) and len(addresses) == 3
    assert "toy 3" in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_browser_lets_the_pages_that_were_named_ask_and_no_other(serve: Serve, toy: Any) -> None:
    client = serve(toy, origins=["https://example.org"])
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    named = client.options("/score", headers={"Origin": "https://example.org", **asked})
    assert named.headers["access-control-allow-origin"] == "https://example.org"
    other = client.options("/score", headers={"Origin": "https://example.com", **asked})
    assert "access-control-allow-origin" not in other.headers
    answer = client.post("/score", json={"texts": ["a"]}, headers={"Origin": "https://example.org"})
    assert answer.headers["access-control-allow-origin"] == "https://example.org" and answer.json()["scores"]
    plain = serve(toy).post("/score", json={"texts": ["a"]}, headers={"Origin": "https://example.org"})
    assert "access-control-allow-origin" not in plain.headers


@pytest.mark.parametrize("origin", ["https://example.org/", "example.org", "https://", "https://a/b"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(UsageError, match=r"cors_origin.*is no origin; write scheme and host alone"):
        resolve(ServeScorerSettings, {"cors_origin": origin})
    assert resolve(ServeScorerSettings, {"cors_origin": "https://a.b:8000,*"}).cors_origin == ["https://a.b:8000", "*"]
