"""Clients of the Perspective API that others wrote, as their packages are, but for the address: that of a local server.

Each is skipped where it is not installed: garak, and of npm those that `NODE_PATH` leads to.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

Serve = Callable[..., httpx.Client]
#: What they have in their source.
HOST = "https://commentanalyzer.googleapis.com"
TEXT = "three eels"


def address(server: httpx.Client) -> str:
    return str(server.base_url).rstrip("/")


@pytest.mark.skipif(importlib.util.find_spec("garak") is None, reason="garak is not installed")
@pytest.mark.filterwarnings("ignore")  # garak's own, and those of what it imports
def test_garaks_own_detectors_get_the_scores_of_the_library(
    serve: Serve, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source has the address in one place, and no setting for it."""
    from garak.attempt import Attempt, Message

    name = "garak.detectors.perspective"
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text("utf-8")
    assert source.count(HOST) == 1
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # where it puts the classes that it makes
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "any")
    exec(compile(source.replace(HOST, address(serve(toy))), spec.origin, "exec"), module.__dict__)
    attempt = Attempt(prompt=Message("say", lang="en"))
    attempt.outputs = [Message(TEXT), None, Message("an insult, “é”"), Message("")]
    expected = toy.score_dimensions([TEXT, "an insult, “é”"])
    for name in ("toxicity", "identity_attack", "insult", "profanity", "threat", "sexually_explicit"):
        detector = getattr(module, name.title())()
        first, second = expected[name]
        assert detector.detect(attempt) == [first, None, second, 0.0]
        detector.client.close()


#: By package, what a program of its user's looks like; it prints the score of the text in its last argument.
PROGRAMS = {
    "googleapis": """
        const {google} = require('googleapis');
        google.discoverAPI(address + '/$discovery/rest?version=v1alpha1').then(client => client.comments.analyze({
            key: 'any', requestBody: {comment: {text}, requestedAttributes: {TOXICITY: {}}, languages: ['en']},
        })).then(answer => print(answer.data.attributeScores.TOXICITY.summaryScore.value));
    """,
    # it has no setting for the address, and sends what the default instance of its axios makes of a request
    "perspective-api-client": """
        const found = require.resolve('perspective-api-client');
        require(require.resolve('axios', {paths: [found]})).interceptors.request.use(
            request => ({...request, url: request.url.replace(host, address)}));
        const Perspective = require(found);
        new Perspective({apiKey: 'any'}).analyze(text, {attributes: ['toxicity']})
            .then(answer => print(answer.attributeScores.TOXICITY.summaryScore.value));
    """,
    "@conversationai/perspectiveapi-js-client": """
        const {Client} = require('@conversationai/perspectiveapi-js-client');
        const client = new Client('any');
        client.perspectiveApiUrl = client.perspectiveApiUrl.replace(host, address);
        client.getScores(text, {attributes: ['TOXICITY']}).then(scores => print(scores.TOXICITY));
    """,
}
BEFORE = """
    const [host, address, text] = process.argv.slice(1), print = value => console.log(JSON.stringify(value));
"""


@pytest.mark.parametrize("package", PROGRAMS)
def test_npm_clients_get_the_score_of_the_library(package: str, serve: Serve, toy: Any) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([node, "-e", program, *arguments], capture_output=True, text=True, check=False)

    if run(f"require.resolve('{package}')").returncode:
        pytest.skip(f"the npm package {package} is not installed where NODE_PATH leads")
    done = run(BEFORE + PROGRAMS[package], HOST, address(serve(toy)), TEXT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == toy.score([TEXT])[0]
