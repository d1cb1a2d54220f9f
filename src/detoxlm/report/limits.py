"""What the numbers of a report do not say, in plain words and with the study's own numbers."""

from __future__ import annotations

from detoxlm.metrics import CORRECTED, METRICS
from detoxlm.report.facts import Study, bounded, finite, value_text
from detoxlm.report.paying import limit_of_paying, paid_by
from detoxlm.report.reading import limit_of_readers
from detoxlm.report.recommendation import TOXICITY, first_measured
from detoxlm.results import NO_JUDGE, Estimate, Results

#: Fewer prompts than this get a warning of their own.
FEW_PROMPTS = 100


def limits(study: Study, picked: int | None = None) -> list[tuple[str, str]]:
    """List what the numbers do not say, as (short name, sentences), with this study's own numbers.

    `picked`: of how many detoxified runs the one that is spoken of was picked; None: of the study's.
    """
    one, scorer = study.common, study.common.scorer
    said = [
        (
            "The scorer makes mistakes",
            f"Every toxicity here is what {scorer.name} {scorer.version} says, not what people felt. "
            + (
                "How far it agrees with people is not known: use the numbers only to compare runs with each other. "
                if scorer.validity is None
                else "Its measured validity is below. "
            )
            + "Automatic scorers are known to rate harmless text that names minorities, is in dialect or swears in "
            "a friendly way too high, and attacks without swear words too low. If the detoxifier was fitted "
            "with this scorer or with its training data, it may please the scorer more than it helps people"
            + (
                "; the second opinions above say whether other scorers see the same."
                if any(result.opinions for result in study.measured)
                else "."
            ),
        ),
        *limit_of_readers(study),
        _minorities(study),
        (
            "These prompts only",
            _prompts(study),
        ),
        ("How exact the numbers are", _precision(study)),
        (
            "Fluency",
            _fluency(one),
        ),
        (
            "Not measured",
            f"{_of_ability(study)}"
            f"{'' if 'refused_fraction' in one.metrics else 'whether it refuses or dodges harmless requests, '}"
            "whether its statements are true, and whether it can be made toxic again by "
            "further training.",
        ),
    ]
    return said + _limits_of_data(study, len(study.detoxified) if picked is None else picked)


def _fluency(one: Results) -> str:
    """Return what perplexity is, or that there is none."""
    if one.fluency_judge == NO_JUDGE:
        return "No perplexity was measured, and nobody read the texts for sense: whether they got worse is not known."
    return (
        f"Perplexity is how likely a model finds a text. The judge of the continuations is {one.fluency_judge}; "
        "neutral text is judged by the measured model itself. Text that repeats itself can have a low perplexity, "
        "a sensible, rare sentence a high one. Nobody read the texts for sense."
    )


def _minorities(study: Study) -> tuple[str, str]:
    """Return what the price by group does not cover, or that there is none."""
    found = [paid for run in study.detoxified if (paid := paid_by(run)) is not None]
    if found:
        named = any(run.results is not None and run.results.who_is_named is not None for run in study.detoxified)
        return limit_of_paying(found[0], named)
    toxicity = any(result.groups for result in study.measured)
    return (
        "Text about minorities",
        "Detoxifying is known to make models worse at text about minorities and in dialect. "
        + (
            "The tables by group are of toxicity alone: whether the text got worse would not show."
            if toxicity
            else "No text here is broken down by group, so a loss there would not show."
        ),
    )


def _of_ability(study: Study) -> str:
    if any(one.capability and one.capability.tasks for one in study.measured):
        return "Abilities that the tasks of capability do not ask for, "
    return "Whether the model still answers questions as well as before (capability), "


def _prompts(study: Study) -> str:
    """Return what was asked, and what was not."""
    one, samples = study.common, _count(study.samples, "sample")
    if one.settings.get("form") == "chat":
        asked = f"The recipe {one.recipe} asks {study.prompts} English conversations, {samples} each."
        return f"{asked} Other languages, other system turns and people who provoke with more skill are not covered."
    return (
        f"The recipe {one.recipe} asks for short continuations of {study.prompts} English prompts, {samples} each. "
        + (
            "Other languages are not covered; the answers in chat above are short."
            if study.beside
            else "Other languages, chat, long answers and people who try to provoke the model are not covered."
        )
    )


def _precision(study: Study) -> str:
    known = any(CORRECTED.name in run.metrics for run in study.runs)
    corrected = " (that of the corrected toxic fraction does, as far as its readings go)" if known else ""
    text = (
        "The 95% intervals cover the choice of prompts and samples. They do not cover the scorer's mistakes"
        f"{corrected}, another fit of the detoxifier, or another seed of it. "
    )
    metric = first_measured(study.runs, TOXICITY)
    known_to = [
        run.metrics[metric.name] for run in study.runs if metric is not None and bounded(run.metrics.get(metric.name))
    ]
    # of conversations of several kinds only some are asked for toxicity, and equal prompts count once
    prompts = min((estimate.n for estimate in known_to), default=study.prompts)
    if metric is not None and known_to:
        half, unit = max(map(_half_width, known_to)) * metric.scale, " points" if metric.scale == 100 else ""
        text += (
            f"With {_count(prompts, 'prompt')}, a {metric.label.lower()} is known to about "
            f"±{half:.{max(metric.digits, 1)}f}{unit}."
        )
    if prompts < FEW_PROMPTS:
        text += f" {_count(prompts, 'prompt')} are few: take the page as a first look, not as evidence."
    return text


def _half_width(estimate: Estimate) -> float:
    assert estimate.low is not None and estimate.high is not None  # `bounded` was asked first
    return (estimate.high - estimate.low) / 2


def _limits_of_data(study: Study, picked: int) -> list[tuple[str, str]]:
    said = []
    if picked > 1:
        said.append(
            (
                "The strength was picked afterwards",
                f"The first sentence shows one of {picked} runs, picked on the same prompts that it "
                "reports. That flatters it a little; prompts that were not used for picking would tell.",
            )
        )
    empty = METRICS["empty_fraction"]
    silent = [
        (run.label, run.metrics[empty.name])
        for run in study.runs
        if finite(run.metrics.get(empty.name)) and run.metrics[empty.name].value > 0
    ]
    if silent:
        shares = ", ".join(f"{value_text(empty, share)} ({label})" for label, share in silent)
        said.append(
            (
                "Empty continuations",
                f"Some continuations have no text: {shares}. Saying nothing is not toxic, so they lower the toxicity.",
            )
        )
    said += _limits_of_changes(study)
    if study.detoxified and not all(run.difference for run in study.detoxified):
        said.append(
            (
                "No paired comparison",
                "At least one run carries no paired difference from the untouched model, so whether it changed "
                "anything is not shown.",
            )
        )
    if study.unknown_metrics:
        names = ", ".join(study.unknown_metrics)
        said.append(("Not shown", f"These results hold metrics that this version of DetoxLM does not know: {names}."))
    return said + _limits_of_runs(study)


def _limits_of_changes(study: Study) -> list[tuple[str, str]]:
    return [
        (heading, f"{', '.join(labels)}: {text}")
        for heading, names, wanted, text in (
            (
                "Less variety",
                ("distinct_1", "distinct_2", "distinct_3"),
                "worse",
                "the continuations of a prompt repeat words and phrases more than the untouched model's. Part of a "
                "lower toxicity can come from saying the same safe thing again and again.",
            ),
            (
                "Other lengths",
                ("mean_length",),
                "changed",
                "continuations have another length than the untouched model's. Shorter text has fewer chances to "
                "be toxic, longer text has more.",
            ),
        )
        if (
            labels := [
                run.label for run in study.detoxified if any(run.verdict(METRICS[name]) == wanted for name in names)
            ]
        )
    ]


def _limits_of_runs(study: Study) -> list[tuple[str, str]]:
    said = []
    metric = first_measured(study.runs, TOXICITY)
    if metric is not None:
        before = {
            value_text(metric, estimate)
            for run in study.runs
            if (estimate := (run.baseline if run.detoxified else run.metrics).get(metric.name)) is not None
        }
        if len(before) > 1:
            said.append(
                (
                    "More than one 'before'",
                    f"The untouched model was measured more than once, with different outcomes ({metric.label}: "
                    f"{', '.join(sorted(before))}). Each difference is against the measurement of its own run.",
                )
            )
    models = [one.model for one in study.measured]
    machines = sorted({", ".join(filter(None, (one.device, one.dtype, one.quantization))) for one in models})
    if len(machines) > 1:
        said.append(
            (
                "Different machines",
                f"The runs were made on different devices or number formats ({'; '.join(machines)}): memory "
                "does not compare, and scores may differ a little for that reason alone.",
            )
        )
    return said


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
