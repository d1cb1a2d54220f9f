"""Losses, drift and continuation likelihood, held against plain loops over full forward passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from devices import as_row

from detoxlm.errors import DetoxError
from detoxlm.likelihood import continuation_nll, fluency_windows, measure_window
from detoxlm.metrics import METRICS
from detoxlm.models import Target
from detoxlm.results import Window

KINDS = ["gemma2", "gemma3_text", "gpt2", "gpt_neox", "gptj", "llama", "mistral", "opt", "phi", "qwen2"]
TEXT = "It was a bright cold day in April, and the clocks were striking thirteen. " * 12


class Counting:
    """A tokenizer whose tokens are the places of a text's letters, behind a special first token if it has one."""

    def __init__(self, bos_token_id: int | None = None) -> None:
        self.bos_token_id = bos_token_id

    def __call__(self, text: str) -> dict[str, list[int]]:
        first = [] if self.bos_token_id is None else [self.bos_token_id]
        return {"input_ids": first + list(range(len(text)))}


def one_token_a_letter(window: int | None) -> Any:
    """A target that cuts text without a model: token = place in the text."""
    return SimpleNamespace(
        tokenizer=Counting(),
        model=SimpleNamespace(
            config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=window))
        ),
    )


def log_probabilities(target: Target, ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities [T, V] after each token, from one plain forward pass of the whole model."""
    with torch.no_grad():
        return target.model(as_row(target, ids), use_cache=False).logits[0].float().log_softmax(-1)


def measured(target: Target, windows: Sequence[tuple[list[int], int]]) -> list[Window]:
    return [measure_window(target, ids, scored, None) for ids, scored in windows]


# --- windows --------------------------------------------------------------------------------------------------------


def test_every_window_begins_with_the_token_that_begins_every_text() -> None:
    target = one_token_a_letter(None)
    target.tokenizer = Counting(bos_token_id=99_999)
    windows = fluency_windows(target, "x" * 3000, 0)
    assert len(windows) > 3
    assert all(ids[0] == 99_999 and len(ids) <= 1024 for ids, _ in windows)
    assert [token for ids, scored in windows for token in ids[-scored:]] == list(range(3000))
    assert all(ids[1:] == list(range(ids[1], ids[1] + len(ids) - 1)) for ids, _ in windows)


LENGTHS = [0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 191, 192, 193, 511, 512, 513, 1023, 1024, 1025, 1536, 1537, 2500]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("window", [None, 2048, 1024, 128, 129, 7, 2])
def test_each_token_after_the_first_is_scored_once_with_enough_context(length: int, window: int | None) -> None:
    windows = fluency_windows(one_token_a_letter(window), "x" * length, 0)
    context = min(1024, window or 1024)
    scored = [token for ids, count in windows for token in ids[-count:]]
    assert scored == list(range(1, length))
    for ids, count in windows:
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert 1 <= count < len(ids) <= context
        first_scored = ids[-count]
        # all that there is before it, or at least half a window
        assert first_scored - ids[0] >= min(first_scored, context - context // 2)


@pytest.mark.parametrize(("maximum", "used"), [(0, 3000), (3000, 3000), (9999, 3000), (700, 700), (2, 2), (1, 0)])
def test_only_the_first_max_tokens_are_measured(maximum: int, used: int) -> None:
    windows = fluency_windows(one_token_a_letter(None), "x" * 3000, maximum)
    assert sum(count for _, count in windows) == max(0, used - 1)
    assert max((ids[-1] for ids, _ in windows), default=-1) == used - 1 if used else windows == []


def test_windows_are_those_of_the_stride_recipe() -> None:
    """Context 1,024 and stride 512: what is scored sees what Hugging Face's fixed-length recipe shows it, or more."""
    windows = fluency_windows(one_token_a_letter(None), "x" * 2600, 0)
    assert [(ids[0], ids[-1] + 1, count) for ids, count in windows] == [
        (0, 512, 511),
        (0, 1024, 512),
        (512, 1536, 512),
        (1024, 2048, 512),
        (1536, 2560, 512),
        (1576, 2600, 40),
    ]


# --- loss and drift -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [2, 60, 64])
def test_a_text_of_one_window_has_the_loss_of_one_forward_pass(
    kind: str, length: int, tiny: Callable[..., Target]
) -> None:
    target = tiny(kind)
    ids = target.tokenizer(TEXT)["input_ids"][:length]
    [(_, scored)] = windows = fluency_windows(target, TEXT, length)
    [window] = measured(target, windows)
    log_p = log_probabilities(target, ids)
    expected = -sum(float(log_p[i, ids[i + 1]]) for i in range(length - 1))
    assert window.tokens == scored == length - 1
    assert window.nll == pytest.approx(expected, rel=1e-5)
    assert window.kl is None


@pytest.mark.more
@pytest.mark.parametrize("kind", KINDS)
def test_stride_windows_equal_a_loop_over_single_tokens(kind: str, tiny: Callable[..., Target]) -> None:
    """128 positions and stride 64: token i is predicted from the start of the 128-token window that ends its stride."""
    target = tiny(kind)
    ids = target.tokenizer(TEXT)["input_ids"][:300]
    windows = measured(target, fluency_windows(target, TEXT, 300))
    expected = 0.0
    for i in range(1, 300):
        end = min((i // 64 + 1) * 64, 300)
        context = ids[max(0, end - 128) : i]
        expected -= float(log_probabilities(target, context)[-1, ids[i]])
    assert sum(window.nll for window in windows) == pytest.approx(expected, rel=1e-5)
    assert sum(window.tokens for window in windows) == 299


def test_a_window_longer_than_the_chunk_is_summed_whole(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny("llama")
    ids = target.tokenizer(TEXT)["input_ids"][:100]
    whole = measure_window(target, ids, 99, changed_by(target, 0.1))
    monkeypatch.setattr("detoxlm.likelihood._CHUNK", 7)
    parts = measure_window(target, ids, 99, changed_by(target, 0.1))
    assert parts.nll == pytest.approx(whole.nll, rel=1e-6)
    assert parts.kl == pytest.approx(whole.kl, rel=1e-6)


def changed_by(target: Target, amount: float) -> Callable[[], Any]:
    """A context in which one value matrix has noise added; it puts back the very same weight."""

    @contextmanager
    def attach() -> Iterator[None]:
        matrix = target.architecture.writers(2, "value")[0].matrix
        old = matrix.clone()
        matrix += amount * torch.randn(matrix.shape, generator=torch.Generator().manual_seed(5)).to(matrix.device)
        try:
            yield
        finally:
            matrix.copy_(old)

    return attach


@pytest.mark.parametrize("kind", KINDS)
def test_kl_and_loss_of_a_changed_model_equal_the_definition(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    ids = target.tokenizer(TEXT)["input_ids"][:90]
    scored = 50
    before = {name: weight.clone() for name, weight in target.model.state_dict().items()}
    attach = changed_by(target, 0.2)
    window = measure_window(target, ids, scored, attach)
    assert all(torch.equal(before[name], weight) for name, weight in target.model.state_dict().items())
    base = log_probabilities(target, ids)
    with attach():
        now = log_probabilities(target, ids)
    kl = nll = 0.0
    for i in range(90 - scored - 1, 89):
        kl += float((base[i].double().exp() * (base[i].double() - now[i].double())).sum())
        nll -= float(now[i, ids[i + 1]])
    assert window.tokens == scored
    assert kl > 0.1
    assert window.kl == pytest.approx(kl, rel=1e-4)
    assert window.nll == pytest.approx(nll, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_kl_of_a_model_to_itself_is_zero_and_its_loss_is_its_own(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    ids = target.tokenizer(TEXT)["input_ids"][:40]
    untouched = measure_window(target, ids, 39, None)
    same = measure_window(target, ids, 39, changed_by(target, 0.0))
    assert same.kl == 0.0
    assert same.nll == untouched.nll


@pytest.mark.parametrize("attached", [False, True])
def test_a_broken_model_has_no_loss_but_an_error(attached: bool, tiny: Callable[..., Target]) -> None:
    target = tiny("llama")

    @contextmanager
    def broken() -> Iterator[None]:
        weight = target.architecture.final_norm.weight
        old = weight.clone()
        weight[0] = torch.nan
        yield
        weight.copy_(old)

    ids = target.tokenizer(TEXT)["input_ids"][:20]
    with pytest.raises(DetoxError, match="NaN or infinite"):
        if attached:
            measure_window(target, ids, 19, broken)
        else:
            with broken():
                measure_window(target, ids, 19, None)


def test_a_model_far_off_has_a_huge_but_finite_perplexity(tiny: Callable[..., Target]) -> None:
    """exp overflows above 709 nats a token, and JSON has no infinity: results.json could not be read again."""
    target = tiny("llama")
    target.architecture.final_norm.weight.mul_(1e4)
    windows = measured(target, fluency_windows(target, TEXT, 300))
    assert sum(window.nll for window in windows) / 299 > 800
    estimate = METRICS["model_perplexity"].estimate([], windows)
    assert estimate is not None
    assert all(
        value is not None and 1e100 < value < math.inf for value in (estimate.value, estimate.low, estimate.high)
    )


# --- continuations --------------------------------------------------------------------------------------------------

PROMPTS = ["Once upon a time", "x", "The sliding windows of these models are eight tokens wide"]
CONTINUATIONS = [
    [" there was a very small house", "", "!"],
    [" marks the spot", " ", "yz"],
    ["", "\n\t", ""],
]


def naive_nll(judge: Target, prompt: str, continuation: str) -> tuple[float | None, int]:
    ids = judge.tokenizer(continuation, add_special_tokens=False)["input_ids"] if continuation.strip() else []
    if not ids:
        return None, 0
    before = judge.tokenizer(prompt)["input_ids"]
    log_p = log_probabilities(judge, before + ids)
    return -sum(float(log_p[len(before) + i - 1, token]) for i, token in enumerate(ids)), len(ids)


def check_against_naive(judge: Target, prompts: list[str], continuations: list[list[str]]) -> None:
    found = list(continuation_nll(judge, prompts, continuations))
    assert len(found) == len(prompts)
    for prompt, texts, (nll, tokens) in zip(prompts, continuations, found, strict=True):
        expected = [naive_nll(judge, prompt, text) for text in texts]
        assert tokens == [count for _, count in expected]
        assert [one is None for one in nll] == [one is None for one, _ in expected]
        for mine, (plain, _) in zip(nll, expected, strict=True):
            assert mine is None or mine == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("prompts", "continuations"),
    [
        (PROMPTS, CONTINUATIONS),
        (PROMPTS, [["a"], ["b"], [""]]),  # one token at most
        (PROMPTS[:1], [[" was a king"]]),
        (PROMPTS, [["", ""], ["", " "], ["", ""]]),
        (PROMPTS[1:], [["a", "", "b", " longer than its prompt"], ["", "", "", ""]]),
    ],
    ids=["unequal", "single tokens", "one", "all empty", "more samples"],
)
def test_continuations_have_the_likelihood_of_one_forward_pass_each(
    kind: str, prompts: list[str], continuations: list[list[str]], tiny: Callable[..., Target]
) -> None:
    check_against_naive(tiny(kind), prompts, continuations)


def test_spaces_alone_are_no_continuation(tiny: Callable[..., Target]) -> None:
    assert list(continuation_nll(tiny("llama"), ["x"], [[" ", "\n", ""]])) == [([None] * 3, [0] * 3)]


def test_a_judge_that_breaks_is_an_error(tiny: Callable[..., Target]) -> None:
    judge = tiny("llama")
    judge.architecture.embeddings.weight[ord("~") - 33] = torch.nan
    assert judge.tokenizer("~", add_special_tokens=False)["input_ids"] == [ord("~") - 33]
    with pytest.raises(DetoxError, match="NaN or infinite"):
        list(continuation_nll(judge, ["x"], [["ab~cd"]]))


@pytest.mark.embedded
def test_the_embedded_model_finds_the_true_continuation_likelier(embedded: Target) -> None:
    continuations = [[" Paris.", " Rome.", " banana banana"]]
    [(nll, tokens)] = continuation_nll(embedded, ["The capital of France is"], continuations)
    assert [round(one, 3) for one in nll if one is not None] == [
        round(naive_nll(embedded, "The capital of France is", text)[0] or 0, 3) for text in continuations[0]
    ]
    assert tokens == [2, 2, 2]
    assert nll == sorted(nll, key=lambda one: one or 0.0)
