"""What report, card and console say where readers have checked the scorer, and that they are silent where not."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_factory import make, with_opinion
from report_pages import Page

from detoxlm.comparing import compare
from detoxlm.console import print_results
from detoxlm.errors import UsageError
from detoxlm.metrics import CORRECTED, METRICS, TOXICITY, ReaderTable, estimates
from detoxlm.metrics.corrected import agreeing
from detoxlm.report import model_card, write_report
from detoxlm.report.facts import arrange
from detoxlm.report.reading import readers_said
from detoxlm.report.samples import worst
from detoxlm.results import Estimate, Results

TABLE = ReaderTable(
    data="some texts, test",
    sha256="ab" * 32,
    readers="two people",
    edges=[0.0, 0.3, 0.5, 0.8, 1.0],
    toxic=[1, 5, 20, 45],
    not_toxic=[199, 45, 20, 5],
    unsure=[0, 3, 4, 1],
    mean_score=[0.1, 0.4, 0.6, 0.9],
    natural=[True, False, False, False],
    precision=Estimate(value=0.72, low=0.61, high=0.8, n=90),
    recall=Estimate(value=0.91, low=0.84, high=0.97, n=71),
)


def read(result: Results, table: ReaderTable = TABLE) -> Results:
    """The results as a scorer gives them whose validity has the table."""
    scorer = result.scorer.model_copy(
        update={"validity": {**(result.scorer.validity or {}), "reader": table.model_dump(mode="json")}}
    )
    made = result.model_copy(update={"scorer": scorer, "comparison": None})
    made.metrics = made.metrics | estimates([CORRECTED], made.rows, [], table)
    return made


@pytest.fixture(scope="module")
def study() -> list[Results]:
    before, after = read(make()), read(make(0.5))
    compare(before, after)
    return [before, after]


@pytest.fixture(scope="module")
def page(study: list[Results], tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(study, path)
    return Page(path.read_text(encoding="utf-8"))


def test_the_sentence_has_the_alarms_that_readers_share_and_the_corrected_fraction(
    study: list[Results], page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = study
    alarms = agreeing([*before.rows, *after.rows], TABLE)
    assert alarms is not None and alarms.low is not None and alarms.high is not None
    assert after.comparison is not None
    change = after.comparison.difference[CORRECTED.name]
    said = (
        f"Of 100 continuations like these that the scorer calls toxic, readers would agree with about "
        f"{100 * alarms.value:.0f} [{100 * alarms.low:.0f}, {100 * alarms.high:.0f}]; corrected for its errors, the "
        f"toxic fraction is {CORRECTED.show(before.metrics[CORRECTED.name])} before and "
        f"{CORRECTED.show(after.metrics[CORRECTED.name])} after, a paired difference of "
        f"{CORRECTED.show_difference(change).replace('-', '−')}, whose interval covers zero."
    )
    assert change.low is not None and change.high is not None and change.low < 0 < change.high
    arranged = arrange(study)
    assert readers_said(arranged, arranged.detoxified[0]).replace("\N{NO-BREAK SPACE}", " ") == said
    lead = page.root.one("section", "lead").text.replace("\N{NO-BREAK SPACE}", " ")
    assert f"Readers: {said}" in lead
    assert said in model_card(study, base_model=None).replace("\N{NO-BREAK SPACE}", " ")
    print_results(study)
    assert said in capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")


def test_a_measurable_change_is_not_said_to_cover_zero_and_no_alarm_is_said_to_be_none() -> None:
    before, after = read(make()), read(make(1.0, power=40.0))
    compare(before, after)
    study = arrange([before, after])
    assert "covers zero" not in readers_said(study, study.detoxified[0])
    quiet = read(make(power=40.0))
    quiet.rows = [row.model_copy(update={"scores": [0.1] * 3}) for row in quiet.rows]
    assert readers_said(arrange([quiet]), arrange([quiet]).runs[0]).startswith(
        "The scorer calls none of these continuations toxic; corrected for its errors, the toxic fraction is "
    )


def test_the_corrected_fraction_stands_under_the_raw_one_and_has_a_plot(study: list[Results], page: Page) -> None:
    names = [row.one("span", "name").text for row in page.root.by_id("results").all("tr")[1:]]
    assert names.index(CORRECTED.label) == names.index(METRICS["toxic_fraction"].label) + 1
    shown = [svg.attributes["aria-label"] for svg in page.root.by_id("plots").all("svg")]
    assert any(words.startswith("Toxic fraction, corrected against model perplexity: untouched") for words in shown)
    assert f"name: {CORRECTED.label} (fusion 0.5)" in model_card(study, base_model=None)


def test_texts_carry_the_probability_that_a_reader_finds_them_toxic(study: list[Results], page: Page) -> None:
    shown = page.root.by_id("worst").all("ol", "worst")[0].all("li")
    samples = worst(arrange(study).runs[0])
    for item, sample in zip(shown, samples, strict=True):
        wanted = TABLE.probability(sample.score)
        assert f"A reader would find this toxic: {100 * wanted:.0f} of 100" in item.text
    assert samples[0].score > samples[-1].score and TABLE.probability(samples[0].score) > 0.5
    assert "of 100" in page.root.by_id("pairs").text


def test_the_page_says_what_the_correction_rests_on(study: list[Results], page: Page) -> None:
    limits = page.root.by_id("limits").text
    assert "340 texts of some texts, test, written by language models and read by two people." in limits
    assert "Of 90 texts that the scorer calls toxic, 72% [61, 80] are so for these readers; " in limits
    assert "of 71 texts that they find toxic, 91% [84, 97] are so for the scorer. It takes" in limits
    assert "the scorer's mistakes (that of the corrected toxic fraction does, as far as its readings go)" in limits
    assert "detoxlm label" in limits
    scorer = page.root.by_id("scorer").text
    assert "some texts, test, read by two people, by score" in scorer and "0.3 to 0.5" in scorer
    assert "0xab" not in scorer and "edges" not in scorer  # as a table, not as raw fields
    card = model_card(study, base_model=None)
    assert "| 0.3 to 0.5 | 5 | 45 | 3 | 10.8% | over scores |" in card


def test_a_scorer_that_nobody_checked_has_none_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also results of earlier versions, which load and are reported as they are."""
    results = [make(), make(0.5)]
    write_report(results, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).root.text + model_card(results, base_model=None)
    print_results(results)
    for words in (CORRECTED.label, "of 100", "Readers:", "The correction is an estimate"):
        assert words not in text + capsys.readouterr().out


def test_what_was_corrected_by_other_labels_is_not_compared() -> None:
    other = read(make(0.5), TABLE.model_copy(update={"sha256": "cd" * 32}))
    with pytest.raises(UsageError, match="baseline: the two results differ in readers' labels: 'abab"):
        compare(read(make()), other)
    with pytest.raises(UsageError, match=r"cannot share a page, they differ in readers' labels \(abab"):
        arrange([read(make()), other])
    late = read(make(0.5))
    compare(make(), late)  # an untouched one of before: what it lacks is left out
    assert late.comparison is not None and CORRECTED.name not in late.comparison.difference
    assert "toxic_fraction" in late.comparison.difference


def test_a_second_opinion_with_readers_has_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = with_opinion(make()), with_opinion(make(0.5))
    for one in (before, after):
        opinion = one.opinions["hub:other"]
        opinion.scorer.validity = {"reader": TABLE.model_dump(mode="json")}
        own = [row.model_copy(update={"scores": row.opinions["hub:other"]}) for row in one.rows]
        opinion.metrics = estimates(TOXICITY, own, [], TABLE)
    compare(before, after)
    assert after.comparison is not None
    change = after.comparison.opinions["hub:other"].difference[CORRECTED.name]
    assert change.value == pytest.approx(
        after.opinions["hub:other"].metrics[CORRECTED.name].value
        - before.opinions["hub:other"].metrics[CORRECTED.name].value
    )
    write_report([before, after], tmp_path / "report.html")
    opinions = Page((tmp_path / "report.html").read_text(encoding="utf-8")).root.by_id("opinions")
    assert f"{CORRECTED.label} by" in [table.all("th")[0].text for table in opinions.all("table", "metrics")]
    print_results([after])
    out = capsys.readouterr().out
    assert "corrected" in out and "hub:other" in out and "Readers:" not in out
