from __future__ import annotations

import base64
import hashlib
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from report_factory import MEASURED, make, with_opinion
from report_pages import Page

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS, TOXICITY, estimates
from detoxlm.report import write_report
from detoxlm.report.facts import arrange
from detoxlm.report.words import headline
from detoxlm.results import DetoxifierInfo, Estimate, Results, Row, ScorerInfo

HOSTILE = (
    "</script></style></title><img src=http://evil.example/x onerror=alert(1)><script>alert(2)</script>"
    "\"' {{ 7*7 }} <!-- $\\frac{"
)


def page_of(results: list[Results], tmp_path: Path) -> tuple[Page, str]:
    path = tmp_path / "report.html"
    write_report(results, path)
    text = path.read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def study_page(study: list[Results], tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str]:
    return page_of(study, tmp_path_factory.mktemp("study"))


def with_difference(result: Results, **differences: Estimate) -> Results:
    assert result.comparison is not None
    comparison = result.comparison.model_copy(update={"difference": result.comparison.difference | differences})
    return result.model_copy(update={"comparison": comparison})


def sentence(*results: Results) -> str:
    return headline(arrange(results)).sentence.replace("\N{NO-BREAK SPACE}", " ")


def hostile_result(strength: float | None) -> Results:
    result = with_opinion(make(strength), HOSTILE, Estimate(value=-0.1, low=-0.2, high=-0.05, n=12))
    info = result.detoxifier
    rows = [
        row.model_copy(update={"prompt": HOSTILE, "continuations": [HOSTILE] * len(row.scores)}) for row in result.rows
    ]
    return result.model_copy(
        update={
            "rows": rows,
            "recipe": HOSTILE,
            "notes": [HOSTILE],
            "fluency_judge": HOSTILE,
            "settings": {HOSTILE: HOSTILE, "command": HOSTILE},
            "versions": {HOSTILE: HOSTILE},
            "model": result.model.model_copy(update={"name": HOSTILE}),
            "scorer": ScorerInfo(
                name=HOSTILE, version="1", revision=HOSTILE, validity={HOSTILE: {HOSTILE: {"a": HOSTILE}}}
            ),
            "detoxifier": info
            and DetoxifierInfo(
                method=HOSTILE,
                folder=HOSTILE,
                strength=info.strength,
                settings={HOSTILE: 1},
                fitting={HOSTILE: HOSTILE, "loss_curve": [[0, 2.0], [1, 1.0]]},
            ),
        }
    )


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page, _ = page_of([hostile_result(None), hostile_result(0.5)], tmp_path)
    benign, _ = page_of([with_opinion(make()), with_opinion(make(0.5))], tmp_path)
    tags = {element.tag for element in page.root.all()}
    assert tags <= {element.tag for element in benign.root.all()}
    assert "img" not in tags and len(page.root.all("script")) == 1
    assert not [name for element in page.root.all() for name in element.attributes if name.startswith("on")]
    shown = " ".join(HOSTILE.split())
    assert all(veil.text == shown for veil in page.root.by_id("worst").all("span", "veil"))
    assert shown in page.root.by_id("settings").one("pre").text
    assert shown in page.root.by_id("scorer").text
    assert shown in page.root.by_id("opinions").text


def test_nothing_is_loaded_and_only_the_own_script_may_run(study_page: tuple[Page, str]) -> None:
    page, text = study_page
    for element in page.root.all():
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert (element.attributes.get(name) or "#").startswith("#"), (element.tag, element.attributes)
    assert not {"link", "iframe", "object", "embed", "base"} & {element.tag for element in page.root.all()}
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", text))
    (policy,) = [
        element.attributes["content"] or ""
        for element in page.root.all("meta")
        if element.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_table_holds_the_numbers_of_the_results(study: list[Results], study_page: tuple[Page, str]) -> None:
    page, _ = study_page
    head, *lines = page.root.one("table", "metrics").all("tr")
    assert [cell.text for cell in head.all("th")] == [
        "Metric",
        "untouched",
        "fusion 0.2",
        "fusion 0.5",
        "fusion 1",
    ]
    assert all(cell.attributes["scope"] == "col" for cell in head.all("th"))
    assert [line.one("span", "name").text for line in lines] == [metric.label for metric in MEASURED]
    for line, metric in zip(lines, MEASURED, strict=True):
        assert line.one("th").attributes["scope"] == "row"
        for cell, result in zip(line.all("td"), study, strict=True):
            estimate = result.metrics[metric.name]
            value = cell.one("span", "value")
            interval = next(element for element in cell.all("span", "ci"))
            assert f"{value.text} {interval.text}" == metric.show(estimate)
            if result.comparison is None:
                assert not cell.all("span", "change")
                continue
            change = result.comparison.difference[metric.name]
            shown = [
                float(number) for number in re.findall(r"[+-][\d.]+|\b0\.0+\b", _ascii(cell.one("span", "change").text))
            ]
            scale = 100 if metric.unit in ("%", "score x100") else 1
            assert shown == pytest.approx(
                [scale * number for number in (change.value, change.low, change.high) if number is not None],
                abs=0.51 * 10.0**-metric.digits,
            )


def _ascii(text: str) -> str:
    return text.replace("−", "-")


def test_marks_say_in_words_what_the_intervals_say(tmp_path: Path) -> None:
    run = with_difference(
        make(0.5),
        toxic_fraction=Estimate(value=-0.1, low=-0.2, high=-0.05, n=12),
        mean_toxicity=Estimate(value=-0.1, low=-0.2, high=0.0, n=12),
        model_perplexity=Estimate(value=1.0, low=0.5, high=1.5, n=12),
        distinct_1=Estimate(value=-0.1, low=-0.2, high=-0.05, n=12),
        mean_length=Estimate(value=-2.0, low=-3.0, high=-1.0, n=12),
        kl_from_base=Estimate(value=0.1, n=12),
    )
    page, _ = page_of([make(), run], tmp_path)
    marks = {
        line.one("span", "name").text: line.all("td")[1].one("span", "mark").text
        for line in page.root.one("table", "metrics").all("tr")[1:]
    }
    assert marks["Toxic fraction"] == "↓ better"
    assert marks["Mean toxicity"] == "≈ no measurable change"
    assert marks["Model perplexity"] == "↑ worse"
    assert marks["Distinct-1"] == "↓ worse"
    assert marks["Mean length"] == "↓ changed"
    assert marks["KL from base"] == "↑ no interval"


def test_headline_of_an_improvement_has_numbers_and_intervals(untouched: Results) -> None:
    run = with_difference(make(0.5, perplexity=31.0), toxic_fraction=Estimate(value=-0.1, low=-0.2, high=-0.05, n=12))
    text = sentence(untouched, run)
    before, after = untouched.metrics["toxic_fraction"], run.metrics["toxic_fraction"]
    metric = METRICS["toxic_fraction"]
    assert text.startswith("Fusion at strength 0.5 lowers the toxic fraction of SmolLM2-135M")
    assert f"from {metric.show(before)} to {metric.show(after)}" in text
    assert "−10.0 points [−20.0, −5.0]" in text
    assert "no measurable change" not in text.partition("while model perplexity")[0]


def test_headline_says_no_measurable_change_when_the_interval_covers_zero(untouched: Results) -> None:
    covering = Estimate(value=-0.05, low=-0.11, high=0.01, n=12)
    run = with_difference(make(0.5, perplexity=30.0), toxic_fraction=covering)
    text = sentence(untouched, run)
    assert "makes no measurable change to the toxic fraction" in text
    assert "−5.0 points [−11.0, +1.0], covers zero" in text
    assert "lowers" not in text


def test_headline_says_worse_when_worse(untouched: Results) -> None:
    run = with_difference(make(0.5), toxic_fraction=Estimate(value=0.04, low=0.01, high=0.07, n=12))
    assert "Fusion at strength 0.5 makes SmolLM2-135M worse: the toxic fraction rises" in sentence(untouched, run)


def test_headline_names_a_perplexity_that_got_much_worse(untouched: Results) -> None:
    run = with_difference(make(1.0, perplexity=41.0), toxic_fraction=Estimate(value=-0.1, low=-0.2, high=-0.05, n=12))
    text = sentence(untouched, run)
    assert "lowers the toxic fraction" in text and "but model perplexity gets much worse" in text
    assert "(+37%)" in text


def test_headline_prefers_the_run_that_stays_fluent(untouched: Results, tmp_path: Path) -> None:
    better = Estimate(value=-0.1, low=-0.2, high=-0.05, n=12)
    fluent = with_difference(make(0.5, perplexity=31.0), toxic_fraction=better)
    broken = with_difference(make(1.0, perplexity=60.0), toxic_fraction=better)
    page, _ = page_of([untouched, fluent, broken], tmp_path)
    assert page.root.one("h1").text == sentence(untouched, fluent, broken)
    assert page.root.one("h1").text.startswith("Fusion at strength 0.5 lowers")
    assert "one of 2 detoxified runs" in page.root.one("section", "lead").text
    assert "picked afterwards" in page.root.by_id("limits").text


def test_headline_speaks_of_the_strength_asked_for(study: list[Results], tmp_path: Path) -> None:
    write_report(study, tmp_path / "report.html", strength=0.2)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.root.one("h1").text.startswith("Fusion at strength 0.2 ")
    assert "one of 3 detoxified runs: as asked." in page.root.one("section", "lead").text
    assert [heading.text for heading in page.root.by_id("worst").all("h3")] == ["untouched", "fusion 0.2"]
    with pytest.raises(UsageError, match=r"no result has the strength 0\.7; there are 0\.2, 0\.5, 1\."):
        write_report(study, tmp_path / "report.html", strength=0.7)


def test_headline_without_a_paired_interval_claims_nothing(untouched: Results, tmp_path: Path) -> None:
    run = make(0.5).model_copy(update={"comparison": None})
    page, _ = page_of([untouched, run], tmp_path)
    assert "no evidence of a change" in page.root.one("h1").text
    assert "No paired comparison" in page.root.by_id("limits").text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": "challenge-10"}, "recipe (emt-25 / challenge-10)"),
        ({"scorer": ScorerInfo(name="detoxify", version="0.5", revision="x")}, "scorer (embedded 1.2"),
        ({"model": make().model.model_copy(update={"name": "gpt2"})}, "model (HuggingFaceTB/SmolLM2-135M@"),
        ({"fluency_judge": "gpt2"}, "fluency judge (openai-community/gpt2-xl / gpt2)"),
        ({"rows": make(prompts=11).rows}, "prompts (12 / 11 of them"),
        ({"rows": make(samples=2).rows}, "samples per prompt (3 / 2)"),
    ],
)
def test_mixed_results_are_refused_and_nothing_is_written(
    untouched: Results, tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UsageError, match=re.escape(named)):
        write_report([untouched, make(0.5).model_copy(update=changes)], path)
    assert path.read_text() == "old"


def test_no_results_and_two_untouched_ones_are_refused(untouched: Results, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Pass at least one"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(UsageError, match="2 of the results are of the untouched model"):
        write_report([untouched, untouched], tmp_path / "report.html")


def test_untouched_alone(untouched: Results, tmp_path: Path) -> None:
    page, _ = page_of([untouched], tmp_path)
    metric = METRICS["toxic_fraction"]
    assert page.root.one("h1").text == (
        f"The untouched SmolLM2-135M has a toxic fraction of {metric.show(untouched.metrics[metric.name])}; "
        "no detoxified run was given to compare."
    )
    assert not page.root.all("span", "mark") and not page.root.all("fieldset")
    assert len(page.root.by_id("pairs").all("article")) == 12


def test_detoxified_run_alone_brings_its_baseline(tmp_path: Path) -> None:
    run = make(0.5)
    assert run.comparison is not None
    page, _ = page_of([run], tmp_path)
    table = page.root.one("table", "metrics")
    assert [cell.text for cell in table.all("tr")[0].all("th")] == ["Metric", "untouched", "fusion 0.5"]
    first = table.all("tr")[2].all("td")[0]
    assert first.one("span", "value").text == METRICS["toxic_fraction"].text(
        run.comparison.baseline["toxic_fraction"].value
    )
    assert [heading.text for heading in page.root.by_id("worst").all("h3")] == ["fusion 0.5"]


def test_numbers_that_are_none_are_said_and_never_printed(untouched: Results, tmp_path: Path) -> None:
    nothing = Estimate(value=math.nan, low=math.nan, high=math.inf, n=12)
    run = with_difference(make(0.5), model_perplexity=nothing, toxic_fraction=nothing)
    run = run.model_copy(
        update={
            "metrics": {**run.metrics, "model_perplexity": Estimate(value=math.inf, low=1.0, high=math.inf, n=12)},
            "scorer": untouched.scorer,
            "detoxifier": DetoxifierInfo(
                method="fusion",
                folder=None,
                strength=0.5,
                settings={},
                fitting={"loss": math.nan, "loss_curve": [[0, 1.0], [1, None], [2, math.nan], [3, 0.5]]},
            ),
        }
    )
    page, text = page_of([untouched, run], tmp_path)
    assert not re.findall(r"\b(nan|inf|infinity)\b", text, re.IGNORECASE)
    assert "model perplexity is no longer a finite number" in page.root.one("h1").text
    assert "loss not finite" in page.root.by_id("fit").text


def test_blurred_text_can_be_reached_and_shown_by_keyboard(study: list[Results], study_page: tuple[Page, str]) -> None:
    page, text = study_page
    veils = page.root.all("span", "veil")
    for veil in veils:
        assert veil.attributes["role"] == "button" and veil.attributes["tabindex"] == "0"
        assert veil.attributes["aria-pressed"] == "false"
        assert (veil.attributes["aria-label"] or "").startswith("Hidden ")
    assert 'event.key !== "Enter" && event.key !== " "' in text
    by_text = {
        (row.prompt, text.strip()): score
        for result in study
        for row in result.rows
        for text, score in zip(row.continuations, row.scores, strict=True)
    }
    for pair in page.root.by_id("pairs").all("article"):
        prompt = pair.one("p", "prompt").one("span", "veil").text
        for run in pair.one("div", "runs").children:
            if not isinstance(run, str):
                (shown,) = [*run.all("span", "veil"), *run.all("span", "text")]
                assert (by_text[prompt, shown.text] >= 0.5) == ("veil" in shown.classes)
    worst = page.root.by_id("worst")
    assert not worst.all("span", "text") and len(worst.all("span", "veil")) == 2 * 2 * 10


def test_worst_samples_are_the_highest_scores(study: list[Results], study_page: tuple[Page, str]) -> None:
    page, _ = study_page
    before = page.root.by_id("worst").all("ol")[0]
    shown = [item.one("span", "score").children[-1] for item in before.all("li")]
    highest = sorted((score for row in study[0].rows for score in row.scores), reverse=True)[:10]
    assert shown == [f"{score:.2f}" for score in highest]


def test_filter_lists_hold_what_they_say(tmp_path: Path) -> None:
    before, after = make(prompts=60), make(0.5, prompts=60)
    page, _ = page_of([before, after], tmp_path)
    change = {old.prompt: max(new.scores) - max(old.scores) for old, new in zip(before.rows, after.rows, strict=True)}
    lists = {
        box.attributes["data-list"]: [
            change[pair.one("p", "prompt").one("span", "veil").text] for pair in box.all("article")
        ]
        for box in page.root.all("div", "pair-list")
    }
    assert lists["improved"] == sorted(change.values())[:13]
    assert lists["worsened"] == [c for c in sorted(change.values(), reverse=True)[:13] if c > 0]
    assert len(lists["random"]) == 13
    values = [element.attributes["value"] for element in page.root.one("fieldset").all("input")]
    assert values == list(lists)


def test_of_several_kinds_plot_table_and_precision_are_of_the_answers_that_the_toxic_fraction_is_of(
    tmp_path: Path,
) -> None:
    one = make()
    for i, row in enumerate(one.rows):
        row.kind = ("provocation", "harmless", "plain")[i % 3]
        row.scores = [0.9, 0.9, 0.1] if i % 3 == 0 else [0.0, 0.0, 0.2]
    one.metrics |= estimates(TOXICITY, one.rows, [])
    page = page_of([one], tmp_path)[0].root
    plots = page.by_id("plots").text
    assert "Share of continuations at or above a score ≥ 0.1 ≥ 0.25 ≥ 0.5 ≥ 0.75" in plots
    assert "untouched 100.0% 66.7% 66.7% 66.7%" in plots
    [drawn] = [svg for svg in page.by_id("plots").all("svg") if "Distribution" in (svg.attributes["aria-label"] or "")]
    assert "Continuations scored 0.5 or more: untouched 66.7%." in (drawn.attributes["aria-label"] or "")
    limits = page.by_id("limits").text
    assert "With 4 prompts, a toxic fraction" in limits and "4 prompts are few" in limits


def test_limits_follow_the_data(untouched: Results, tmp_path: Path) -> None:
    run = make(0.5)
    run = with_difference(run, distinct_2=Estimate(value=-0.1, low=-0.2, high=-0.05, n=12)).model_copy(
        update={
            "metrics": {
                **run.metrics,
                "empty_fraction": Estimate(value=0.125, low=0.1, high=0.2, n=12),
                "new": run.metrics["distinct_1"],
            }
        }
    )
    text = page_of([untouched, run], tmp_path)[0].root.by_id("limits").text
    assert "12 English prompts, 3 samples each" in text and "12 prompts are few" in text
    assert "12.5% (fusion 0.5)" in text and "Less variety fusion 0.5:" in text
    assert "does not know: new." in text
    plain = page_of([untouched], tmp_path)[0].root.by_id("limits").text
    assert "Empty continuations" not in plain and "Less variety" not in plain


def test_unknown_validity_is_said(tmp_path: Path) -> None:
    blind = ScorerInfo(name="hub", version="1", revision="x")
    text = page_of([make(scorer=blind)], tmp_path)[0].root.by_id("scorer").text
    assert "No validity is known: treat the numbers as relative." in text
    assert "HateCheck 0.781 0.852 – 3728" in page_of([make()], tmp_path)[0].root.by_id("scorer").text


def test_what_is_recommended_is_on_the_first_screen(untouched: Results, tmp_path: Path) -> None:
    better = Estimate(value=-0.1, low=-0.2, high=-0.05, n=12)
    covering = Estimate(value=-0.05, low=-0.11, high=0.01, n=12)
    lead = page_of([untouched, with_difference(make(0.5), toxic_fraction=better)], tmp_path)[0].root.one(
        "section", "lead"
    )
    assert "Recommended strength: 0.5 of fusion" in lead.text
    lead = page_of([untouched, with_difference(make(0.5), toxic_fraction=covering)], tmp_path)[0].root.one(
        "section", "lead"
    )
    assert "Nothing is recommended: at no measured strength did the toxic fraction fall measurably" in lead.text
    assert "recommended" not in page_of([untouched], tmp_path)[0].root.one("section", "lead").text.lower()


def test_speed_is_shown_where_it_was_compared_and_timings_of_several_runs_nowhere(
    untouched: Results, tmp_path: Path
) -> None:
    timed = make(0.5, speed=Estimate(value=0.9234, low=0.88, high=0.951, n=7))
    page, _ = page_of([untouched, timed], tmp_path)
    *_, speed = page.root.all("div", "fact")
    assert speed.text == "Speed 0.92x the untouched model's speed [0.88, 0.95], in 7 pairs of generations side by side"
    cost = page.root.by_id("cost")
    assert "0.92x the untouched model's speed [0.88, 0.95]" in cost.text
    assert not re.search("tokens per second|seconds|of the untouched model's cost", cost.text, re.IGNORECASE)
    (alone, _) = page_of([untouched], tmp_path)
    assert "412 tokens per second in this run" in alone.root.one("section", "lead").text
    assert "Tokens per second" in alone.root.by_id("cost").text
    # results of before speeds were compared, and of two runs
    (old, _) = page_of([untouched, make(0.5)], tmp_path)
    assert "%" not in old.root.all("div", "fact")[-1].text and "%" not in old.root.by_id("cost").text


def test_no_verdict_stands_beside_a_change_of_nothing(untouched: Results, tmp_path: Path) -> None:
    run = make(0.5, perplexity=30.0)
    run.metrics["model_perplexity"] = Estimate(value=30.03, low=29.0, high=31.0, n=12)
    tiny = Estimate(value=-0.00001, low=-0.00003, high=-0.000001, n=12)
    run = with_difference(
        run,
        model_perplexity=Estimate(value=0.03, low=0.01, high=0.05, n=12),
        **dict.fromkeys(("distinct_1", "distinct_2", "distinct_3"), tiny),
        mean_length=Estimate(value=0.01, low=0.005, high=0.02, n=12),
    )
    page, text = page_of([untouched, run], tmp_path)
    marks = {
        line.one("span", "name").text: line.all("td")[1].one("span", "verdict").text
        for line in page.root.one("table", "metrics").all("tr")[1:]
    }
    for label in ("Model perplexity", "Distinct-1", "Mean length"):
        assert marks[label] == "≈ hardly any change"
    assert "with hardly any change in model perplexity (29.94 to 30.03)" in page.root.one("h1").text
    assert not re.search(r"[+−]0%", text) and "0.00001" not in text
    assert "Less variety" not in page.root.by_id("limits").text


def test_all_of_a_row_have_the_same_digits(study: list[Results], study_page: tuple[Page, str]) -> None:
    for line in study_page[0].root.one("table", "metrics").all("tr")[1:]:
        numbers = [number for cell in line.all("td") for number in re.findall(r"\d+\.(\d+)", cell.text)]
        assert len({len(decimals) for decimals in numbers}) == 1, line.text


def test_insults_among_a_scorers_examples_are_hidden(tmp_path: Path) -> None:
    validity = {
        "validity": {"jigsaw": {"auc": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 9}, "false_positive_rate": 0.1}},
        "sentences": {"attack": {"you are vermin": 0.9, "scum": 0.7}, "plain text": {"have a nice day": 0.1}},
        "mistakes": ["go away you fool", "idiots all of them"],
    }
    scorer = ScorerInfo(name="embedded", version="2", revision="x", validity=validity)
    page, _ = page_of([make(scorer=scorer)], tmp_path)
    section = page.root.by_id("scorer")
    hidden = {veil.text for veil in section.all("span", "veil")}
    assert hidden >= {"you are vermin", "scum", "have a nice day", "go away you fool, idiots all of them"}
    assert all(veil.attributes["tabindex"] == "0" for veil in section.all("span", "veil"))
    assert "Jigsaw 2018 AUC 0.900 [0.800, 0.950] Benign texts flagged 0.1" in section.text
    for raw in ("auc", "false_positive_rate", "false positive rate", "jigsaw"):
        assert raw not in section.text


def test_a_fit_is_told_in_words_and_its_numbers_are_folded_away(tmp_path: Path) -> None:
    fitting = {
        "harvest": {"prompts": 400, "continuations": 3200, "mean_toxicity_all": 0.25},
        "texts": {"harmful": 160, "clean": 1300, "watched_prompts": 4},
        "pairs": 12,
        "loss_curve": [[1, 0.9], [200, None], [590, 0.263]],
        "best_step": 120,
        "seconds": 184.2,
        "fit": "a3f5" * 16,
        "removed_directions": {"layer 3, direction 0": "12% of: fool, idiot"},
    }
    detoxifier = DetoxifierInfo(method="fusion", folder=None, strength=0.5, settings={}, fitting=fitting)
    section = page_of([make(0.5, detoxifier=detoxifier)], tmp_path)[0].root.by_id("fit")
    assert section.one("p", "intro").text == (
        "The model itself wrote 3,200 continuations of 400 prompts to learn from, of mean toxicity 0.25. It was fitted "
        "to 160 harmful and 1,300 clean texts and 12 pairs of texts. The loss went from 0.9 to 0.263 in 590 steps. "
        "What it was at step 120 was kept. The fit took 3 minutes."
    )
    (fold,) = section.all("details")
    assert "a3f5" in fold.text and section.text.count("a3f5" * 16) == 1
    assert "12% of: fool, idiot" in {veil.text for veil in fold.all("span", "veil")}


def test_every_value_of_a_wide_table_knows_its_column_for_narrow_screens(study: list[Results], tmp_path: Path) -> None:
    page, text = page_of([with_opinion(study[0]), with_opinion(study[1])], tmp_path)
    tables = page.root.all("table", "stack")
    assert len(tables) > 5
    for table in tables:
        names = [cell.text for cell in table.one("thead").all("th")]
        for row in table.one("tbody").all("tr"):
            cells = row.all("td")
            if "colspan" in cells[0].attributes or len(cells) == 1:
                continue
            assert [cell.attributes["data-label"] for cell in cells] == names[-len(cells) :]
    assert "display: none" not in text.partition("@media (max-width: 44rem)")[2].partition("@media print")[0]


def test_settings_show_once_what_agrees_and_each_where_not(untouched: Results, tmp_path: Path) -> None:
    page, _ = page_of(
        [untouched, make(0.5, settings={"seed": 18, "samples": 3, "command": ["detoxlm", "a b"]})], tmp_path
    )
    rows = _settings(page)
    assert rows["samples"] == ["3"] and rows["seed"] == ["17", "18"] and rows["top p"] == ["0.9", "–"]
    assert "detoxlm 'a b'" in page.root.by_id("settings").one("pre").text


def _settings(page: Page) -> dict[str, list[str]]:
    found = {}
    for body in page.root.by_id("settings").all("tbody"):
        for row in body.all("tr"):
            found[row.one("th").text] = [cell.text for cell in row.all("td")]
    return found


def test_full_size_page_stays_small(tmp_path: Path) -> None:
    def long(result: Results) -> Results:
        rows = [
            Row.model_validate(row.model_dump() | {"continuations": ["word " * 2_000] * len(row.scores)})
            for row in result.rows
        ]
        return result.model_copy(update={"rows": rows})

    runs = [long(make(strength, prompts=400, samples=25)) for strength in (None, 0.5, 1.0)]
    page, text = page_of(runs, tmp_path)
    assert len(text.encode()) < 1_000_000
    assert 30 <= len(page.root.all("article")) <= 40
    assert "more characters)" in text


def test_same_input_same_bytes_in_any_order(study: list[Results], tmp_path: Path) -> None:
    write_report(study, tmp_path / "a.html")
    write_report(study[::-1], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, detoxlm.report; "
        "print(sorted({'matplotlib', 'jinja2', 'huggingface_hub', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
