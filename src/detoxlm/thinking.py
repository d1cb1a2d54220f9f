"""Reasoning models write what they think before they answer, between marks that their chat template knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detoxlm.conversations import Conversation, rendered, template_of
from detoxlm.generation import decode
from detoxlm.models import Target

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Marks around thinking: those of Qwen and DeepSeek, and of others.
MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
)


def marks_of(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str] | None:
    """Return the marks that the chat template knows; None: this model does not think before it answers."""
    template = template_of(tokenizer) or ""
    return next((pair for pair in MARKS if pair[1] in template), None)


def told_apart(target: Target, prompt: str, ids: Sequence[int]) -> tuple[str | None, str]:
    """Return what a model thought and what it answered; a text that has no thinking part is all answer, and None.

    Args:
        target: the model.
        prompt: what was asked; templates of some models open the thinking themselves.
        ids: the tokens that it wrote.

    Where the thinking does not end, there is no answer: "".
    """
    marks = marks_of(target.tokenizer) if isinstance(prompt, Conversation) else None
    if marks is None or not isinstance(prompt, Conversation):
        return None, decode(target, list(ids))
    begin, end = marks
    special = end in target.tokenizer.all_special_tokens  # which `decode` drops
    text = str(target.tokenizer.decode(ids)) if special else decode(target, list(ids))
    asked = rendered(target.tokenizer, target.name, prompt)
    opened = asked.rfind(begin) > asked.rfind(end)
    if not (opened or text.lstrip().startswith(begin)):
        return None, text
    thought, _, answer = text.partition(end)
    return thought.replace(begin, "", 0 if opened else 1).strip(), answer.strip()
