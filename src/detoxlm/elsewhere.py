"""The main job where the model and a fitted detoxifier are served: measured through the address, at each strength."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from detoxlm import forms
from detoxlm.checks import check_run_folder, strengths_in
from detoxlm.conversations import Conversation
from detoxlm.engines.choice import endpoint
from detoxlm.engines.endpoint import Endpoint
from detoxlm.errors import UsageError
from detoxlm.lock import only_writer
from detoxlm.methods import get_method
from detoxlm.models import Target
from detoxlm.progress import waiting
from detoxlm.recipes import Measurement, Task, plan_through
from detoxlm.report import recommended, write_report
from detoxlm.results import Results
from detoxlm.runs import file_of, keep_apart
from detoxlm.settings import RunSettings
from detoxlm.workflows import judge_of, scorers_of, task_elsewhere

log = logging.getLogger(__name__)

#: What is asked to learn whether conversations are answered.
_GREETING = Conversation([{"role": "user", "content": "Hello"}])


@dataclass(frozen=True)
class _Form:
    """One of the forms that are measured: its measurements by strength, 0 first, and where their results are kept."""

    planned: dict[float, Measurement]
    folder: Path
    said: str = ""


def run_elsewhere(
    model: str,
    settings: RunSettings,
    sets: Sequence[str] = (),
    command: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Results]:
    """Measure a served model untouched and at each strength of its detoxifier, and write what `run` writes of results.

    Nothing is fitted and nothing but measured: `settings.output` gets `results/`, `results.json` and `report.html`.

    Args:
        model: its name, and where its tokenizer is if model perplexity is measured.
        settings: with an engine that is an address.
        sets: settings of a method; there must be none.
        command: recorded in the results.
        say: told what is done.

    Returns:
        What `detoxlm.running.run` returns.

    Raises:
        UsageError: what is served has no detoxifier with a strength for each request, or a setting is for a fit.
        DetoxError: the server or a scorer failed.
    """
    if sets:
        raise UsageError(f"--set: the detoxifier behind --engine {settings.engine} is fitted; leave it out.")
    check_run_folder(settings.output, None)
    settings = forms.settled(settings)
    given = None if settings.strengths is None else strengths_in(settings.strengths)
    with only_writer(settings.output / "results.json"), ExitStack() as stack:
        task = task_elsewhere(forms.first_task(settings, command), settings)
        scorer, *opinions = scorers_of(settings)
        with closing(endpoint(model, settings, task.prompts, None)) as served:
            method, strengths = chosen(served, settings, given)
        judge = judge_of(settings)

        def planned(task: Task) -> dict[float, Measurement]:
            found = {}
            for strength in (0.0, *strengths):  # all are asked for before the work: one that is refused costs nothing
                there = stack.enter_context(closing(endpoint(model, settings, task.prompts, strength)))
                found[strength] = plan_through(there, task, scorer, opinions=opinions, judge=judge)
                task = found[strength].task  # with its notes, which are said once
            return found

        measured = [_Form(planned(task), settings.output / "results")]
        second = _second_task(model, judge, task, settings, command)
        if second is not None:
            measured.append(_Form(planned(second), settings.output / "results" / "chat", " in chat"))
        keep_apart(settings.output, measured[0].planned[0.0].digest, None)
        results = _measured(measured, method, say)
        _conclude(results, settings.output)
        return results


def chosen(served: Endpoint, settings: RunSettings, given: Sequence[float] | None) -> tuple[str, Sequence[float]]:
    """Return the method that acts there, as results call it, and the strengths to measure.

    Raises:
        UsageError: there is none, another than is asked for, or one that has no strength for each request.
    """
    if served.says is None:
        if given is None:
            raise UsageError(
                f"strengths: {served.url} does not say which detoxifier it has; name some, as --strengths 0.25,0.5."
            )
        return "served", given
    method = served.says.get("method")
    if not method:
        raise UsageError(
            f"engine: {served.url} serves {served.served} without a detoxifier, and `run` measures one; start `detoxlm "
            "serve MODEL --detoxifier DIR`, or measure the model alone with `detoxlm evaluate`."
        )
    method = str(method)
    if not method.replace("-", "").replace("_", "").isalnum():  # files are named by it
        raise UsageError(f"engine: {served.url} calls its detoxifier {method[:40]!r}, which is no method's name.")
    if settings.method not in (None, method):
        raise UsageError(f"method: {served.url} serves {method}, not {settings.method}; leave --method out.")
    try:
        kind = get_method(method).detoxifier_type
    except UsageError:  # of a package that the server has and this machine has not
        return method, given or _own_strength(served)
    if kind.kind != "decoding":
        raise UsageError(
            f"engine: {method} is in the weights of what {served.url} serves, at one strength for all requests, and "
            "`run` compares strengths. Measure it and the untouched model, each served, with `detoxlm evaluate "
            "--engine`, the second with --baseline; or `run` without --engine."
        )
    if given is None:
        try:
            given = kind(kind.settings_type(), {}, {}).default_strengths
        except Exception:  # a method of another package may need more than this
            given = _own_strength(served)
    return method, given


def _own_strength(served: Endpoint) -> list[float]:
    assert served.says is not None
    if not served.says.get("strength"):
        raise UsageError(f"strengths: that of {served.url} itself is 0; name some, as --strengths 0.25,0.5.")
    return [float(served.says["strength"])]


def _second_task(
    model: str, judge: Target | None, first: Task, settings: RunSettings, command: str | None
) -> Task | None:
    """Return the task in chat, where the endpoint answers conversations or is asked to."""

    def answers() -> bool:
        if settings.forms == "both":
            return True  # a refusal is the user's to read
        try:
            endpoint(model, settings, [_GREETING], None).close()
        except UsageError as error:
            log.warning("forms: chat is left out: %s", error)
            return False
        return True

    second = forms.second_task_of(answers, judge, first, settings, command)
    return None if second is None else task_elsewhere(second, settings)


def _measured(measured: Sequence[_Form], method: str, say: Callable[[str], None]) -> list[Results]:
    """Carry out all measurements; return the results of each form, untouched first."""
    found: list[list[Results]] = [[] for _ in measured]
    for strength in measured[0].planned:
        for form, results in zip(measured, found, strict=True):
            now = form.planned[strength]
            what = f"{method} at strength {strength:g}" if strength else "the untouched model"
            say(f"Measuring {what}{form.said}: {now.task.recipe.name}, {len(now.task.prompts)} prompts")
            form.folder.mkdir(parents=True, exist_ok=True)
            file = file_of(form.folder, method, strength) if strength else form.folder / "untouched.json"
            results.append(now.carried_out(results[0] if strength else None, file))
    return [one for results in found for one in results]


def _conclude(results: list[Results], out: Path) -> None:
    """Write `results.json`, of the recommended strength or untouched, and the report."""
    found = recommended(results)
    assert found is not None  # strengths were measured
    untouched = results[0].model_copy(update={"notes": [*results[0].notes, found.sentence]})
    (found.results or untouched).save(out / "results.json")
    with waiting("writing the report"):
        write_report(results, out / "report.html")
