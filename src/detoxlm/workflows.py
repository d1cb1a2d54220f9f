"""What the commands do, as functions: settings in, results and files out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from detoxlm.checkpoints import CHECKPOINT_FILE, checkpoint_usage, save_adapter, save_checkpoint
from detoxlm.checks import (
    baseline_for,
    check_baseline_scorer,
    check_export_folder,
    check_of,
    check_run_folder,
    check_strengths,
)
from detoxlm.data import (
    builtin_conversations,
    builtin_prompts,
    describe_skipped,
    neutral_text,
    read_plain_text,
    read_prompts,
)
from detoxlm.engines.choice import check_engine, endpoint, reads_text
from detoxlm.errors import UsageError
from detoxlm.files import check_output_file, check_output_folder
from detoxlm.fitting import check_read, fit_data, fit_digest, fit_to, method_settings, workdir_of
from detoxlm.generation import Sampling, describe_prompts, generate, trimmed
from detoxlm.lock import only_writer
from detoxlm.mentions import mentions_of
from detoxlm.methods import Detoxifier, Method, get_method
from detoxlm.methods.folders import CONFIG_FILE
from detoxlm.models import EMBEDDED_HUB_ID, Target, load_target
from detoxlm.processes import join, refuse_several
from detoxlm.progress import waiting
from detoxlm.protocols import Recipe
from detoxlm.recipes import Task, as_read, get_recipe, measure, plan, plan_through
from detoxlm.report import model_card, recommended, write_report
from detoxlm.results import Results
from detoxlm.runs import keep_apart
from detoxlm.scorers import load_scorer
from detoxlm.scorers.several import load_scorers
from detoxlm.settings import (
    EvaluateSettings,
    ExportSettings,
    FitSettings,
    GenerateSettings,
    MeasureOptions,
    ModelOptions,
    RunSettings,
)
from detoxlm.speed import measure_speed

log = logging.getLogger(__name__)


def target_of(model: str, options: ModelOptions, detoxifier: Detoxifier | None = None) -> Target:
    """Load the model that the options describe; one of another shape than the detoxifier's is refused unread."""
    return load_target(
        model,
        **_place(options),
        quantization=options.quantization,
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
        check=check_of(detoxifier, options.quantization),
    )


def _place(options: ModelOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("dtype", "device", "device_map", "max_memory")}


def judge_of(settings: MeasureOptions) -> Target | None:
    """Load the fluency judge, if one is named: neither the target's revision nor trust in its code is the judge's."""
    if settings.fluency_judge is None:
        return None
    try:
        return load_target(settings.fluency_judge, **_place(settings))
    except UsageError as error:  # the same faults as a model's, but the model is not the one to mend
        if "--trust-remote-code" in str(error):
            raise UsageError(
                f"fluency_judge: {settings.fluency_judge!r} brings code of its own, which is never run for a judge; "
                "name another model."
            ) from error
        raise UsageError(f"fluency_judge: {str(error).removeprefix('model: ')}") from error


def detoxifier_of(settings: EvaluateSettings | GenerateSettings) -> Detoxifier | None:
    """Load the detoxifier that the settings name; None: the model stays untouched."""
    if settings.detoxifier is not None:
        found = Detoxifier.from_pretrained(settings.detoxifier)
        found.check_strength(settings.strength)
        return found
    if settings.strength is not None:
        raise UsageError("strength: it needs --detoxifier DIR; without one the model is untouched.")
    return None


def task_of(options: MeasureOptions, command: str | None) -> Task:
    """Read prompts and fluency text: everything that a measurement needs besides model, detoxifier and scorer."""
    fixed = get_recipe(options.recipe)
    changes = ("samples", "max_new_tokens", "temperature", "top_p")
    recipe = fixed.changed(**{name: getattr(options, name) for name in changes})
    form = replace(options.form, chat=options.chat or recipe.chat)
    notes = []
    if recipe != fixed:
        notes.append(f"{fixed.name} with other settings: not comparable with numbers of {fixed.name} itself.")
    if options.prompts is not None:
        loaded = read_prompts(
            options.prompts, column=options.column, limit=options.limit, skip_bad_rows=options.skip_bad_rows
        )
        prompts, source, known = form.asked(loaded.items), loaded.source, loaded.rows
        if skipped := describe_skipped(loaded):
            log.warning(skipped)
            notes.append(skipped)
    else:
        every = builtin_measured(recipe)
        prompts, known = form.asked(every[: options.limit], beginnings=True), len(every)
        source = "built-in" + (f" {recipe.builtin}" if recipe.builtin else "") + " prompts"
        if recipe.builtin in ("mild", "provocative"):
            notes.append(
                f"{fixed.name} on DetoxLM's built-in prompts: not comparable with published numbers, which use "
                "RealToxicityPrompts (--prompts FILE)."
            )
    text: str | None
    if options.fluency_text is None:
        text, text_source = neutral_text(), "built-in neutral text"
    elif str(options.fluency_text).lower() == "none":
        text, text_source = None, "none"
    else:
        text, text_source = read_plain_text(options.fluency_text, field="fluency_text"), str(options.fluency_text)
    share = 1.0 if options.limit is None or not known else len(prompts) / known  # of given text, as of the prompts
    mentions, mentions_source = mentions_of(options.who_pays, share, options.skip_bad_rows)
    return Task(
        recipe=recipe,
        prompts=prompts,
        prompts_source=source,
        fluency_text=text,
        fluency_source=text_source,
        fluency_tokens=options.fluency_tokens,
        # all of its tokens where they were asked for by number
        fluency_share=1.0 if "fluency_tokens" in options.model_fields_set else share,
        mentions=mentions,
        mentions_source=mentions_source,
        seed=options.seed,
        batch_size=options.batch_size,
        notes=notes,
        settings={"command": command} if command else {},
    )


def builtin_measured(recipe: Recipe) -> Sequence[str]:
    """Return the built-in prompts that a recipe is measured on."""
    if recipe.builtin == "chat":
        return builtin_conversations("measure")
    return builtin_prompts("measure", recipe.builtin)


def evaluate(model: str, settings: EvaluateSettings, command: str | None = None) -> Results:
    """Measure one model, detoxified or not, and save `settings.output`; in several processes they share the work."""
    join()
    check_output_file(settings.output)
    check_engine(settings)
    here = settings.engine == "transformers"
    with only_writer(settings.output):
        task = task_of(settings, command)
        baseline = baseline_for(settings, model, task)
        detoxifier = detoxifier_of(settings) if here else None
        scorer, *opinions = load_scorers(settings.scorer, device=settings.device).values()
        check_baseline_scorer(baseline, scorer)
        if not here:
            task = replace(task, mentions=[], mentions_source="none")
            if not reads_text(settings):
                task = replace(task, fluency_text=None, fluency_source="none")
            with closing(endpoint(model, settings, task.prompts)) as there:
                planned = plan_through(there, task, scorer, opinions=opinions, judge=judge_of(settings))
                return planned.carried_out(baseline, settings.output)
        target = target_of(model, settings, detoxifier)
        judge = judge_of(settings)
        return measure(
            target,
            task,
            scorer,
            opinions=opinions,
            detoxifier=detoxifier,
            strength=settings.strength,
            judge=judge,
            baseline=baseline,
            output=settings.output,
        )


def fit(
    method_name: str, model: str, settings: FitSettings, config: Path | None = None, sets: Sequence[str] = ()
) -> Detoxifier:
    """Fit a method to a model and save the detoxifier to `settings.output`.

    `config` is a TOML file with a table of the method's own settings; `sets` are `key=value` strings, which win. In
    several processes they share what the model writes.
    """
    join()
    method = get_method(method_name)
    chosen = method_settings(method, config, sets, settings.calibrator)
    check_read(method, {name: getattr(settings, name) for name in ("corpus", "harmful", "pairs", "prompts")})
    check_output_folder(settings.output, CONFIG_FILE)
    with only_writer(settings.output):
        scorer = load_scorer(settings.scorer[0], device=settings.device)  # the others have no say in a fit
        data = fit_data(settings, settings.prompts, scorer, workdir_of(settings.output))
        method.check(data, chosen)
        return fit_to(target_of(model, settings), method, chosen, data, settings.output)


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
    Returns the results of the untouched model and of each strength. The folder holds `detoxifier/`, `results/`,
    `results.json` (at the recommended strength, compared with the untouched model) and `report.html`; where the method
    edits weights also `model/`, a plain checkpoint at the recommended strength. Where nothing is recommended
    (`detoxlm.report.recommended`) there is no `model/`, and `results.json` is of the untouched model.
    """
    refuse_several("run")
    method = get_method(settings.method)
    chosen = method_settings(method, config, sets, settings.calibrator)
    check_read(method, {name: getattr(settings, name) for name in ("corpus", "harmful", "pairs")})
    strengths = _strengths(settings.strengths) if settings.strengths is not None else None
    check_strengths(method, chosen, strengths)
    check_run_folder(settings.output, method)
    with only_writer(settings.output / "results.json"):
        return _run(model, settings, method, chosen, strengths, command, say)


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
    task = task_of(settings, command)
    scorer, *opinions = load_scorers(settings.scorer, device=settings.device).values()
    data = fit_data(settings, None, scorer, workdir_of(out / "detoxifier"))
    method.check(data, chosen)
    say(f"Loading {model}")
    target = target_of(model, settings)
    judge = judge_of(settings)
    method.check(data, chosen, target)
    task = as_read(target, task)
    say(f"Measuring the untouched model: {task.recipe.name}, {len(task.prompts)} prompts")
    measured = partial(measure, target, task, scorer, opinions=opinions, judge=judge)
    untouched = plan(target, task, scorer, opinions=opinions, judge=judge)
    keep_apart(out, untouched.digest, fit_digest(target, method, chosen, data))
    results = [untouched.carried_out(None, out / "results" / "untouched.json")]
    say(f"Fitting {method.name}")
    detoxifier = fit_to(target, method, chosen, data, out / "detoxifier")
    chosen_strengths = [detoxifier.check_strength(one) for one in strengths or detoxifier.default_strengths]
    for strength in chosen_strengths:
        say(f"Measuring {method.name} at strength {strength:g}")
        path = _file_of(out, detoxifier, strength)
        results.append(measured(detoxifier=detoxifier, strength=strength, baseline=results[0], output=path))
    _conclude(model, target, detoxifier, task, results, out, say)
    return results


def _conclude(
    model: str,
    target: Target,
    detoxifier: Detoxifier,
    task: Task,
    results: Sequence[Results],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """End a run: compare speeds, and write `results.json`, the report, and what is recommended; cards last."""
    found = recommended(results)
    assert found is not None and found.shown.results is not None  # every strength was measured
    shown = found.shown.results
    if shown.speed is None:
        say(f"Comparing the speed of {shown.label} with the untouched model's")
        sampling = task.recipe.sampling
        shown.speed = measure_speed(target, detoxifier, shown.strength, task.prompts, sampling)
        shown.save(_file_of(out, detoxifier, shown.strength))
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


def _file_of(out: Path, detoxifier: Detoxifier, strength: float) -> Path:
    """Return where a run keeps the results of one strength."""
    return out / "results" / f"{detoxifier.method}-{strength:g}.json"


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


def sampling_of(settings: GenerateSettings) -> Sampling:
    """Return how `generate` draws."""
    names = ("max_new_tokens", "samples", "temperature", "top_p", "top_k", "seed")
    return Sampling(**{name: getattr(settings, name) for name in names})


def continue_prompt(model: str, prompt: str, settings: GenerateSettings) -> list[str]:
    """Return `settings.samples` continuations of one prompt, read without its outer white space."""
    detoxifier = detoxifier_of(settings)
    target = target_of(model, settings, detoxifier)
    sampling = sampling_of(settings)
    prompts = settings.form.asked([prompt])
    for note in describe_prompts(target, prompts, sampling):
        log.warning(note)
    batches = generate(target, trimmed(prompts), sampling, batch_size=settings.batch_size)
    if detoxifier is None:
        return next(batches).generations[0].texts
    with detoxifier.attached(target.model, settings.strength):
        return next(batches).generations[0].texts


def report(results: Sequence[Path], output: Path) -> None:
    """Write the report of results files to `output`."""
    check_output_file(output)
    with only_writer(output):
        found = [Results.load(path) for path in results]
        with waiting("writing the report"):
            write_report(found, output)


def export(model: str, detoxifier: str, settings: ExportSettings) -> None:
    """Write the model with the detoxifier in its weights, or the detoxifier as an adapter, to `settings.output`.

    Raises:
        UsageError: a detoxifier for another model, or of a kind that has no such form.
    """
    check_export_folder(model, detoxifier, settings)
    with only_writer(settings.output):
        found = Detoxifier.from_pretrained(detoxifier)
        found.check_strength(settings.strength)
        found.check_form(settings.form)
        target = target_of(model, settings, found)
        if settings.form == "adapter":
            save_adapter(target, found, settings.strength, settings.output)
        else:
            save_checkpoint(target, found, settings.strength, settings.output)


def _strengths(text: str) -> list[float]:
    try:
        found = sorted({TypeAdapter(float).validate_python(part.strip()) for part in text.split(",") if part.strip()})
    except ValidationError:
        found = []
    if not found or found[0] <= 0:
        raise UsageError(f"strengths: {text!r} is not a list of numbers above 0, such as 0.1,0.3,0.5.")
    return found
