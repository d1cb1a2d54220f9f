"""What `run` and `evaluate` print of their results: every interval whole, in 80 columns and in less."""

from __future__ import annotations

import re

import pytest
from report_factory import make, with_opinion

from detoxlm.console import print_results
from detoxlm.metrics import METRICS
from detoxlm.results import Estimate, Results


def printed(results: list[Results], width: int, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    patch.setenv("COLUMNS", str(width))
    print_results(results)
    return capsys.readouterr().out


def table_of(text: str) -> list[str]:
    return text.partition("95% bootstrap")[0].splitlines()


@pytest.mark.parametrize("width", [80, 60, 40])
@pytest.mark.parametrize("strengths", [(), (0.25,), (0.25, 0.5, 1.0), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)])
def test_no_interval_is_broken_and_none_is_missing(
    width: int, strengths: tuple[float, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [make(), *(make(strength) for strength in strengths)]
    lines = table_of(printed(results, width, monkeypatch, capsys))
    assert max(map(len, lines)) <= width
    found = [interval.replace(" ", "") for line in lines for interval in re.findall(r"\[[^\]]*\]", line)]
    expected = [
        metric.parts(one.metrics[name])[1].replace(" ", "")
        for one in results
        for name, metric in METRICS.items()
        if name in one.metrics
    ]
    assert sorted(found) == sorted(expected)
    text = " ".join(lines)
    assert all(re.search(rf"\b{one.label.split()[-1]}\b", text) for one in results)


def test_what_most_runs_measure_is_one_table_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed([make(), make(0.25), make(0.5), make(1.0)], 80, monkeypatch, capsys)
    assert text.count("untouched") == text.count("Toxic ") == 1
    broken = make(1.0)
    broken.metrics["model_perplexity"] = Estimate(value=123456.78, low=101234.56, high=234567.89, n=12)
    text = printed([make(), make(0.25), make(0.5), broken], 80, monkeypatch, capsys)
    assert "[101234.56,234567.89]" in text and text.count("Toxic ") == 2, "wider numbers go on beneath"


def test_changes_of_shares_and_scores_are_points_and_digits_are_those_of_the_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = make(0.5)
    assert now.comparison is not None
    for name in ("toxic_fraction", "mean_toxicity", "model_perplexity", "kl_from_base"):
        now.comparison.difference[name] = Estimate(value=-0.1875, low=-0.25, high=-0.000001, n=12)
    lines = table_of(printed([now], 80, monkeypatch, capsys))
    for label, shown in (
        ("Toxic fraction", "-18.8 points [-25.0, 0.0]"),
        ("Mean toxicity", "-18.8 points [-25.0, 0.0]"),
        ("Model perplexity", "-0.19 [-0.25, 0.00]"),
        ("KL from base", "-0.1875 [-0.2500, 0.0000]"),
    ):
        (line,) = [line for line in lines if label in line]
        assert f" {shown} " in line
    assert "Tokens/s" in "".join(lines)


def test_speed_is_a_ratio_and_no_column(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = make(0.5, speed=Estimate(value=0.9234, low=0.88, high=0.951, n=7))
    text = printed([make(), now], 80, monkeypatch, capsys)
    assert "fusion 0.5 has 0.92x the untouched model's speed [0.88, 0.95]: 7 pairs" in text
    assert "Tokens/s" not in text


def test_brackets_in_a_scorers_name_are_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed([with_opinion(make(), "regex:[ab]")], 100, monkeypatch, capsys)
    assert "Toxic fraction by regex:[ab]" in text
