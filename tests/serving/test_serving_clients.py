"""Real clients, changed in nothing but the address: the `openai` package and curl; and the command as a process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fits import fit

from detoxlm.errors import UsageError
from detoxlm.models import Target
from detoxlm.serving.command import serve
from detoxlm.settings import ServeSettings

pytestmark = pytest.mark.usefixtures("short_looks")


@pytest.fixture
def client(serve_model: Any) -> Any:
    """An `openai` client of a new server, and the server."""
    openai = pytest.importorskip("openai", reason="openai is not installed: pip install 'detoxlm[clients]'")
    server = serve_model(most=4, queue=8)
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0), server


def test_openai_completions(client: Any) -> None:
    openai, server = client
    body = {"prompt": "the old bridge", "max_tokens": 12, "temperature": 0.8, "seed": 5}
    want = server.ask(**body, detoxlm={"strength": 2.0}).json()["choices"][0]["text"]
    for extra in ({"detoxlm": {"strength": 2.0}}, {"vllm_xargs": {"strength": 2.0}}):
        found = openai.completions.create(model="tiny", **body, extra_body=extra)
        assert found.choices[0].text == want
        assert found.usage.completion_tokens == 12
        parts = list(openai.completions.create(model="tiny", **body, extra_body=extra, stream=True))
        assert "".join(part.choices[0].text for part in parts) == want
        assert parts[-1].choices[0].finish_reason == "length"
    told = openai.completions.create(model="tiny", **body, logprobs=2).choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == 12


def test_openai_chat(client: Any) -> None:
    openai, server = client
    server.served.target.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    body = {"messages": [{"role": "user", "content": "the old"}], "max_tokens": 12, "seed": 5, "n": 2}
    found = openai.chat.completions.create(model="tiny", **body, logprobs=True, top_logprobs=1)
    assert [one.message.role for one in found.choices] == ["assistant"] * 2
    assert len(found.choices[0].logprobs.content) == 12
    texts = {0: "", 1: ""}
    options = {"include_usage": True}
    for part in openai.chat.completions.create(model="tiny", **body, stream=True, stream_options=options):
        for choice in part.choices:
            texts[choice.index] += choice.delta.content or ""
        last = part
    assert last.usage == found.usage
    assert [texts[0], texts[1]] == [one.message.content for one in found.choices]


def test_openai_reads_the_errors(client: Any) -> None:
    import openai as package

    openai, _ = client
    with pytest.raises(package.NotFoundError, match="'other' is not served here; known: tiny") as error:
        openai.completions.create(model="other", prompt="a")
    assert error.value.code == "model_not_found"
    with pytest.raises(package.BadRequestError, match=r"strength: 9 is outside \[0, 4\] of fusion") as refused:
        openai.completions.create(model="tiny", prompt="a", extra_body={"detoxlm": {"strength": 9}})
    assert refused.value.param == "strength"
    assert [one.id for one in openai.models.list()] == ["tiny", "tiny:fusion"]


def test_curl_streams(serve_model: Any) -> None:
    curl = shutil.which("curl") or pytest.skip("curl is not installed")
    server = serve_model()
    body = {"prompt": "the old", "max_tokens": 9, "temperature": 0}
    command = [curl, "-sN", f"{server.url}/v1/completions", "-d", json.dumps({**body, "stream": True})]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    text = "".join(part["choices"][0]["text"] for part in parts)
    assert text == server.ask(**body).json()["choices"][0]["text"]
    assert said.endswith("data: [DONE]\n\n")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tiny_folder: Callable[..., Path], tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path) -> Any:
    """The folders of a tiny model, of a detoxifier of it, and of one that changes its weights."""
    for name in ("fusion", "surgery"):
        fit(tiny(), name, letter_scorer).save_pretrained(tmp_path / name)
    return tiny_folder("llama"), tmp_path / "fusion", tmp_path / "surgery"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Return `start(*options)`: a server's process and its address."""
    started: list[subprocess.Popen[str]] = []

    def run(*options: Any) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "detoxlm.cli", "serve", *map(str, options), "--port", "0"]
        path = os.pathsep.join(filter(None, sys.path))
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "PYTHONPATH": path}
            )
        started.append(process)
        assert process.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert address, (tmp_path / "log").read_text()
        return process, address[0]

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_what_was_accepted_is_answered_before_it_ends(folders: Any, start: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("hush-key\n")
    model, fusion, _ = folders
    process, url = start(model, "--detoxifier", fusion, "--api-key-file", tmp_path / "keys", "--max-batch", "2")
    body = {"prompt": "a secret", "max_tokens": 100, "temperature": 0, "stream": True}
    answers: list[str] = []

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            headers = {"Authorization": "Bearer hush-key"}
            with client.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
                for line in answer.iter_lines():
                    answers.append(line)
                    begun.set()

    begun = threading.Event()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 401
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert answers.count("data: [DONE]") >= 1
    assert sum('"finish_reason": "length"' in line for line in answers) == answers.count("data: [DONE]")
    assert process.wait(60) == 0
    log = (tmp_path / "log").read_text()
    assert "POST /v1/completions 200" in log
    assert not re.search("secret|hush|Traceback", log), log


def test_what_it_cannot_have_is_named(folders: Any, tiny_folder: Callable[..., Path]) -> None:
    model, fusion, surgery = map(str, folders)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port: {port} is in use on 127.0.0.1; choose another --port."):
            serve(model, ServeSettings(port=port), print)
    for detoxifier, options, message in (
        ([fusion, surgery], {}, "surgery changes the model's weights, so it is served alone"),
        ([fusion], {"strength": 9}, r"strength: 9 is outside \[0, 4\] of fusion"),
        (None, {"strength": 1}, "strength: it needs --detoxifier"),
        ([fusion, fusion], {}, "detoxifier: two are called 'fusion'"),
    ):
        with pytest.raises(UsageError, match=message):
            serve(model, ServeSettings(port=0, detoxifier=detoxifier, **options), print)
    with pytest.raises(UsageError, match=r"detoxifier: .* was fitted for|is for a model"):
        serve(str(tiny_folder("llama", 1)), ServeSettings(port=0, detoxifier=[fusion]), print)
