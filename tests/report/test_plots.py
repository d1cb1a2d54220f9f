from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from detoxlm.metrics import METRICS
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


@pytest.mark.parametrize("apart", [0.02, 0.2, 1.0, 8.0])
@pytest.mark.parametrize("wide", [0.3, 3.0])
def test_no_name_lies_on_an_error_bar_or_another_name(runs: list[Run], apart: float, wide: float) -> None:
    crowd = [
        replace(
            runs[i % len(runs)],
            label=f"constrained {i / 4:g}",
            metrics={
                "model_perplexity": Estimate(
                    value=30 + apart * i, low=30 + apart * i - wide, high=30 + apart * i + 2, n=9
                ),
                "toxic_fraction": Estimate(value=0.2 - 0.02 * i, low=0.15 - 0.02 * i, high=0.26 - 0.02 * i, n=9),
            },
        )
        for i in range(5)
    ]
    names, bars = names_and_bars(plots.tradeoff(crowd))
    assert len(names) == len(crowd) and len(bars) == 2 * len(crowd)
    assert_apart(names, bars)


def test_the_legend_of_second_opinions_is_above_their_intervals(runs: list[Run]) -> None:
    change = Estimate(value=-0.1, low=-0.3, high=0.2, n=9)
    crowd = [replace(runs[1], label=f"constrained {i}", difference={"distinct_1": change}) for i in range(5)]
    svg = plots.differences([("embedded", crowd), ("ngram", crowd)], METRICS["distinct_1"])
    names, bars = names_and_bars(svg)
    assert len(names) == len(crowd) and len(bars) == 2 * len(crowd)
    assert_apart(names, bars)


def assert_apart(names: list[tuple[float, ...]], bars: list[tuple[float, ...]]) -> None:
    for i, (left, top, right, bottom) in enumerate(names):
        for x0, y0, x1, y1 in bars + names[:i]:
            assert right <= min(x0, x1) or left >= max(x0, x1) or bottom <= min(y0, y1) or top >= max(y0, y1)


def names_and_bars(svg: str) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Boxes of the runs' names, as narrow as common fonts are, and the lines of error bars: x0, y0, x1, y1."""
    names = []
    for text in ET.fromstring(svg).iter(f"{SVG}text"):
        if (text.text or "").startswith("constrained"):
            x, y, width = float(text.attrib["x"]), float(text.attrib["y"]), 0.5 * 9.5 * len(text.text or "")
            left = x - width if "text-anchor: end" in text.attrib["style"] else x
            names.append((left, y - 7.0, left + width, y + 1.0))
    lines = re.findall(r'd="M (\S+) (\S+) \nL (\S+) (\S+) \n" clip-path[^>]*fill: none; stroke: var\(--run-', svg)
    return names, [tuple(map(float, line)) for line in lines]
