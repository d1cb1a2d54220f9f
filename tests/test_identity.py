"""Identity terms and their groups, matched as words."""

from __future__ import annotations

import pytest

from detoxlm.identity import IDENTITY_GROUPS, mentioned_groups, mentioned_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Women and GAY men", {"woman", "gay", "man"}),
        ("the mankind of Manchester, whitelisted, a germane blackboard", set()),
        ("an African-American writer", {"african", "african american", "american"}),
        ("that woman's non-binary friend", {"woman", "nonbinary"}),
        ("Jews, Muslims; Christians.", {"jew", "muslim", "christian"}),
        ("blindly, deafening, olden, youngest", set()),
        ("", set()),
    ],
)
def test_terms_are_words_and_never_inside_one(text: str, terms: set[str]) -> None:
    assert mentioned_terms([text]) == [terms]


def test_groups_gather_their_terms_and_no_form_belongs_to_two() -> None:
    assert mentioned_groups(["homosexuals, a lesbian and her refugees", "nobody"]) == [
        {"gay", "lesbian", "refugees"},
        set(),
    ]
    forms = [form for terms in IDENTITY_GROUPS.values() for form in terms.replace("/", " ").split()]
    assert len(forms) == len(set(forms))
