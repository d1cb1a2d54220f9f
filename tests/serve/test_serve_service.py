"""The files that run the server as a service say what the server takes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from detoxlm.settings import ServeScorerSettings
from detoxlm.sources import resolve

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "examples" / "scorer-service"


def commands() -> dict[str, list[str]]:
    """Return by file the command that it runs, as words."""
    docker = re.search(r"^CMD (\[.*\])$", (SERVICE / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    unit = re.search(r"^ExecStart=(.*)$", (SERVICE / "detoxlm-scorer.service").read_text("utf-8"), re.MULTILINE)
    assert docker and unit
    compose = yaml.safe_load((SERVICE / "compose.yaml").read_text("utf-8"))
    return {
        "Dockerfile": json.loads(docker[1]),
        "compose.yaml": compose["services"]["scorer"]["command"],
        "detoxlm-scorer.service": shlex.split(unit[1]),
    }


@pytest.mark.parametrize("file", commands())
def test_the_command_of_a_service_is_one_that_the_server_takes(file: str) -> None:
    program, command, *options = commands()[file]
    assert Path(program).name == "detoxlm" and command == "serve-scorer"
    given = {name.removeprefix("--").replace("-", "_"): value for name, value in zip(*[iter(options)] * 2, strict=True)}
    settings = resolve(ServeScorerSettings, given)
    assert settings.port == 8077
    # open to other machines only where something in front decides who comes
    assert settings.host == ("127.0.0.1" if file.endswith(".service") else "0.0.0.0")


def test_the_container_has_the_versions_that_are_tested() -> None:
    lines = (SERVICE / "Dockerfile").read_text("utf-8")
    pinned = set(re.findall(r"\b([a-z0-9-]+==[\d.]+)", lines))
    tested = (
        f"{(ROOT / 'constraints.txt').read_text('utf-8')}\n{(ROOT / 'requirements-embedded.txt').read_text('utf-8')}"
    )
    assert len(pinned) == 2 and all(re.search(rf"^{re.escape(one)}\b", tested, re.MULTILINE) for one in pinned)
    copied = set(re.findall(r"^COPY (.+) \S+$", lines, re.MULTILINE)[0].split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {project["readme"], *project["license-files"]} < copied and all((ROOT / name).exists() for name in copied)


def test_compose_publishes_the_port_to_this_machine_alone() -> None:
    service = yaml.safe_load((SERVICE / "compose.yaml").read_text("utf-8"))["services"]["scorer"]
    assert service["ports"] == ["127.0.0.1:8077:8077"]
    assert (SERVICE / service["build"]["context"] / service["build"]["dockerfile"]).resolve().exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "detoxlm-scorer.service"
    text = (SERVICE / "detoxlm-scorer.service").read_text("utf-8")
    unit.write_text(text.replace("/opt/detoxlm/bin/detoxlm", shutil.which("true") or "/bin/true"), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert unit.name not in done.stderr and done.returncode == 0
