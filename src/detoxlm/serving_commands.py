"""The commands that serve a model or a scorer, and that check a server of others."""

from __future__ import annotations

import typer

from detoxlm import console
from detoxlm.errors import DetoxError
from detoxlm.options import Config, Json, Model, with_settings
from detoxlm.settings import ServeScorerSettings, ServeSettings, VllmCheckSettings


def add_serving(app: typer.Typer) -> None:
    """Add these commands to the others."""
    app.command(
        short_help="Serve a detoxified model over HTTP, in the OpenAI API's form.",
        epilog="Example: detoxlm serve embedded --detoxifier my-detoxifier --port 8000",
    )(serve)
    app.command(
        "serve-scorer",
        short_help="Serve a scorer over HTTP, in the Perspective API's form.",
        epilog="Example: detoxlm serve-scorer --scorer embedded --port 8077",
    )(serve_scorer)
    app.command(
        "vllm-check",
        short_help="Prove that vLLM, as it is installed, writes what DetoxLM writes.",
        epilog="Example: detoxlm vllm-check embedded --detoxifier my-detoxifier",
    )(vllm_check)


@with_settings(ServeSettings)
def serve(settings: ServeSettings, model: Model = "embedded", config_path: Config = None) -> None:
    """Serve a detoxified model over HTTP: clients of the OpenAI API talk to it unchanged. Needs `detoxlm[serve]`."""
    from detoxlm.serving.command import serve as run_server

    run_server(model, settings, lambda line: print(line, flush=True))


@with_settings(ServeScorerSettings)
def serve_scorer(settings: ServeScorerSettings, config_path: Config = None) -> None:
    """Serve a scorer over HTTP: clients of the Perspective API talk to it unchanged. Needs `detoxlm[serve]`."""
    from detoxlm.serve.command import serve

    serve(settings, lambda line: print(line, flush=True))


@with_settings(VllmCheckSettings)
def vllm_check(
    settings: VllmCheckSettings, model: Model = "embedded", config_path: Config = None, as_json: Json = False
) -> None:
    """Continue prompts by DetoxLM and by vLLM, at four strengths, and compare tokens; exit 1 where they differ.

    vLLM must be installed in the same environment. It gets little room: prompts are read in parts, and requests
    push each other out.
    """
    from dataclasses import asdict

    from detoxlm.serving.in_vllm.check import check

    found = check(model, settings)
    if as_json:
        console.print_json({**asdict(found), "passed": found.passed})
    else:
        for line in found.lines():
            print(line)
    if not found.passed:
        raise DetoxError("vllm-check: vLLM writes other texts than DetoxLM; do not serve this with it.")
