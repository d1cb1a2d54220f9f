"""`detoxlm label --page` over HTTP: the form, what is escaped, who is refused, and what is left when it is killed."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable
from html import unescape
from pathlib import Path

import httpx
import pytest
from sessions import PATIENCE, Page, verdicts

Open = Callable[..., Page]


def shown_text(shown: str) -> str:
    """The text of a page, as a browser shows it."""
    found = re.search(r'<p class="text" dir="auto">(.*?)</p>', shown, re.DOTALL)
    assert found is not None, shown
    return unescape(found[1])


def test_buttons_label_undo_and_stop_and_the_next_session_goes_on(page: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    session = page(texts, "-o", labels)
    first = session.client.get("/").text
    assert "Text 1 of 5" in first
    second = session.press(first, "/label", label="toxic").text
    assert "Text 2 of 5" in second and verdicts(labels) == ["toxic"]
    third = session.press(second, "/label", label="unsure").text
    again = session.press(third, "/undo").text
    assert shown_text(again) == shown_text(second) and verdicts(labels) == ["toxic"]
    end = session.press(session.press(again, "/label", label="not toxic").text, "/stop").text
    assert "Stopped. 2 of 5 texts labelled: 1 toxic, 1 not toxic, 0 unsure." in end
    assert f"detoxlm label --page --port 0 {texts} -o {labels}" in end
    assert session.process.wait(PATIENCE) == 0

    last = page(texts, "-o", labels)
    shown = last.client.get("/").text
    for number in (3, 4, 5):
        assert f"Text {number} of 5" in shown
        shown = last.press(shown, "/label", label="not toxic").text
    assert "All done. 5 of 5 texts labelled: 1 toxic, 4 not toxic, 0 unsure." in shown
    assert "Text 5 of 5" in last.press(shown, "/undo").text


def test_the_keys_of_the_page_are_those_of_the_terminal(page: Open, texts: Path, tmp_path: Path) -> None:
    shown = page(texts, "-o", tmp_path / "labels.jsonl").client.get("/").text
    found = dict(re.findall(r'<button (?:name="label" )?(?:value|formaction)="([^"]+)" data-key="(\w)"', shown))
    assert found == {"toxic": "1", "not toxic": "2", "unsure": "3", "/undo": "u", "/stop": "q"}


def test_a_text_sent_twice_is_labelled_once(page: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    session = page(texts, "-o", labels)
    first = session.client.get("/").text
    second = session.press(first, "/label", label="toxic").text
    twice = session.press(first, "/label", label="unsure").text
    assert "had been labelled already; nothing was changed" in twice
    assert shown_text(twice) == shown_text(second) and verdicts(labels) == ["toxic"]
    assert session.press(second, "/label", label="perhaps").status_code == 200 and verdicts(labels) == ["toxic"]


def test_texts_and_prompts_are_escaped_and_scores_hidden(page: Open, texts: Path, tmp_path: Path) -> None:
    session = page(texts, "-o", tmp_path / "labels.jsonl")
    shown, every = session.client.get("/").text, ""
    for _ in range(5):
        every += shown
        shown = session.press(shown, "/label", label="not toxic").text
    assert r"&lt;b&gt;&amp;bold&lt;/b&gt; \x1b[2J\u202e &lt;script&gt;alert(1)" in every
    assert "&lt;i&gt;He&lt;/i&gt; said:" in every and "line one\nline two" in every
    assert "<script>alert" not in every and "\x1b" not in every and "scored" not in every


def test_scores_are_shown_where_asked_for(page: Open, texts: Path, tmp_path: Path) -> None:
    session = page(texts, "-o", tmp_path / "labels.jsonl", "--show-scores")
    shown, every = session.client.get("/").text, ""
    for _ in range(5):
        every += shown
        shown = session.press(shown, "/label", label="not toxic").text
    assert every.count("scored 0.88") == 1 == every.count("scored")


def test_the_page_loads_nothing_and_other_sites_cannot_use_it(page: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    session = page(texts, "-o", labels)
    answer = session.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert not re.findall(r'(?:src|href)="(?!data:,)', answer.text)
    fields = session.fields(answer.text)
    # a form of another site has no token; a name of another site that leads here is not ours
    for sent, headers in (
        ({**fields, "token": "guess", "label": "toxic"}, {}),
        ({"text": fields["text"], "label": "toxic"}, {}),
        ({**fields, "label": "toxic", "more": "x" * 5000}, {}),
        ({**fields, "label": "toxic"}, {"host": "elsewhere.example"}),
    ):
        for action in ("/label", "/undo", "/stop"):
            assert session.client.post(action, data=sent, headers=headers).status_code in (400, 403)
    assert session.client.get("/label").status_code == 405
    assert not verdicts(labels) and session.client.get("/").status_code == 200


@pytest.mark.more
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_page_has_lost_nothing(stop: signal.Signals, page: Open, texts: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    session = page(texts, "-o", labels)
    shown = session.client.get("/").text
    stale = session.press(shown, "/label", label="toxic").text
    session.process.send_signal(stop)
    code = session.process.wait(PATIENCE)
    assert verdicts(labels) == ["toxic"] and (stop == signal.SIGKILL or code == 0)
    again = page(texts, "-o", labels)
    assert "Text 2 of 5" in again.client.get("/").text
    # the page that is still open in the browser belongs to the session that has ended
    refused = again.press(stale, "/label", label="toxic")
    assert refused.status_code == 403 and "earlier session" in refused.text and verdicts(labels) == ["toxic"]


def test_a_port_in_use_is_named_and_the_page_is_of_this_machine_alone(
    page: Open, texts: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    session = page(texts, "-o", tmp_path / "labels.jsonl")
    port = session.client.base_url.port
    code, _, error = call("label", texts, "-o", tmp_path / "other.jsonl", "--page", "--port", port)
    assert (code, error) == (2, f"detoxlm: port: {port} is in use on 127.0.0.1; choose another --port.\n")
    others = {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), port)} - {"127.0.0.1", "::1"}
    for address in others:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{f'[{address}]' if ':' in address else address}:{port}/", trust_env=False)
