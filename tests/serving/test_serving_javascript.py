"""OpenAI's JavaScript client, changed in nothing but the address."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.usefixtures("short_looks"), pytest.mark.more]
VERSION = "7.59.0"
SCRIPT = """
import OpenAI from "openai";
const openai = new OpenAI({baseURL: process.argv[2], apiKey: "none", maxRetries: 0});
const asked = {model: "tiny", prompt: "the old bridge", max_tokens: 12, temperature: 0.8, seed: 5, logprobs: 1};
const extra = {detoxlm: {strength: 2.0}};
const whole = await openai.completions.create({...asked, ...extra});
let streamed = "";
for await (const part of await openai.completions.create({...asked, ...extra, stream: true}))
  streamed += part.choices[0].text;
const turns = {model: "tiny", messages: [{role: "user", content: "the old"}], max_tokens: 9, seed: 2};
const chat = await openai.chat.completions.create({...turns, ...extra});
let said = "";
for await (const part of await openai.chat.completions.create({...turns, ...extra, stream: true}))
  said += part.choices[0]?.delta?.content ?? "";
let refused = null;
try { await openai.completions.create({...asked, detoxlm: {strength: 99}}); }
catch (error) { refused = [error.status, error.param]; }
console.log(JSON.stringify({whole, streamed, chat, said, refused}));
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it; npm's registry may be away."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("javascript")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), f"openai@{VERSION}"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if made.returncode:
        pytest.skip(f"npm cannot install openai@{VERSION}: {made.stderr[-200:]}")
    return folder


def test_the_javascript_client_gets_what_others_get(package: Path, serve_model: Any) -> None:
    server = serve_model()
    server.served.target.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    script = package / "ask.mjs"
    script.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    made = subprocess.run(
        ["node", str(script), f"{server.url}/v1"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=True,
    )
    told = json.loads(made.stdout)
    steered = {"detoxlm": {"strength": 2.0}}
    asked = {"prompt": "the old bridge", "max_tokens": 12, "temperature": 0.8, "seed": 5, "logprobs": 1}
    want = server.ask(**asked, **steered).json()["choices"]
    assert told["whole"]["choices"] == want
    assert told["streamed"] == want[0]["text"]
    turns = {"messages": [{"role": "user", "content": "the old"}], "max_tokens": 9, "seed": 2}
    answer = server.ask("chat/completions", **turns, **steered).json()["choices"]
    assert told["chat"]["choices"] == answer
    assert told["said"] == answer[0]["message"]["content"]
    assert told["refused"] == [400, "strength"]
