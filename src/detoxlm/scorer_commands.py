"""`detoxlm scorers`: which scorers there are, and how valid they are."""

from __future__ import annotations

from typing import Annotated

import typer

from detoxlm import console
from detoxlm.errors import UsageError
from detoxlm.options import Config, Json, with_settings
from detoxlm.settings import ValidateSettings

scorers_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@scorers_app.callback()
def scorers(context: typer.Context, as_json: Json = False) -> None:
    """List the toxicity scorers and what each needs, or measure how valid they are."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError("--json: write it at the end, `detoxlm scorers validate … --json`.")
        return
    from detoxlm.scorers import list_scorers

    rows = [[s.spec, s.summary, s.missing or "ready"] for s in list_scorers()]
    console.print_rows(["scorer", "what it is", "here"], rows, as_json)


@scorers_app.command(
    "validate",
    epilog="Example: detoxlm scorers validate embedded alt-profanity-check --data comments.jsonl -o validity",
)
@with_settings(ValidateSettings)
def validate(
    settings: ValidateSettings,
    scorers: Annotated[
        list[str], typer.Argument(metavar="SCORER...", help="Scorers to measure on the same texts; see `scorers`.")
    ],
    config_path: Config = None,
    as_json: Json = False,
) -> None:
    """Measure scorers against labelled texts: how well they rank, how well calibrated they are, whom they wrong."""
    from detoxlm.validity import study as validation

    study = validation.run(scorers, settings)
    if as_json:
        console.print_json(study.as_dict())
        return
    console.print_validity(study)
    if settings.output is not None:
        print(f"\nPage:    {settings.output / 'validity.html'}\nNumbers: {settings.output / 'validity.json'}")
