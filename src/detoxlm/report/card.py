"""The Hugging Face model card: metadata that the Hub reads, and the same numbers for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from huggingface_hub import EvalResult, ModelCardData

from detoxlm.errors import UsageError
from detoxlm.metrics import Metric, ReaderTable
from detoxlm.report.breakdown import by_groups, by_tasks, left_out
from detoxlm.report.facts import (
    VERDICT_WORDS,
    Run,
    Study,
    arrange,
    bounded,
    difference_text,
    finite,
    full_text,
)
from detoxlm.report.limits import limits
from detoxlm.report.nested import Block, blocks, flatten, plain, validity_blocks
from detoxlm.report.opinions import agreement_table, opinion_metric, second_opinion, views
from detoxlm.report.paying import paid_by, paying_block, who_pays_said
from detoxlm.report.reading import reader_blocks, readers_said
from detoxlm.report.words import Headline, headline
from detoxlm.results import Results


def render(
    results: Sequence[Results],
    *,
    base_model: str | None,
    license: str | None,
    usage: str,
    strength: float | None,
    form: Literal["detoxifier", "checkpoint"],
) -> str:
    """Return the card as Markdown with YAML metadata; see `detoxlm.report.model_card`."""
    study = arrange(results)
    head, picked = headline(study, strength), len(study.detoxified)
    if form == "checkpoint":
        # the weights have one edit in them: of the others, and of strengths to choose from, its card says nothing
        if head.run.results is None or not head.run.detoxified:
            raise UsageError("card: a checkpoint has an edit in its weights; none of the results is of one.")
        chat = study.chat_of(head.run)
        kept = (head.run.results, chat.results if chat else None)
        every = [*study.measured, *(study.beside.measured if study.beside else [])]
        study = arrange([one for one in every if one.detoxifier is None or any(one is it for it in kept)])
        head = replace(headline(study), recommendation="")
    name, told = _name(study, form)
    data = ModelCardData(
        model_name=name,
        base_model=base_model,
        license=license,
        library_name="transformers" if form == "checkpoint" else "detoxlm",
        pipeline_tag="text-generation",
        tags=_tags(study),
        eval_results=_eval_results(study),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{_body(study, head, name, told, usage, picked)}\n"


def _name(study: Study, form: Literal["detoxifier", "checkpoint"]) -> tuple[str, str]:
    """Return what the card is of, as a title and in a sentence: no more than lies in the folder."""
    methods = ", ".join(dict.fromkeys(run.method for run in study.detoxified))
    if not methods:
        return f"{study.model}, untouched", f"What was measured of {study.common.model.name}."
    if form == "checkpoint":
        return (
            f"{study.model}-detoxified",
            f"The weights of {study.common.model.name} with the edit of {study.detoxified[0].spoken} in them: a plain "
            "checkpoint, of which nothing acts while it writes and whose strength is fixed.",
        )
    return (
        f"{methods} detoxifier for {study.model}",
        f"What detoxifies {study.common.model.name}, not the model itself: it is attached to that model, at any of its "
        "strengths.",
    )


def _tags(study: Study) -> list[str]:
    methods = [one.detoxifier.method for one in study.measured if one.detoxifier]
    return list(dict.fromkeys(["detoxlm", "detoxification", "toxicity", *methods]))


def _reported(study: Study) -> list[Run]:
    # The card is of the detoxified model; the untouched one has a card of its own.
    return study.detoxified or study.runs


def _counted(study: Study, what: str) -> str:
    return f"{study.samples} {what}" + "s" * (study.samples > 1)


def _eval_results(study: Study) -> list[EvalResult]:
    scorer = study.common.scorer
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Text generation",
            dataset_type=study.common.recipe,
            dataset_name=f"{study.common.recipe} ({study.prompts} prompts, {_counted(study, 'sample')} each)",
            dataset_args={"prompts": study.prompts, "samples_per_prompt": study.samples},
            metric_type=metric.name,
            metric_name=f"{metric.label} ({run.label})",
            metric_value=_short(run.metrics[metric.name].value),
            metric_args=_arguments(metric, run) | {"scorer": f"{scorer.name} {scorer.version}"},
        )
        for run in _reported(study)
        for metric in study.metrics
        if finite(run.metrics.get(metric.name))
    ]


def _arguments(metric: Metric, run: Run) -> dict[str, object]:
    estimate, base = run.metrics[metric.name], run.baseline.get(metric.name)
    found: dict[str, object] = {"n": estimate.n}
    if run.detoxified:
        found["strength"] = run.strength
    if estimate.low is not None and estimate.high is not None and bounded(estimate):
        found["interval_95"] = [_short(estimate.low), _short(estimate.high)]
    if base is not None and finite(base) and run.detoxified:
        found["untouched"] = _short(base.value)
    return found


def _short(value: float) -> float:
    # Enough digits to print the table again from the metadata, fewer than the noise of 0.09812345678901234.
    return float(f"{value:.9g}")


def _body(study: Study, head: Headline, name: str, told: str, usage: str, picked: int) -> str:
    one = study.common
    scorer = f"{one.scorer.name} {one.scorer.version}"
    parts = [
        f"# {_text(name)}",
        _text(told),
        _text(head.sentence),
        *([_text(said)] if (said := readers_said(study, head.run)) else []),
        *([_text(head.recommendation)] if head.recommendation else []),
        *([_text(head.choice)] if head.choice else []),
        *(["Also measurably worse: " + _text("; ".join(head.prices)) + "."] if head.prices else []),
        "## Results",
        f"Recipe {_text(one.recipe)}: {study.prompts} prompts, {_counted(study, 'continuation')} each, scored by "
        f"{_text(scorer)}. Values with 95% bootstrap intervals; differences are paired, prompt by prompt, against "
        "the untouched model.",
        _results_table(study),
        *_in_chat(study),
        *_breakdowns(study),
        *_paying(head.run),
        *_opinions(study, head.run),
    ]
    if usage.strip():
        parts += ["## How to use", _fence(usage.strip(), "python")]
    parts += [
        "## What these numbers do not say",
        "\n".join(f"- **{_text(short)}.** {_text(text)}" for short, text in limits(study, picked)),
        f"## Scorer: {_text(scorer)}",
    ]
    if one.scorer.validity:
        # example texts can be hurtful, and a card cannot hide them
        parts += [_block_table(block) for block in validity_blocks(one.scorer.validity)[0] if not block.quotes]
        readers = ReaderTable.of(one.scorer.validity)
        parts += [_block_table(block) for block in (reader_blocks(readers) if readers else [])]
    else:
        parts.append("No validity is known for this scorer: treat the numbers as relative, not as absolute.")
    parts += _searches(study)
    parts += ["## How it was measured", *_settings(study)]
    notes = list(dict.fromkeys(note for result in study.measured for note in result.notes))
    if notes:
        parts += ["## Notes", "\n".join(f"- {_text(note)}" for note in notes)]
    return "\n\n".join(parts)


def _searches(study: Study) -> list[str]:
    """What was tried where a detoxifier's settings were searched for, each search once."""
    found = []
    for one in study.measured:
        tried = one.detoxifier.fitting.get("search") if one.detoxifier else None
        if tried and tried not in found:
            found.append(tried)
    tables = [_block_table(block) for tried in found for block in blocks(tried)]
    return ["## What was tried", *tables] if tables else []


def _results_table(study: Study) -> str:
    header = ["Metric", "Better", *(run.label for run in study.runs)]
    rows = [[metric.label, metric.better, *(_cell(metric, run) for run in study.runs)] for metric in study.metrics]
    return _table(header, rows)


def _paying(run: Run) -> list[str]:
    """What the run costs on text about groups of people."""
    found = paid_by(run)
    if found is None:
        return []
    return ["## Who pays", _text(who_pays_said(run)), _block_table(paying_block(found, run))]


def _in_chat(study: Study) -> list[str]:
    """The same runs in chat, where both forms were measured."""
    chat = study.beside
    if chat is None:
        return []
    said = f"Recipe {_text(chat.common.recipe)}: {chat.prompts} conversations, {_counted(chat, 'answer')} each."
    return ["## In chat", said, _results_table(chat), *_breakdowns(chat)]


def _breakdowns(study: Study) -> list[str]:
    """Tables by group of prompts, and by task of capability."""
    found = []
    capability = by_tasks(study)
    for table in [*by_groups(study), *([capability] if capability else [])]:
        header = [
            f"{table.metric.label}, {table.title[:1].lower()}{table.title[1:]}",
            *(run.label for run in study.runs),
        ]
        rows = [[f"{name} ({said})", *(_cell(table.metric, run) for run in runs)] for name, said, runs in table.rows]
        found += [f"## {table.title}", _table(header, rows), *([_block_table(table.gaps)] if table.gaps else [])]
    missing = left_out(study)
    return [*found, *(["\n".join(f"- {_text(line)}" for line in missing)] if missing else [])]


def _opinions(study: Study, run: Run) -> list[str]:
    seen, metric = views(study), opinion_metric(study)
    if not seen or metric is None:
        return []
    verdict, agreement = second_opinion(study, run), agreement_table(study, run)
    rows = [[view.label, *(_cell(metric, one) for one in view.runs)] for view in seen]
    return [
        "## Second opinions",
        *([_text(verdict.sentence)] if verdict else []),
        _table([f"{metric.label} by", *(one.label for one in study.runs)], rows),
        *(
            ["How far they agree on the texts, and how many each finds toxic:", _block_table(agreement)]
            if agreement
            else []
        ),
    ]


def _cell(metric: Metric, run: Run) -> str:
    text = full_text(metric, run.metrics.get(metric.name))
    difference = run.difference.get(metric.name)
    if not run.detoxified or difference is None:
        return text
    value, interval = difference_text(metric, difference)
    return f"{text}; {value} {interval} ({VERDICT_WORDS[run.verdict(metric)]})".replace("  ", " ")


def _settings(study: Study) -> list[str]:
    one = study.common
    rows = [["model", f"{one.model.name} @ {one.model.revision}"], ["fluency judge", one.fluency_judge]]
    rows += [["scorer revision", one.scorer.revision], ["measured", one.created]]
    rows += [[key, value] for key, value in flatten(one.settings).items()]
    rows += [[f"version of {key}", value] for key, value in one.versions.items()]
    tables = [_table(["Setting", "Value"], rows)]
    made: dict[str, tuple[list[list[str]], list[str]]] = {}  # runs at several strengths are of one fit
    for run in study.detoxified:
        info = run.results.detoxifier if run.results else None
        if info is not None and info.settings:
            chosen = [[key, plain(v)] for key, v in info.settings.items()]
            made.setdefault(f"{info.method} {chosen}", (chosen, []))[1].append(run.label)
    if made:
        tables.append("## How it was made")
    return [*tables, *(_table([", ".join(labels), "Value"], chosen) for chosen, labels in made.values())]


def _block_table(block: Block) -> str:
    return _table([block.caption, *(block.columns or ["Value"])], [[key, *values] for key, values in block.rows])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _text(text: str) -> str:
    """Make any text safe inside a Markdown line or table cell: no markup, no line breaks."""
    return re.sub(r"\s+", " ", text).replace("<", "&lt;").replace("|", "\\|").strip()


def _fence(code: str, language: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"
