"""Who pays, as reports say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_factory import make

from detoxlm.console import print_results
from detoxlm.report import model_card, write_report
from detoxlm.report.facts import arrange
from detoxlm.report.limits import limits
from detoxlm.report.paying import gap, paying_block, who_pays_said
from detoxlm.report.words import headline
from detoxlm.results import Estimate, Naming, Price, Results, WhoIsNamed, WhoPays


def price(value: float, low: float, high: float) -> Price:
    """A price whose ratio is this; its perplexity rises 1.1 times as much."""
    ratio, kl = Estimate(value=value, low=low, high=high, n=20), Estimate(value=0.03, low=0.02, high=0.04, n=20)
    return Price(rise=Estimate(value=1.1 * value, low=1.1 * low, high=1.1 * high, n=20), ratio=ratio, kl=kl)


def paid(overall: Price, **groups: Price) -> WhoPays:
    return WhoPays(without=price(1, 1, 1), all=overall, groups=groups)


UNFAIR = paid(
    price(1.12, 1.10, 1.14), men=price(1.01, 0.99, 1.03), gay=price(1.2, 1.1, 1.3), women=price(1.3, 1.2, 1.4)
)
FAIR = paid(price(1.01, 0.99, 1.03), men=price(1.0, 0.98, 1.02), women=price(1.2, 0.95, 1.5))


def detoxified(found: WhoPays) -> Results:
    return make(0.5, who_pays=found)


def test_a_measured_gap_is_named_with_the_groups_that_pay_clearly_more() -> None:
    prices = headline(arrange([make(), detoxified(UNFAIR)])).prices
    assert prices[-1] == (
        "text about groups of people pays 1.12 [1.10, 1.14] times what other everyday text pays in perplexity; more "
        "than 5% above it: women 1.30 [1.20, 1.40] times, gay 1.20 [1.10, 1.30] times"
    )


def test_a_gap_that_may_be_chance_is_none() -> None:
    assert gap(FAIR) == ""
    assert not any("groups" in said for said in headline(arrange([make(), detoxified(FAIR)])).prices)
    assert "no measurable surplus (1.01 [0.99, 1.03] times of that)" in who_pays_said(
        arrange([detoxified(FAIR)]).runs[-1]
    )
    alone = price(3.2, 3.0, 3.4).model_copy(update={"ratio": Estimate(value=3.2, n=1)})
    assert "too few texts to tell a surplus (3.20 times of that)" in who_pays_said(
        arrange([detoxified(paid(alone))]).runs[-1]
    )
    one_unfair = paid(price(1.01, 0.99, 1.03), deaf=price(1.06, 1.02, 1.10))
    assert gap(one_unfair).endswith("more than 5% above it: deaf 1.06 [1.02, 1.10] times")
    assert gap(paid(price(1.004, 1.002, 1.006))) == ""  # it would print as 1.00


def test_of_many_groups_the_dearest_are_named_and_the_rest_counted() -> None:
    many = paid(price(1.2, 1.1, 1.3), **{f"group{i}": price(1.1 + i / 100, 1.06, 1.9) for i in range(6)})
    assert "group5 1.15 [1.06, 1.90] times, group4" in gap(many)
    assert gap(many).endswith("and 2 more groups")


def test_page_card_and_console_have_the_gap_and_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = [make(), detoxified(UNFAIR)]
    write_report(results, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert 'id="who-pays"' in page
    assert 'href="#who-pays"' in page
    card = model_card(results, base_model=None)
    assert "## Who pays" in card
    assert "| women | 1.43 [1.32, 1.54] | 1.30 [1.20, 1.40] | 0.0300 [0.0200, 0.0400] |" in card
    assert "women 1.30 [1.20, 1.40] times" in card.split("Also measurably worse:")[1].split("\n")[0]
    print_results([detoxified(UNFAIR)])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Who pays: On everyday text that mentions no group perplexity is 1.10 [1.10, 1.10] times the untouched" in said
    )
    assert "women 1.30 [1.20, 1.40] times" in said


def test_the_table_has_the_dearest_group_first() -> None:
    rows = paying_block(UNFAIR).rows
    assert [name for name, _ in rows] == ["no group", "all groups", "women", "gay", "men"]
    assert rows[0][1][1] == "1"


def naming(empty: float, dropped: float, spread: float = 0.02) -> Naming:
    ends = [(one, one - spread, one + spread) for one in (empty, dropped)]
    return Naming(
        **{
            name: Estimate(value=value, low=low, high=high, n=6)
            for name, (value, low, high) in zip(("empty", "dropped"), ends, strict=True)
        }
    )


def with_names(gap: Naming) -> Results:
    results = detoxified(FAIR)
    results.who_is_named = WhoIsNamed(
        without=naming(0.0, 0.1), all=naming(0.05, 0.3), groups={"women": naming(0.1, 0.4)}, gap=naming(0.05, 0.2)
    )
    assert results.comparison is not None
    results.comparison.who_is_named = WhoIsNamed(
        without=naming(0.0, 0.01), all=naming(0.04, 0.16), groups={"women": naming(0.1, 0.3)}, gap=gap
    )
    return results


def test_names_that_groups_lose_more_than_others_are_a_price(tmp_path: Path) -> None:
    study = arrange([make(), with_names(naming(0.01, 0.15))])
    lost = "groups of people go unnamed +15.0 points [+13.0, +17.0] more often than others, beyond the untouched model"
    said = who_pays_said(study.runs[-1])
    assert headline(study).prices[-1].startswith("groups") and lost in headline(study).prices
    assert "30.0% [28.0, 32.0] of those about groups (5.0% empty, +16.0 points [+14.0, +18.0] against" in said
    assert "10.0% [8.0, 12.0] of those about people of no group (0.0% empty" in said and f"So {lost}." in said
    fair = arrange([make(), with_names(naming(0.0, 0.01))])
    assert not any("unnamed" in one for one in headline(fair).prices)
    assert "So groups" not in who_pays_said(fair.runs[-1])
    block = paying_block(FAIR, study.runs[-1])
    assert block.columns[-2:] == ["continued with no text", "continued without naming them"]
    assert dict(block.rows)["women"][-1] == "40.0% [38.0, 42.0], +30.0 points [+28.0, +32.0]"
    assert dict(block.rows)["men"][-2:] == ["–", "–"]
    results = [make(), with_names(naming(0.01, 0.15))]
    write_report(results, tmp_path / "r.html")
    for page in ((tmp_path / "r.html").read_text("utf-8"), model_card(results, base_model=None)):
        assert "continued without naming them" in page and "go unnamed" in page
    assert "whether it names whom it writes of" in dict(limits(study))["Text about minorities"]


def test_limits_say_what_was_measured_of_minorities_or_that_nothing_was(tmp_path: Path) -> None:
    measured, unmeasured = (
        dict(limits(arrange(results)))["Text about minorities"]
        for results in ([make(), detoxified(UNFAIR)], [make(), make(0.5)])
    )
    assert "20 kinds of sentences about 3 groups" in measured
    assert "dialect" in measured
    assert "a loss there would not show" in unmeasured
    write_report([make(), make(0.5)], tmp_path / "r.html")
    assert "who-pays" not in (tmp_path / "r.html").read_text("utf-8")
