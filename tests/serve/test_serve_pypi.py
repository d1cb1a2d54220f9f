"""Clients of the Perspective API from PyPI, as they are, pointed at a local server by its address alone."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest

from detoxlm.serve.keys import Keys

Serve = Callable[..., httpx.Client]
TEXT = "three eels, you say"


def test_perspective_gets_the_score_of_the_library(serve: Serve, toy: Any) -> None:
    perspective = pytest.importorskip("perspective.perspective", reason="the package perspective is not installed")
    client, score = perspective.PerspectiveAPI("any"), toy.score([TEXT])[0]
    client.api_client.url = f"{serve(toy).base_url}/v1alpha1/{{endpoint}}".replace("//v1", "/v1")
    assert client.score(TEXT, tests=["TOXICITY", "INSULT"])["TOXICITY"] == score
    answer = client.analyze_comment(TEXT, span_annotations=True, do_not_store=True, session_id="s", client_token="t")
    assert answer["attributeScores"]["TOXICITY"]["spanScores"][0]["score"]["value"] == score
    assert (
        client.suggest_score(TEXT, {"TOXICITY": {"summaryScore": {"value": 0.5}}}, client_token="t")["clientToken"]
        == "t"
    )


@pytest.fixture
def pyperspective() -> ModuleType:
    """The module of PyPerspective."""
    return pytest.importorskip("PyPerspective.Perspective", reason="the package PyPerspective is not installed")


def test_pyperspective_gets_the_score_of_the_library(
    serve: Serve, toy: Any, pyperspective: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve(toy, keys=Keys(["good"])).base_url.join("/v1alpha1/comments:analyze")
    monkeypatch.setattr(pyperspective, "base_url", str(address))
    found = pyperspective.Perspective("good").get_score(TEXT, tests=["TOXICITY", "THREAT"])
    assert found["TOXICITY"].score == toy.score([TEXT])[0]
    with pytest.raises(pyperspective.InvalidAuthKey):  # it looks for the reason in the error's details
        pyperspective.Perspective("bad")
