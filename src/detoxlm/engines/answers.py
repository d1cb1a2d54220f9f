"""The answers of endpoints that speak the OpenAI API's protocol: texts, thoughts, and how many tokens they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from detoxlm.errors import DetoxError
from detoxlm.thinking import MARKS


@dataclass(frozen=True)
class Choices:
    """What came for one prompt; lists have an entry for each continuation."""

    texts: list[str]
    #: What was thought before each; None: nothing.
    thoughts: list[str | None]
    #: Tokens of each, the end token not counted where the server does not count it; empty: not known.
    lengths: list[int]
    #: What the server says of the detoxifier that acted: `method` and `strength`; None: it says nothing.
    detoxifier: dict[str, Any] | None

    def and_more(self, other: Choices) -> Choices:
        """Return these and further ones of the same prompt."""
        known = bool(self.lengths and other.lengths)
        return Choices(
            self.texts + other.texts,
            self.thoughts + other.thoughts,
            self.lengths + other.lengths if known else [],
            self.detoxifier,
        )


def choices_of(response: httpx.Response, chat: bool, most: int) -> Choices:
    """Read an answer to a request for `most` continuations; there may be fewer.

    Raises:
        DetoxError: it is no such answer.
    """
    try:
        found = response.json()
        choices = sorted(found["choices"], key=lambda one: one.get("index", 0))[:most]
        pairs = [_answer(one["message"]) if chat else (None, str(one["text"])) for one in choices]
        lengths = _lengths(choices, found.get("usage"), chat)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DetoxError(f"engine: the answer is none of the OpenAI API ({type(error).__name__}).") from None
    if not pairs:
        raise DetoxError("engine: the answer has no choices.")
    said = found.get("detoxlm")
    return Choices(
        [text for _, text in pairs],
        [thought for thought, _ in pairs],
        lengths,
        {key: said.get(key) for key in ("method", "strength")} if isinstance(said, dict) else None,
    )


def log_probabilities_of(response: httpx.Response) -> list[float | None]:
    """Return the log-probabilities of a prompt's tokens that `echo` tells; the first token has none.

    Raises:
        DetoxError: there are none.
    """
    try:
        return list(response.json()["choices"][0]["logprobs"]["token_logprobs"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DetoxError(f"engine: the answer has no log-probabilities ({type(error).__name__}).") from None


def _answer(message: dict[str, Any]) -> tuple[str | None, str]:
    """Return what a message says was thought, and the answer; servers that do not part them leave the marks.

    Where the thinking does not end, there is no answer: "". That is seen if it begins with a mark.
    """
    text = message.get("content") or ""
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought:
        return str(thought).strip(), text
    for begin, end in MARKS:
        opened = text.lstrip().startswith(begin)
        if opened or (end in text and begin not in text):
            before, _, after = text.partition(end)
            return before.replace(begin, "", 1).strip(), after.strip()
    return None, text


def _lengths(choices: list[dict[str, Any]], usage: dict[str, Any] | None, chat: bool) -> list[int]:
    """Return the tokens of each choice: by its log-probabilities, or of one alone by the usage."""
    kept = [(one.get("logprobs") or {}).get("content" if chat else "tokens") for one in choices]
    if None not in kept:
        return [len(one or ()) for one in kept]
    if len(choices) == 1 and usage and isinstance(usage.get("completion_tokens"), int):
        return [usage["completion_tokens"]]
    return []
