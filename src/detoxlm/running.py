"""The main job, `detoxlm run`: measure, fit, measure at each strength, recommend one, and write what shows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detoxlm import forms
from detoxlm.capability import Tasks, add_capability, load_tasks
from detoxlm.checkpoints import CHECKPOINT_FILE, checkpoint_usage, save_checkpoint
from detoxlm.checks import check_run_folder, check_strengths, strengths_in
from detoxlm.elsewhere import run_elsewhere
from detoxlm.engines.choice import check_engine
from detoxlm.errors import UsageError
from detoxlm.fitting import check_read, fit_data, fit_digest, fit_to, method_settings, workdir_of
from detoxlm.lock import only_writer
from detoxlm.methods import METHODS, Detoxifier, Method, get_method
from detoxlm.models import EMBEDDED_HUB_ID, Target
from detoxlm.processes import refuse_several
from detoxlm.progress import waiting
from detoxlm.recipes import Task, as_read, plan
from detoxlm.report import model_card, recommended, write_report
from detoxlm.results import Results
from detoxlm.runs import file_of, keep_apart
from detoxlm.settings import RunSettings
from detoxlm.sources import method_table
from detoxlm.speed import measure_speed
from detoxlm.workflows import judge_of, scorers_of, target_of


@dataclass(frozen=True)
class _Form:
    """One of the forms that are measured: its task, where its results are kept, and how it is called."""

    task: Task
    folder: Path
    said: str = ""


def run(
    model: str,
    settings: RunSettings,
    config: Path | None = None,
    sets: Sequence[str] = (),
    command: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Results]:
    """The main job: measure, fit, measure at each strength, and write the report and the cards to `settings.output`.

    Of `config`, a TOML file, the method's own table is read; `sets` are `key=value` strings, which win over it.
    Returns the results of the untouched model and of each strength; where two forms are measured, those of plain text
    and then those of chat. The folder holds `detoxifier/`, `results/` (with `chat/` for a second form), `results.json`
    (at the recommended strength, compared with the untouched model) and `report.html`; where the method edits weights
    also `model/`, a plain checkpoint at the recommended strength. Where nothing is recommended
    (`detoxlm.report.recommended`) there is no `model/`, and `results.json` is of the untouched model. With an engine
    that is an address nothing is fitted: see `detoxlm.elsewhere.run_elsewhere`.
    """
    refuse_several("run")
    if settings.engine == "vllm":
        raise UsageError(
            "engine: `run` measures before it fits, and vLLM is started once, with what was fitted; run without "
            "--engine, and measure what it recommends by `detoxlm evaluate MODEL --detoxifier DIR --engine vllm`."
        )
    check_engine(settings)
    if settings.engine.startswith("openai:"):
        named = method_of(model, settings, config, sets)
        if config is not None and method_table(config, named, METHODS):
            raise UsageError(
                f"config: {config} has settings of {named}, which is fitted where the server is; leave them out."
            )
        return run_elsewhere(model, settings, sets, command, say)
    method = get_method(method_of(model, settings, config, sets))
    chosen = method_settings(method, config, sets, settings.calibrator)
    check_read(method, {name: getattr(settings, name) for name in ("corpus", "harmful", "pairs")})
    strengths = strengths_in(settings.strengths) if settings.strengths is not None else None
    check_strengths(method, chosen, strengths)
    check_run_folder(settings.output, method)
    settings = forms.settled(settings)
    with only_writer(settings.output / "results.json"):
        return _run(model, settings, method, chosen, strengths, command, say)


def method_of(model: str, settings: RunSettings, config: Path | None, sets: Sequence[str]) -> str:
    """Return the method that is asked for, or the default: what is best of those that need no training here.

    Readers found less of what nado writes toxic than of what fusion does, and text about groups of people pays nothing
    for it (docs/results.md, docs/who-pays.md). But its auxiliary model ships for the embedded model and scorer alone;
    fusion's calibrator serves all models. What only fusion may have been meant by is taken for it.
    """
    if settings.method is not None:
        return settings.method
    said = sets or settings.calibrator or settings.corpus or settings.pairs or settings.harmful
    if said or method_table(config, "fusion", METHODS):
        return "fusion"
    ships = settings.quantization is None and (model, settings.scorer[0]) == ("embedded", "embedded")
    return "nado" if ships else "fusion"


def _run(
    model: str,
    settings: RunSettings,
    method: type[Method],
    chosen: Any,
    strengths: Sequence[float] | None,
    command: str | None,
    say: Callable[[str], None],
) -> list[Results]:
    """Carry out what `run` has found to be in order; the method's settings are `chosen`."""
    out = settings.output
    task = forms.first_task(settings, command)
    scorer, *opinions = scorers_of(settings)
    data = fit_data(settings, None, scorer, workdir_of(out / "detoxifier"))
    method.check(data, chosen)
    tasks = load_tasks(settings.capability)
    say(f"Loading {model}")
    target = target_of(model, settings)
    judge = judge_of(settings)
    method.check(data, chosen, target)
    second = forms.second_task(target, judge, task, settings, command)
    measured = [_Form(as_read(target, task), out / "results")]
    if second is not None:
        measured.append(_Form(as_read(target, second), out / "results" / "chat", " in chat"))
    planned = [plan(target, one.task, scorer, opinions=opinions, judge=judge) for one in measured]
    keep_apart(out, planned[0].digest, fit_digest(target, method, chosen, data))
    results: list[list[Results]] = []
    for form, untouched in zip(measured, planned, strict=True):
        count = len(form.task.prompts)
        say(f"Measuring the untouched model{form.said}: {form.task.recipe.name}, {count} prompts")
        form.folder.mkdir(parents=True, exist_ok=True)
        results.append([untouched.carried_out(None, form.folder / "untouched.json")])
    say(f"Fitting {method.name}")
    detoxifier = fit_to(target, method, chosen, data, out / "detoxifier")
    for strength in [detoxifier.check_strength(one) for one in strengths or detoxifier.default_strengths]:
        for form, found in zip(measured, results, strict=True):
            say(f"Measuring {method.name} at strength {strength:g}{form.said}")
            now = plan(
                target, form.task, scorer, opinions=opinions, detoxifier=detoxifier, strength=strength, judge=judge
            )
            found.append(now.carried_out(found[0], file_of(form.folder, detoxifier.method, strength)))
    if tasks is not None:
        _measure_capability(target, detoxifier, tasks, results, out, say)
    _conclude(model, target, detoxifier, measured[0].task, results, out, say)
    return [one for found in results for one in found]


def _measure_capability(
    target: Target,
    detoxifier: Detoxifier,
    tasks: Tasks,
    by_form: Sequence[Sequence[Results]],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Measure what the untouched model gets right, and the detoxified one at the strength that is spoken of."""
    found = recommended([one for results in by_form for one in results])
    assert found is not None and found.shown.results is not None
    untouched, shown = by_form[0][0], found.shown.results
    say(f"Measuring the capability of the untouched model: {', '.join(tasks.tasks) or 'no task is at hand'}")
    if add_capability(untouched, target, tasks, nullcontext()):
        untouched.save(out / "results" / "untouched.json")
    say(f"Measuring the capability of {shown.label}")
    if add_capability(shown, target, tasks, detoxifier.attached(target.model, shown.strength), untouched):
        shown.save(file_of(out / "results", detoxifier.method, shown.strength))


def _conclude(
    model: str,
    target: Target,
    detoxifier: Detoxifier,
    task: Task,
    by_form: Sequence[Sequence[Results]],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """End a run: compare speeds, and write `results.json`, the report, and what is recommended; cards last."""
    results = [one for results in by_form for one in results]
    found = recommended(results)
    assert found is not None and found.shown.results is not None  # every strength was measured
    shown = found.shown.results
    if shown.speed is None:
        say(f"Comparing the speed of {shown.label} with the untouched model's")
        sampling = task.recipe.sampling
        shown.speed = measure_speed(target, detoxifier, shown.strength, task.prompts, sampling)
        shown.save(file_of(out / "results", detoxifier.method, shown.strength))
    untouched = results[0].model_copy(update={"notes": [*results[0].notes, found.sentence]})
    (found.results or untouched).save(out / "results.json")
    with waiting("writing the report"):
        write_report(results, out / "report.html")
    detoxifier.recommended_strength = found.strength
    base_model = EMBEDDED_HUB_ID if model == "embedded" else (None if Path(model).exists() else model)
    card = partial(
        model_card,
        results,
        base_model=base_model,
        license="apache-2.0" if model == "embedded" else None,  # of another model's derivative we cannot know it
    )
    detoxifier.save_pretrained(out / "detoxifier", card=card(usage=usage(model)))
    if found.results is not None and detoxifier.kind != "decoding":
        say(f"Writing the model at strength {shown.strength:g}")
        own = card(usage=checkpoint_usage(), strength=found.strength, form="checkpoint")
        save_checkpoint(target, detoxifier, shown.strength, out / "model", own)
    elif (out / "model" / CHECKPOINT_FILE).exists():
        shutil.rmtree(out / "model")  # an earlier run's, of another method or of a strength that is not recommended now


def usage(model: str) -> str:
    """Return the Python snippet that the detoxifier's card shows: at the detoxifier's own strength."""
    return (
        "from detoxlm import Detoxifier, load_target\n\n"
        f"target = load_target({model!r})\n"
        'detoxifier = Detoxifier.from_pretrained("path/to/this/folder")\n'
        'inputs = target.tokenizer("The new neighbours are", return_tensors="pt")\n'
        "with detoxifier.attached(target.model):\n"
        "    output = target.model.generate(**inputs, max_new_tokens=40)\n"
        "print(target.tokenizer.decode(output[0], skip_special_tokens=True))\n"
    )
