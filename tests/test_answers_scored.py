"""Answers as they are scored: without what was thought, with their worst windows, and held to the untouched model."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from devices import as_row
from fits import fit

from detoxlm.conversations import Conversation
from detoxlm.generation import encode, generate
from detoxlm.models import Target
from detoxlm.recipes import RECIPES, Task, measure
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.windows import WORDS, score_windows, windows
from detoxlm.settings import EvaluateSettings
from detoxlm.thinking import told_apart
from detoxlm.workflows import task_of

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


class SwearScorer(Scorer):
    """Toxicity = share of `damn` among the words."""

    name, version, revision = "swear", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([text.split().count("damn") / len(text.split()) for text in texts])


def test_windows_have_every_word_whole_sentences_first_and_none_lies_in_another() -> None:
    draw = random.Random(0)
    for _ in range(300):
        text = " ".join(draw.choice(["a", "bb", "ccc.", "Dd", "e!", "f?\n"]) for _ in range(draw.randint(0, 120)))
        spans = windows(text)
        assert all(0 < len(text[begin:end].split()) <= WORDS for begin, end in spans)
        covered = {place for span in spans for place in range(*span)}
        assert all(place in covered or character.isspace() for place, character in enumerate(text))
        assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(spans))


def test_a_window_begins_at_each_sentence_and_a_long_one_is_read_in_overlapping_pieces() -> None:
    ten = " ".join(f"W{i}" for i in range(9)) + " End."
    text = f"{ten} {ten} {ten} {ten}"
    assert [text[a:b] for a, b in windows(text)] == [f"{ten} {ten}"] * 3
    endless = " ".join(f"w{i}" for i in range(60))
    assert [(endless[a:b].split()[0], endless[a:b].split()[-1]) for a, b in windows(endless)] == [
        ("w0", "w23"),
        ("w12", "w35"),
        ("w24", "w47"),
        ("w36", "w59"),
    ]
    assert windows("") == [] and windows(" short text ") == [(1, 11)]


def test_a_text_is_as_toxic_as_its_worst_window() -> None:
    calm = "This is a calm sentence of just ten words, believe me. "
    text = calm * 4 + "You damn fool. " + calm * 4
    scores, where = score_windows(SwearScorer(), [text, "", calm])
    spans = windows(text)
    expected = SwearScorer().score([text[a:b] for a, b in spans])
    assert scores.tolist() == [expected.max(), 0.0, 0.0]
    assert where[0] == spans[int(expected.argmax())] and "damn" in text[slice(*where[0])]
    assert where[1] is None
    assert scores[0] > SwearScorer().score([text])[0], "which reading it whole would have watered down"


def test_thinking_is_told_apart_by_the_marks_of_the_template(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    prompt = Conversation([{"role": "user", "content": "Why?"}])

    def parts(text: str, template: str) -> tuple[str | None, str]:
        target.tokenizer.chat_template = template
        return told_apart(target, prompt, target.tokenizer(text, add_special_tokens=False)["input_ids"])

    thinks = TEMPLATE + "{# </think> #}"
    assert parts("<think>Hm.</think> Because.", thinks) == ("Hm.", "Because.")
    assert parts("Because.", thinks) == (None, "Because.")
    assert parts("<think>Hm. And so", thinks) == ("Hm. And so", "")
    assert parts("Hm.</think>Because.", thinks + "<think>") == ("Hm.", "Because."), "the template opened it"
    assert parts("<think>Hm.</think> Because.", TEMPLATE) == (None, "<think>Hm.</think> Because.")
    assert told_apart(target, "plain", list(b"<think>x</think>y"))[0] is None


@pytest.fixture
def chatty(tiny: Callable[..., Target]) -> Target:
    target = tiny("llama")
    target.tokenizer.chat_template = TEMPLATE
    return target


def small(**changes: Any) -> Task:
    prompts = task_of(EvaluateSettings(recipe="chat", limit=6), None).prompts
    recipe = RECIPES["chat"].changed(max_new_tokens=12)
    values: dict[str, Any] = {"fluency_text": None, "fluency_source": "none", "batch_size": 4}
    return Task(
        recipe,
        [
            Conversation([{"role": "user", "content": one[:20]}], kind=one.kind, rule=one.rule)
            for one in prompts
            if isinstance(one, Conversation)
        ],
        "test",
        **values,
        **changes,
    )


def test_the_recipe_measures_each_kind_by_what_was_asked(chatty: Target, letter_scorer: Scorer) -> None:
    target = chatty
    detoxifier = fit(target, "fusion", letter_scorer)
    base = measure(target, small(), letter_scorer)
    results = measure(target, small(), letter_scorer, detoxifier=detoxifier, strength=1.0, baseline=base)
    assert [row.kind for row in results.rows] == ["provocation", "harmless", "plain"] * 2
    assert {"refused_fraction", "refused_by_list", "instructions_kept", "answer_kl"} <= set(results.metrics)
    assert "answer_kl" not in base.metrics and results.settings["window_words"] == WORDS
    assert results.comparison is not None and "refused_fraction" in results.comparison.difference
    for row in results.rows:
        [text], [score], [where] = row.continuations, row.scores, row.where
        assert (where is None) == (not text.strip())
        if where is not None:
            assert score == letter_scorer.score([text])[0], "an answer is scored whole"
            assert where in windows(text)
        assert row.kl == [None] or row.kind != "provocation"
    row = next(row for row in results.rows if row.kl[0] is not None)
    prompt = next(one for one in small().prompts if one == row.prompt)
    with detoxifier.attached(target.model, 1.0):
        said = drawn(target, prompt)
    ids = encode(target, prompt, None) + said
    with torch.inference_mode():
        log_base = target.model(as_row(target, ids)).logits[0].log_softmax(-1)
        with detoxifier.attached(target.model, 1.0):
            log_p = target.model(as_row(target, ids)).logits[0].log_softmax(-1)
    here = slice(len(ids) - len(said) - 1, len(ids) - 1)
    kl = float((log_base[here].exp() * (log_base[here] - log_p[here])).sum())
    assert row.kl[0] == pytest.approx(kl, rel=1e-3)


def drawn(target: Target, prompt: str) -> list[int]:
    return next(generate(target, [prompt], small().recipe.sampling)).generations[0].token_ids[0]
