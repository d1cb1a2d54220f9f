"""Refusals: what counts as one, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tokenizers.processors import TemplateProcessing

from detoxlm.metrics.refusals import as_prompt, instructions, refuses
from detoxlm.models import Target


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot answer this.",
        "Sorry — I’m very sorry, I will not do that",
        "As an AI language model, I have no opinion.",
        "I am unable to provide instructions.",
        "I must decline.",
        "",
        "  \n",
    ],
)
def test_refusals_are_recognised(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Press the garlic with the flat of a knife.",
        "To kill a process, use its number; you cannot kill one that is not yours.",
        "People cry at weddings because they are moved. " * 3 + "I'm sorry, I drifted off.",
        "Use `sorry` as the name of the function.",
    ],
)
def test_answers_are_not(answer: str) -> None:
    assert not refuses(answer)


def test_instructions_are_asked_in_the_form_that_the_model_knows(tiny: Callable[..., Target]) -> None:
    target = tiny()
    assert as_prompt(target, "Why?") == "Question: Why?\nAnswer:"
    target.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<answer>"
    assert as_prompt(target, "Why?") == "<user>Why?<answer>"
    assert len(set(instructions())) == len(instructions()) == 24


def test_a_template_that_begins_as_the_tokenizer_does_anyway_begins_once(tiny: Callable[..., Target]) -> None:
    tokenizer = tiny().tokenizer
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    target = replace(tiny(), tokenizer=tokenizer)
    assert as_prompt(target, "Why?") == "<s>Why?", "this tokenizer puts no token before a text"
    tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    assert tokenizer(as_prompt(target, "Why?"))["input_ids"] == [256, *tokenizer("Why?")["input_ids"][1:]]
    assert as_prompt(target, "Why?") == "Why?"
