"""The moderation endpoint against a fake transport: no network, no real key."""

import json
import logging
from email.utils import formatdate
from time import time

import httpx
import pytest

from detoxlm.api import ATTEMPTS
from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers.openai import CATEGORIES, OpenAIScorer

KEY = "sk-test-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://moderation.test/v1/")


def result(**scores):
    return {"category_scores": {**dict.fromkeys((*CATEGORIES, "violence", "sexual"), 0.01), **scores}}


def answer(request):
    """Score each text by the number it holds."""
    texts = json.loads(request.content)["input"]
    return httpx.Response(200, json={"results": [result(hate=float(t) if t[0].isdigit() else 0.5) for t in texts]})


class Server:
    """Plays the given responses in turn (the last one again and again) and records requests and sleeps."""

    def __init__(self, *responses):
        self.responses, self.requests, self.sleeps = list(responses), [], []
        self.scorer = OpenAIScorer("m", httpx.MockTransport(self.handle), self.sleeps.append)

    def handle(self, request):
        self.requests.append(request)
        reply = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if isinstance(reply, Exception):
            raise reply
        return reply(request) if callable(reply) else reply


def test_the_request_and_the_order_of_the_scores():
    server = Server(answer)
    assert server.scorer.score(["0.3", "0.1", "0.9"]).tolist() == [0.3, 0.1, 0.9]
    (request,) = server.requests
    assert str(request.url) == "http://moderation.test/v1/moderations"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(request.content)["model"] == "m"


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_documented_category_counts(category):
    assert Server(httpx.Response(200, json={"results": [result(**{category: 0.8})]})).scorer.score(["x"])[0] == 0.8


def test_violence_and_sexual_content_do_not_count():
    reply = httpx.Response(200, json={"results": [result(violence=0.9, sexual=0.9)]})
    assert Server(reply).scorer.score(["x"])[0] == 0.01


def test_batches_and_empty_texts():
    server = Server(answer)
    server.scorer.batch_size = 3
    assert server.scorer.score(["0.1", "", "0.2", " \n", "0.3", "\ud800"]).tolist() == [0.1, 0, 0.2, 0, 0.3, 0.5]
    assert [json.loads(r.content)["input"] for r in server.requests] == [["0.1", "0.2"], ["0.3", "?"]]


@pytest.mark.parametrize(
    "failure",
    [httpx.Response(429), httpx.Response(503), httpx.ReadTimeout("slow"), httpx.ConnectError("refused")],
    ids=["429", "503", "timeout", "connection"],
)
def test_a_passing_failure_is_retried(failure):
    server = Server(failure, failure, answer)
    assert server.scorer.score(["0.4"]).tolist() == [0.4]
    assert len(server.sleeps) == 2
    assert server.sleeps[1] > server.sleeps[0] >= 1  # exponential: 1-2 s, then 2-3 s


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_respected(as_date):
    header = formatdate(time() + 17.9, usegmt=True) if as_date else "17"
    server = Server(httpx.Response(429, headers={"retry-after": header}), answer)
    server.scorer.score(["0.4"])
    assert 15 <= server.sleeps[0] <= 18


def test_a_retry_after_of_hours_fails_at_once():
    server = Server(httpx.Response(429, headers={"retry-after": "7200"}))
    with pytest.raises(DetoxError, match="7200 s"):
        server.scorer.score(["x"])
    assert server.sleeps == []


def test_a_persistent_failure_raises_without_the_key(caplog):
    caplog.set_level(logging.DEBUG)
    server = Server(httpx.Response(500, text=f"oops {KEY}"))
    with pytest.raises(DetoxError, match="HTTP 500") as caught:
        server.scorer.score(["x"])
    assert len(server.requests) == ATTEMPTS
    assert KEY not in str(caught.value) + caplog.text + repr(vars(server.scorer))


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"results": null}', b'{"results": [{}]}', b'{"results": []}', b"[1]",
     json.dumps({"results": [result(hate=None)]}).encode(), json.dumps({"results": [result(), result()]}).encode()],
)  # fmt: skip
def test_a_malformed_answer_raises_and_is_not_retried(body):
    server = Server(httpx.Response(200, content=body))
    with pytest.raises(DetoxError, match="openai:m"):
        server.scorer.score(["x"])
    assert len(server.requests) == 1


def test_a_refused_key_is_a_usage_error_that_does_not_show_it():
    server = Server(httpx.Response(401, json={"error": {"message": f"Incorrect key {KEY}"}}))
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        server.scorer.score(["x"])
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("key", ["", "sk-ö", "sk a"])
def test_a_key_that_cannot_be_one(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        OpenAIScorer("m")
    assert not key or key not in str(caught.value)


def test_another_server_is_another_scorer(monkeypatch):
    other = OpenAIScorer("m").revision
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1/")
    assert OpenAIScorer("m").revision == "m"
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert OpenAIScorer("m").revision == "m"
    assert other.startswith("m@")
    assert "moderation.test" not in other
