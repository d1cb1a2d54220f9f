"""The page of `detoxlm scorers validate`, read back the way a browser would."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_pages import Page

from detoxlm.validity import (
    DIMENSION_MEASURES,
    MEASURES,
    DimensionValidity,
    LabelledSet,
    Study,
    Validity,
    differences,
    measure,
    measure_set,
    plots,
)
from detoxlm.validity.study import write_validity

HOSTILE = "</script></style><img src=x onerror=alert(1)><script>alert(2)</script>\"' {{ 7*7 }} $\\frac{"
SVG = "{http://www.w3.org/2000/svg}"


def make_study(name: str = "comments", scorer: str = "mild", text: str = "a gay text") -> Study:
    random = np.random.default_rng(0)
    target = np.round(random.random(200), 2)
    texts = [f"{text} {i}" if i % 3 else f"text {i}" for i in range(200)]
    data = LabelledSet(name, texts, target, source="comments.jsonl", sha256="ab" * 32, notes=(f"note of {name}",))
    measured = {
        label: measure_set(data, np.clip(target + random.normal(0, noise, 200), 0, 1), failures=4, resamples=100)
        for label, noise in ((scorer, 0.2), ("wild", 0.6))
    }
    first, second = measured.values()
    return Study(
        scorers={label: Validity(label, "1", "r1", {name: one}) for label, one in measured.items()},
        differences={"wild": {name: differences(first, second)}},
        missing=["detoxify: not loaded: no network"],
        created="2026-01-01T00:00:00+00:00",
        settings={"seed": 0, "limit": None},
    )


@pytest.fixture(scope="module")
def study() -> Study:
    return make_study()


def page_of(study: Study, tmp_path: Path) -> tuple[Page, str]:
    write_validity(study, tmp_path / "validity.html")
    text = (tmp_path / "validity.html").read_text(encoding="utf-8")
    return Page(text), text


def test_the_table_holds_every_number_and_the_differences(study: Study, tmp_path: Path) -> None:
    page, _ = page_of(study, tmp_path)
    head, *lines = page.root.one("table", "metrics").all("tr")
    shown = [MEASURES[name] for name in study.first.sets["comments"].metrics]
    assert [cell.text.removesuffix(cell.one("span", "meaning").text) for cell in head.all("th")[1:]] == [
        measure.label for measure in shown
    ]
    found = [[cell.text for cell in line.all("td")] for line in lines]
    for label, row in zip(study.scorers, found, strict=False):
        metrics = study.scorers[label].sets["comments"].metrics
        assert row == [MEASURES[name].show(estimate) for name, estimate in metrics.items()]
    changes = study.differences["wild"]["comments"]
    assert found[2] == [MEASURES[name].show(estimate, sign=True) for name, estimate in changes.items()]
    assert [line.one("span", "name").text for line in lines] == ["mild", "wild", "wild − mild"]


def test_further_dimensions_have_a_table_where_there_are_any(study: Study, tmp_path: Path) -> None:
    plain, _ = page_of(study, tmp_path)
    assert not [head for head in plain.root.all("h3") if head.text == "Further dimensions"]
    threat = DimensionValidity(40, 3, measure(np.linspace(0, 1, 40), np.linspace(0, 1, 40) ** 3, resamples=20))
    scorers = dict(study.scorers)
    scorers["wild"] = replace(
        scorers["wild"], sets={"comments": replace(scorers["wild"].sets["comments"], dimensions={"threat": threat})}
    )
    page, _ = page_of(replace(study, scorers=scorers), tmp_path)
    _, table = page.root.all("table", "metrics")
    (line,) = table.all("tr")[1:]
    shown = [MEASURES[name].show(threat.metrics[name]) for name in DIMENSION_MEASURES]
    assert [cell.text for cell in (*line.all("th"), *line.all("td"))] == ["threat", "wild", "7.5%", *shown]


def test_the_first_sentence_and_what_is_missing(study: Study, tmp_path: Path) -> None:
    page, _ = page_of(study, tmp_path)
    metrics = study.first.sets["comments"].metrics
    assert page.root.one("h1").text == (
        f"On 200 texts of comments, mild ranks toxic texts above benign ones with an AUC of "
        f"{MEASURES['auc'].show(metrics['auc'])}, calls "
        f"{MEASURES['false_positive_rate'].show(metrics['false_positive_rate'])} of benign texts toxic and misses "
        f"{MEASURES['false_negative_rate'].show(metrics['false_negative_rate'])} of toxic ones."
    )
    assert "detoxify: not loaded: no network" in page.root.one("section", "lead").text
    settings = page.root.by_id("settings").text
    assert "ab" * 32 in settings and "note of comments" in settings and "limit" not in settings


def test_groups_stand_in_a_table_with_their_numbers(study: Study, tmp_path: Path) -> None:
    page, _ = page_of(study, tmp_path)
    (gay,) = study.first.sets["comments"].groups
    row = next(line for line in page.root.all("tr") if line.all("th") and line.all("th")[0].text == "gay")
    rate, difference = MEASURES["false_positive_rate"].show(gay.rate), gay.difference
    assert [cell.text for cell in row.all("td")][:2] == [str(gay.n), rate]
    assert f"{difference.value * 100:+.1f}".replace("-", "−") in row.all("td")[2].text
    assert f"“gay” is furthest above average: {rate} of {gay.n}" in page.root.by_id("set-1").text


def test_mistakes_are_folded_and_blurred_with_a_warning(study: Study, tmp_path: Path) -> None:
    page, _ = page_of(study, tmp_path)
    folds = page.root.by_id("set-1").all("details", "closed")
    assert len(folds) == 4 and not any("open" in fold.attributes for fold in folds)
    assert "offensive and hurtful language" in page.root.by_id("set-1").text
    shown = [[veil.text for veil in fold.all("span", "veil")] for fold in folds]
    for (one, two), validity in zip((shown[:2], shown[2:]), study.scorers.values(), strict=True):
        measured = validity.sets["comments"]
        assert one == [failure.text for failure in measured.false_positives]
        assert two == [failure.text for failure in measured.false_negatives]


def test_hostile_text_stays_text_and_nothing_is_loaded(study: Study, tmp_path: Path) -> None:
    hostile, text = page_of(make_study(HOSTILE, HOSTILE, HOSTILE), tmp_path)
    benign, _ = page_of(study, tmp_path)
    assert {element.tag for element in hostile.root.all()} <= {element.tag for element in benign.root.all()}
    assert not [name for element in hostile.root.all() for name in element.attributes if name.startswith("on")]
    assert len(hostile.root.all("script")) == 1
    for element in hostile.root.all():
        for name in ("src", "href", "xlink:href", "action"):
            assert (element.attributes.get(name) or "#").startswith("#")
    assert "default-src 'none'" in text and "@import" not in text


def test_ids_of_the_plots_do_not_clash(study: Study, tmp_path: Path) -> None:
    page, text = page_of(study, tmp_path)
    ids = [element.attributes["id"] for element in page.root.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)
    assert {one or two for one, two in used} <= set(ids)


def test_calibration_points_lie_where_the_numbers_say(study: Study) -> None:
    one = study.first.sets["comments"]
    svg = plots.calibration([("mild", one)], "c")
    points = np.array(re.findall(r'<use xlink:href="#[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: var', svg), float)
    expected = np.array([(b.mean_score, b.mean_target.value) for b in one.calibration])
    points = points[: len(expected)]  # the caps of the intervals follow
    for axis, sign in ((0, 1), (1, -1)):  # one straight scale for each axis; SVG counts downwards
        slope, offset = np.polyfit(expected[:, axis], points[:, axis], 1)
        assert slope * sign > 0
        assert points[:, axis] == pytest.approx(slope * expected[:, axis] + offset, abs=0.01)
    label = ET.fromstring(svg).attrib["aria-label"]
    assert all(f"{b.mean_target.value:.2f} at {b.mean_score:.2f}" in label for b in one.calibration)


def test_the_plots_say_their_numbers_in_words(study: Study) -> None:
    sets = [(label, validity.sets["comments"]) for label, validity in study.scorers.items()]
    spoken = ET.fromstring(plots.roc(sets, "r")).attrib["aria-label"]
    assert all(f"{label} {one.metrics['auc'].value:.3f}" in spoken for label, one in sets)
    one = sets[0][1]
    wrong = one.metrics["false_positive_rate"].value * (one.n - one.toxic)
    assert f" {wrong:.0f} benign texts score 0.5 or more" in plots.histogram(one, "h")
    svg = plots.groups(one.groups, 0.25, 0, "g")
    assert f"25.0% over all of them: gay {one.groups[0].rate.value:.1%}." in ET.fromstring(svg).attrib["aria-label"]
    labels = ["".join(element.itertext()).strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]
    assert f"gay ({one.groups[0].n})" in labels
    assert plots.groups([], 0.25, 0, "g") == ""


def test_one_class_alone_has_a_page_without_roc(tmp_path: Path) -> None:
    data = LabelledSet("calm", ["a 1", "b 2", "c 3"], np.zeros(3))
    one = measure_set(data, np.array([0.1, 0.2, 0.6]), resamples=20)
    study = Study({"s": Validity("s", "1", "r", {"calm": one})}, {}, [], "now", {})
    page, text = page_of(study, tmp_path)
    assert page.root.one("h1").text.startswith("On 3 texts of calm, s calls 33.3%")
    assert "ROC" not in text and "AUC" not in page.root.one("table", "metrics").text
