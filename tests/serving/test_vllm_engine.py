"""The real engine, where it is installed: an environment of its own, as docs/serving-models.md says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from detoxlm.errors import UsageError
from detoxlm.serving.in_vllm import check as checking
from detoxlm.serving.in_vllm.check import Checked, Parting, check
from detoxlm.settings import VllmCheckSettings

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detoxlm.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@needs_vllm
@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.parametrize(
    ("method", "route", "found"), [("fusion", "", "inside"), ("fusion", "beside", "beside"), ("nado", "", "inside")]
)
def test_vllm_writes_what_detoxlm_writes(method: str, route: str, found: str, tmp_path: Path) -> None:
    assert run("fit", method, "embedded", "-o", str(tmp_path / "d")).returncode == 0
    options = ["--detoxifier", str(tmp_path / "d"), "--check-prompts", "12", "--json"]
    done = run("vllm-check", "embedded", *options, DETOXLM_VLLM_ROUTE=route)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout[done.stdout.index("{") :])
    assert said["route"] == found
    assert said["untouched"] == 0
    assert said["acted"] >= said["drawn"] > 100
    assert said["plain"] > 50


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed in this environment")
def test_without_vllm_the_check_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"vLLM is not installed in this environment: pip install 'vllm==0\.32\.\*'"):
        check("embedded", VllmCheckSettings(detoxifier="nowhere"))


def test_without_a_detoxifier_the_check_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "installed_version", lambda *_: "0.32.0")
    with pytest.raises(UsageError, match="detoxifier: name one"):
        check("embedded", VllmCheckSettings())


def outcome(partings: list[Parting], untouched: int = 0) -> Checked:
    counted = {"drawn": 90, "untouched": untouched, "acted": 100, "plain": 30}
    return Checked("0.32.0", "fusion", "inside", 20, 120, partings, **counted)


def test_a_check_passes_with_few_near_ties_and_no_untouched_token() -> None:
    near, far = Parting(3, 0.5, 7, 11, 12, 1e-5), Parting(3, 0.5, 7, 11, None, 0.5)
    assert outcome([]).passed
    assert outcome([near]).passed
    assert not outcome([far]).passed, "one token that differs for no reason is one too many"
    assert not outcome([near, near]).passed, "two of twenty are more than a twentieth"
    assert not outcome([], untouched=1).passed, "however many rows were acted on"
    assert "token 7: 11 and None, +5.0e-01 nats apart: NOT a near-tie" in "\n".join(outcome([far]).lines())
