"""Tokens by themselves, where a tokenizer drops the space that a text begins with (Llama 2, Mistral)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizing import sentencepiece_tokenizer

from detoxlm.generation import decode
from detoxlm.serving.answers import Answers, Written, usage
from detoxlm.serving.rows import Drawn, Piece

TARGET: Any = SimpleNamespace(tokenizer=sentencepiece_tokenizer())
VOCABULARY = TARGET.tokenizer.get_vocab()


def tokens(*pieces: str) -> list[int]:
    return [VOCABULARY[piece] for piece in pieces]


SMILE = [f"<0x{byte:02X}>" for byte in "🙂".encode()]
PIECES = ["▁h", "e", "l", "l", "o", "▁", *SMILE, "▁a", "</s>", "b"]
SPOKEN = [" h", "e", "l", "l", "o", " ", *"����", " a", "</s>", "b"]
PLACES = [0, 2, 3, 4, 5, 6, 7, 7, 7, 7, 8, 10, 10]


def answers(chat: bool = False) -> Answers:
    return Answers(TARGET, "m", {}, chat=chat, logprobs=True, explain=True)


def drawn() -> list[Drawn]:
    (spaced, plain), ids = tokens("▁a", "a"), tokens(*PIECES)
    return [Drawn(token, -1.0, ((spaced, -0.5), (plain, -2.0)), instead=spaced) for token in ids]


def test_tokens_keep_their_spaces_and_begin_where_the_text_has_them() -> None:
    text = decode(TARGET, tokens(*PIECES))
    assert text == " hello 🙂 ab"
    (choice,) = answers().whole([Written(text, drawn(), "stop")], usage(1, 1, 0))["choices"]
    told = choice["logprobs"]
    assert told["tokens"] == SPOKEN
    assert told["text_offset"] == PLACES
    assert told["top_logprobs"] == [{" a": -0.5, "a": -2.0}] * len(PIECES)
    assert choice["detoxlm"]["instead"] == [" a"] * len(PIECES)
    for token, place in zip(told["tokens"], told["text_offset"], strict=True):
        assert token in ("�", "</s>") or text[place:].startswith(token)


def test_parts_of_a_stream_go_on_where_the_last_one_ended() -> None:
    answer, found = answers(), []
    for one, text in zip(drawn(), [" h", "e", "l", "l", "o", " ", "", "", "", "🙂", " a", "", "b"], strict=True):
        found += answer.part(0, Piece(0, text, [one]))["choices"][0]["logprobs"]["text_offset"]
    assert found == PLACES


@pytest.mark.parametrize("prompt", ["hello", " hello"])
def test_a_prompt_that_is_told_has_no_space_of_the_decoders(prompt: str) -> None:
    ids = TARGET.tokenizer(prompt)["input_ids"]
    told = [Drawn(token) for token in (*ids, *tokens("▁a"))]
    (choice,) = answers().whole([Written(f"{prompt} a", told, "stop")], usage(1, 1, 0))["choices"]
    assert choice["logprobs"]["text_offset"][-1] == len(prompt)
    assert choice["logprobs"]["text_offset"][0] == 0


def test_in_chat_the_bytes_of_a_token_are_its_own() -> None:
    (choice,) = answers(chat=True).whole([Written("", drawn(), "stop")], usage(1, 1, 0))["choices"]
    first, second = choice["logprobs"]["content"][:2]
    assert (first["token"], first["bytes"], second["bytes"]) == (" h", list(b" h"), list(b"e"))
    assert [one["token"] for one in first["top_logprobs"]] == [" a", "a"]
