from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from detoxlm.report import plots
from detoxlm.report.facts import Run, arrange
from detoxlm.results import Estimate, Results

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def runs(study: list[Results]) -> list[Run]:
    return arrange(study).runs


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_share_at_least_counts_like_the_metric() -> None:
    scores = np.random.default_rng(0).integers(0, 101, 500) / 100
    thresholds = np.linspace(0, 1, 101)
    expected = [sum(round(100 * score) >= i for score in scores) / len(scores) for i in range(101)]
    assert plots.share_at_least(list(scores), thresholds) == pytest.approx(expected)
    assert plots.share_at_least(list(scores), np.array([0.5]))[0] == np.mean(scores >= 0.5)


def test_points_lie_where_the_numbers_say(runs: list[Run]) -> None:
    numbers = [(20.0, 0.4), (25.0, 0.1), (40.0, 0.3)]
    bare = [
        replace(run, metrics={"model_perplexity": Estimate(value=x, n=1), "toxic_fraction": Estimate(value=y, n=1)})
        for run, (x, y) in zip(runs, numbers, strict=False)
    ]
    svg = plots.tradeoff(bare)
    found = re.findall(r'<use xlink:href="#[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: var\(--run-(\d)', svg)
    assert [run for *_, run in found] == ["0", "1", "2"]
    (x0, y0), (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y, _ in found]
    assert x0 < x2 and y0 < y1  # y grows downwards in SVG
    assert (x1 - x0) / (x2 - x0) == pytest.approx(5 / 20, abs=1e-4)
    assert (y2 - y0) / (y1 - y0) == pytest.approx(1 / 3, abs=1e-4)


def test_text_is_text_and_colours_are_the_pages(runs: list[Run]) -> None:
    for svg in (plots.score_distribution(runs), plots.tradeoff(runs)):
        assert {run.label for run in runs} <= set(texts(svg))
        assert "currentColor" in svg and "var(--run-3, " in svg
        assert not re.search(r"#0[1-3][0-9a-f]{4}\b", svg)
        assert "<style" not in svg and "<metadata" not in svg
    spoken = ET.fromstring(plots.tradeoff(runs)).attrib["aria-label"]
    assert all(run.label in spoken for run in runs)


def test_two_plots_of_a_page_share_no_id(runs: list[Run]) -> None:
    svgs = (plots.score_distribution(runs), plots.tradeoff(runs))
    found = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in svgs]
    assert found[0] and found[1] and not found[0] & found[1]
    for svg, ids in zip(svgs, found, strict=True):
        assert set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg)) <= ids


def test_labels_are_not_markup(runs: list[Run]) -> None:
    label = r"$\frac{<b>$--></script>"
    svg = plots.tradeoff([replace(run, label=label) for run in runs])
    assert texts(svg).count(label) == len(runs)
    assert "<b>" not in svg and "</script>" not in svg


def test_user_settings_of_matplotlib_do_not_matter(runs: list[Run]) -> None:
    import matplotlib

    before = plots.tradeoff(runs)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": "other", "text.usetex": True}):
        assert plots.tradeoff(runs) == before
        assert matplotlib.rcParams["font.size"] == 30


def test_nothing_to_plot_is_no_plot(runs: list[Run]) -> None:
    assert plots.tradeoff(runs[:1]) == ""
    assert plots.score_distribution([replace(run, results=None) for run in runs]) == ""
    assert plots.loss_curve([]) == "" and plots.loss_curve([[0, 1.0], [1, None]]) == ""
    unmeasured = replace(runs[1], metrics={"model_perplexity": Estimate(value=float("inf"), n=1)})
    assert plots.tradeoff([runs[0], unmeasured]) == ""


def test_loss_curve_says_where_it_starts_and_ends() -> None:
    svg = plots.loss_curve([[0, 2.0], [5, float("nan")], [10, 0.25]])
    assert ET.fromstring(svg).attrib["aria-label"] == "Loss of the fit, from 2 at step 0 to 0.25 at step 10."


def test_looks_at_a_training_say_what_changed() -> None:
    watched = [
        {"step": 0, "toxicity": 0.2, "drift": 0.0, "refusals": 0.0},
        {"step": 20, "toxicity": 0.12, "drift": 0.03, "refusals": 0.25},
    ]
    spoken = ET.fromstring(plots.looks(watched)).attrib["aria-label"]
    assert "from 0.200 at step 0 to 0.120 at step 20" in spoken
    assert "drift to 0.030 nats" in spoken and "from 0% to 25%" in spoken
    assert plots.looks(watched[:1]) == ""


def test_a_search_says_how_much_was_tried_and_what_was_chosen() -> None:
    tried = {
        "untouched": {"toxicity": 0.3, "drift": 0.0, "choice": "–"},
        "trial 1": {"toxicity": 0.2, "drift": 0.01, "choice": "chosen"},
        "trial 2": {"toxicity": 0.1, "drift": 0.2, "choice": "frontier"},
        "trial 3": {"toxicity": 0.4, "drift": 0.05, "choice": "–"},
    }
    spoken = ET.fromstring(plots.search(tried)).attrib["aria-label"]
    assert "3 trials; untouched 0.300" in spoken and "0.200 at a drift of 0.010" in spoken
    assert plots.search({}) == plots.search({key: tried[key] for key in ("untouched", "trial 1")}) == ""
