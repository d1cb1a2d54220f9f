"""What the commands do, as functions: settings in, results and files out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from detoxlm.checkpoints import CHECKPOINT_FILE, checkpoint_usage, save_adapter, save_checkpoint
from detoxlm.data import (
    builtin_prompts,
    describe_skipped,
    neutral_text,
    read_plain_text,
    read_prompts,
)
from detoxlm.errors import UsageError
from detoxlm.fitting import check_read, fit_data, fit_to, method_settings, workdir_of
from detoxlm.generation import Sampling, generate
from detoxlm.methods import Detoxifier, get_method
from detoxlm.models import EMBEDDED_HUB_ID, Target, load_target
from detoxlm.recipes import Task, compare, get_recipe, measure
from detoxlm.report import model_card, write_report
from detoxlm.results import Results
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

log = logging.getLogger(__name__)

#: `run` recommends the largest measured strength that raises model perplexity by no more than this share.
FLUENCY_BUDGET = 0.10


def target_of(model: str, options: ModelOptions) -> Target:
    """Load the model that the options describe."""
    return load_target(
        model,
        dtype=options.dtype,
        device=options.device,
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
    )


def judge_of(settings: MeasureOptions) -> Target | None:
    """Load the fluency judge, if one is named: neither the target's revision nor trust in its code is the judge's."""
    if settings.fluency_judge is None:
        return None
    try:
        return load_target(settings.fluency_judge, dtype=settings.dtype, device=settings.device)
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
        return Detoxifier.from_pretrained(settings.detoxifier)
    if settings.strength is not None:
        raise UsageError("strength: it needs --detoxifier DIR; without one the model is untouched.")
    return None


def task_of(options: MeasureOptions, command: str | None) -> Task:
    """Read prompts and fluency text: everything that a measurement needs besides model, detoxifier and scorer."""
    recipe = get_recipe(options.recipe)
    notes = []
    if options.prompts is not None:
        loaded = read_prompts(
            options.prompts, column=options.column, limit=options.limit, skip_bad_rows=options.skip_bad_rows
        )
        prompts, source = loaded.items, loaded.source
        if skipped := describe_skipped(loaded):
            log.warning(skipped)
            notes.append(skipped)
    else:
        prompts = builtin_prompts("measure", recipe.builtin)[: options.limit]
        source = "built-in" + (f" {recipe.builtin}" if recipe.builtin else "") + " prompts"
        if recipe.name != "quick":
            notes.append(
                f"{recipe.name} on DetoxLM's built-in prompts: not comparable with published numbers, which use "
                "RealToxicityPrompts (--prompts FILE)."
            )
    if options.fluency_text is not None:
        text, text_source = read_plain_text(options.fluency_text, field="fluency_text"), str(options.fluency_text)
    else:
        text, text_source = neutral_text(), "built-in neutral text"
    return Task(
        recipe=recipe,
        prompts=prompts,
        prompts_source=source,
        fluency_text=text,
        fluency_source=text_source,
        fluency_tokens=options.fluency_tokens,
        seed=options.seed,
        batch_size=options.batch_size,
        notes=notes,
        settings={"command": command} if command else {},
    )


def evaluate(model: str, settings: EvaluateSettings, command: str | None = None) -> Results:
    """Measure one model, detoxified or not, and save `settings.output`."""
    task = task_of(settings, command)  # bad files are found before the model is loaded
    baseline = Results.load(settings.baseline) if settings.baseline is not None else None
    detoxifier = detoxifier_of(settings)
    scorer, *opinions = load_scorers(settings.scorer, device=settings.device).values()
    target = target_of(model, settings)
    judge = judge_of(settings)
    results = measure(
        target,
        task,
        scorer,
        opinions=opinions,
        detoxifier=detoxifier,
        strength=settings.strength,
        judge=judge,
        output=settings.output,
    )
    if baseline is not None:
        compare(baseline, results)
        results.save(settings.output)
    return results


def fit(
    method_name: str, model: str, settings: FitSettings, config: Path | None = None, sets: Sequence[str] = ()
) -> Detoxifier:
    """Fit a method to a model and save the detoxifier to `settings.output`.

    `config` is a TOML file with a table of the method's own settings; `sets` are `key=value` strings, which win.
    """
    method = get_method(method_name)
    chosen = method_settings(method, config, sets, settings.calibrator)
    check_read(method, {name: getattr(settings, name) for name in ("corpus", "harmful", "pairs", "prompts")})
    scorer = load_scorer(settings.scorer[0], device=settings.device)  # the others have no say in a fit
    data = fit_data(settings, settings.prompts, scorer, workdir_of(settings.output))
    target = target_of(model, settings)
    return fit_to(target, method, chosen, data, settings.output)


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
    `results.json` (the recommended strength, compared with the untouched model) and `report.html`; where the method
    edits weights also `model/`, a plain checkpoint at the recommended strength.
    """
    method = get_method(settings.method)
    chosen = method_settings(method, config, sets, settings.calibrator)
    check_read(method, {name: getattr(settings, name) for name in ("corpus", "harmful", "pairs")})
    strengths = _strengths(settings.strengths) if settings.strengths is not None else None
    task = task_of(settings, command)
    scorer, *opinions = load_scorers(settings.scorer, device=settings.device).values()
    out = settings.output
    data = fit_data(settings, None, scorer, workdir_of(out / "detoxifier"))
    say(f"Loading {model}")
    target = target_of(model, settings)
    judge = judge_of(settings)
    say(f"Measuring the untouched model: {task.recipe.name}, {len(task.prompts)} prompts")
    measured = partial(measure, target, task, scorer, opinions=opinions, judge=judge)
    results = [measured(output=out / "results" / "untouched.json")]
    say(f"Fitting {method.name}")
    detoxifier = fit_to(target, method, chosen, data, out / "detoxifier")
    for strength in strengths or detoxifier.default_strengths:
        detoxifier.check_strength(strength)
        say(f"Measuring {method.name} at strength {strength:g}")
        path = out / "results" / f"{method.name}-{strength:g}.json"
        now = measured(detoxifier=detoxifier, strength=strength, output=path)
        if now.comparison is None:
            compare(results[0], now)
            now.save(path)
        results.append(now)
    best = recommended(results)
    best.save(out / "results.json")
    write_report(results, out / "report.html", strength=best.strength)
    _save_detoxified(model, target, detoxifier, results, best.strength, out, say)
    return results


def _save_detoxified(
    model: str,
    target: Target,
    detoxifier: Detoxifier,
    results: Sequence[Results],
    strength: float,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Write the detoxifier's card and, where it edits weights, the model at the recommended strength; last of a run."""
    base_model = EMBEDDED_HUB_ID if model == "embedded" else (None if Path(model).exists() else model)
    card = partial(
        model_card,
        results,
        base_model=base_model,
        license="apache-2.0" if model == "embedded" else None,  # of another model's derivative we cannot know it
        strength=strength,
    )
    detoxifier.save_pretrained(out / "detoxifier", card=card(usage=usage(model, strength)))
    if detoxifier.kind != "decoding":
        say(f"Writing the model at strength {strength:g}")
        save_checkpoint(target, detoxifier, strength, out / "model", card(usage=checkpoint_usage()))
    elif (out / "model" / CHECKPOINT_FILE).exists():
        shutil.rmtree(out / "model")  # an earlier run's, of another method


def recommended(results: Sequence[Results]) -> Results:
    """Return the largest strength within the fluency budget; the smallest measured one if all are outside it."""
    base, *detoxified = sorted(results, key=lambda r: r.strength)
    within = [r for r in detoxified if within_budget(base, r)]
    return within[-1] if within else detoxified[0]


def within_budget(base: Results, now: Results) -> bool:
    """Tell whether `now` keeps model perplexity within the fluency budget of the untouched `base`."""
    before, after = (r.metrics["model_perplexity"].value for r in (base, now))
    return after <= before * (1 + FLUENCY_BUDGET)


def usage(model: str, strength: float) -> str:
    """Return the Python snippet that the model card shows."""
    return (
        "from detoxlm import Detoxifier, load_target\n\n"
        f"target = load_target({model!r})\n"
        'detoxifier = Detoxifier.from_pretrained("path/to/this/folder")\n'
        'inputs = target.tokenizer("The new neighbours are", return_tensors="pt")\n'
        f"with detoxifier.attached(target.model, strength={strength:g}):\n"
        "    output = target.model.generate(**inputs, max_new_tokens=40)\n"
        "print(target.tokenizer.decode(output[0], skip_special_tokens=True))\n"
    )


def continue_prompt(model: str, prompt: str, settings: GenerateSettings) -> list[str]:
    """Return `settings.samples` continuations of one prompt."""
    detoxifier = detoxifier_of(settings)
    target = target_of(model, settings)
    names = ("max_new_tokens", "samples", "temperature", "top_p", "top_k", "seed")
    sampling = Sampling(**{name: getattr(settings, name) for name in names})
    batches = generate(target, [prompt], sampling, batch_size=settings.batch_size)
    if detoxifier is None:
        return next(batches).generations[0].texts
    with detoxifier.attached(target.model, settings.strength):
        return next(batches).generations[0].texts


def export(model: str, detoxifier: str, settings: ExportSettings) -> None:
    """Write the model with the detoxifier in its weights, or the detoxifier as an adapter, to `settings.output`.

    Raises:
        UsageError: a detoxifier for another model, or of a kind that has no such form.
    """
    for source, what in ((detoxifier, "detoxifier"), (model, "model")):
        if settings.output.exists() and Path(source).exists() and settings.output.samefile(source):
            raise UsageError(f"output: {settings.output} is the {what} itself; choose another -o.")
    found = Detoxifier.from_pretrained(detoxifier)
    target = target_of(model, settings)
    if settings.form == "adapter":
        save_adapter(target, found, settings.strength, settings.output)
        return
    save_checkpoint(target, found, settings.strength, settings.output)


def _strengths(text: str) -> list[float]:
    try:
        found = sorted({TypeAdapter(float).validate_python(part.strip()) for part in text.split(",") if part.strip()})
    except ValidationError:
        found = []
    if not found or found[0] <= 0:
        raise UsageError(f"strengths: {text!r} is not a list of numbers above 0, such as 0.1,0.3,0.5.")
    return found
