"""Answers in OpenAI's form: whole, and in parts as they come."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from detoxlm.generation import decode
from detoxlm.models import Target
from detoxlm.serving.rows import Drawn, Piece
from detoxlm.serving.text import Text


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
    """Return what was read and written, tokens; the tokens that end texts are not counted."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


@dataclass
class Written:
    """One continuation, as far as it has come."""

    text: str = ""
    drawn: list[Drawn] = field(default_factory=list)
    finish: str | None = None

    def add(self, piece: Piece) -> None:
        """Take what came."""
        self.text += piece.text
        self.drawn += piece.drawn
        self.finish = piece.finish


class _Offsets:
    """Where in the text that is sent each token begins; tokens that share a character, all where it begins."""

    def __init__(self, target: Target) -> None:
        self._text, self._place = Text(target), 0

    def of(self, drawn: Sequence[Drawn], sent: str) -> list[int]:
        """Return the offsets of the next tokens, characters; `sent` is the text that comes with them."""
        found = []
        for one in drawn:
            found.append(self._place)
            new = self._text.add(one.token)
            if not self._place and sent and not sent.startswith(" "):
                new = new.removeprefix(" ")  # SentencePiece writes one before a prompt, which as it is told has none
            self._place += len(new)
        return found


class Answers:
    """Makes the answers to one request."""

    def __init__(
        self,
        target: Target,
        model: str,
        detoxifier: dict[str, Any],
        *,
        chat: bool,
        logprobs: bool,
        explain: bool,
    ) -> None:
        """Take the model and its name, what acted on it, and the kind of request."""
        self._target, self._chat, self._logprobs, self._explain = target, chat, logprobs, explain
        self._offsets: dict[int, _Offsets] = {}
        #: The texts of tokens that were told: the likeliest ones come again and again.
        self._texts: dict[int, str] = {}
        self._begun: set[int] = set()
        kind = "chat.completion" if chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
            "detoxlm": detoxifier,
        }

    def whole(self, written: Sequence[Written], used: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request that does not stream."""
        choices = [self._choice(i, one.text, one.drawn, one.finish) for i, one in enumerate(written)]
        for choice in choices:
            if self._chat:
                text = choice.pop("text")
                choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        return {**self._head, "choices": choices, "usage": used}

    def part(self, index: int, piece: Piece) -> dict[str, Any]:
        """Return a part of a stream."""
        choice = self._choice(index, piece.text, piece.drawn, piece.finish)
        if self._chat:
            text = choice.pop("text")
            role = {} if index in self._begun else {"role": "assistant"}
            self._begun.add(index)
            choice["delta"] = {**role, "content": text}
        return self._part([choice])

    def last(self, used: dict[str, Any]) -> dict[str, Any]:
        """Return the part that has the usage, behind all others."""
        return {**self._part([]), "usage": used}

    def _part(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": choices}

    def _choice(self, index: int, text: str, drawn: Sequence[Drawn], finish: str | None) -> dict[str, Any]:
        logprobs = None
        if self._logprobs:
            logprobs = (
                {"content": self._chat_logprobs(drawn), "refusal": None}
                if self._chat
                else self._old(index, drawn, text)
            )
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        if self._explain:
            choice["detoxlm"] = {"instead": [self._text(one.instead) for one in drawn if one.instead is not None]}
        return choice

    def _chat_logprobs(self, drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
        def entry(token: int, logprob: float | None) -> dict[str, Any]:
            text = self._text(token)
            whole = "�" not in text  # a part of a character has no text of its own
            return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if whole else None}

        return [
            {**entry(one.token, one.logprob), "top_logprobs": [entry(*other) for other in one.top]} for one in drawn
        ]

    def _old(self, index: int, drawn: Sequence[Drawn], sent: str) -> dict[str, Any]:
        """Return log-probabilities as completions have them: lists beside each other."""
        return {
            "tokens": [self._text(one.token) for one in drawn],
            "token_logprobs": [one.logprob for one in drawn],
            "top_logprobs": [self._likeliest(one) for one in drawn],
            "text_offset": self._offsets.setdefault(index, _Offsets(self._target)).of(drawn, sent),
        }

    def _likeliest(self, one: Drawn) -> dict[str, float] | None:
        """Return the likeliest tokens by text; of two with one text, such as parts of a character, the likelier."""
        if one.logprob is None:
            return None
        return {self._text(token): value for token, value in reversed(one.top)}

    def _text(self, token: int) -> str:
        """Return the text of a token within others: at a text's beginning some tokenizers would drop its space."""
        if token not in self._texts:
            self._texts[token] = decode(self._target, [token], special=True)
        return self._texts[token]
