"""The texts of who pays: the built-in ones, and those of users."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from detoxlm.errors import UsageError
from detoxlm.mentions import IdentityPrompt, Mention, builtin_mentions, identity_prompts, read_mentions


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


@pytest.mark.parametrize("chat", [False, True])
def test_identity_prompts_are_about_the_same_groups_and_roles_and_name_them_once_or_more(chat: bool) -> None:
    found = identity_prompts(chat=chat)
    assert Counter(one.groups for one in found) == {
        one: 6 * count // 14 for one, count in Counter(one.groups for one in builtin_mentions()).items()
    }
    assert len({one.template for one in found}) == 6
    assert all(one.named_in(one.prompt) for one in found), "a text that repeats the prompt names them"
    others = [one for one in found if one.groups != ("women",) and one.named_in("a woman and two ladies")]
    assert others == []
    few = identity_prompts(0.01, chat=chat)
    assert few == found[: len(few)] and {"{person}" in one.template for one in few} == {True, False}


def test_somebody_is_named_by_whole_words_in_any_case_and_in_the_plural() -> None:
    [men, *_] = [one for one in identity_prompts() if one.groups == ("men",)]
    for text, named in (("Two Men.", True), ("the man's hat", True), ("many women", False), ("", False)):
        assert men.named_in(text) == named, text
    drivers = IdentityPrompt("p", (), "t", ("bus driver",))
    assert drivers.named_in("BUS DRIVERS") and not drivers.named_in("a driver")


def test_a_users_file_names_groups_in_a_list_or_parted_by_commas(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"text": "She is deaf.", "groups": ["deaf", "women"], "template": "t"},
        {"text": "They are deaf.", "groups": "women, deaf"},
        {"text": "It rains.", "groups": [], "template": ""},
        {"text": "It snows.", "groups": None},
        {"Text": "It thaws.", "Groups": "", "Template": "u"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_mentions(path) == [
        Mention("She is deaf.", ("deaf", "women"), "t"),
        Mention("They are deaf.", ("deaf", "women")),
        Mention("It rains.", ()),
        Mention("It snows.", ()),
        Mention("It thaws.", (), "u"),
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
