"""The OpenAI API's protocol over a real socket."""

from __future__ import annotations

import copy
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fits import fit

from detoxlm.generation import Sampling, generate
from detoxlm.models import Target
from detoxlm.serve.keys import Keys
from detoxlm.serving.batch import answer
from detoxlm.serving.forms import ROWS
from detoxlm.serving.host import Host
from detoxlm.serving.rows import Job
from detoxlm.serving.served import Served

pytestmark = pytest.mark.usefixtures("short_looks")
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The objects of a stream, which must end as it should."""
    lines = [line for line in answer.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def text_of(answer: httpx.Response, choice: int = 0) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][choice]["text"])


def error_of(answer: httpx.Response, code: int) -> dict[str, Any]:
    assert answer.status_code == code, answer.text
    found = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return dict(found)


def test_greedy_text_is_that_of_the_attached_model_at_each_strength(serve_model: Any, fusion: Any) -> None:
    target, detoxifier = fusion
    server = serve_model()
    sampling = Sampling(max_new_tokens=20)
    texts = []
    for strength in (0.0, 0.5, detoxifier.max_strength):
        with detoxifier.attached(target.model, strength):
            want = next(generate(target, ["the old bridge"], sampling)).generations[0].texts[0]
        for field in ("detoxlm", "vllm_xargs"):
            body = {"prompt": "the old bridge", "max_tokens": 20, "temperature": 0, field: {"strength": strength}}
            assert text_of(server.ask(**body)) == want
        texts.append(want)
    assert len(set(texts)) > 1
    default = server.ask(prompt="the old bridge", max_tokens=20, temperature=0).json()
    assert default["detoxlm"] == {"method": "fusion", "strength": detoxifier.default_strength}
    assert default["usage"] == {
        "prompt_tokens": 14,
        "completion_tokens": 20,
        "total_tokens": 34,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert default["choices"][0]["finish_reason"] == "length"


def test_64_requests_at_once_with_strengths_of_their_own_each_equal_themselves_alone(
    serve_model: Any, fusion: Any
) -> None:
    server, rng = serve_model(most=6, queue=200), random.Random(3)
    bodies = []
    for i in range(64):
        bodies.append(
            {
                "prompt": f"{i} the old bridge over the river"[: rng.randint(3, 30)],
                "max_tokens": rng.randint(1, 24),
                "temperature": rng.choice([0.7, 1.0]),
                "top_p": rng.choice([0.8, 1.0]),
                "seed": i,
                "n": rng.choice([1, 1, 2]),
                "detoxlm": {"strength": rng.choice([0, 0.3, 0.5, 2.0])},
            }
        )
    with ThreadPoolExecutor(64) as threads:
        together = list(threads.map(lambda body: [one["text"] for one in server.ask(**body).json()["choices"]], bodies))
    alone = [[one["text"] for one in server.ask(**body).json()["choices"]] for body in bodies]
    assert together == alone
    assert "detoxlm_unfused_tokens_total 0\n" in server.client.get("/metrics").text


def test_strength_0_is_the_untouched_model(serve_model: Any, fusion: Any) -> None:
    target, _ = fusion
    server, plain = serve_model(), serve_model(served=Served(target, "tiny", {}))
    body = {"prompt": "we walked", "max_tokens": 24, "seed": 5, "logprobs": 3}
    untouched, at_zero = plain.ask(**body), server.ask(**body, detoxlm={"strength": 0})
    assert untouched.json()["choices"] == at_zero.json()["choices"]
    assert plain.ask(**body, detoxlm={"strength": 0}).status_code == 200
    assert "no detoxifier is served" in error_of(plain.ask(**body, detoxlm={"strength": 0.5}), 400)["message"]


def test_a_stream_is_the_whole_in_parts(serve_model: Any) -> None:
    server = serve_model()
    body = {"prompt": "the old", "max_tokens": 30, "seed": 4, "n": 2, "logprobs": 2}
    whole = server.ask(**body).json()
    parts = events(server.ask(**body, stream=True, stream_options={"include_usage": True}))
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"] == whole["usage"]
    for i, choice in enumerate(whole["choices"]):
        own = [part["choices"][0] for part in parts[:-1] if part["choices"][0]["index"] == i]
        assert "".join(one["text"] for one in own) == choice["text"]
        for name in ("tokens", "token_logprobs", "text_offset"):
            assert [value for one in own for value in one["logprobs"][name]] == choice["logprobs"][name]
        assert [one["finish_reason"] for one in own] == [None] * (len(own) - 1) + [choice["finish_reason"]]


def test_log_probabilities_are_those_of_the_detoxified_model(serve_model: Any, fusion: Any) -> None:
    import torch
    from devices import as_row

    target, detoxifier = fusion
    found = (
        serve_model().ask(prompt="the old", max_tokens=4, temperature=0, logprobs=3, detoxlm={"strength": 2.0}).json()
    )
    told = found["choices"][0]["logprobs"]
    ids = target.tokenizer("the old")["input_ids"]
    with torch.inference_mode(), detoxifier.attached(target.model, 2.0):
        logits = target.model(as_row(target, ids)).logits[0, -1].log_softmax(-1)
    top = logits.topk(3)
    assert told["token_logprobs"][0] == pytest.approx(float(top.values[0]), abs=1e-3)
    want: dict[str, float] = {}
    for value, token in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        want.setdefault(target.tokenizer.decode([token]), value)  # of two tokens of one text, the likelier
    assert told["top_logprobs"][0] == pytest.approx(want, abs=1e-3)


def test_a_conversation_is_read_by_the_chat_template(serve_model: Any, fusion: Any) -> None:
    target, detoxifier = fusion
    tokenizer = copy.deepcopy(target.tokenizer)
    tokenizer.chat_template = TEMPLATE
    served = Served(replace(target, tokenizer=tokenizer), "tiny", {"tiny:fusion": detoxifier})
    server = serve_model(served=served)
    messages = [{"role": "user", "content": [{"type": "text", "text": "who are "}, {"type": "text", "text": "you"}]}]
    body = {"messages": messages, "max_tokens": 12, "seed": 1, "logprobs": True, "top_logprobs": 2}
    whole = server.ask("chat/completions", **body).json()
    as_text = server.ask(prompt="user: who are you\nassistant:", max_tokens=12, seed=1)
    message = whole["choices"][0]["message"]
    assert message == {"role": "assistant", "content": text_of(as_text), "refusal": None}
    entries = whole["choices"][0]["logprobs"]["content"]
    assert len(entries) == whole["usage"]["completion_tokens"]
    assert all(len(one["top_logprobs"]) == 2 for one in entries)
    parts = events(server.ask("chat/completions", **body, stream=True))
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(part["choices"][0]["delta"]["content"] for part in parts) == message["content"]
    longest = server.ask("chat/completions", messages=messages, temperature=0).json()["usage"]
    assert longest["total_tokens"] == served.window or longest["completion_tokens"] < 128
    plain = serve_model()
    assert "no chat template" in error_of(plain.ask("chat/completions", **body), 400)["message"]


def chatting(target: Target, template: str = TEMPLATE, token: str | None = None) -> Served:
    """A tiny model with a chat template, and a token that it has no embedding of."""
    tokenizer = copy.deepcopy(target.tokenizer)
    tokenizer.chat_template = template
    while token is not None and token not in tokenizer.get_vocab():  # the ids of the tiny models go on behind the bytes
        rows, count = target.model.get_input_embeddings().weight.shape[0], len(tokenizer)
        tokenizer.add_tokens([token if count >= rows else f"<unused{count}>"], special_tokens=True)
    return Served(replace(target, tokenizer=tokenizer), "tiny", {})


def test_a_conversation_with_a_token_that_the_model_does_not_know_is_refused(serve_model: Any, fusion: Any) -> None:
    server = serve_model(served=chatting(fusion[0], token="<picture>"))
    other = {"messages": [{"role": "user", "content": "what is <picture>"}]}
    found = error_of(server.ask("chat/completions", **other), 400)
    assert found["param"] == "messages" and "the token '<picture>' in them has no embedding" in found["message"]
    assert text_of(server.ask(prompt="the old", max_tokens=3))
    empty = serve_model(served=chatting(fusion[0], "{{ '' }}"))
    assert "makes no tokens" in error_of(empty.ask("chat/completions", **other), 400)["message"]


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "user", "text": "Hi"}, "messages.0.content: Field required"),
        ({"role": "user", "content": "Hi", "text": "you"}, "Unrecognized .* messages.0.text"),
        ({"role": "user", "content": None}, "a turn of 'user' has no content"),
        ({"role": "user", "content": 5}, "messages.0.content: Input should be"),
        ({"role": "user", "content": [{"type": "text"}]}, "a part of type 'text' has no text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "of type 'image_url'"),
        ({"role": "tool", "tool_call_id": "1", "content": "4"}, "has the role 'tool'"),
        ({"role": "function", "name": "add", "content": "4"}, "has the role 'function'"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "a turn has tool_calls"),
        ({"role": "assistant", "content": None, "function_call": {"name": "add"}}, "a turn has function_call"),
        ({"role": "assistant", "content": None, "refusal": "No."}, "a turn has refusal"),
        ({"role": "system", "content": "Be kind."}, "template leaves out a turn of 'system'"),
        ({"role": "developer", "content": "Be kind."}, "template leaves out a turn of 'developer'"),
        ("Hi", "messages.0: Input should be"),
    ],
)
def test_nothing_of_a_conversation_is_dropped_in_silence(
    turn: Any, message: str, serve_model: Any, fusion: Any
) -> None:
    import re

    template = "{% for m in messages if m.role in ('user', 'assistant') %}" + TEMPLATE.partition("%}")[2]
    server = serve_model(served=chatting(fusion[0], template))
    answer = server.ask("chat/completions", messages=[turn, {"role": "user", "content": "who"}], max_tokens=3)
    assert re.search(message, error_of(answer, 400)["message"]), answer.text


def test_a_system_turn_that_a_template_changes_is_read_all_the_same(serve_model: Any, fusion: Any) -> None:
    server = serve_model(
        served=chatting(fusion[0], TEMPLATE.replace("m.content", "m.content.replace(' /no_think', '')"))
    )
    turns = [{"role": "system", "content": "be /no_think kind"}, {"role": "user", "content": "who", "type": "text"}]
    assert server.ask("chat/completions", messages=turns, max_tokens=3).status_code == 200


def test_what_clients_send_back_with_an_answer_changes_nothing(serve_model: Any, fusion: Any) -> None:
    server = serve_model(served=chatting(fusion[0]))
    body = {"max_tokens": 9, "seed": 1}
    before = {"role": "system", "content": " be kind "}, {"role": "user", "content": "who"}
    answered, nothing = {"role": "assistant", "content": "me"}, {"role": "assistant", "content": ""}
    # what `message.model_dump()` of the openai package gives, and what its JavaScript client hands on
    sent = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
    parts = [{"type": "text", "text": "m", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "e"}]
    for plain, more in (
        (answered, [{**answered, **sent}, {**answered, "tool_calls": []}, {**answered, "content": parts}]),
        (nothing, [{**nothing, "content": None, **sent}, {**nothing, "name": "me", "id": "1", "metadata": {"a": 1}}]),
    ):
        asked = [server.ask("chat/completions", messages=[*before, one, before[1]], **body) for one in (plain, *more)]
        assert all(one.status_code == 200 for one in asked), [one.text for one in asked]
        assert len({one.json()["choices"][0]["message"]["content"] for one in asked}) == 1


def test_stops_and_several_prompts(serve_model: Any) -> None:
    server = serve_model()
    body = {"max_tokens": 40, "temperature": 0, "detoxlm": {"strength": 0}}
    whole = text_of(server.ask(prompt="the old", **body))
    stop = whole[5:7]
    cut = server.ask(prompt="the old", stop=stop, **body).json()["choices"][0]
    assert (cut["text"], cut["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    ids = [ord(c) - 33 if c != " " else 220 for c in "the old"]
    tokens = server.served.target.tokenizer("the old")["input_ids"]
    assert len(ids) == len(tokens)
    for prompt in (["we", "the old"], [server.served.target.tokenizer("we")["input_ids"], tokens]):
        found = server.ask(prompt=prompt, **body)
        assert (text_of(found, 1), found.json()["choices"][1]["index"]) == (whole, 1)


@pytest.mark.parametrize(
    ("body", "code", "param", "message"),
    [
        ({"model": "gpt-4"}, 404, "model", "'gpt-4' is not served here; known: tiny, tiny:fusion"),
        ({"detoxlm": {"strength": 9}}, 400, "strength", r"9 is outside \[0, 4\] of fusion"),
        ({"detoxlm": {"strength": -1}}, 400, "strength", r"-1 is outside \[0, 4\]"),
        ({"vllm_xargs": {"strength": 4.1}}, 400, "strength", r"4.1 is outside \[0, 4\]"),
        ({"detoxlm": {"strength": 1}, "vllm_xargs": {"strength": 2}}, 400, "vllm_xargs.strength", "give one of them"),
        ({"detoxlm": {"strength": "1"}}, 400, "detoxlm.strength", "valid number"),
        ({"detoxlm": {"strenght": 1}}, 400, "detoxlm.strenght", "Unrecognized"),
        ({"max_tokens": -1}, 400, "max_tokens", "greater than or equal to 0"),
        ({"max_tokens": 0}, 400, "max_tokens", "0 needs echo and logprobs"),
        ({"max_tokens": 0, "echo": True}, 400, "max_tokens", "0 needs echo and logprobs"),
        ({"max_tokens": 200}, 400, "max_tokens", "maximum context length is 128 tokens; the prompt has 7, and 200"),
        ({"prompt": "x" * 128}, 400, "messages", "maximum context length is 128 tokens; the prompt has 128"),
        ({"temperature": -1}, 400, "temperature", "greater than or equal to 0"),
        ({"temperature": True}, 400, "temperature", "valid number"),
        ({"top_p": 0}, 400, "top_p", "greater than 0"),
        ({"n": 9}, 400, "n", "more than the 8 rows"),
        ({"n": ROWS + 1}, 400, "n", "less than or equal to"),
        ({"prompt": []}, 400, "prompt", "token ids"),
        ({"prompt": [999]}, 400, "prompt", "token ids are from 0 to 259"),
        ({"prompt": {"a": 1}}, 400, "prompt", "valid"),
        ({"stop": [""]}, 400, "stop", "at least 1 character"),
        ({"logit_bias": {"5": 3}}, 400, "logit_bias", "only {} is served here"),
        ({"frequency_penalty": 1.0}, 400, "frequency_penalty", "only 0 is served"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "only .* is served"),
        ({"wrong": 1}, 400, "wrong", "Unrecognized request argument supplied: wrong"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_names_the_field(
    body: dict[str, Any], code: int, param: str, message: str, serve_model: Any
) -> None:
    import re

    found = error_of(serve_model().ask(**{"prompt": "the old", **body}), code)
    assert found["param"] == param
    assert re.search(message, found["message"]), found


def test_a_temperature_of_almost_nothing_is_none(serve_model: Any) -> None:
    server = serve_model()
    body = {"prompt": "the old", "max_tokens": 9, "top_p": 0.9, "detoxlm": {"explain": True}}
    with ThreadPoolExecutor(2) as threads:
        greedy, cold = threads.map(lambda t: server.ask(**body, temperature=t), (0, 1e-40))
    assert text_of(greedy) == text_of(cold)


def test_null_is_left_out_and_what_has_no_effect_is_taken(serve_model: Any) -> None:
    server = serve_model()
    body = {"prompt": "the old", "max_tokens": 5, "temperature": 0}
    more = {"stop": None, "seed": None, "user": "me", "presence_penalty": 0.0, "logit_bias": {}, "best_of": 1}
    assert text_of(server.ask(**body, **more)) == text_of(server.ask(**body))


def test_bodies_that_are_none(serve_model: Any) -> None:
    client = serve_model().client
    assert "no JSON" in error_of(client.post("/v1/completions", content=b"{"), 400)["message"]
    assert "no JSON object" in error_of(client.post("/v1/completions", content=b"[1]"), 400)["message"]
    deep = b"[" * 100_000
    assert "no JSON" in error_of(client.post("/v1/completions", content=deep), 400)["message"]
    big = b'{"prompt": "' + b"x" * (50 * 2**20) + b'"}'
    assert "exceeds the limit" in error_of(client.post("/v1/completions", content=big), 413)["message"]
    assert error_of(client.get("/v1/completions"), 405)["message"] == "No such method at this address."
    assert "requests go to /v1/" in error_of(client.get("/v2"), 404)["message"]


def test_keys_are_asked_for_where_there_are_some(serve_model: Any) -> None:
    client = serve_model(keys=Keys(["right"])).client
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right"}):
        found = error_of(client.post("/v1/completions", json={"prompt": "a"}, headers=headers), 401)
        assert found["code"] == "invalid_api_key"
        assert client.get("/v1/models", headers=headers).status_code == 401
    good = {"Authorization": "Bearer right"}
    assert client.post("/v1/completions", json={"prompt": "a"}, headers=good).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_models_are_listed_with_their_strengths(serve_model: Any, fusion: Any) -> None:
    client = serve_model().client
    listed = client.get("/v1/models").json()["data"]
    assert [one["id"] for one in listed] == ["tiny", "tiny:fusion"]
    assert listed[0]["detoxlm"] == {"method": "fusion", "strength": 0.5, "max_strength": fusion[1].max_strength}
    assert client.get("/v1/models/tiny:fusion").json() == listed[1]
    assert client.get("/v1/models/none").status_code == 404


def test_each_detoxifier_answers_by_its_name(serve_model: Any, fusion: Any, letter_scorer: Any) -> None:
    target, detoxifier = fusion
    probe = fit(target, "probe", letter_scorer)
    server = serve_model(served=Served(target, "tiny", {"tiny:a": detoxifier, "tiny:b": probe}))
    body = {"prompt": "the old bridge", "max_tokens": 20, "temperature": 0}
    for model, acting in (("tiny", detoxifier), ("tiny:a", detoxifier), ("tiny:b", probe)):
        strength = acting.max_strength
        with acting.attached(target.model, strength):
            want = next(generate(target, ["the old bridge"], Sampling(max_new_tokens=20))).generations[0].texts[0]
        assert text_of(server.ask(model=model, **body, detoxlm={"strength": strength})) == want


def test_a_full_queue_is_a_429_and_leaves_no_trace(serve_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve_model(most=1, queue=2)
    slow = {"prompt": "the old", "max_tokens": 100, "temperature": 0}
    extend, full_now = Host.extend, threading.Event()

    def held(*given: Any) -> Any:  # on a busy machine the first might be done before the last has come
        full_now.wait(60)
        return extend(*given)

    monkeypatch.setattr(Host, "extend", held)
    with ThreadPoolExecutor(3) as threads:
        first = [threads.submit(server.ask, **slow) for _ in range(3)]
        while server.metrics.waiting() < 2:
            time.sleep(0.001)
        full = server.ask(**slow)
        full_now.set()
        found = error_of(full, 429)
        assert found["code"] == "queue_full"
        assert int(full.headers["Retry-After"]) >= 1
        assert len({text_of(one.result()) for one in first}) == 1
    assert server.metrics.waiting() == 0
    end = time.monotonic() + 30  # an answer is told within the step that frees its row
    while server.metrics.running() and time.monotonic() < end:
        time.sleep(0.001)
    assert server.metrics.running() == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_row(stream: bool, serve_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve_model(most=2)
    extend = Host.extend

    def slowly(*given: Any) -> Any:
        time.sleep(0.02)
        return extend(*given)

    monkeypatch.setattr(Host, "extend", slowly)
    body = json.dumps({"prompt": "the old", "max_tokens": 110, "temperature": 0, "stream": stream, "n": 2}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(head + body)
        while server.metrics.running() < 2 or server.metrics.counts.tokens < 6:
            time.sleep(0.001)
    end = time.monotonic() + 10
    while server.metrics.running() and time.monotonic() < end:
        time.sleep(0.001)
    assert server.metrics.running() == 0
    assert server.metrics.counts.tokens < 150  # of 220
    assert text_of(server.ask(prompt="we", max_tokens=3))


def test_metrics_and_log_have_no_text(serve_model: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = serve_model()
    with caplog.at_level("INFO", "detoxlm.serve"):
        server.ask(prompt="a secret", max_tokens=7, temperature=0, detoxlm={"strength": 0})
        server.ask(prompt="a secret", max_tokens=5, temperature=0)
        server.client.get("/v1/a-secret-path")
        page = server.client.get("/metrics").text
    assert "secret" not in caplog.text + page
    assert "POST /v1/completions 200" in caplog.text
    for line in (
        "detoxlm_tokens_total 12",
        "detoxlm_untouched_tokens_total 7",
        "detoxlm_unfused_tokens_total 0",
        "detoxlm_prompt_tokens_total 16",
        'detoxlm_requests_total{route="/v1/completions",code="200"} 2',
        "detoxlm_first_token_seconds_count 2",
    ):
        assert line in page.splitlines(), page


def test_weights_methods_are_served_at_one_strength(
    serve_model: Any, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, "surgery", letter_scorer)
    with detoxifier.attached(target.model, 1.0):
        want = next(generate(target, ["the old"], Sampling(max_new_tokens=9))).generations[0].texts[0]
    detoxifier.merge(target.model, 1.0)
    server = serve_model(served=Served(target, "tiny", {}, merged=("surgery", 1.0)))
    body = {"prompt": "the old", "max_tokens": 9, "temperature": 0}
    assert text_of(server.ask(**body)) == text_of(server.ask(**body, detoxlm={"strength": 1.0})) == want
    page = server.client.get("/metrics").text.splitlines()
    assert "detoxlm_tokens_total 0" not in page and "detoxlm_untouched_tokens_total 0" in page
    plain = serve_model(served=Served(tiny(), "tiny", {}, merged=("surgery", 0.0)))
    plain.ask(**body)
    assert plain.metrics.counts.plain == plain.metrics.counts.tokens > 0
    found = error_of(server.ask(**body, detoxlm={"strength": 0.5}), 400)
    assert "surgery is in the model's weights at strength 1, for all requests" in found["message"]


def test_a_seed_is_kept_to_and_its_absence_is_random(serve_model: Any, fusion: Any) -> None:
    server = serve_model()
    body = {"prompt": "the old", "max_tokens": 30}
    assert text_of(server.ask(**body, seed=-7)) == text_of(server.ask(**body, seed=-7))
    assert text_of(server.ask(**body)) != text_of(server.ask(**body))
    alike = server.ask(prompt=["the old"] * 4, max_tokens=30).json()["choices"]
    assert len({one["text"] for one in alike}) == 4
    host = Host(fusion[0], {"d": fusion[1]})
    ids = fusion[0].tokenizer("the old")["input_ids"]
    job = Job(ids, "the old", Sampling(max_new_tokens=30, temperature=1.0, seed=9), print, detoxifier="d", strength=0.5)
    assert answer(host, job)[0].text == text_of(server.ask(**body, seed=9))
    host.close()


def test_what_would_have_been_said_is_what_the_untouched_model_says_there(serve_model: Any, fusion: Any) -> None:
    import torch
    from devices import as_row

    target, _ = fusion
    body = {"prompt": "the old", "max_tokens": 24, "temperature": 0, "logprobs": 0}
    found = serve_model().ask(**body, detoxlm={"strength": 2.0, "explain": True}, stream=True)
    ids, told, want = list(target.tokenizer("the old")["input_ids"]), [], []
    for part in events(found):
        choice = part["choices"][0]
        told += choice["detoxlm"]["instead"]
    whole = serve_model().ask(**body, detoxlm={"strength": 2.0}).json()["choices"][0]["logprobs"]["tokens"]
    with torch.inference_mode():
        for text in whole:
            plain = int(target.model(as_row(target, ids)).logits[0, -1].argmax())
            written = target.tokenizer.decode([plain])
            if written != text:
                want.append(written)
            ids.append(next(i for i in range(260) if target.tokenizer.decode([i]) == text))
    if "�" not in whole:  # else a token cannot be told by its text
        assert told == want
    assert told
    assert "detoxlm" not in serve_model().ask(**body).json()["choices"][0]


def test_the_page_is_whole_and_names_what_is_served(serve_model: Any) -> None:
    answer = serve_model().client.get("/")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert '<option value="tiny:fusion" data-max="4" data-strength="0.5">fusion (fusion)</option>' in answer.text
    assert "$" not in answer.text
    assert "http" not in answer.text  # nothing comes from elsewhere


def test_the_page_is_told_the_toxicity_of_its_texts(serve_model: Any, letter_scorer: Any) -> None:
    server = serve_model(scorer=letter_scorer, keys=Keys(["secret"]))
    headers = {"Authorization": "Bearer secret"}
    texts = ["the eel", "we walked", ""]
    answer = server.client.post("/toxicity", json={"texts": texts}, headers=headers).json()
    assert answer == {"scorer": letter_scorer.name, "scores": pytest.approx(letter_scorer.score(texts), abs=1e-4)}
    assert f'data-scorer="{letter_scorer.name}"' in server.client.get("/").text
    for body, field in (({"texts": []}, "texts"), ({"texts": ["a"] * 9}, "texts"), ({"texts": [1]}, "texts")):
        assert error_of(server.client.post("/toxicity", json=body, headers=headers), 400)["param"].startswith(field)
    assert server.client.post("/toxicity", json={"texts": texts}).status_code == 401
    without = serve_model()
    assert (
        error_of(without.client.post("/toxicity", json={"texts": texts}), 404)["message"] == "No scorer is served here."
    )
    assert 'data-scorer=""' in without.client.get("/").text
