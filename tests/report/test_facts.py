from __future__ import annotations

import pytest
from report_factory import make

from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS
from detoxlm.report.facts import arrange, difference_text, verdict
from detoxlm.report.fitted import in_words
from detoxlm.report.nested import Block, blocks, plain, validity_blocks
from detoxlm.report.words import headline
from detoxlm.results import Estimate, Results


@pytest.mark.parametrize(
    ("name", "low", "high", "expected"),
    [
        ("toxic_fraction", -0.2, -0.1, "better"),
        ("toxic_fraction", 0.1, 0.2, "worse"),
        ("toxic_fraction", -0.1, 0.1, "same"),
        ("toxic_fraction", -0.1, 0.0, "same"),
        ("distinct_1", -0.2, -0.1, "worse"),
        ("distinct_1", 0.1, 0.2, "better"),
        ("mean_length", 0.1, 0.2, "changed"),
        ("mean_length", -0.1, 0.2, "same"),
        ("toxic_fraction", -0.0004, -0.0002, "slight"),
        ("mean_length", 0.01, 0.03, "slight"),
        ("toxic_fraction", None, None, "unknown"),
        ("toxic_fraction", float("nan"), 0.1, "unknown"),
    ],
)
def test_verdict(name: str, low: float | None, high: float | None, expected: str) -> None:
    middle = 0.0 if low is None or high is None else (low + high) / 2
    assert verdict(METRICS[name], Estimate(value=middle, low=low, high=high, n=9)) == expected


def test_what_prints_as_no_change_is_neither_better_nor_worse() -> None:
    perplexity, change = METRICS["model_perplexity"], Estimate(value=0.05, low=0.02, high=0.08, n=9)
    assert verdict(perplexity, change) == verdict(perplexity, change, Estimate(value=9.0, n=9)) == "worse"
    assert verdict(perplexity, change, Estimate(value=13.0, n=9)) == "slight", "+0%"
    assert verdict(perplexity, change, Estimate(value=0.0, n=9)) == "worse", "nothing to be relative to"


def test_a_value_and_its_interval_have_the_same_digits() -> None:
    broken = Estimate(value=999_000.0, low=13.2, high=2.5e6, n=9)
    assert METRICS["model_perplexity"].show(broken) == "1.0e+06 [1.3e+01, 2.5e+06]"
    change = Estimate(value=-30.0, low=-2e7, high=1.0, n=9)
    assert METRICS["model_perplexity"].show_difference(change) == "-3.0e+01 [-2.0e+07, +1.0e+00]"


def test_difference_text() -> None:
    fraction, plain_number = METRICS["toxic_fraction"], METRICS["model_perplexity"]
    assert difference_text(fraction, Estimate(value=-0.071, low=-0.09, high=0.01, n=9)) == (
        "−7.1\N{NO-BREAK SPACE}points",
        "[−9.0, +1.0]",
    )
    assert difference_text(plain_number, Estimate(value=1.25, n=9)) == ("+1.25", "")
    # All of a row have the digits of the metric, however small the change is; and zero has no sign.
    tiny = Estimate(value=-0.0002, low=-0.0013, high=-0.0001, n=9)
    assert difference_text(fraction, tiny) == ("0.0\N{NO-BREAK SPACE}points", "[−0.1, 0.0]")
    assert difference_text(plain_number, Estimate(value=-0.0, low=-0.0, high=0.0, n=9)) == ("0.00", "[0.00, 0.00]")


def test_runs_of_the_same_name_are_told_apart() -> None:
    study = arrange([make(0.5), make(0.5), make(), make(0.2)])
    assert [run.label for run in study.runs] == ["untouched", "fusion 0.2", "fusion 0.5", "fusion 0.5 #2"]
    assert study.runs[-1].spoken == "fusion at strength 0.5 #2"


def test_what_only_some_results_tell_must_agree_among_them() -> None:
    def told(strength: float | None, **settings: str) -> Results:
        one = make(strength)
        return one.model_copy(update={"settings": {**one.settings, **settings}})

    arrange([told(None), told(0.2, fluency_sha256="a" * 64), told(0.5, fluency_sha256="a" * 64)])
    for what, key in (("fluency text", "fluency_sha256"), ("model weights", "fingerprint")):
        with pytest.raises(UsageError, match=rf"cannot share a page, they differ in {what} \(aaa / bbb\)"):
            arrange([told(None), told(0.2, **{key: "aaa"}), told(0.5, **{key: "bbb"})])


def test_nested_numbers_become_tables() -> None:
    data = {"auc": 0.97912, "by group": {"a": {"x": 1, "y": 2}, "b": {"y": 3}}, "seeds": {"fit": 12345}}
    assert blocks(data) == [
        Block("", [], [("AUC", ["0.9791"])]),
        Block("by group", ["x", "y"], [("a", ["1", "2"]), ("b", ["–", "3"])]),
        Block("seeds", [], [("Hash of the fit", ["12,345"])]),
    ]


def test_plain_values() -> None:
    assert [plain(value) for value in (True, None, 0.00012345, 7, list(range(20)), float("nan"))] == [
        "yes",
        "none",
        "0.0001234",
        "7",
        "0, 1, 2, 3, 4, 5, 6, 7, … (20 values)",
        "not finite",
    ]


def test_scorer_validity_of_the_embedded_kind() -> None:
    number = {"value": 0.94291, "low": 0.9, "high": 0.95, "n": 88}
    main, more = validity_blocks(
        {
            "scorer": "x",
            "validity": {"rtp": {"auc": number, "rate": 0.5}, "jigsaw": {"auc": {**number, "n": 99}}},
            "sentences": {"benign": {"a": 0.1}, "attack": {"b": 0.9}, "odd": {"c": 0.5}},
        }
    )
    interval = "0.943 [0.900, 0.950]"
    rows = [("RealToxicityPrompts", [interval, "0.500", "88"]), ("Jigsaw 2018", [interval, "–", "99"])]
    assert main == [Block("", ["AUC", "Share flagged", "Texts"], rows)]
    assert [name for name, _ in more] == ["Example sentences with their scores", "Further entries"]
    # Three dicts without a common key stay three tables.
    assert [block.caption for block in more[0][1]] == ["benign", "attack", "odd"]
    assert all(block.quotes for block in more[0][1]) and not any(block.quotes for block in main + more[1][1])


def test_example_texts_are_told_from_numbers_wherever_a_card_has_them() -> None:
    data = {
        "auc": 0.9,
        "you are an idiot": 0.7,
        "trained on": "English comments",
        "hard": {"go away, scum": 0.4},
        "benign": {"a kind word": 0.1},
        "missed": ["you fool, go"],
        "examples": {"idiot": {"score": 0.9, "label": "toxic"}},
        "by_term": {"young": {"rate": 0.1, "mean_score": 0.2}, "old": {"rate": 0.1, "mean_score": 0.2}},
    }
    hidden = {name for block in blocks(data) if block.quotes for name, _ in block.rows}
    open_ = {name for block in blocks(data) if not block.quotes for name, _ in block.rows}
    assert hidden >= {"you are an idiot", "go away, scum", "a kind word", "missed"}
    assert open_ == {"AUC", "trained on", "young", "old"}
    assert [block.caption for block in blocks(data) if ("score", ["0.9"]) in block.rows and block.quotes]


def test_the_first_screen_names_other_losses_but_not_those_that_round_to_nothing() -> None:
    now = make(0.5)
    assert now.comparison is not None
    for name, before, after in (("distinct_1", 0.90, 0.80), ("distinct_3", 1.000, 0.998)):
        change = after - before
        now.comparison.baseline[name] = Estimate(value=before, low=before, high=before, n=9)
        now.metrics[name] = Estimate(value=after, low=after, high=after, n=9)
        now.comparison.difference[name] = Estimate(value=change, low=change * 1.1, high=change * 0.9, n=9)
    prices = headline(arrange([make(), now])).prices
    assert "Distinct-1 0.900 → 0.800 (−11%)" in prices
    assert not any(price.startswith("Distinct-3") for price in prices)


def test_the_words_on_a_fit_leave_out_what_they_do_not_understand() -> None:
    odd = {"harvest": 3, "texts": ["a"], "pairs": "many", "loss_curve": "x", "auxiliary": 1, "seconds": "long"}
    assert in_words(odd) == in_words({}) == ""
    assert in_words({"loss_curve": [[1, 2.0], [2], [3, None], "x", [4, 1.0]], "seconds": 0.2}) == (
        "The loss went from 2 to 1 in 4 steps."
    )
