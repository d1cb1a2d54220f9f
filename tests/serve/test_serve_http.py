"""The server over a real socket: right scores, the API's errors, and input that is meant badly."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from detoxlm.scorers import load_scorer
from detoxlm.scorers.package import INSTALL, package_folder
from detoxlm.serve.app import MANY, ONE, Limits
from detoxlm.serve.keys import Keys

ANALYZE, SUGGEST = "/v1alpha1/comments:analyze", "/v1alpha1/comments:suggestscore"
TEXTS = [f"{'You are a fool. ' * (i % 5)}the {i}th neighbour, I guess" for i in range(40)]
Serve = Callable[..., httpx.Client]


def asking(text: Any, *names: str, **more: Any) -> dict[str, Any]:
    """A request to analyze a comment."""
    return {"comment": {"text": text}, "requestedAttributes": {name: {} for name in names or ("TOXICITY",)}, **more}


def error_of(answer: httpx.Response, code: int, status: str) -> dict[str, Any]:
    """The error of an answer in Google's form."""
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error: dict[str, Any] = answer.json()["error"]
    assert (error["code"], error["status"]) == (code, status)
    return error


def detail_of(answer: httpx.Response) -> dict[str, Any]:
    """The API's own details of a refused request."""
    (detail,) = error_of(answer, 400, "INVALID_ARGUMENT")["details"]
    assert detail["@type"] == "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
    return detail


def summary(answer: httpx.Response, name: str = "TOXICITY") -> float:
    assert answer.status_code == 200, answer.text
    said = answer.json()["attributeScores"][name]["summaryScore"]
    assert said["type"] == "PROBABILITY"
    return said["value"]


def test_scores_equal_those_of_the_library_also_for_many_at_once(serve: Serve) -> None:
    scorer = load_scorer("ngram")
    client, expected = serve(scorer), scorer.score(TEXTS).tolist()
    with ThreadPoolExecutor(16) as threads:
        said = list(threads.map(lambda text: summary(client.post(ANALYZE, json=asking(text))), TEXTS))
    assert said == expected
    answer = client.post("/score", json={"texts": TEXTS}).json()
    assert answer == {"scorer": "ngram", "version": "1", "revision": scorer.revision, "scores": expected}


@pytest.mark.skipif(package_folder() is None, reason=f"the encoder is not installed: {INSTALL}")
def test_a_transformer_says_to_the_last_digit_what_it_says_in_the_library(serve: Serve) -> None:
    scorer = load_scorer("embedded", device="cpu", cache=False)
    texts = [f"{'You are a very bad fool. ' * (i % 7)}{i}" for i in range(60)]
    client = serve(scorer)
    said = client.post("/score", json={"texts": texts, "dimensions": True}).json()
    assert said["dimensions"] == {name: one.tolist() for name, one in scorer.score_dimensions(texts).items()}
    assert said["scores"] == scorer.score(texts).tolist()
    assert summary(client.post(ANALYZE, json=asking(texts[5], languages=["en"]))) == scorer.score(texts[5:6])[0]
    with ThreadPoolExecutor(16) as threads:  # in other company sums are rounded otherwise
        together = list(threads.map(lambda text: summary(client.post(ANALYZE, json=asking(text))), texts))
    assert np.abs(np.array(together) - said["scores"]).max() < 1e-5


def test_every_dimension_is_the_attribute_of_its_name(serve: Serve, toy: Any) -> None:
    names = [name.upper() for name in toy.dimensions]
    client, text = serve(toy), "a sooty toast is at issue"
    answer = client.post(ANALYZE, json=asking(text, *names, clientToken="t\r\nX: 1", languages=["en"]))
    found = answer.json()
    expected = {name.upper(): scores.item() for name, scores in toy.score_dimensions([text]).items()}
    assert {name: summary(answer, name) for name in names} == expected
    assert len(set(expected.values())) > 3  # else a mixed-up column would not be seen
    assert found["clientToken"] == "t\r\nX: 1" and "X" not in answer.headers
    assert found["languages"] == found["detectedLanguages"] == ["en"]
    whole = found["attributeScores"]["THREAT"]["spanScores"]
    assert [(one["begin"], one["end"]) for one in whole] == [(0, len(text))]


def test_sentences_have_scores_of_their_own(serve: Serve, toy: Any) -> None:
    text = "  I see 😀.  Is it so?\nNo"
    found = serve(toy).post(ANALYZE, json=asking(text, spanAnnotations=True)).json()["attributeScores"]["TOXICITY"]
    parts = [text[one["begin"] : one["end"]] for one in found["spanScores"]]
    assert parts == ["I see 😀.", "Is it so?", "No"]
    assert [one["score"]["value"] for one in found["spanScores"]] == toy.score(parts).tolist()
    assert found["summaryScore"]["value"] == toy.score([text])[0]


def test_html_is_scored_as_its_reader_sees_it(serve: Serve, toy: Any) -> None:
    source = "<p>See &amp; <b>tell</b></p><script>eeee</script>"
    request = {**asking(None), "comment": {"text": source, "type": "HTML"}}
    answer = serve(toy).post(ANALYZE, json=request)
    assert summary(answer) == toy.score(["\nSee & tell\n"])[0]
    assert detail_of(serve(toy).post(ANALYZE, json={**request, "comment": {"text": "<br> ", "type": "HTML"}}))


def test_what_is_below_its_threshold_is_left_out(serve: Serve, toy: Any) -> None:
    client, score = serve(toy), toy.score(["eel"])[0]
    for threshold, there in ((score, True), ({"value": score}, True), (score + 1e-9, False), (None, True)):
        request = {**asking("eel"), "requestedAttributes": {"TOXICITY": {"scoreThreshold": threshold}}}
        assert ("attributeScores" in client.post(ANALYZE, json=request).json()) is there


@pytest.mark.parametrize(
    ("request_", "error_type", "message"),
    [
        (asking(""), "COMMENT_EMPTY", "Comment must be non-empty."),
        (asking(None), "COMMENT_EMPTY", "Comment must be non-empty."),
        (asking(" \n\t"), "COMMENT_EMPTY", "Comment must be non-empty."),
        (asking("é" * 10_241), "COMMENT_TOO_LONG", "Comment text too long."),
        ({"comment": {"text": "hi"}}, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
        (asking("hi", "TOXICTY"), "INVALID_REQUEST", "Unknown requested attribute: TOXICTY."),
        (asking("hi", "TOXICTY", dropUnsupportedAttributes=True), "INVALID_REQUEST", "attribute: TOXICTY."),
        (asking("hi", "SEVERE_TOXICITY"), "INVALID_REQUEST", "SEVERE_TOXICITY (the Perspective API had it"),
        (asking("hi", "FLIRTATION"), "INVALID_REQUEST", "FLIRTATION (the Perspective API had it"),
        (asking("hi", *(f"A{i}" for i in range(1000))), "INVALID_REQUEST", "Unknown requested attribute: A0."),
        (
            {**asking("hi"), "requestedAttributes": {"TOXICITY": {"scoreType": "RAW"}}},
            "INVALID_REQUEST",
            "Requested score type RAW is not supported by attribute TOXICITY",
        ),
        (
            asking("hi", context={"entries": [{"text": "a"}], "articleAndParentComment": {}}),
            "INVALID_REQUEST",
            "Context can have either entries or",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_answered_is_refused_by_the_apis_name_for_it(
    request_: dict[str, Any], error_type: str, message: str, shared: Any
) -> None:
    answer = shared.post(ANALYZE, json=request_)
    assert detail_of(answer)["errorType"] == error_type
    assert message in answer.json()["error"]["message"]
    assert len(answer.content) < 2000


@pytest.fixture
def shared(serve: Serve, toy: Any) -> httpx.Client:
    """A server of the toy scorer."""
    return serve(toy)


def test_the_longest_comment_is_answered(shared: httpx.Client) -> None:
    assert summary(shared.post(ANALYZE, json=asking("e" * 20_480))) > 0.9


def test_another_language_is_refused_as_clients_expect_it_or_its_attributes_are_dropped(shared: httpx.Client) -> None:
    german = "Du bist ein verdammter Idiot und ich hasse dich von ganzem Herzen"
    detail = detail_of(shared.post(ANALYZE, json=asking(german)))
    assert detail["errorType"] == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
    said = detail["languageNotSupportedByAttributeError"]
    assert said == {"detectedLanguages": ["de"], "attribute": "TOXICITY"}
    answer = shared.post(ANALYZE, json=asking("hello", languages=["en", "fr"]))
    assert "does not support request languages: fr" in answer.json()["error"]["message"]
    said = detail_of(answer)["languageNotSupportedByAttributeError"]
    assert said == {"requestedLanguages": ["en", "fr"], "attribute": "TOXICITY"}
    dropped = shared.post(ANALYZE, json=asking(german, dropUnsupportedAttributes=True)).json()
    assert dropped == {"languages": ["de"], "detectedLanguages": ["de"]}
    assert summary(shared.post(ANALYZE, json=asking(german, languages=["en-GB"]))) > 0
    some = asking("eel", "TOXICITY", "SEVERE_TOXICITY", dropUnsupportedAttributes=True)
    assert list(shared.post(ANALYZE, json=some).json()["attributeScores"]) == ["TOXICITY"]


def test_a_suggested_score_is_answered(shared: httpx.Client) -> None:
    request = {
        "comment": {"text": "hello there, my friends"},
        "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0}}},
        "clientToken": "c",
    }
    answer = shared.post(SUGGEST, json=request).json()
    assert answer == {"clientToken": "c", "detectedLanguages": ["en"], "requestedLanguages": ["en"]}
    assert shared.post("/v1alpha1/comments%3Asuggestscore", json=request).json() == answer
    assert detail_of(shared.post(SUGGEST, json={**request, "attributeScores": {}}))["errorType"] == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON"),
        (b"\xff\xfe{}", "The body is not UTF-8"),
        (b'{"comment": {"text": "\xe9"}}', "The body is not UTF-8"),
        (b"[]", "must be an object"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"comment":' * 50_000, "nested too deep"),
        (b'{"comment": {"text": "a"}', "Invalid JSON"),
        (b'{"comment": {"text": NaN}}', "A number in it is none of JSON's"),
        (b'{"spanAnnotations": %s}' % (b"9" * 5000), "A number in it is none of JSON's"),
        (b'{"comment": {"text": 5}}', "Invalid value at 'comment.text' (TYPE_STRING), 5"),
        (b'{"comment": "hi"}', "Invalid value at 'comment' (object), \"hi\""),
        (b'{"comment": {"text": "a", "txt": "b"}}', "Unknown name \"txt\" at 'comment': Cannot find field."),
        (b'{"comment": {"text": "a", "type": "PDF"}}', "Invalid value at 'comment.type'"),
        (b'{"languages": [null]}', "Invalid value at 'languages[0]' (TYPE_STRING), null"),
        (b'{"requestedAttributes": ["TOXICITY"]}', "Invalid value at 'requestedAttributes' (object), list"),
        (b'{"requestedAttributes": {"TOXICITY": {"scoreThreshold": true}}}', "(TYPE_FLOAT), true"),
        (b'{"doNotStore": 1}', "Invalid value at 'doNotStore' (TYPE_BOOL), 1"),
    ],
    ids=range(17),
)
def test_what_is_no_request_is_refused_by_the_field(body: bytes, message: str, shared: httpx.Client) -> None:
    error = error_of(shared.post(ANALYZE, content=body), 400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_no_body_is_an_empty_message(shared: httpx.Client) -> None:
    assert detail_of(shared.post(ANALYZE))["errorType"] == "COMMENT_EMPTY"


def test_half_a_character_is_read_as_one_that_is_unknown(shared: httpx.Client, toy: Any) -> None:
    body = rb'{"comment": {"text": "\ud83d eel"}, "requested_attributes": {"TOXICITY": null}, "client_token": "\udc00"}'
    answer = shared.post(ANALYZE, content=body)
    assert summary(answer) == toy.score(["� eel"])[0]
    assert answer.json()["clientToken"] == "�"


def test_a_body_that_is_far_too_long_is_refused_and_its_sender_reads_why(shared: httpx.Client) -> None:
    for path, size, most in ((ANALYZE, 50_000_000, ONE), ("/score", 50_000_000, MANY)):
        answer = shared.post(path, content=b"x" * size)
        assert error_of(answer, 413, "INVALID_ARGUMENT")["message"].endswith(f"{most} bytes.")
    assert shared.get("/healthz").json()["status"] == "ok"


def test_a_key_is_asked_for_where_there_are_some(serve: Serve, toy: Any) -> None:
    client, request = serve(toy, keys=Keys(["right", "other"])), asking("eel")
    for path, body in ((ANALYZE, request), (SUGGEST, request), ("/score", {"texts": []})):
        error_of(client.post(path, json=body), 403, "PERMISSION_DENIED")
        error_of(client.post(f"{path}?key=wrong", json=body), 403, "PERMISSION_DENIED")
    assert summary(client.post(f"{ANALYZE}?key=right", json=request)) > 0
    for headers in ({"X-Goog-Api-Key": "other"}, {"Authorization": "Bearer right"}):
        assert summary(client.post(ANALYZE, json=request, headers=headers)) > 0
    for path in ("/healthz", "/metrics", "/$discovery/rest?version=v1alpha1"):
        assert client.get(path).status_code == 200


def test_other_addresses_and_methods_are_refused_in_the_same_form(shared: httpx.Client) -> None:
    error_of(shared.get("/v1alpha1/comments"), 404, "NOT_FOUND")
    assert error_of(shared.get(ANALYZE), 405, "UNIMPLEMENTED")
    error_of(shared.post(f"{ANALYZE}?alt=proto", json=asking("eel")), 400, "INVALID_ARGUMENT")
    assert summary(shared.post("/v1alpha1/comments%3Aanalyze?fields=x&prettyPrint=false&$.xgafv=2", json=asking("eel")))


def test_a_full_queue_says_when_to_come_again_and_what_it_took_is_answered(serve: Serve, toy: Any) -> None:
    client = serve(toy, limits=Limits(queue=3))
    toy.free.clear()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(client.post, ANALYZE, json=asking("one eel"))
        until(lambda: toy.batches)
        waiting = [threads.submit(client.post, ANALYZE, json=asking(f"{i} eels")) for i in range(3)]
        until(lambda: "detoxlm_texts_waiting 3" in client.get("/metrics").text)
        refused = client.post(ANALYZE, json=asking("one too many"))
        error_of(refused, 429, "RESOURCE_EXHAUSTED")
        assert int(refused.headers["Retry-After"]) >= 1
        toy.free.set()
        assert summary(first.result()) == toy.score(["one eel"])[0]
        assert [summary(one.result()) for one in waiting] == toy.score([f"{i} eels" for i in range(3)]).tolist()


def test_nothing_is_scored_for_a_client_that_is_gone(serve: Serve, toy: Any) -> None:
    client = serve(toy)
    address = urlsplit(str(client.base_url))
    toy.free.clear()
    lines = b"".join(b'{"text": "line %d"}\n' % i for i in range(2000))
    bodies = {ANALYZE: (json.dumps(asking("nobody waits")).encode(), 1), "/score": (lines, 1 + 256)}
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, ANALYZE, json=asking("one eel"))
        until(lambda: toy.batches)
        for path, (body, waiting) in bodies.items():
            with socket.create_connection((address.hostname, address.port)) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
                connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                until(lambda waiting=waiting: f"detoxlm_texts_waiting {waiting}\n" in client.get("/metrics").text)
        until(lambda: f'{{route="{ANALYZE}",code="499"}} 1' in client.get("/metrics").text)
        time.sleep(0.1)  # that the other is gone is not seen from outside before its slice is scored
        toy.free.set()
        assert summary(first.result()) == toy.score(["one eel"])[0]
    until(lambda: '{route="/score",code="200"} 1' in client.get("/metrics").text)
    scored = [text for batch in toy.batches for text in batch]
    assert "nobody waits" not in scored and len(scored) < 1000


def until(there: Callable[[], Any]) -> None:
    """Wait for something that has to come."""
    end = time.monotonic() + 20
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_scorer_that_fails_gives_an_error_and_no_number_and_quotes_no_text(
    serve: Serve, toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(toy)
    texts = [f"{i} {'boom' if i % 4 == 0 else 'eel'}" for i in range(16)]
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda text: client.post(ANALYZE, json=asking(text)), texts))
    for text, answer in zip(texts, answers, strict=True):
        if "boom" in text:
            assert "boom" not in str(error_of(answer, 500, "INTERNAL"))
        else:
            assert summary(answer) == toy.score([text])[0]
    assert "DetoxError" in caplog.text and "boom" not in caplog.text
    error_of(client.post("/score", json={"texts": ["eel", "boom"]}), 500, "INTERNAL")


def test_lines_are_answered_one_by_one_in_order_and_errors_are_no_scores(shared: httpx.Client, toy: Any) -> None:
    lines = ['{"text": "an eel"}', "nope", '{"text": null}', '{"text": "boom"}', '{"text": "see"}', '"text"', ""]
    headers = {"Content-Type": "application/x-ndjson"}
    answer = shared.post("/score?dimensions=true", content="\n".join(lines) + "\n{}", headers=headers)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["line"] for one in found] == list(range(1, 9))
    assert {one["line"]: one["error"]["code"] for one in found if "error" in one} == dict.fromkeys(
        (2, 3, 6, 7, 8), 400
    ) | {4: 500}
    for line, text in ((0, "an eel"), (4, "see")):
        expected = {name: scores.item() for name, scores in toy.score_dimensions([text]).items()}
        assert found[line] == {"line": line + 1, **expected}


def test_many_lines_are_answered_while_they_are_sent_and_after(shared: httpx.Client, toy: Any) -> None:
    """A client that reads nothing before all is sent, as most do, and one that waits for each answer."""
    headers, count = {"Content-Type": "application/x-ndjson"}, 20_000
    body = b"".join(b'{"text": "%d eels"}\n' % i for i in range(count))
    answer = shared.post("/score", content=body, headers=headers)
    expected = toy.score([f"{i} eels" for i in range(count)]).tolist()
    assert [json.loads(line)["toxicity"] for line in answer.text.splitlines()] == expected
    address = urlsplit(str(shared.base_url))
    with socket.create_connection((address.hostname, address.port)) as connection, connection.makefile("rb") as stream:
        said = {"Host": "x", "Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
        head = "POST /score HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in said.items()) + "\r\n"
        first, second = (
            b"%x\r\n%s\r\n" % (len(part), part) for part in (b'{"text": "1 eel"}\n', b'{"text": "2 eels"}\n')
        )
        connection.sendall(head.encode() + first)
        while not (line := stream.readline()).startswith(b'{"line": 1'):
            assert line
        connection.sendall(second + b"0\r\n\r\n")
        while not (line := stream.readline()).startswith(b'{"line": 2'):
            assert line


@pytest.mark.parametrize("last", [b"", b"\n", b'\n{"text": "see"}'])
@pytest.mark.parametrize("part", [100, 1_000, 100_000])
def test_a_line_that_is_too_long_is_refused_and_no_part_of_it_scored(
    part: int, last: bytes, serve: Serve, toy: Any
) -> None:
    """The parts of a body come in any size; what is left of the long line without its middle would be a good one."""
    client = serve(toy, limits=Limits(max_bytes=1000))
    long = b'{"other": "' + b"x" * 20_000 + b'", "text": "an eel"}'
    body = b'{"text": "an eel"}\n' + long + b"\n" + long + last
    parts = [body[start : start + part] for start in range(0, len(body), part)]
    answer = client.post("/score", content=iter(parts), headers={"Content-Type": "application/x-ndjson"})
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["line"] for one in found] == [1, 2, 3, *([4] if b"see" in last else [])]
    assert [one.get("error", {}).get("code") for one in found] == [None, 400, 400, None][: len(found)]
    assert found[1]["error"]["message"] == "The line is longer than 7,024 bytes."
    assert {text for batch in toy.batches for text in batch} <= {"an eel", "see"}
    assert sum(batch.count("an eel") for batch in toy.batches) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "a"}, 'Unknown name "text"'),
        ({"texts": "a"}, "texts is no list"),
        ({"texts": ["a", None]}, "texts[1] is not a string"),
        ({"texts": ["a" * 20_481]}, "texts[0] is longer than 20,480 bytes"),
        ({"texts": [], "dimensions": "yes"}, "dimensions is neither"),
    ],
    ids=range(5),
)
def test_texts_that_cannot_be_scored_are_refused_by_their_place(
    body: dict[str, Any], message: str, shared: httpx.Client
) -> None:
    assert message in error_of(shared.post("/score", json=body), 400, "INVALID_ARGUMENT")["message"]


def test_headers_cannot_be_injected_and_slow_clients_are_let_go(serve: Serve, toy: Any) -> None:
    client = serve(toy, limits=Limits(seconds=0.3))
    address = urlsplit(str(client.base_url))

    def raw(request: bytes) -> bytes:
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(request)
            found = b""
            while part := connection.recv(65536):
                found += part
            return found

    token = (
        b'{"comment": {"text": "eel"}, "requestedAttributes": {"TOXICITY": {}}, "clientToken": "a\\r\\nSet-Cookie: b"}'
    )
    head = b"POST %s?key=a%%0d%%0aSet-Cookie:b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answered = raw(head % (ANALYZE.encode(), len(token)) + token)
    assert answered.startswith(b"HTTP/1.1 200") and b"\nset-cookie" not in answered.lower()
    cut = raw(head % (ANALYZE.encode(), 500) + token)
    assert cut.startswith(b"HTTP/1.1 408") and b"DEADLINE_EXCEEDED" in cut
    assert raw(b"POST / HTTP/1.1\r\nHost: a\nb\r\n\r\n").startswith(b"HTTP/1.1 4")
    assert client.get("/healthz").status_code == 200


def test_metrics_count_what_was_done(shared: httpx.Client) -> None:
    shared.post(ANALYZE, json=asking("eel. An eel. Eels.", spanAnnotations=True))
    shared.post(ANALYZE, json=asking(""))
    shared.get("/some/text?in=it")
    page = shared.get("/metrics").text
    assert f'detoxlm_requests_total{{route="{ANALYZE}",code="200"}} 1' in page
    assert f'detoxlm_requests_total{{route="{ANALYZE}",code="400"}} 1' in page
    assert 'detoxlm_requests_total{route="other",code="404"} 1' in page
    assert "detoxlm_texts_scored_total 4" in page and 'scorer="toy",version="3",revision="r1"' in page
    assert 'detoxlm_request_seconds_bucket{le="+Inf"} 3' in page and "some" not in page
