"""What is sent of a growing text, against the whole text."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from detoxlm.generation import decode
from detoxlm.models import Target
from detoxlm.serving.text import Text

WORDS = "naïve 🙂 cafés, 日本語; and the rest — of it"


def tokens(target: Target, text: str) -> list[int]:
    return list(target.tokenizer(text)["input_ids"])


@pytest.mark.parametrize("seed", range(8))
def test_parts_are_the_text_whatever_the_bytes(seed: int, tiny: Callable[..., Target]) -> None:
    target, rng = tiny(), random.Random(seed)
    ids = [rng.randrange(256) for _ in range(60)] if seed % 2 else tokens(target, WORDS) * 2
    text = Text(target)
    parts = [text.add(token) for token in ids]
    assert "".join(parts) + text.end() == decode(target, ids)


def test_no_part_ends_within_a_character(tiny: Callable[..., Target]) -> None:
    text = Text(tiny())
    assert "�" not in "".join(text.add(token) for token in tokens(tiny(), WORDS))


@pytest.mark.parametrize(
    ("stops", "want", "stopped"),
    [
        (["the"], "naïve 🙂 cafés, 日本語; and ", True),
        (["rest", "é"], "naïve 🙂 caf", True),
        (["🙂"], "naïve ", True),
        (["语", "of it!"], WORDS, False),  # begins like the end of the text, and is not there
        (["it"], WORDS[:-2], True),
    ],
)
def test_a_text_ends_before_the_first_stop_and_nothing_of_it_is_sent(
    stops: list[str], want: str, stopped: bool, tiny: Callable[..., Target]
) -> None:
    text, sent = Text(tiny(), stops), ""
    for token in tokens(tiny(), WORDS):
        sent += text.add(token)
        assert WORDS.startswith(sent)
        assert not any(stop in sent for stop in stops)
        if text.stopped:
            break
    assert sent + text.end() == want
    assert text.stopped is stopped
