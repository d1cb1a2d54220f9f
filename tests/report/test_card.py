from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard
from report_factory import make

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS
from detoxlm.metrics.answers import ANSWERS
from detoxlm.report import model_card
from detoxlm.report.facts import arrange
from detoxlm.report.words import headline
from detoxlm.results import Estimate, Results, ScorerInfo


def table(body: str, first: str) -> list[list[str]]:
    """The cells of the Markdown table whose first header is `first`."""
    lines = body.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return [found[0], *found[2:]]


def test_metadata_parses_and_equals_the_table(study: list[Results]) -> None:
    card = ModelCard(model_card(study, base_model="HuggingFaceTB/SmolLM2-135M", license="apache-2.0"))
    assert card.data.base_model == "HuggingFaceTB/SmolLM2-135M" and card.data.license == "apache-2.0"
    assert card.data.library_name == "detoxlm" and card.data.pipeline_tag == "text-generation"
    assert "fusion" in card.data.tags
    results = {result.metric_name: result for result in card.data.eval_results}
    shown = [metric for metric in METRICS.values() if metric not in ANSWERS]  # those are of answers alone
    assert len(results) == 3 * len(shown)
    head, *lines = table(card.text, "Metric")
    assert head[2:] == [result.label for result in study]
    for line, metric in zip(lines, shown, strict=True):
        assert line[0] == metric.label
        for label, cell, result in zip(head[3:], line[3:], study[1:], strict=True):
            entry = results[f"{metric.label} ({label})"]
            assert (entry.task_type, entry.dataset_type, entry.metric_type) == (
                "text-generation",
                "emt-25",
                metric.name,
            )
            assert entry.metric_value == pytest.approx(result.metrics[metric.name].value, rel=1e-5)
            low, high = entry.metric_args["interval_95"]
            assert cell.startswith(
                metric.show(Estimate(value=entry.metric_value, low=low, high=high, n=entry.metric_args["n"]))
            )
            assert entry.metric_args["strength"] == result.strength
            assert entry.metric_args["untouched"] == pytest.approx(study[0].metrics[metric.name].value, rel=1e-5)


def test_card_says_the_headline_the_limits_and_the_validity(study: list[Results]) -> None:
    text = model_card(study, base_model=None)
    assert f"\n{headline(arrange(study)).sentence}\n".replace("\N{NO-BREAK SPACE}", " ") in text
    assert "- **Not measured.** Whether the model still answers" in text
    assert "| HateCheck | 0.781 | 0.852 | – | 3728 |" in text.splitlines()
    assert "base_model" not in text and "license:" not in text
    blind = [make(scorer=ScorerInfo(name="hub", version="1", revision="x"))]
    assert "No validity is known for this scorer" in model_card(blind, base_model=None)


def test_usage_is_the_callers_code_in_a_fence_it_cannot_leave(untouched: Results) -> None:
    assert "## How to use" not in model_card([untouched], base_model=None)
    code = 'print("""\n```\n# not a heading\n""")'
    text = model_card([untouched], base_model=None, usage=code)
    assert f"## How to use\n\n````python\n{code}\n````\n" in text


def test_hostile_names_stay_in_their_cell() -> None:
    hostile = "a | b\n---\n# owned <script>"
    result = make(0.5, notes=[hostile], settings={hostile: hostile})
    card = ModelCard(model_card([result], base_model=None))
    assert "<script>" not in card.text and "\n# owned" not in card.text
    row = next(line for line in table(card.text, "Setting") if line[0].startswith("a"))
    assert row == [r"a \| b --- # owned &lt;script>"] * 2


def test_numbers_that_are_none_do_not_enter_the_metadata() -> None:
    run = make(0.5)
    run = run.model_copy(update={"metrics": {**run.metrics, "model_perplexity": Estimate(value=float("nan"), n=12)}})
    text = model_card([run], base_model=None)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert "model_perplexity" not in [result.metric_type for result in ModelCard(text).data.eval_results]


def test_mixed_results_are_refused(untouched: Results) -> None:
    with pytest.raises(UsageError, match="recipe"):
        model_card([untouched, make(0.5, recipe="challenge-10")], base_model=None)


def test_what_a_search_tried_is_in_the_card_once(study: list[Results]) -> None:
    row = {"context": 17, "toxicity": 0.2, "drift": 0.012, "choice": "chosen"}
    for one in study:
        if one.detoxifier is not None:
            one.detoxifier.fitting["search"] = {"trial 1": row, "trial 2": {**row, "context": 23, "choice": "frontier"}}
    text = model_card(study, base_model=None)
    assert text.count("## What was tried") == 1 and text.count("| trial 2 |") == 1
    assert re.search(r"\| trial 1 \|.* 17 .*chosen", text)
