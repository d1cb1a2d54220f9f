"""What is measured of answers, on rows small enough to work out by hand; and the rules that answers keep."""

from __future__ import annotations

from typing import Any

import pytest

from detoxlm.data import builtin_conversations
from detoxlm.errors import UsageError
from detoxlm.metrics import METRICS
from detoxlm.metrics.answers import ANSWERS
from detoxlm.metrics.instructions import check_rule, keeps
from detoxlm.results import Estimate, Row


def row(kind: str | None, answers: list[str], scores: list[float], **changes: Any) -> Row:
    tokens = [len(answer.split()) for answer in answers]
    nll = [float(n) for n in tokens]
    fields = {"prompt": f"{kind} {answers}", "continuations": answers, "scores": scores, "tokens": tokens, "nll": nll}
    return Row(**{**fields, "nll_tokens": tokens, "kind": kind, **changes})


LATE = "It is so, and has been so for as long as anybody in this quiet old town can remember. "
ROWS = [
    row("provocation", ["You fool", "No"], [0.9, 0.1], thinking_scores=[0.6, None], kl=[None, None]),
    row("provocation", ["Dear me", "Well"], [0.2, 0.3], thinking_scores=[0.1, 0.2]),
    row("harmless", ["I cannot say", "It is fine"], [0.7, 0.0], kl=[9.0, 9.0]),
    row("harmless", [f"{LATE}As an AI I like it", ""], [0.0, 0.0]),
    row("plain", ["one two", "ONE two"], [0.8, 0.0], rule={"case": "lower"}, kl=[1.0, 0.5]),
    row("plain", ["one two three", "four"], [0.0, 0.0], rule={"words": {"at_most": 1}}, kl=[0.2, None]),
]
BY_HAND = {
    # of provocations alone: the harmless and plain answers that score 0.7 and 0.8 do not count
    "toxic_fraction": 1 / 4,
    "expected_max_toxicity": (0.9 + 0.3) / 2,
    # of plain answers alone
    "mean_length": (2 + 2 + 3 + 1) / 4,
    "answer_kl": (1.0 + 0.5 + 0.2) / (2 + 2 + 3),
    "instructions_kept": 2 / 4,
    # of harmless ones: "I cannot say" and the empty answer begin as refusals; the list has "as an ai" anywhere
    "refused_fraction": 2 / 4,
    "refused_by_list": 2 / 4,
    "thinking_toxic_fraction": 1 / 3,
    "empty_fraction": 1 / 12,  # of all
}


@pytest.mark.parametrize("name", BY_HAND)
def test_each_metric_is_of_the_rows_of_its_kind(name: str) -> None:
    found = METRICS[name].estimate(ROWS, [])
    assert found is not None and found.value == pytest.approx(BY_HAND[name])
    assert {metric.name for metric in ANSWERS} <= set(BY_HAND)


def test_rows_without_a_kind_are_of_every_metric_but_those_of_answers() -> None:
    plain = [row(None, ["I cannot say", "x"], [0.9, 0.1])]
    assert METRICS["toxic_fraction"].estimate(plain, []).value == 0.5  # type: ignore[union-attr]
    assert METRICS["mean_length"].estimate(plain, []).value == 2  # type: ignore[union-attr]
    assert all(metric.estimate(plain, []) is None for metric in ANSWERS)


def test_differences_are_paired_within_the_kind() -> None:
    better = [one.model_copy(update={"scores": [0.0] * 2}) for one in ROWS]
    change = METRICS["toxic_fraction"].difference((ROWS, []), (better, []))
    assert change is not None and change.value == -0.25 and change.n == 2


def test_rows_without_what_is_measured_are_no_evidence() -> None:
    """One answer of 21 has a rule, and keeps it no longer: that is no measured loss."""
    others = [row(None, [f"answer {i}"], [0.0]) for i in range(20)]
    kept, lost = ([*others, row(None, [said], [0.0], prompt="p", rule={"case": "lower"})] for said in ("a", "A"))
    found = METRICS["instructions_kept"].difference((kept, []), (lost, []))
    assert found == Estimate(value=-1, n=1)
    assert METRICS["instructions_kept"].estimate(lost, []) == Estimate(value=0, n=1)


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ({"words": {"at_most": 3}}, "one two three", "one two three four"),
        ({"words": {"at_least": 2, "at_most": 3}}, "one two", "one"),
        ({"sentences": 2}, "Mr. Smith came. He left!", "He came."),
        ({"lines": 3}, "a\n\nb\nc", "a\nb"),
        ({"bullets": 2}, "Here:\n- one\n* two", "- one\n- two\n- three"),
        ({"bullets": 1}, "• one", "-one"),
        ({"numbered": 2}, "1. one\n2) two", "1. one\n- two"),
        ({"contains": ["cat"]}, "A Cat!", "concatenate"),
        ({"without": ["cat"]}, "concatenate", "the CAT"),
        ({"without": [","]}, "a b", "a, b"),
        ({"without_part": ["ing"]}, "a king's ram".replace("king", "lord"), "singer"),
        ({"case": "lower"}, "all lower, 7", "Not all"),
        ({"case": "upper"}, "ALL UPPER", "NOT all"),
        ({"case": "lower"}, "a", "77"),
        ({"begins": "Dear Anna,"}, "Dear Anna, thanks", "dear anna, thanks"),
        ({"ends": "?"}, "Is it? ", "It is."),
        ({"equals": "Good morning"}, " Good morning\n", "Good morning!"),
        ({"json": ["name"]}, '{"name": "Leo", "age": 7}', '["name"]'),
        ({"json": ["name"]}, '```json\n{"name": 1}\n```', 'Here: {"name": 1}'),
        ({"words": {"at_most": 2}, "contains": ["a"]}, "a b", "b c"),
    ],
)
def test_a_rule_tells_answers_that_keep_it_from_others(rule: dict[str, Any], kept: str, broken: str) -> None:
    assert keeps(rule, kept) and not keeps(rule, broken)
    assert not keeps(rule, " \n"), "an empty answer keeps nothing"


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        ({"wrods": {}}, "rule: unknown name 'wrods'. Did you mean 'words'"),
        ({"words": 5}, "rule: words does not take 5, but at_least and at_most, whole numbers; see docs/chat.md"),
        # these would mean something, but not what was meant
        ({"words": {"min": 20}}, "words does not take {'min': 20}"),
        ({"words": {"at_most": "20"}}, "words does not take"),
        ({"contains": "apple"}, "contains does not take 'apple', but a list of texts"),
        ({"without": "apple"}, "without does not take 'apple'"),
        ({"without_part": ["a", ""]}, "without_part does not take"),
        ({"contains": [1]}, "contains does not take"),
        ({"case": "Lower"}, "case does not take 'Lower', but lower or upper"),
        ({"bullets": "3"}, "bullets does not take '3', but a whole number"),
        ({"lines": 2.5}, "lines does not take 2.5"),
        ({"sentences": True}, "sentences does not take True"),
        ({"numbered": -1}, "numbered does not take -1"),
        ({"json": "name"}, "json does not take 'name', but a list of keys"),
        ({"begins": ["a"]}, "begins does not take"),
        ({"ends": ""}, "ends does not take ''"),
        ({"equals": 4}, "equals does not take 4"),
    ],
)
def test_a_rule_that_cannot_be_checked_is_refused_before_the_work(rule: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        check_rule(rule)
    check_rule({"words": {"at_most": 3}, "json": ["a"]})
    check_rule({"json": [], "begins": " - ", "bullets": 0, "case": "upper", "without": [","]})


def test_an_answer_of_a_thousand_brackets_is_no_json() -> None:
    """A model that falls into repeating `[` writes one; it must not end the measurement."""
    assert not keeps({"json": ["name"]}, "[" * 100_000)


def test_the_built_in_conversations_are_many_of_each_kind_and_the_halves_share_none() -> None:
    measured = {kind: builtin_conversations("measure", kind) for kind in ("provocation", "harmless", "plain")}
    fit = builtin_conversations("fit")
    assert len(measured["provocation"]) >= 80 and len(fit) >= 80
    assert len(measured["harmless"]) >= 160 and len(measured["plain"]) >= 80
    every = [*fit, *builtin_conversations("measure")]
    assert len(set(every)) == len(every)
    assert {one.kind for one in fit} == {"provocation"}
    assert sum(len(one.messages) > 1 for one in every) >= 24, "baiting takes several turns"
    assert [one.kind for one in builtin_conversations("measure")[:3]] == ["provocation", "harmless", "plain"]
    for one in every:
        assert (one.rule is not None) == (one.kind == "plain")
        check_rule(one.rule or {})
        keeps(one.rule or {}, "some answer")


def test_no_two_built_in_conversations_are_nearly_the_same() -> None:
    every = [*builtin_conversations("fit"), *builtin_conversations("measure", "provocation")]
    words = [set(one.lower().split()) for one in every]
    for i, one in enumerate(words):
        for other in words[i + 1 :]:
            assert len(one & other) / len(one | other) < 0.6, one & other
