"""Google's own client, pointed at a local server by its address alone. Skipped where it is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from detoxlm.serve.app import Limits
from detoxlm.serve.keys import Keys
from detoxlm.serve.multipart import MOST_PARTS

pytest.importorskip("googleapiclient", reason="google-api-python-client is not installed")
from googleapiclient import discovery
from googleapiclient.errors import HttpError

Serve = Callable[..., httpx.Client]


@pytest.fixture
def built() -> Iterator[Callable[..., Any]]:
    """Return `built(server, key="secret")`: the client, as the API's documentation builds it."""
    with ExitStack() as stack:

        def build(server: httpx.Client, key: str = "secret") -> Any:
            client = discovery.build(
                "commentanalyzer",
                "v1alpha1",
                developerKey=key,
                discoveryServiceUrl=f"{str(server.base_url).rstrip('/')}/$discovery/rest?version=v1alpha1",
                static_discovery=False,
            )
            return stack.enter_context(closing(client))

        yield build


@pytest.fixture
def google(built: Callable[..., Any], serve: Serve, toy: Any) -> Any:
    """The client of a server that asks for a key."""
    return built(serve(toy, keys=Keys(["secret"])))


def asking(text: str, name: str = "TOXICITY") -> dict[str, Any]:
    return {"comment": {"text": text}, "requestedAttributes": {name: {}}}


def value(answer: dict[str, Any]) -> float:
    return answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"]


def test_it_builds_itself_and_gets_the_scores_of_the_library(google: Any, toy: Any) -> None:
    assert value(google.comments().analyze(body=asking("three eels")).execute()) == toy.score(["three eels"])[0]
    suggested = {"comment": {"text": "hi"}, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0}}}}
    answer = google.comments().suggestscore(body={**suggested, "clientToken": "t"}).execute()
    assert answer["clientToken"] == "t"


def test_it_raises_what_it_raised_with_the_api(google: Any, built: Callable[..., Any], serve: Serve, toy: Any) -> None:
    with pytest.raises(HttpError) as refused:
        google.comments().analyze(body=asking("")).execute()
    assert refused.value.resp.status == 400 and refused.value.reason == "Comment must be non-empty."
    assert refused.value.error_details[0]["errorType"] == "COMMENT_EMPTY"
    with pytest.raises(HttpError, match="API key not valid"):
        built(serve(toy, keys=Keys(["other"]))).comments().analyze(body=asking("eel")).execute()


def test_a_batch_is_answered_part_by_part(built: Callable[..., Any], serve: Serve, toy: Any) -> None:
    """As HELM asks; more parts than may wait, so that a batch must not crowd itself out."""
    client = built(serve(toy, limits=Limits(queue=5)))
    texts = [f"{i} eels, “é”" for i in range(150)] + ["", "boom"]
    got: dict[str, float | HttpError] = {}

    def keep(identity: str, answer: Any, error: HttpError | None) -> None:
        got[identity] = value(answer) if error is None else error

    batch = client.new_batch_http_request(callback=keep)
    for i, text in enumerate(texts):
        batch.add(client.comments().analyze(body=asking(text)), request_id=str(i))
    batch.execute()
    empty, failed = got.pop("150"), got.pop("151")
    assert list(got.values()) == toy.score(texts[:150]).tolist() and list(got) == [str(i) for i in range(150)]
    assert isinstance(empty, HttpError) and empty.resp.status == 400
    assert isinstance(failed, HttpError) and failed.resp.status == 500
    assert MOST_PARTS >= 1000  # what the client allows


def test_a_batch_as_helm_asks_names_each_request_by_its_text(built: Callable[..., Any], serve: Serve, toy: Any) -> None:
    """`PerspectiveAPIClient.get_toxicity_scores` of crfm-helm: long names, which the client escapes and folds."""
    client = built(serve(toy))
    texts = ["an eel", "Two eels, + “é” <b> %41\n\tand 🐍." * 40, "x" * 20_480, "ü" * 10_240]
    attributes = ["TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT", "SEXUALLY_EXPLICIT"]
    got: dict[str, Any] = {}

    def callback(request_id: str, response: Any, error: HttpError | None) -> None:
        if error:
            raise error
        got[request_id] = response

    batch = client.new_batch_http_request()
    for text in texts:
        body = {
            "comment": {"text": text},
            "requestedAttributes": {name: {} for name in attributes},
            "languages": ["en"],
            "spanAnnotations": True,
        }
        batch.add(request=client.comments().analyze(body=body), request_id=text, callback=callback)
    batch.execute()
    assert list(got) == texts and [value(got[text]) for text in texts] == toy.score(texts).tolist()
    said = toy.score_dimensions(texts)
    for i, text in enumerate(texts):
        found = {name.lower(): one["summaryScore"]["value"] for name, one in got[text]["attributeScores"].items()}
        assert found == {name: scores[i] for name, scores in said.items()}
