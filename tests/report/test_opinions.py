from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_factory import make, with_opinion
from report_pages import Page

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS
from detoxlm.report import model_card, plots, write_report
from detoxlm.report.facts import arrange
from detoxlm.report.opinions import agreement_table, second_opinion, second_opinion_of, views
from detoxlm.report.words import headline
from detoxlm.results import Agreement, Estimate, Results

FRACTION = METRICS["toxic_fraction"]
GAIN = Estimate(value=-0.1, low=-0.2, high=-0.05, n=12)
LOSS = Estimate(value=0.1, low=0.05, high=0.2, n=12)
LEANING = Estimate(value=-0.1, low=-0.2, high=0.05, n=12)
NOTHING = Estimate(value=0.02, low=-0.1, high=0.2, n=12)


def judged(result: Results, change: Estimate) -> Results:
    """The main scorer's own paired difference of the toxic fraction."""
    assert result.comparison is not None
    difference = result.comparison.difference | {"toxic_fraction": change}
    return result.model_copy(update={"comparison": result.comparison.model_copy(update={"difference": difference})})


def page_of(results: list[Results], tmp_path: Path) -> Page:
    write_report(results, tmp_path / "report.html")
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("main", "other", "said", "suspect"),
    [
        (GAIN, GAIN, "Both scorers see the gain: by each of them the toxic fraction falls measurably.", False),
        (
            GAIN,
            LEANING,
            "Only embedded (the main scorer) sees the gain in toxic fraction: treat it with suspicion. For other it "
            "leans the same way, but with an interval that covers zero.",
            True,
        ),
        (
            GAIN,
            NOTHING,
            "Only embedded (the main scorer) sees the gain in toxic fraction: treat it with suspicion. For other there "
            "is no such change.",
            True,
        ),
        (
            GAIN,
            LOSS,
            "The scorers contradict each other: by embedded (the main scorer) the toxic fraction falls measurably, by "
            "other it rises measurably. Do not count on the gain.",
            True,
        ),
        (
            GAIN,
            None,
            "By embedded (the main scorer) the toxic fraction falls measurably. For other there is no paired interval, "
            "which says nothing either way.",
            False,
        ),
        (
            NOTHING,
            GAIN,
            "Only other sees the gain in toxic fraction: treat it with suspicion. For embedded (the main scorer) there "
            "is no such change.",
            True,
        ),
        (LEANING, NOTHING, "No scorer sees a measurable change of the toxic fraction.", False),
        (LOSS, LOSS, "Both scorers see a loss: by each of them the toxic fraction rises measurably.", False),
        (
            LOSS,
            LEANING,
            "No scorer sees a gain, and embedded (the main scorer) sees the toxic fraction rise measurably. For other "
            "there is no such change.",
            False,
        ),
    ],
)
def test_the_sentence_says_who_sees_the_gain(
    main: Estimate, other: Estimate | None, said: str, suspect: bool, tmp_path: Path
) -> None:
    results = [with_opinion(make(), "other"), with_opinion(judged(make(0.5), main), "other", other)]
    study = arrange(results)
    found = second_opinion(study, study.detoxified[0])
    assert found is not None
    assert (found.sentence, found.suspect) == (said, suspect)
    assert second_opinion_of(results) == said
    assert said in model_card(results, base_model=None)
    lead = page_of(results, tmp_path).root.one("section", "lead")
    (box,) = [line for line in lead.all("p", "prices") if line.text.startswith("Second opinions:")]
    assert said in box.text and ("agreed" in box.classes) is not suspect


def test_three_scorers_are_counted_and_listed() -> None:
    def three(*changes: Estimate) -> str:
        now = judged(make(0.5), changes[0])
        for label, change in zip(("b", "c"), changes[1:], strict=True):
            now = with_opinion(now, label, change)
        return second_opinion_of([now])

    assert three(GAIN, GAIN, GAIN).startswith("All 3 scorers see the gain")
    assert three(GAIN, GAIN, NOTHING).startswith("Only embedded (the main scorer) and b see the gain")
    assert three(GAIN, LEANING, NOTHING).endswith(
        "For b it leans the same way, but with an interval that covers zero. For c there is no such change."
    )


def test_one_scorer_has_no_second_opinion(study: list[Results], tmp_path: Path) -> None:
    assert views(arrange(study)) == [] and second_opinion_of(study) == ""
    page = page_of(study, tmp_path)
    assert not [element for element in page.root.all() if element.attributes.get("id") == "opinions"]
    assert "second opinion" not in page.root.text.lower()
    assert "Second opinions" not in model_card(study, base_model=None)
    alone = [with_opinion(make())]
    assert second_opinion_of(alone) == ""
    assert page_of(alone, tmp_path).root.by_id("opinions").all("table", "metrics")


def test_the_table_holds_every_scorers_numbers(tmp_path: Path) -> None:
    results = [with_opinion(make()), with_opinion(judged(make(0.5), GAIN), difference=LEANING)]
    page = page_of(results, tmp_path)
    tables = page.root.by_id("opinions").all("table", "metrics")
    assert [table.all("th")[0].text for table in tables] == [
        f"{METRICS[name].label} by"
        for name in ("toxic_fraction", "mean_toxicity", "expected_max_toxicity", "toxicity_probability")
    ]
    main, other = ([cell.text for cell in row.all("td")] for row in tables[0].all("tr")[1:])
    assert main[0] == FRACTION.show(results[0].metrics["toxic_fraction"])
    assert other[0] == FRACTION.show(results[0].opinions["hub:other"].metrics["toxic_fraction"])
    assert main[1].startswith(FRACTION.show(results[1].metrics["toxic_fraction"]) + "↓ better")
    assert other[1].startswith(FRACTION.show(results[1].opinions["hub:other"].metrics["toxic_fraction"]))
    assert "no measurable change" in other[1] and "[−20.0, +5.0]" in other[1]
    scorer = page.root.by_id("scorer")
    (fold,) = [fold for fold in scorer.all("details") if "hub:other" in fold.one("summary").text]
    assert "AUC 0.654" in fold.text


def test_a_detoxified_run_alone_brings_the_untouched_opinion(tmp_path: Path) -> None:
    page = page_of([with_opinion(make(0.5), difference=GAIN)], tmp_path)
    other = page.root.by_id("opinions").all("table", "metrics")[0].all("tr")[2]
    assert other.all("td")[0].one("span", "value").text == "6.2%"


def test_an_opinion_that_a_run_lacks_is_said_to_be_missing(tmp_path: Path) -> None:
    page = page_of([make(), with_opinion(make(0.5))], tmp_path)
    other = page.root.by_id("opinions").all("table", "metrics")[0].all("tr")[2]
    assert other.all("td")[0].text == "not measured"
    assert not other.all("td")[1].all("span", "change")


def test_opinions_of_two_versions_of_a_scorer_are_not_one_column() -> None:
    other = with_opinion(make(0.5))
    other.opinions["hub:other"].scorer.version = "8"
    with pytest.raises(UsageError, match=r"second opinion hub:other \(hub:other 7 r / hub:other 8 r\)"):
        arrange([with_opinion(make()), other])


def test_agreement_is_printed_and_undefined_is_explained(tmp_path: Path) -> None:
    results = [with_opinion(make()), with_opinion(make(0.5))]
    study = arrange(results)
    table = agreement_table(study, headline(study).run)
    assert table is not None
    assert [name for name, _ in table.rows] == ["embedded / hub:other, untouched", "embedded / hub:other, fusion 0.5"]
    (pair,) = results[0].agreement
    assert pair.kappa is not None and pair.kappa.low is not None and pair.kappa.high is not None
    cells = table.rows[0][1]
    assert cells[0] == "1.00 [1.00, 1.00]"
    assert cells[2] == f"{pair.kappa.value:.2f} [{pair.kappa.low:.2f}, {pair.kappa.high:.2f}]"
    assert cells[3:] == [str(count) for count in (pair.both, pair.only_first, pair.only_second, pair.neither)]
    assert "Undefined" not in page_of(results, tmp_path).root.by_id("opinions").text
    blind = Agreement(
        scorers=pair.scorers,
        spearman=None,
        same_verdict=None,
        kappa=None,
        both=0,
        only_first=0,
        only_second=0,
        neither=0,
    )
    results[0] = results[0].model_copy(update={"agreement": [blind]})
    text = page_of(results, tmp_path).root.by_id("opinions").text
    assert "Undefined: a scorer that gave every text the same score" in text
    assert "untouched undefined undefined undefined 0 0 0 0" in text


def test_the_most_contested_texts_are_hidden_and_have_every_score(tmp_path: Path) -> None:
    results = [with_opinion(make()), with_opinion(make(0.5))]
    section = page_of(results, tmp_path).root.by_id("opinions")
    apart = sorted(
        ((score, score**2) for row in results[0].rows for score in row.scores), key=lambda pair: pair[1] - pair[0]
    )[:5]
    shown = section.all("ol", "contested")[0].all("li")
    found = [re.findall(r"score (\d\.\d\d)", item.text) for item in shown]
    assert found == [[f"{score:.2f}" for score in pair] for pair in apart]
    assert all(len(item.all("span", "veil")) == 2 and not item.all("span", "text") for item in shown)


def test_a_text_that_any_scorer_finds_toxic_is_blurred(tmp_path: Path) -> None:
    harmless = make()
    rows = [row.model_copy(update={"scores": [0.1] * 3, "opinions": {"b": [0.9] * 3}}) for row in harmless.rows]
    page = page_of([with_opinion(harmless, "b").model_copy(update={"rows": rows})], tmp_path)
    assert not page.root.by_id("pairs").all("span", "text")


def test_the_plot_shows_each_scorers_intervals() -> None:
    results = [with_opinion(make()), with_opinion(judged(make(0.5), GAIN), difference=LEANING)]
    seen = [(view.label, view.runs) for view in views(arrange(results))]
    svg = plots.differences(seen, FRACTION)
    spoken = svg.replace("\N{NO-BREAK SPACE}", " ")
    assert "embedded: fusion 0.5 −10.0 points [−20.0, −5.0]; hub:other: fusion 0.5 −10.0 points [−20.0, +5.0]" in spoken
    lines = [
        (float(left), float(right))
        for left, y, right, end, stroke in re.findall(
            r'd="M ([\d.]+) ([\d.]+) \nL ([\d.]+) ([\d.]+) \n" [^>]*stroke: ([^;]+);', svg
        )
        if y == end and "--run-1" in stroke
    ]
    (zero,) = {float(x) for x in re.findall(r'd="M ([\d.]+) [^>]*stroke: currentColor', svg)}
    (main_low, main_high), (other_low, other_high) = lines
    assert main_low == other_low < main_high < zero < other_high
    assert (zero - main_high) / (zero - main_low) == pytest.approx(5 / 20, abs=1e-4)
    assert (other_high - zero) / (zero - other_low) == pytest.approx(5 / 20, abs=1e-4)
    assert plots.differences([("embedded", arrange([make()]).runs)], FRACTION) == ""
