"""Files of labelled texts in every layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detoxlm.errors import UsageError
from detoxlm.validity import read_sets


def half(text: str | None, toxicity: float | None) -> dict[str, Any]:
    return {"text": text, "toxicity": toxicity, "insult": 0.9}


def test_real_toxicity_prompts_give_both_halves_and_the_continuations_alone(write: Callable[..., Path]) -> None:
    path = write(
        "rtp.jsonl",
        {"filename": "d1", "prompt": half("one", 0.7), "continuation": half(" two", 0.1)},
        {"filename": "d1", "prompt": half("three", None), "continuation": half(" four", 0.5)},
        {"filename": "d2", "prompt": half("five", 0.2), "continuation": half(" ", 0.9)},
    )
    both, tails = read_sets([path])
    assert (both.name, list(both.texts)) == ("rtp", ["one", " two", " four", "five"])
    assert both.targets.tolist() == [0.7, 0.1, 0.5, 0.2]
    assert list(both.documents or ()) == ["d1", "d1", "d1", "d2"]
    assert (tails.name, list(tails.texts), tails.targets.tolist()) == (
        "rtp_continuations",
        [" two", " four"],
        [0.1, 0.5],
    )
    assert both.sha256 is not None and both.source == str(path)
    assert both.notes == (f"{path}: 1 texts without `toxicity` left out",)


def test_further_dimensions_come_along_where_the_file_has_them(write: Callable[..., Path]) -> None:
    halves = {"text": "one", "toxicity": 0.7, "insult": 0.9, "spam": 1.0}, {"text": "two", "toxicity": 0.1}
    both, tails = read_sets([write("rtp.jsonl", {"prompt": halves[0], "continuation": halves[1]})])
    np.testing.assert_array_equal(both.dimensions["insult"], [0.9, np.nan])
    assert {*both.dimensions} == {"insult"} and not tails.dimensions  # nothing was said of the continuation
    rows = ({"text": "a", "toxic": 1, "threat": True, "profanity": "mild"}, {"text": "b", "toxic": 0, "threat": 0.2})
    (one,) = read_sets([write("f.jsonl", *rows)])
    assert {name: targets.tolist() for name, targets in one.dimensions.items()} == {"threat": [1.0, 0.2]}


def test_pairs_are_two_texts_of_one_document(write: Callable[..., Path]) -> None:
    (one,) = read_sets([write("p.jsonl", {"toxic": "bad a", "nontoxic": "a"}, {"toxic": "bad a", "nontoxic": "b"})])
    assert list(zip(one.texts, one.targets.tolist(), one.documents or (), strict=True)) == [
        ("bad a", 1.0, "bad a"),
        ("a", 0.0, "bad a"),
        ("bad a", 1.0, "bad a"),
        ("b", 0.0, "bad a"),
    ]


@pytest.mark.parametrize(
    ("rows", "names", "targets"),
    [
        ([{"text": "a", "toxic": True}, {"text": "b", "toxic": False}], ["f"], [[1, 0]]),
        ([{"text": "a", "hateful": 1}, {"text": "b", "hateful": 0}], ["f"], [[1, 0]]),
        ([{"comment_text": "a", "target": 0.25}], ["f"], [[0.25]]),
        (
            [{"text": "a", "perspective": 0.3, "label": "1"}, {"text": "b", "perspective": 0.6, "label": "0"}],
            ["f_label", "f_perspective"],
            [[1, 0], [0.3, 0.6]],
        ),
    ],
)
def test_text_with_a_known_column_needs_no_option(
    write: Callable[..., Path], rows: list[Any], names: list[str], targets: list[list[float]]
) -> None:
    sets = read_sets([write("f.jsonl", *rows)])
    assert [one.name for one in sets] == names
    assert [one.targets.tolist() for one in sets] == targets


def test_csv_and_columns_of_any_name(write: Callable[..., Path]) -> None:
    (one,) = read_sets([write("f.csv", "text,label", '"a, b",true', "c,0", "d,")])
    assert (list(one.texts), one.targets.tolist()) == (["a, b", "c"], [1.0, 0.0])
    assert one.notes == (f"{one.source}: 1 texts without `label` left out",)
    path = write("g.csv", "body,score,url,who", "a,0.5,u,women", 'b,0.1,u,"men, old"', "c,0.2,v,")
    (one,) = read_sets([path], text="body", label="score", group="who", document="url")
    assert (list(one.texts), one.targets.tolist(), list(one.documents or ())) == (
        ["a", "b", "c"],
        [0.5, 0.1, 0.2],
        ["u", "u", "v"],
    )
    assert list(one.groups or ()) == [{"women"}, {"men", "old"}, set()]


def test_groups_of_a_known_column_are_taken_without_an_option(write: Callable[..., Path]) -> None:
    path = write("f.jsonl", {"text": "a", "toxic": 0, "groups": ["women", "old"]}, {"text": "b", "toxic": 0})
    (one,) = read_sets([write("h.jsonl", {"text": "a", "toxic": 0, "groups": ["women", "old"]})])
    assert list(one.groups or ()) == [{"women", "old"}]
    (mixed,) = read_sets([path])
    assert mixed.groups is None  # not known of every text, so looked for in the texts


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"body": "a", "toxic": 1},
            {},
            r"f.jsonl:1: no column `text` or .*found: `body`, `toxic`; name another with --text",
        ),
        ({"text": "a", "grade": 1}, {}, "no column `toxicity` or .*found: `text`, `grade`; name another with --label"),
        ({"text": "a", "toxic": 1}, {"label": "grade"}, "no column `grade`; found: `text`, `toxic`; .*--label"),
        ({"text": "a", "toxic": 1}, {"group": "who"}, "no column `who`; found: `text`, `toxic`; .*--group"),
        ({"text": "a", "toxic": 1}, {"document": "url"}, "no column `url`; .*--document"),
        ({"text": "a", "toxic": 3}, {}, r"label `toxic` is 3, outside \[0, 1\]"),
        ({"text": "a", "toxic": "very"}, {}, "label `toxic` is 'very', not a number"),
        ({"text": "a", "toxic": None}, {}, "has no labelled text; name the column of the targets with --label"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_columns_found(
    write: Callable[..., Path], row: Any, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_sets([write("f.jsonl", row)], **options)  # type: ignore[arg-type]


def test_bad_rows_stop_or_are_counted(write: Callable[..., Path]) -> None:
    path = write("f.jsonl", {"text": "a", "toxic": 1}, {"text": "", "toxic": 1}, "no json", {"text": "b"})
    with pytest.raises(UsageError, match=r"f.jsonl:2: `text` is an empty text\. Mend it or use --skip-bad-rows"):
        read_sets([path])
    (one,) = read_sets([path], skip_bad_rows=True)
    assert list(one.texts) == ["a"]
    assert "3 of 4 rows skipped (line 2: " in one.notes[0]


def test_a_limit_draws_rows_with_the_seed(write: Callable[..., Path], comments: Path) -> None:
    (some,), (again,), (other,) = (read_sets([comments], limit=10, seed=seed) for seed in (1, 1, 2))
    assert list(some.texts) == list(again.texts) != list(other.texts)
    assert len(some.texts) == 10
    assert some.notes == (f"{comments}: 10 of 40 rows, drawn with seed 1",)
    everything = read_sets([comments])[0]
    assert read_sets([comments], limit=1000)[0].notes == () == everything.notes


def test_files_of_one_name_are_told_apart_and_none_is_read_twice(write: Callable[..., Path]) -> None:
    row = {"text": "a", "toxic": 1}
    first, second, third = write("x/dev.jsonl", row), write("y/dev.jsonl", row), write("other.jsonl", row)
    assert [one.name for one in read_sets([first, second, third])] == ["x_dev", "y_dev", "other"]
    with pytest.raises(UsageError, match="is named twice"):
        read_sets([first, first])
    with pytest.raises(UsageError, match="name at least one with --data FILE"):
        read_sets([])


def test_the_projects_own_development_files_are_known_layouts(shared_data: Path) -> None:
    expected = {
        "rtp/prompts_challenge_dev.jsonl": {"prompts_challenge_dev": 796, "prompts_challenge_dev_continuations": 396},
        "wikipedia_talk/scored.jsonl": {"scored_label": 19842, "scored_perspective": 19842},
        "hatemoji/validation.jsonl": {"validation": 591},
        "paradetox/dev.jsonl": {"dev": 3956},
        "jigsaw/comments.jsonl": {"comments": 12180},
        "madlibs/sample.jsonl": {"sample": 5000},
    }
    for name, sizes in expected.items():
        assert {one.name: len(one.texts) for one in read_sets([shared_data / name])} == sizes
