"""`detoxlm serve-scorer` as a process: it starts, says where, ends well, and what it cannot have it names."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers import load_scorer
from detoxlm.serve.command import serve
from detoxlm.settings import ServeScorerSettings

ANALYZE = "/v1alpha1/comments:analyze"
Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return `start(*options)`: a server's process and its address."""
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "detoxlm.cli", "serve-scorer", "--port", "0", *options]
        path = os.pathsep.join(filter(None, sys.path))
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "PYTHONPATH": path}
            )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, (tmp_path / "log").read_text()
        return process, address[0]

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def asking(text: str) -> dict[str, Any]:
    return {"comment": {"text": text}, "requestedAttributes": {"TOXICITY": {}}}


def test_what_was_accepted_is_answered_before_it_ends_and_the_log_has_no_text_and_no_key(
    start: Start, tmp_path: Path
) -> None:
    rule = tmp_path / "rule.py"
    rule.write_text("import time\ndef slow(text):\n    time.sleep(0.6 if 'wait' in text else 0)\n    return 0.25\n")
    keys = tmp_path / "keys"
    keys.write_text("# ours\n\nhush-key\n")
    process, address = start("--scorer", f"python:{rule}:slow", "--api-key-file", str(keys))
    with ThreadPoolExecutor(3) as threads, httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        assert client.post(f"{ANALYZE}?key=other-key", json=asking("eel")).status_code == 403
        waiting = [threads.submit(client.post, f"{ANALYZE}?key=hush-key", json=asking(f"wait {i}")) for i in range(3)]
        while "detoxlm_texts_waiting 0" in client.get("/metrics").text:
            pass
        process.send_signal(signal.SIGTERM)
        answers = [one.result() for one in waiting]
    for answer in answers:
        assert summary(answer) == 0.25
    assert process.wait(20) == 0
    log = (tmp_path / "log").read_text()
    assert log.count(f"POST {ANALYZE} 200") == 3
    assert not re.search("wait|hush|other-key|Traceback", log), log


def children_of(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not listed.exists():
        pytest.skip("this system has no list of a process's children")
    children = [int(pid) for pid in listed.read_text().split()]
    return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_workers_are_processes_that_outlast_ctrl_c_and_end_with_their_server(start: Start) -> None:
    process, address = start("--scorer", "ngram", "--workers", "2")
    workers = children_of(process)
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGINT)  # Ctrl-C reaches them too, and what was accepted is still to be answered
    texts = [f"you {i} fools" for i in range(20)]
    with ThreadPoolExecutor(8) as threads, httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        scores = list(threads.map(lambda text: summary(client.post(ANALYZE, json=asking(text))), texts))
    assert scores == load_scorer("ngram").score(texts).tolist()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert gone(workers)


@pytest.mark.slow
def test_workers_that_die_are_replaced_and_die_with_a_server_that_is_killed(start: Start) -> None:
    process, address = start("--scorer", "ngram", "--workers", "2")
    workers = children_of(process)
    os.kill(workers[0], signal.SIGKILL)
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
        while (answer := client.post(ANALYZE, json=asking("you fool"))).status_code == 500:
            pass  # until it is seen to be dead
        assert summary(answer) == load_scorer("ngram").score(["you fool"])[0]
    workers += children_of(process)
    process.kill()
    process.wait()
    assert gone(workers)


def summary(answer: httpx.Response) -> float:
    return answer.json()["attributeScores"]["TOXICITY"]["summaryScore"]["value"]


def gone(pids: list[int]) -> bool:
    """Whether processes end within ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        # one that nobody has waited for yet is Z
        if not any(state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z" for state in states):
            return True
        time.sleep(0.05)
    return False


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"^port: {port} is in use on 127.0.0.1; choose another --port.$"):
            serve(ServeScorerSettings(scorer="ngram", port=port), print)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "no such host"}, "host: 'no such host' is no address of this machine"),
        ({"host": "192.0.2.1"}, "host: 192.0.2.1 is no address of this machine"),
        ({"api_key_file": "none"}, "api-key-file: cannot read"),
        ({"api_key_file": "empty"}, "api-key-file: .*empty has no key"),
        ({"api_key_file": "binary"}, "api-key-file: .*binary is not UTF-8"),
        ({"scorer": "ngrm"}, "scorer: unknown name 'ngrm'. Did you mean 'ngram'?"),
        ({"scorer": "embedded,ngram"}, "scorer: unknown name"),
    ],
)
def test_what_it_cannot_have_is_named(settings: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# none\n\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    if "api_key_file" in settings:
        settings = {"api_key_file": str(tmp_path / settings["api_key_file"])}
    with pytest.raises(UsageError, match=message):
        serve(ServeScorerSettings(port=0, **{"scorer": "ngram", **settings}), print)


def test_a_scorer_that_cannot_score_stops_it_before_it_says_that_it_serves(tmp_path: Path) -> None:
    rule = tmp_path / "rule.py"
    rule.write_text("def broken(text):\n    return 7\n")
    said: list[str] = []
    with pytest.raises(DetoxError, match="is not in \\[0, 1\\]"):
        serve(ServeScorerSettings(scorer=f"python:{rule}:broken", port=0), said.append)
    assert not said
