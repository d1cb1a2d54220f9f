"""Recipes: prompts x sampling x metrics -> Results. A killed run continues where it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from detoxlm import processes
from detoxlm.capability import compare_capability
from detoxlm.comparing import compare, is_compared, refuse_unlike, seen_by, settled_by
from detoxlm.conversations import Conversation, as_data, asked_form, form_of, template_of
from detoxlm.engines.base import Engine
from detoxlm.engines.here import Here
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, plan_batches, trimmed
from detoxlm.journal import Journal, digest_of
from detoxlm.likelihood import text_batches
from detoxlm.lock import only_writer
from detoxlm.measuring import Done, generate_rows, measure_mentions, measure_windows, mentions_sha256, write_of_people
from detoxlm.mentions import IdentityPrompt, Mention
from detoxlm.methods.base import Detoxifier
from detoxlm.metrics import METRICS, TOXICITY, ReaderTable, agreements, by_group, estimates, who_is_named, who_pays
from detoxlm.metrics.instructions import check_rule
from detoxlm.metrics.readers import labels_of
from detoxlm.models import Target
from detoxlm.progress import waiting
from detoxlm.protocols import RECIPES, Recipe, get_recipe
from detoxlm.results import NO_JUDGE, Opinion, Results, ScorerInfo
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.several import labelled
from detoxlm.scorers.windows import WORDS
from detoxlm.sizing import BatchSize, asked
from detoxlm.versions import versions

__all__ = ["RECIPES", "Measurement", "Recipe", "Task", "as_read", "get_recipe", "measure", "plan", "plan_through"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Everything that a measurement depends on besides the model, the detoxifier and the scorer."""

    recipe: Recipe
    prompts: list[str]  # texts to continue, and conversations to answer
    prompts_source: str
    fluency_text: str | None  # None: neither model perplexity nor KL is measured
    fluency_source: str
    fluency_tokens: int = 16384
    fluency_share: float = 1.0  # of these tokens, the first part that is measured
    mentions: Sequence[Mention] = ()  # texts about groups of people, and without: who pays; none: not measured
    mentions_source: str = "none"
    identity: Sequence[IdentityPrompt] = ()  # prompts about people: is it still said who they are?
    seed: int = 0
    batch_size: BatchSize = None
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)  # recorded in the results as they are
    groups: list[Mapping[str, str]] = field(default_factory=list)  # of each prompt, what results are broken down by


def measure(
    target: Target,
    task: Task,
    scorer: Scorer,
    *,
    opinions: Sequence[Scorer] = (),
    detoxifier: Detoxifier | None = None,
    strength: float | None = None,
    judge: Target | None = None,
    baseline: Results | None = None,
    output: Path | None = None,
) -> Results:
    """Run a recipe on a model, detoxified or not.

    Args:
        target: the untouched model.
        task: prompts, sampling and fluency text.
        scorer: who judges toxicity: the scores of the rows and the metrics.
        opinions: further scorers of the same continuations, for a second opinion: they have toxicity metrics of their
            own, in `Results.opinions`, and every pair of scorers has an `Agreement`.
        detoxifier: attached while the model generates and reads, and only then; None measures the untouched model.
        strength: the detoxifier's strength; None takes its own. At 0 the model is untouched, bit for bit.
        judge: the model whose perplexity of the continuations is reported; None: the untouched target.
        baseline: results of the untouched model, to compare with; where they cannot be, nothing is generated.
        output: where the results are saved; work in progress is kept beside it, so that a killed run continues, and a
            complete file of this very measurement is read and returned. None keeps nothing.

    Raises:
        UsageError: a name in place of what it names, a strength without a detoxifier; no prompts, or one of white space
            alone; a fluency text with fewer than two tokens, a detoxifier for another model, a strength out of range,
            the same scorer twice, a baseline of another measurement, an output that cannot be written or that another
            process writes.
        DetoxError: a scorer failed, the logits are NaN, the disk is full.
    """
    planned = plan(target, task, scorer, opinions=opinions, detoxifier=detoxifier, strength=strength, judge=judge)
    return planned.carried_out(baseline, output)


def plan(
    target: Target,
    task: Task,
    scorer: Scorer,
    *,
    opinions: Sequence[Scorer] = (),
    detoxifier: Detoxifier | None = None,
    strength: float | None = None,
    judge: Target | None = None,
) -> Measurement:
    """Return what `measure` would carry out, checked and named by its digest; arguments and errors are its."""
    for what, given, fix in (
        ("target", target, "load_target({!r})"),
        ("prompts", task.prompts, "a list, [{!r}]"),
        ("recipe", task.recipe, "RECIPES[{!r}]"),
        ("detoxifier", detoxifier, "Detoxifier.from_pretrained({!r})"),
        *(("scorer", one, "load_scorer({!r})") for one in (scorer, *opinions)),
    ):
        if isinstance(given, str):
            raise UsageError(f"{what}: {given!r} is a text; give {fix.format(given)}.")
    if task.groups and len(task.groups) != len(task.prompts):
        raise UsageError(f"groups: {len(task.groups)} for {len(task.prompts)} prompts; give each prompt its own.")
    if detoxifier is None and strength is not None:
        raise UsageError("strength: it needs a detoxifier; without one the model is untouched.")
    if detoxifier is not None:
        strength = detoxifier.check_strength(strength)
        detoxifier.check_target(target.model)
    engine = Here(target, detoxifier, strength)
    return plan_through(engine, task, scorer, opinions=opinions, judge=judge or target)


def plan_through(
    engine: Engine,
    task: Task,
    scorer: Scorer,
    *,
    opinions: Sequence[Scorer] = (),
    judge: Target | None,
) -> Measurement:
    """Return what `measure` would carry out on whatever runs the model; without a `judge` no perplexity is measured.

    Raises:
        UsageError: as `measure`.
    """
    if not task.prompts:
        raise UsageError(f"prompts: {task.prompts_source} has none; there is nothing to measure.")
    scorers = labelled([scorer, *opinions])
    for one in scorers.values():
        ReaderTable.of(one.validity)  # a table that is none is said before the work
    task = _as_read(engine, task)
    own = isinstance(engine, Here) and judge is engine.target
    if judge is not None and not own and form_of(task.prompts) == "chat" and template_of(judge.tokenizer) is None:
        raise UsageError(
            f"fluency_judge: {judge.name} has no chat template, and reads answers; name an instruct model."
        )
    for prompt in task.prompts:
        if isinstance(prompt, Conversation) and prompt.rule is not None:
            check_rule(prompt.rule)
    text = task.fluency_text
    windows = [] if text is None else engine.windows(text, task.fluency_tokens, task.fluency_share)
    if not windows and text is not None:
        raise UsageError(f"fluency_text: {task.fluency_source} has fewer than two tokens.")
    mention_ids = engine.mention_tokens(task.mentions)
    return Measurement(engine, task, scorers, judge, windows, mention_ids=mention_ids)


def as_read(target: Target, task: Task) -> Task:
    """Return the task with its prompts as they are read, and a note for all that a reader must know of them.

    What has a note already is not said again.

    Raises:
        UsageError: a prompt is of white space alone.
    """
    return _as_read(Here(target), task)


def _as_read(engine: Engine, task: Task) -> Task:
    prompts = trimmed(task.prompts)
    notes = [*engine.described(task.prompts, task.recipe.sampling), *engine.left_out]
    if twice := len(prompts) - len(set(prompts)):
        notes.append(
            f"{twice:,} of {len(prompts):,} prompts repeat another: intervals are over the {len(set(prompts)):,} "
            "different ones."
        )
    new = [note for note in notes if note not in task.notes]
    for note in new:
        log.warning("%s: %s", task.prompts_source, note)
    return replace(task, prompts=prompts, notes=[*task.notes, *new])


@dataclass(frozen=True)
class Measurement:
    """A task on a model, checked: all that decides its numbers, and how they are made."""

    engine: Engine
    task: Task
    scorers: dict[str, Scorer]  # by their labels, the main one first
    judge: Target | None
    windows: list[tuple[list[int], int]]  # of the fluency text: ids, and how many of them are scored
    versions: dict[str, str] = field(default_factory=versions)
    mention_ids: list[list[int]] = field(default_factory=list)  # of each of the task's mentions

    @property
    def sampling(self) -> Sampling:
        """How continuations are drawn, with the task's seed."""
        return self.task.recipe.sampling.model_copy(update={"seed": self.task.seed})

    @cached_property
    def digest(self) -> str:
        """64 hex digits of what decides the numbers. Users' partial and complete files are known by it: keep it."""
        return digest_of(
            {
                **self.engine.identity,
                "judge": None if self.judge is None else self.judge.architecture.fingerprint,
                "scorers": [  # and the readers' labels that correct what they say
                    (*_scorer_info(one).identity, *([labels] if (labels := labels_of(one.validity)) else []))
                    for one in self.scorers.values()
                ],
                "prompts": as_data(self.task.prompts),
                "sampling": self.sampling.model_dump(),
                "windows": self.windows,
                "batch_size": self._batch_size,
                "versions": self.versions,
                **({} if self._form == {"form": "plain"} else self._form),
                **mentions_sha256("mentions", self.task.mentions, self.mention_ids, self.task.identity),
                **({"groups": self.task.groups} if self.task.groups else {}),
            }
        )

    @property
    def _form(self) -> dict[str, Any]:
        """How the prompts are asked, as results record it."""
        windows = {"window_words": WORDS} if self.task.recipe.chat else {}
        return asked_form(self.task.prompts, lambda: self.engine.template_sha256) | windows

    def known(self) -> dict[str, Any]:
        """Return, before anything is measured, what `settled_by` will say of the results."""
        return settled_by(
            recipe=self.task.recipe.name,
            model=self.engine.info.name,
            scorer=_scorer_info(next(iter(self.scorers.values()))),
            prompts=self.task.prompts,
            samples=[self.sampling.samples] * len(self.task.prompts),
            windows=[scored for _, scored in self.windows],
            judge=self.judged_by,
            settings=self.settings(),
        )

    @property
    def judged_by(self) -> str:
        """The fluency judge, as results name it."""
        judge = self.judge
        if judge is None:
            return NO_JUDGE
        own = isinstance(self.engine, Here) and judge is self.engine.target
        return f"{judge.name} ({judge.revision})" + (", untouched" if own else "")

    def carried_out(self, baseline: Results | None, output: Path | None) -> Results:
        """Return the results, compared with the baseline if there is one, and saved if there is an output."""
        if baseline is not None:
            refuse_unlike(baseline, self.known())
        if output is None:
            return self._measured(baseline, None)
        with only_writer(output):
            return self._measured(baseline, output)

    def _measured(self, baseline: Results | None, output: Path | None) -> Results:
        started = time.monotonic()
        results = processes.from_first(_complete(output, self.digest) if output is not None else None)
        journal, partial = None, None if output is None else output.with_name(output.name + ".partial")
        if not processes.is_first():
            output = None  # the first one writes
        if results is None:
            if partial is not None:
                journal = Journal(processes.own_path(partial), self.digest)
            done = self._all_done(Done(journal))
            with waiting("computing metrics and intervals"):
                results = processes.from_first(self._results(done, started) if processes.is_first() else None)
            assert results is not None
        elif baseline is None or is_compared(baseline, results):
            return results
        if output is not None:  # before the comparison too: whatever fails there, what was measured is kept
            results.save(output)
        if journal is not None:
            journal.remove()
        if output is not None and partial is not None:
            processes.remove_parts(partial)
        if baseline is not None:
            with waiting("comparing with the untouched model"):
                compare(baseline, results)
                compare_capability(results, baseline)
            if output is not None:
                results.save(output)
        return results

    def _all_done(self, done: Done) -> Done:
        """Do what is not done, of several processes each its share; return what all have done."""
        task, (number, count) = self.task, processes.place()
        prompts, batches = task.prompts, []
        if count > 1 and isinstance(self.engine, Here):
            batches = plan_batches(self.engine.target, prompts, self.sampling.samples, task.batch_size)
            prompts = [prompts[i] for i in processes.dealt(batches, number, count)]
        size, answers = self._batch_size, task.recipe.chat
        generate_rows(self.engine, prompts, self.sampling, size, self.scorers, self.judge, done, answers=answers)
        measure_windows(self.engine, self.windows[number::count], done)
        texts = text_batches(self.mention_ids)[number::count]
        measure_mentions(self.engine, task.mentions, self.mention_ids, texts, done)
        write_of_people(self.engine, task.identity, size, done, (number, count))
        return done.of_all(batches)

    def _results(self, done: Done, started: float) -> Results:
        """Return what the finished work, `done`, adds up to; `started` is when it began, by `time.monotonic`."""
        rows, windows = done.rows(), done.windows() + done.mentions()
        if self.task.groups:
            rows = [
                row.model_copy(update={"groups": dict(groups)})
                for row, groups in zip(rows, self.task.groups, strict=True)
            ]
        scorer = next(iter(self.scorers.values()))
        return Results(
            recipe=self.task.recipe.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=self.engine.info,
            detoxifier=self.engine.acting,
            scorer=_scorer_info(scorer),
            fluency_judge=self.judged_by,
            metrics=estimates(METRICS.values(), rows, windows, ReaderTable.of(scorer.validity)),
            opinions={
                label: Opinion(
                    scorer=_scorer_info(one),
                    metrics=estimates(TOXICITY, seen_by(label, rows), windows, ReaderTable.of(one.validity)),
                )
                for label, one in list(self.scorers.items())[1:]
            },
            agreement=agreements(scorer.name, rows),
            who_pays=who_pays(windows),
            who_is_named=who_is_named(done.identity()),
            identity_rows=done.identity(),
            groups=by_group(rows),
            rows=rows,
            windows=windows,
            cost=done.cost(time.monotonic() - started),
            settings=self.settings() | ({"batch_sizes": done.sizes()} if self._batch_size == "auto" else {}),
            versions=self.versions,
            notes=[*self.task.notes, *self.engine.noted(rows)],
        )

    @property
    def _batch_size(self) -> int | Literal["auto"]:
        here = self.engine.target.device if isinstance(self.engine, Here) else torch.device("cpu")
        return asked(self.task.batch_size, here)

    def settings(self) -> dict[str, Any]:
        """Return what the results record of how they were made; with `batch_size` auto they say the sizes too."""
        task = self.task
        return {
            **task.settings,
            "sampling": self.sampling.model_dump(),
            "seed": task.seed,
            "batch_size": self._batch_size,
            **({"processes": count} if (count := processes.place()[1]) > 1 else {}),
            "prompts": task.prompts_source,
            "prompts_sha256": digest_of(as_data(task.prompts)),
            "n_prompts": len(task.prompts),
            **self._form,
            "fluency_text": task.fluency_source,
            "fluency_tokens": sum(scored for _, scored in self.windows),
            "fluency_sha256": digest_of(self.windows),
            "who_pays": task.mentions_source,
            **mentions_sha256("who_pays_sha256", task.mentions, self.mention_ids, task.identity),
            **self.engine.settings,
            "measurement": self.digest,
        }


def _scorer_info(scorer: Scorer) -> ScorerInfo:
    return ScorerInfo(name=scorer.name, version=scorer.version, revision=scorer.revision, validity=scorer.validity)


def _complete(output: Path, digest: str) -> Results | None:
    """Return the results in `output` if they are of this measurement: running a command again redoes nothing."""
    if not output.exists():
        return None
    try:
        results = Results.load(output)
    except UsageError:
        return None  # of another version, or not ours: about to be replaced, as -o asks
    if results.settings.get("measurement") != digest:
        return None
    log.warning("%s holds this very measurement: read, not repeated. Delete it to measure again.", output)
    return results
