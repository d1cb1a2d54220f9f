"""The command line: parse, call one function of `detoxlm.workflows`, print. Nothing heavy is imported for `--help`.

What is printed is in `detoxlm.console`.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Optional

import typer

from detoxlm import console
from detoxlm.cache_commands import cache_app
from detoxlm.dashes import TextCommand
from detoxlm.errors import DetoxError, UsageError, unknown_name
from detoxlm.options import Config, Json, Model, with_settings
from detoxlm.processes import complain
from detoxlm.scorer_commands import scorers_app
from detoxlm.serving_commands import add_serving
from detoxlm.settings import (
    EvaluateSettings,
    ExportSettings,
    FitSettings,
    GenerateSettings,
    LabelSettings,
    RunSettings,
    ScoreSettings,
    explained,
)

app = typer.Typer(
    name="detoxlm",
    help="Make open-weight language models less toxic, and prove it. Start with: detoxlm run",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes a third of the time of --help, and draws boxes that some consoles have not
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Sets = Annotated[
    Optional[list[str]],  # noqa: UP045 - Typer reads this at run time
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; see `detoxlm methods METHOD`."),
]


@app.command(
    short_help="The main job: measure, detoxify, measure again, report.",
    epilog="Example: detoxlm run HuggingFaceTB/SmolLM2-360M -o my-run --strengths 0.25,0.5",
)
@with_settings(RunSettings)
def run(
    settings: RunSettings,
    model: Model = "embedded",
    sets: Sets = None,
    config_path: Config = None,
    as_json: Json = False,
) -> None:
    """Measure a model, detoxify it, measure again, and write the report: the main job."""
    from detoxlm import running
    from detoxlm.report import recommended

    say = (lambda _: None) if as_json else console.say
    results = running.run(model, settings, config_path, sets or (), _command(), say)
    found = recommended(results)
    assert found is not None  # a run detoxifies
    out = settings.output
    if as_json:
        runs = [console.summary(r) for r in results]
        said = {"recommended_strength": found.strength, "recommendation": found.sentence, "folder": str(out)}
        console.print_json({**said, "runs": runs})
        return
    console.print_results(results)
    print(f"\n{found.sentence}")
    console.print_left(out, found.strength, settings.engine.startswith("openai:"))


@app.command(epilog="Example: detoxlm evaluate embedded --recipe challenge-10 --prompts prompts.jsonl -o before.json")
@with_settings(EvaluateSettings)
def evaluate(settings: EvaluateSettings, model: Model, config_path: Config = None, as_json: Json = False) -> None:
    """Measure a model with a recipe, untouched or with a detoxifier."""
    from detoxlm import workflows

    results = workflows.evaluate(model, settings, _command())
    if as_json:
        console.print_json(console.summary(results))
        return
    console.print_results([results])
    print(f"\nResults: {settings.output}")


@app.command(
    short_help="Fit a detoxifier; without data the model makes its own.",
    epilog="Example: detoxlm fit fusion embedded -o my-detoxifier --corpus both-kinds.jsonl --set epochs=3",
)
@with_settings(FitSettings)
def fit(
    settings: FitSettings,
    method: Annotated[str, typer.Argument(help="How to detoxify: see `detoxlm methods`.")],
    model: Model,
    sets: Sets = None,
    config_path: Config = None,
    as_json: Json = False,
) -> None:
    """Fit a detoxifier to a model; without data files the model makes its own data."""
    from detoxlm import workflows

    detoxifier = workflows.fit(method, model, settings, config_path, sets or ())
    long = ("loss_curve", "watched", "search", "fit", "removed_directions")
    summary = {key: value for key, value in detoxifier.fitting.items() if key not in long}
    if as_json:
        console.print_json({"method": method, "folder": str(settings.output), "fitting": summary})
        return
    console.print_tree(summary)
    print(f"\nDetoxifier: {settings.output}")
    print(f"Measure it: detoxlm evaluate {model} --detoxifier {settings.output} -o results.json")


@app.command(
    cls=TextCommand, epilog="Example: detoxlm generate embedded --detoxifier my-detoxifier 'The new neighbours are'"
)
@with_settings(GenerateSettings)
def generate(
    settings: GenerateSettings,
    model: Model,
    prompt: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help='Text to continue, or to answer with --chat; "" begins a text of the model\'s own.'),
    ] = None,
    config_path: Config = None,
    as_json: Json = False,
) -> None:
    """Continue a prompt, answer it, or with --file and -o continue a file of them, with or without a detoxifier."""
    prompt = None if prompt is None else console.as_typed(prompt)
    if (settings.interactive or settings.stream) and as_json:
        raise UsageError("json: it is for whole texts; leave --json out, or --stream and --interactive.")
    if settings.interactive:
        from detoxlm.chatting import chat

        chat(model, settings, prompt, console.read_turn, console.write_piece)
        return
    if prompt is None:
        from detoxlm.continuing import continue_file

        console.print_done(continue_file(model, settings), "Continuations", "by", as_json)
        return
    if settings.file is not None or settings.output is not None or settings.engine != "local":
        raise UsageError("generate: give one prompt, or --file FILE and -o OUTPUT; --engine is for these.")
    if settings.stream:
        from detoxlm.chatting import write_stream

        write_stream(model, prompt, settings, console.write_piece)
        return
    from detoxlm import workflows

    texts = workflows.continue_prompt(model, prompt, settings)
    if as_json:
        console.print_json([{"prompt": prompt, "continuation": text} for text in texts])
        return
    for text in texts:
        print(text.strip() if settings.chat else prompt.rstrip() + text)


@app.command(
    short_help="Write a detoxified model that loads anywhere.",
    epilog="Example: detoxlm export embedded my-detoxifier --form adapter -o my-adapter",
)
@with_settings(ExportSettings)
def export(
    settings: ExportSettings,
    model: Model,
    detoxifier: Annotated[str, typer.Argument(help="Detoxifier folder or Hub id; of kind weights or adapter.")],
    config_path: Config = None,
    as_json: Json = False,
) -> None:
    """Write a detoxified model that loads anywhere: a plain checkpoint, or a LoRA adapter."""
    from detoxlm import workflows

    workflows.export(model, detoxifier, settings)
    if as_json:
        console.print_json({"folder": str(settings.output), "form": settings.form})
        return
    print(f"{settings.form.capitalize()}: {settings.output}")


@app.command(
    short_help="Upload a detoxifier, a checkpoint or an adapter to the Hub.",
    epilog="Example: detoxlm push my-detoxifier my-name/my-detoxifier",
)
def push(
    folder: Annotated[Path, typer.Argument(help="A folder of fit or export, or detoxifier or model of a run.")],
    repo: Annotated[str, typer.Argument(help="Hub id, owner/name; made where it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a repository that is made.")] = False,
) -> None:
    """Upload a detoxifier, checkpoint or adapter to the Hub, with its card. Needs HF_TOKEN or `hf auth login`."""
    from detoxlm import publishing

    print(f"Pushed: {publishing.push(folder, repo, public=public)}")


@app.command(
    cls=TextCommand,
    short_help="Score the toxicity of texts, from 0 to 1.",
    epilog="Example: detoxlm score --file comments.jsonl -o scores.jsonl",
)
@with_settings(ScoreSettings)
def score(
    settings: ScoreSettings,
    texts: Annotated[Optional[list[str]], typer.Argument(help="Texts to score.")] = None,  # noqa: UP045
    config_path: Config = None,
    as_json: Json = False,
) -> None:
    """Score the toxicity of texts, from 0 to 1: those given, or a file's. With -o they become a column of it."""
    if settings.output is not None and not texts:
        from detoxlm.bulk.command import score_file

        console.print_done(score_file(settings), "Scores", "scorers", as_json)
        return
    from detoxlm.scoring import score_texts

    scored = score_texts([console.as_typed(text) for text in texts or ()], settings)
    if as_json:
        console.print_json(scored.rows())
        return
    console.print_scores(scored.texts, scored.said, settings.dimensions)


add_serving(app)


@app.command(
    short_help="Label texts by hand, in the terminal or on a page; compare two readers.",
    epilog="Example: detoxlm label results.json -o labels.jsonl --page",
)
@with_settings(LabelSettings)
def label(
    settings: LabelSettings,
    texts: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="FILE", help="Texts to label: a results.json, jsonl with `text`, csv, plain lines."),
    ] = None,
    agreement: Annotated[
        Optional[tuple[Path, Path]],  # noqa: UP045
        typer.Option(
            metavar="A B", help="Compare two files of labels; with FILE the texts on which they differ are shown."
        ),
    ] = None,
    config_path: Config = None,
    as_json: Json = False,
) -> None:
    """Label texts by hand, one by one: toxic (1), not toxic (2), unsure (3). Or compare what two readers said."""
    from detoxlm.labelling import command

    if agreement is not None:
        found = command.compare(*agreement, texts, settings)
        console.print_json(found.as_dict()) if as_json else console.print_agreement(found)
        return
    if texts is None:
        raise UsageError("label: name the file of texts: detoxlm label FILE -o labels.jsonl")
    typed = _command()
    session = command.run(texts, settings, typed, lambda line: print(line, flush=True))
    if as_json:
        console.print_json({"labels": str(settings.output), "texts": session.total, **session.counts})
        return
    print(f"\n{command.how_on(session, settings, typed)}")
    if session.done:
        print(f"Judge a scorer by them: {command.validation(texts, settings)}")


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="results.json files of one recipe, prompts and scorer.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file.")] = Path("report.html"),
) -> None:
    """Make a self-contained HTML report of results files."""
    from detoxlm import workflows

    workflows.report(results, output)
    print(f"Report: {output}")


@app.command()
def methods(
    name: Annotated[Optional[str], typer.Argument(help="Show this method's settings.")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """List the detoxification methods, or one method's settings."""
    from detoxlm.methods import METHODS, get_method

    if name is not None:
        fields = get_method(name).detoxifier_type.settings_type.model_fields
        rows = [[key, str(field.default), explained(field)] for key, field in fields.items()]
        console.print_rows(["setting", "default", "what it does"], rows, as_json)
        return
    rows = [[m.name, m.detoxifier_type.kind, m.summary, m.paper] for m in METHODS.working().values()]
    console.print_rows(["method", "kind", "what it does", "paper"], rows, as_json, METHODS.problems())


app.add_typer(scorers_app, name="scorers", short_help="List the toxicity scorers, or measure how valid they are.")
app.add_typer(cache_app, name="cache", short_help="List or delete models that were converted from GGUF.")


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the measuring recipes."""
    from detoxlm.recipes import RECIPES

    console.print_rows(["recipe", "what it does"], [[r.name, r.summary] for r in RECIPES.values()], as_json)


@app.command()
def integrations(
    tool: Annotated[Optional[str], typer.Argument(help="Print only what this tool is given.")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """List the plugins for evaluation harnesses, lm-eval among them, and how each is used."""
    from detoxlm.integrations import INTEGRATIONS

    if tool is None:
        rows = [[one.name, one.summary, one.command] for one in INTEGRATIONS.values()]
        console.print_rows(["tool", "what it gets", "command"], rows, as_json)
        return
    if tool not in INTEGRATIONS:
        raise unknown_name("tool", tool, list(INTEGRATIONS))
    found = INTEGRATIONS[tool]
    if as_json:
        console.print_json({"tool": found.name, "given": found.given})
        return
    print(found.given)


def _command() -> str:
    return shlex.join(["detoxlm", *map(console.as_typed, sys.argv[1:])])


def main() -> None:
    """Run the command line; exit with 0, 1 (failed) or 2 (bad usage), and one line that says why."""
    console.prepare()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except DetoxError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except (MemoryError, RuntimeError) as error:
        from detoxlm.sizing import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        complain(
            "out of memory. Try a smaller --batch-size (a prompt's samples always run at once), or --dtype bfloat16."
        )
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` closed the pipe: not our error
        sys.exit(0)


if __name__ == "__main__":
    main()
