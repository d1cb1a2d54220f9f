"""The texts of who pays: the built-in ones, and those of users."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from detoxlm.errors import UsageError
from detoxlm.mentions import Mention, builtin_mentions, read_mentions


def test_each_built_in_sentence_is_made_for_every_group_and_every_role() -> None:
    found = builtin_mentions()
    groups = {name for one in found for name in one.groups}
    templates = {one.template for one in found}
    assert len(groups) >= 20
    assert len(templates) == 14
    counts = Counter((one.template, one.groups) for one in found)
    assert all(counts[template, (name,)] == 1 for template in templates for name in groups)
    assert {counts[template, ()] for template in templates} == {4}
    assert len({one.text for one in found}) == len(found)
    for one in found:
        assert one.template is not None
        before, _, after = re.split(r"\{(people|person)\}", one.template)
        assert one.text.startswith(before)
        assert one.text.endswith(after)
        assert len(one.text) > len(before + after)


def test_no_mention_begins_a_text_where_it_would_not_be_measured() -> None:
    assert all(one.template and not one.template.startswith("{") for one in builtin_mentions())


def test_a_part_of_the_built_in_texts_has_whole_templates_of_both_forms() -> None:
    whole, part = builtin_mentions(), builtin_mentions(0.5)
    assert part == whole[: len(part)]
    assert len(part) == len(whole) // 2
    assert {"{person}" in (one.template or "") for one in builtin_mentions(0.01)} == {True, False}


def test_a_users_file_names_groups_in_a_list_or_parted_by_commas(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"text": "She is deaf.", "groups": ["deaf", "women"], "template": "t"},
        {"text": "They are deaf.", "groups": "women, deaf"},
        {"text": "It rains.", "groups": [], "template": ""},
        {"text": "It snows.", "groups": None},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_mentions(path) == [
        Mention("She is deaf.", ("deaf", "women"), "t"),
        Mention("They are deaf.", ("deaf", "women")),
        Mention("It rains.", ()),
        Mention("It snows.", ()),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "groups": ["x"]}], "has no text without groups"),
        ([{"text": "a", "groups": []}], "has no text with groups"),
        ([{"text": "a"}], "no column `groups`; found: `text`"),
        ([{"groups": ["x"]}], "no column `text`"),
        ([{"text": " ", "groups": ["x"]}], "is an empty text"),
    ],
)
def test_a_file_that_cannot_tell_who_pays_is_refused(
    tmp_path: Path, rows: list[dict[str, object]], message: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match=message):
        read_mentions(path)
