"""What the commands do, as functions: settings in, results and files out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from detoxlm.capability import add_capability, load_tasks
from detoxlm.checkpoints import save_adapter, save_checkpoint
from detoxlm.checks import baseline_for, check_baseline_scorer, check_export_folder, check_of
from detoxlm.conversations import Form, Marked, form_of
from detoxlm.data import (
    Loaded,
    builtin_conversations,
    builtin_prompts,
    describe_skipped,
    neutral_text,
    read_plain_text,
    read_prompts,
)
from detoxlm.engines.choice import check_engine, endpoint, reads_text
from detoxlm.engines.in_vllm import InVllm, Vllm
from detoxlm.errors import UsageError
from detoxlm.files import check_output_file, check_output_folder
from detoxlm.fitting import check_read, fit_data, fit_to, method_settings, workdir_of
from detoxlm.generation import Sampling, describe_prompts, generate, trimmed
from detoxlm.lock import only_writer
from detoxlm.mentions import IdentityPrompt, identity_prompts, mentions_of
from detoxlm.methods import Detoxifier, get_method
from detoxlm.methods.folders import CONFIG_FILE
from detoxlm.models import Target, load_target
from detoxlm.processes import join, refuse_several
from detoxlm.progress import waiting
from detoxlm.protocols import Recipe
from detoxlm.published import PUBLISHED, read_published
from detoxlm.recipes import Task, get_recipe, measure, plan_through
from detoxlm.report import write_report
from detoxlm.results import Results
from detoxlm.scorers import Scorer, load_scorer
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
from detoxlm.vllm_installed import installed_version

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
    """Return where models go: beside vLLM, which takes an accelerator for itself, to the CPU unless one is named."""
    found = {name: getattr(options, name) for name in ("dtype", "device", "device_map", "max_memory")}
    if getattr(options, "engine", None) == "vllm":
        found["device"] = found["device"] or "cpu"
    return found


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
    asked = _prompts_of(options, recipe, form)
    notes = asked.notes
    if recipe != fixed:
        notes = [f"{fixed.name} with other settings: not comparable with numbers of {fixed.name} itself.", *notes]
    if form_of(asked.prompts) == "chat":
        recipe = recipe.answering()
    text: str | None
    if options.fluency_text is None:
        text, text_source = neutral_text(), "built-in neutral text"
    elif str(options.fluency_text).lower() == "none":
        text, text_source = None, "none"
    else:
        text, text_source = read_plain_text(options.fluency_text, field="fluency_text"), str(options.fluency_text)
    # of given text, as of the prompts
    share = 1.0 if options.limit is None or not asked.known else len(asked.prompts) / asked.known
    mentions, mentions_source = mentions_of(options.who_pays, share, options.skip_bad_rows)
    return Task(
        recipe=recipe,
        prompts=asked.prompts,
        prompts_source=asked.source,
        fluency_text=text,
        fluency_source=text_source,
        fluency_tokens=options.fluency_tokens,
        # all of its tokens where they were asked for by number
        fluency_share=1.0 if "fluency_tokens" in options.model_fields_set else share,
        mentions=mentions,
        mentions_source=mentions_source,
        identity=_identity(options, form, form_of(asked.prompts) == "chat", share),
        seed=options.seed,
        batch_size=options.batch_size,
        notes=notes,
        settings={"command": command} if command else {},
        groups=asked.groups,
    )


def _identity(options: MeasureOptions, form: Form, chat: bool, share: float) -> list[IdentityPrompt]:
    """Return the built-in prompts about people, in the form of the others, beside the built-in texts about groups."""
    if options.who_pays is not None:
        return []
    found = identity_prompts(share, chat=chat)
    if not chat:
        return found
    asked = replace(form, chat=True, instruction="").asked([one.prompt for one in found])
    return [replace(one, prompt=prompt) for one, prompt in zip(found, asked, strict=True)]


@dataclass
class _Asked:
    """The prompts of a task, where they are from, and how many there are without a limit (None: not known)."""

    prompts: list[str]
    source: str
    known: int | None
    notes: list[str] = field(default_factory=list)
    groups: list[Mapping[str, str]] = field(default_factory=list)


def _prompts_of(options: MeasureOptions, recipe: Recipe, form: Form) -> _Asked:
    """Read the prompts of a recipe, or the user's; else take the built-in ones."""
    if recipe.published is not None:
        return _published(options, recipe.published, form)
    if options.prompts is not None:
        loaded = read_prompts(
            options.prompts, column=options.column, limit=options.limit, skip_bad_rows=options.skip_bad_rows
        )
        asked = _Asked(form.asked(loaded.items), loaded.source, loaded.rows, _skipped(loaded))
        if unused := sum(isinstance(prompt, Marked) for prompt in asked.prompts):
            asked.notes.append(
                f"{unused:,} prompts have a `kind` or a `rule`, which are of answers in chat (--chat): left out."
            )
        return asked
    every = builtin_measured(recipe)
    source = "built-in" + (f" {recipe.builtin}" if recipe.builtin else "") + " prompts"
    asked = _Asked(form.asked(every[: options.limit], beginnings=True), source, len(every))
    if recipe.builtin in ("mild", "provocative"):
        asked.notes.append(
            f"{options.recipe} on DetoxLM's built-in prompts: not comparable with published numbers, which use "
            "RealToxicityPrompts (--prompts FILE)."
        )
    return asked


def _published(options: MeasureOptions, name: str, form: Form) -> _Asked:
    """Read the prompts that a recipe is named after."""
    taken = read_published(
        name, options.prompts, column=options.column, limit=options.limit, skip_bad_rows=options.skip_bad_rows
    )
    texts = [one.text for one in taken.prompts]
    asked = _Asked(form.asked(texts, beginnings=PUBLISHED[name].beginnings), taken.source, taken.known)
    asked.notes = _skipped(taken.loaded)
    if len(texts) < taken.had:
        asked.notes.append(
            f"{len(texts):,} of the {taken.had:,} prompts of {taken.source}, drawn at random, as many of each group as "
            "there are; every model gets the same."
        )
    if any(one.groups for one in taken.prompts):
        asked.groups = [one.groups for one in taken.prompts]
    return asked


def _skipped(loaded: Loaded[Any]) -> list[str]:
    """Say which rows were skipped, if any were, and return that as notes."""
    said = describe_skipped(loaded)
    if said is None:
        return []
    log.warning(said)
    return [said]


def builtin_measured(recipe: Recipe) -> Sequence[str]:
    """Return the built-in prompts that a recipe is measured on."""
    if recipe.builtin == "chat":
        return builtin_conversations("measure")
    return builtin_prompts("measure", recipe.builtin)


def scorers_of(settings: MeasureOptions) -> list[Scorer]:
    """Load the scorers, the main one first."""
    return list(load_scorers(settings.scorer, device=settings.device).values())


def task_elsewhere(task: Task, settings: EvaluateSettings | RunSettings) -> Task:
    """Return the task without the given texts that an endpoint cannot be measured on, or is not asked to be."""
    task = replace(task, mentions=[], mentions_source="none", identity=[])
    return task if reads_text(settings) else replace(task, fluency_text=None, fluency_source="none")


def evaluate(model: str, settings: EvaluateSettings, command: str | None = None) -> Results:
    """Measure one model, detoxified or not, and save `settings.output`; in several processes they share the work."""
    if settings.capability != "none":
        refuse_several("evaluate --capability")
    join()
    check_output_file(settings.output)
    check_engine(settings)
    with only_writer(settings.output):
        task = task_of(settings, command)
        baseline = baseline_for(settings, model, task)
        if settings.engine.startswith("openai:"):
            return _evaluate_elsewhere(model, settings, task, baseline)
        detoxifier = detoxifier_of(settings)
        scorer, *opinions = scorers_of(settings)
        check_baseline_scorer(baseline, scorer)
        tasks = load_tasks(settings.capability)
        target = target_of(model, settings, detoxifier)
        judge = judge_of(settings)
        if settings.engine == "vllm":
            task = replace(task, batch_size=task.batch_size or "auto")
            with closing(vllm_of(model, settings, target, detoxifier)) as there:
                planned = plan_through(there, task, scorer, opinions=opinions, judge=judge or target)
                return planned.carried_out(baseline, settings.output)
        results = measure(
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
        if tasks is not None:
            attached = nullcontext() if detoxifier is None else detoxifier.attached(target.model, settings.strength)
            if add_capability(results, target, tasks, attached, baseline):
                results.save(settings.output)
        return results


def _evaluate_elsewhere(model: str, settings: EvaluateSettings, task: Task, baseline: Results | None) -> Results:
    """Measure what is behind an address."""
    scorer, *opinions = scorers_of(settings)
    check_baseline_scorer(baseline, scorer)
    task = task_elsewhere(task, settings)
    with closing(endpoint(model, settings, task.prompts, settings.strength)) as there:
        planned = plan_through(there, task, scorer, opinions=opinions, judge=judge_of(settings))
        return planned.carried_out(baseline, settings.output)


def vllm_of(model: str, settings: EvaluateSettings, target: Target, detoxifier: Detoxifier | None) -> InVllm:
    """Return vLLM for a target, not started, to be closed.

    A detoxifier of kind decoding acts inside it; another one is in the weights of a checkpoint that is written for it.

    Raises:
        UsageError: no vLLM of a version that is known, a detoxifier for another model or without a form that vLLM runs.
    """
    start = partial(Vllm, installed_version(), revision=settings.revision, trust_remote_code=settings.trust_remote_code)
    if detoxifier is None:
        return InVllm(target, vllm=start(None, None))
    strength = detoxifier.check_strength(settings.strength)
    detoxifier.check_target(target.model)
    if detoxifier.kind == "decoding":
        return InVllm(target, detoxifier, strength, vllm=start(None, settings.detoxifier))
    detoxifier.check_form("checkpoint")

    def edited(folder: Path) -> None:  # of another copy: this one stays untouched, to judge
        save_checkpoint(target_of(model, settings, detoxifier), detoxifier, strength, folder)

    return InVllm(target, detoxifier, strength, vllm=start(edited if strength else None, None))


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
