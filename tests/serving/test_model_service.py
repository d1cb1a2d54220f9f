"""The files that run `detoxlm serve` in containers say what the server takes, and agree with themselves."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from detoxlm.serve.running import _LAST
from detoxlm.serving.app import create_app
from detoxlm.serving.metrics import Metrics
from detoxlm.settings import ServeSettings
from detoxlm.sources import resolve

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "examples" / "model-service"
DOCKERFILE = (SERVICE / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((SERVICE / "compose.yaml").read_text("utf-8"))
KUBERNETES = {one["kind"]: one for one in yaml.safe_load_all((SERVICE / "kubernetes.yaml").read_text("utf-8"))}
POD = KUBERNETES["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]


def options_of(command: list[str]) -> dict[str, str]:
    program, name, model, *options = command
    assert (program, name, model) == ("detoxlm", "serve", "embedded")
    return {name.removeprefix("--").replace("-", "_"): value for name, value in zip(*[iter(options)] * 2, strict=True)}


def commands() -> dict[str, list[str]]:
    """Return by file the command that it runs, as words."""
    docker = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert docker
    return {
        "Dockerfile": json.loads(docker[1]),
        "compose.yaml": COMPOSE["services"]["model"]["command"],
        "kubernetes.yaml": CONTAINER["command"],
    }


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """The addresses that the server answers at."""
    nothing: Any = SimpleNamespace(names=[])
    return {route.path for route in create_app(nothing, nothing, Metrics(), None, 1).routes}


@pytest.mark.parametrize("file", commands())
def test_the_command_of_a_service_is_one_that_the_server_takes(file: str) -> None:
    settings = resolve(ServeSettings, options_of(commands()[file]))
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    assert settings.detoxifier and len(settings.detoxifier) == 1


def test_the_container_has_the_versions_that_are_tested_and_what_it_copies_is_there() -> None:
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    (torch,) = re.findall(r"\btorch==[\d.]+", DOCKERFILE)
    assert re.search(rf"^{re.escape(torch)}\b", constraints, re.MULTILINE)
    copied = set(re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)[0].split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {project["readme"], *project["license-files"]} < copied and all((ROOT / name).exists() for name in copied)
    (extras,) = re.findall(r"'\.\[(.*)\]'", DOCKERFILE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_health_is_asked_where_it_is_answered_and_at_the_port_that_is_served(paths: set[str]) -> None:
    (address,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", DOCKERFILE)
    assert address == ("8000", "/healthz") and address[1] in paths
    assert re.search(r"^EXPOSE 8000$", DOCKERFILE, re.MULTILINE)
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == 8000
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    about = POD["metadata"]["annotations"]
    assert about["prometheus.io/path"] in paths and about["prometheus.io/port"] == "8000"


def test_kubernetes_sends_to_these_pods_and_mounts_what_the_command_reads() -> None:
    deployment, service = KUBERNETES["Deployment"]["spec"], KUBERNETES["Service"]["spec"]
    labels = POD["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == service["selector"]
    assert service["ports"][0]["targetPort"] == CONTAINER["ports"][0]["name"]
    mounts = {one["mountPath"]: one["name"] for one in CONTAINER["volumeMounts"]}
    volumes = {one["name"]: one for one in POD["spec"]["volumes"]}
    assert set(mounts.values()) == set(volumes)
    keys = Path(options_of(CONTAINER["command"])["api_key_file"])
    secret = volumes[mounts[str(keys.parent)]]["secret"]["secretName"]
    said = (SERVICE / "kubernetes.yaml").read_text("utf-8")
    assert f"kubectl create secret generic {secret} --from-file={keys.name}=" in said
    # all that is written is on volumes, as the file system is read-only and the user is not root
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] and {"/home/server/.cache", "/tmp"} <= set(mounts)
    assert f"--uid {POD['spec']['securityContext']['runAsUser']} server" in DOCKERFILE


def test_what_was_accepted_has_the_time_to_end() -> None:
    assert POD["spec"]["terminationGracePeriodSeconds"] > _LAST
    assert int(COMPOSE["services"]["model"]["stop_grace_period"].removesuffix("s")) > _LAST


def test_compose_publishes_the_port_to_this_machine_alone_and_mounts_what_the_command_reads() -> None:
    service = COMPOSE["services"]["model"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert (SERVICE / service["build"]["context"] / service["build"]["dockerfile"]).resolve().exists()
    options = options_of(service["command"])
    assert f"./detoxifier:{options['detoxifier']}:ro" in service["volumes"]
    assert options["api_key_file"] == f"/run/secrets/{service['secrets'][0]}"
    named = {one.split(":")[0] for one in service["volumes"]} - {"./detoxifier"}
    assert named == set(COMPOSE["volumes"])
