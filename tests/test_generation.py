"""Generation, held against transformers' own and against brute force."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from devices import as_row, cpu_only, encoded
from tokenizers.processors import TemplateProcessing
from tokenizing import sentencepiece_tokenizer, spaced

from detoxlm import generation
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import (
    Batch,
    Sampling,
    decode,
    describe_prompts,
    encode,
    encode_after,
    generate,
    next_token,
    trimmed,
)
from detoxlm.models import Target
from detoxlm.passages import passages

KINDS = ["gemma2", "gemma3_text", "gpt2", "gpt_neox", "gptj", "llama", "mistral", "opt", "phi", "qwen2"]
# of unlike lengths; longer and shorter than the sliding windows of 8
PROMPTS = [
    "Hello, my name is",
    "a",
    "The quick brown fox jumps over the lazy dog and then some more",
    "No",
    "To be, or not",
    "été à Paris",
    "1 2 3 4 5 6 7",
]
NUCLEUS = Sampling(max_new_tokens=10, temperature=1.0, top_p=0.9, seed=3)


def flat(batches: Iterator[Batch], n_prompts: int) -> list[list[list[int]]]:
    """Token ids [prompt][sample][token], in the order of the prompts."""
    found = {g.index: g.token_ids for batch in batches for g in batch.generations}
    assert sorted(found) == list(range(n_prompts))
    return [found[i] for i in range(n_prompts)]


def ids_of(target: Target, prompts: list[str], sampling: Sampling, batch_size: int = 32) -> list[list[list[int]]]:
    return flat(generate(target, prompts, sampling, batch_size=batch_size), len(prompts))


def end_with(target: Target, token: int) -> None:
    """Make `token` the model's end token."""
    target.model.generation_config.eos_token_id = token


# --- against transformers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_transformers_generate_on_prompts_of_unlike_length(
    kind: str, tiny: Callable[..., Target]
) -> None:
    target = tiny(kind)
    mine = ids_of(target, PROMPTS, Sampling(max_new_tokens=16))
    for prompt, [ids] in zip(PROMPTS, mine, strict=True):
        inputs = encoded(target, prompt)
        out = target.model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=False, max_new_tokens=16
        )
        expected = out[0, inputs["input_ids"].shape[1] :].tolist()
        if 257 in expected:
            expected = expected[: expected.index(257)]
        assert ids == expected, prompt
    assert len({tuple(row[0]) for row in mine}) > 1  # the models do tell the prompts apart


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=12), NUCLEUS], ids=["greedy", "nucleus"])
def test_batch_size_and_order_do_not_change_a_token(kind: str, sampling: Sampling, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    alone = ids_of(target, PROMPTS, sampling, batch_size=1)
    assert ids_of(target, PROMPTS, sampling, batch_size=32) == alone
    assert ids_of(target, PROMPTS, sampling, batch_size=3) == alone
    assert ids_of(target, PROMPTS[::-1], sampling, batch_size=4) == alone[::-1]
    assert ids_of(target, PROMPTS[2:4], sampling) == alone[2:4]  # nor do the other prompts


@cpu_only  # elsewhere batches of other shapes round otherwise, which now and then is another token
@pytest.mark.parametrize("kind", KINDS)
def test_several_samples_are_what_each_sample_would_be_alone(kind: str, tiny: Callable[..., Target]) -> None:
    """The prompt is read once and its cache repeated; a fresh read of the prompt for each sample must agree."""
    target = tiny(kind)
    sampling = NUCLEUS.model_copy(update={"samples": 5})
    mine = ids_of(target, PROMPTS[:3], sampling)
    for prompt, samples in zip(PROMPTS[:3], mine, strict=True):
        noise = generation.noise_of([prompt], sampling)
        for sample, ids in enumerate(samples):
            assert ids == naive_sample(target, prompt, sampling, noise[sample])
    assert all(len({tuple(ids) for ids in samples}) == 5 for samples in mine)
    fewer = ids_of(target, PROMPTS[:3], NUCLEUS.model_copy(update={"samples": 2}), batch_size=3)
    assert fewer == [samples[:2] for samples in mine]


def naive_sample(target: Target, prompt: str, sampling: Sampling, noise: torch.Tensor) -> list[int]:
    """Sample with a full forward pass per token and a nucleus found by a plain loop."""
    ids = target.tokenizer(prompt)["input_ids"]
    made: list[int] = []
    for uniform in noise.tolist():
        with torch.no_grad():
            logits = target.model(as_row(target, ids + made)).logits[0, -1]
        token = invert(reference_distribution(logits, sampling), sampling, uniform)
        if token == 257:
            break
        made.append(token)
    return made


# --- randomness -----------------------------------------------------------------------------------------------------


def test_seeds_decide_and_nothing_else_does(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    first = ids_of(target, PROMPTS, NUCLEUS)
    torch.manual_seed(99)
    assert ids_of(target, PROMPTS, NUCLEUS) == first
    other = ids_of(target, PROMPTS, NUCLEUS.model_copy(update={"seed": 4}))
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_streams_of_prompts_samples_and_seeds_all_differ_and_are_uniform() -> None:
    noises = [
        generation.noise_of(["x", "y", "1\0x"], Sampling(max_new_tokens=2000, samples=3, seed=seed)) for seed in (0, 1)
    ]
    rows = torch.cat(noises)
    assert rows.shape == (2 * 3 * 3, 2000)
    assert float(rows.min()) >= 0 and float(rows.max()) < 1
    for a, b in itertools.combinations(rows, 2):
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.1  # 4.5 standard deviations
    counts = torch.histc(rows, bins=10, min=0, max=1) / rows.numel()
    assert float((counts - 0.1).abs().max()) < 0.01


def test_a_longer_run_starts_with_the_shorter_ones_tokens(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    longer = ids_of(target, PROMPTS, NUCLEUS.model_copy(update={"max_new_tokens": 30}))
    shorter = ids_of(target, PROMPTS, NUCLEUS)
    assert [[ids[:10] for ids in row] for row in longer] == shorter


def test_the_noise_of_a_seed_prompt_and_sample_never_changes() -> None:
    """Not in another process, on another machine or in another version: these numbers were drawn once and for all."""
    noise = generation.noise_of(["Hello", "é"], Sampling(max_new_tokens=2, samples=2, seed=7))
    assert noise.tolist() == [
        [0.7995274197314645, 0.8805433335016104],
        [0.18433925291073183, 0.6734698397978235],
        [0.5364078607651133, 0.059196625338561404],
        [0.1584313551078408, 0.612874645361054],
    ]


def test_lone_surrogates_in_a_prompt_have_a_stream_too() -> None:
    assert generation.noise_of(["\ud800"], Sampling(max_new_tokens=1)).shape == (1, 1)


# --- the draw of one token ------------------------------------------------------------------------------------------

GRID = torch.arange(0, 1, 1 / 2000, dtype=torch.float64) + 1 / 4001


def reference_distribution(logits: torch.Tensor, sampling: Sampling) -> dict[int, float]:
    """The renormalised probabilities of temperature, then top-k, then top-p, in plain Python and float64."""
    p = (logits.double() / sampling.temperature).softmax(-1).tolist()
    ranked = sorted(range(len(p)), key=lambda i: -p[i])
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    total = sum(p[i] for i in ranked)
    kept: dict[int, float] = {}
    mass = 0.0
    for i in ranked:
        if mass >= sampling.top_p and kept:
            break
        kept[i] = p[i] / total
        mass += p[i] / total
    return {i: q / sum(kept.values()) for i, q in kept.items()}


def invert(kept: dict[int, float], sampling: Sampling, uniform: float) -> int:
    """Invert a cumulative distribution: likeliest first, or by id where no token is cut off."""
    order = list(kept) if sampling.top_p < 1 or sampling.top_k else sorted(kept)
    for token, reached in zip(order, itertools.accumulate(kept[i] for i in order), strict=True):
        if uniform < reached:
            return token
    return order[-1]


def random_logits(size: int, spread: float, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * spread


SAMPLINGS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.5),
    Sampling(temperature=2.5, top_p=0.9),
    Sampling(temperature=1.0, top_p=0.9),
    Sampling(temperature=1.0, top_p=0.3),
    Sampling(temperature=1.0, top_p=1e-6),
    Sampling(temperature=1.0, top_k=1),
    Sampling(temperature=1.0, top_k=7),
    Sampling(temperature=1.0, top_k=7, top_p=0.5),
    Sampling(temperature=0.7, top_k=40, top_p=0.95),
    Sampling(temperature=1.0, top_k=10_000, top_p=0.9),
    Sampling(temperature=1.0, top_k=10_000),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: f"T{s.temperature}-p{s.top_p}-k{s.top_k}")
@pytest.mark.parametrize(("size", "spread"), [(5, 1.0), (50, 2.0), (900, 3.0), (900, 0.1)])
def test_next_token_has_the_reference_distribution(sampling: Sampling, size: int, spread: float) -> None:
    """At (900, 0.1) the 0.9 nucleus has some 800 tokens: past the 512 candidates that are looked at first."""
    logits = random_logits(size, spread)
    drawn = next_token(logits.expand(len(GRID), -1), sampling, GRID)
    expected = reference_distribution(logits, sampling)
    assert set(drawn.tolist()) <= set(expected)
    shares = torch.bincount(drawn, minlength=size) / len(GRID)
    wanted = torch.zeros(size)
    wanted[list(expected)] = torch.tensor(list(expected.values()))
    # each token owns one interval of the noise, so the grid counts it to within one step
    assert float((shares - wanted).abs().max()) <= 1.01 / len(GRID)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: f"T{s.temperature}-p{s.top_p}-k{s.top_k}")
def test_next_token_inverts_the_cumulative_distribution(sampling: Sampling) -> None:
    logits = random_logits(60, 2.0, seed=1)
    drawn = next_token(logits.expand(len(GRID), -1), sampling, GRID).tolist()
    expected = reference_distribution(logits, sampling)
    assert drawn == [invert(expected, sampling, u) for u in GRID.tolist()]


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-20, 1e-5])
@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"top_k": 3}])
def test_the_coldest_temperatures_are_greedy_and_no_numbers_overflow(
    temperature: float, options: dict[str, Any]
) -> None:
    logits = 1e4 * random_logits(50, 2.0).expand(len(GRID), -1)
    drawn = next_token(logits, Sampling(temperature=temperature, **options), GRID)
    assert set(drawn.tolist()) == {int(logits[0].argmax())}


def test_the_nucleus_ends_with_the_token_that_reaches_top_p() -> None:
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()

    def kept(top_p: float) -> set[int]:
        return set(next_token(logits.expand(len(GRID), -1), Sampling(temperature=1, top_p=top_p), GRID).tolist())

    assert kept(0.4) == {0}
    assert kept(0.6) == {0, 1}
    assert kept(0.74) == {0, 1}
    assert kept(0.76) in ({0, 1, 2}, {0, 1, 3})
    assert kept(0.99) == {0, 1, 2, 3}


def test_a_token_that_reaches_top_p_exactly_is_the_last() -> None:
    mass = torch.tensor([[0.5, 0.75, 1.0]] * 2, dtype=torch.float64)
    noise = torch.tensor([0.0, 0.999])
    assert generation._draw(mass, noise, 0.5).tolist() == [0, 0]
    assert generation._draw(mass, noise, 0.75).tolist() == [0, 1]


def test_top_k_comes_before_top_p() -> None:
    """Of the two likeliest, renormalised to 0.5 / 0.5, the first reaches 0.5; top-p first would have kept both."""
    logits = torch.tensor([0.3, 0.3, 0.2, 0.2]).log()
    drawn = next_token(logits.expand(len(GRID), -1), Sampling(temperature=1, top_k=2, top_p=0.45), GRID)
    assert len(set(drawn.tolist())) == 1


@pytest.mark.parametrize("vocabulary", [400, 512, 513, 3000])
def test_ties_keep_as_many_tokens_as_top_p_needs(vocabulary: int) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.5)
    drawn = next_token(torch.zeros(len(GRID), vocabulary), sampling, GRID)
    shares = torch.bincount(drawn, minlength=vocabulary).double() / len(GRID)
    # 0.5 * 400 and so on; float32 sums of equal shares may need one token more
    assert abs(int((shares > 0).sum()) - min(vocabulary / 2, len(GRID))) <= 1
    assert float(shares.max()) <= 2 / vocabulary + 1.01 / len(GRID)


def test_rows_within_and_past_the_candidates_are_drawn_side_by_side() -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9)
    narrow, wide = random_logits(3000, 4.0), random_logits(3000, 0.1)
    assert len(reference_distribution(narrow, sampling)) < 512 < len(reference_distribution(wide, sampling))
    rows = torch.stack([narrow, wide] * 500)
    noise = GRID[::2]
    drawn = next_token(rows, sampling, noise).tolist()
    cumulative = [reference_distribution(logits, sampling) for logits in (narrow, wide)]
    expected = [invert(cumulative[i % 2], sampling, u) for i, u in enumerate(noise.tolist())]
    assert drawn[::2] == expected[::2]
    # a float32 cumulative sum over 2,700 tokens may put a border on the other side of the noise
    assert sum(a == b for a, b in zip(drawn, expected, strict=True)) >= 995


@pytest.mark.parametrize("sampling", [Sampling(temperature=1), Sampling(temperature=1, top_p=0.9)])
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_impossible_tokens_are_never_drawn_at_the_ends_of_the_noise(sampling: Sampling, uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 0.0, -torch.inf]])
    assert int(next_token(logits, sampling, torch.tensor([uniform], dtype=torch.float64))) in (1, 2)


@pytest.mark.parametrize("sampling", [Sampling(), *SAMPLINGS], ids=lambda s: f"T{s.temperature}-p{s.top_p}-k{s.top_k}")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 599])
def test_nan_and_infinite_logits_are_an_error_and_no_token(sampling: Sampling, bad: float, place: int) -> None:
    logits = torch.stack([random_logits(600, 1.0), random_logits(600, 1.0, seed=1)])
    logits[1, place] = bad
    with pytest.raises(DetoxError, match=r"NaN or infinite.*--dtype float32"):
        next_token(logits, sampling, torch.tensor([0.5, 0.5]))


def test_a_row_without_any_possible_token_is_an_error() -> None:
    with pytest.raises(DetoxError, match="NaN or infinite"):
        next_token(torch.full((1, 9), -torch.inf), Sampling(), torch.tensor([0.5]))


def test_a_broken_model_is_an_error_and_no_text(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    target.architecture.final_norm.weight[3] = torch.nan
    with pytest.raises(DetoxError, match="NaN or infinite"):
        ids_of(target, PROMPTS, Sampling(max_new_tokens=2))


# --- ends -----------------------------------------------------------------------------------------------------------


def test_the_end_token_stops_its_own_row_and_is_not_part_of_it(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    free = ids_of(target, PROMPTS, NUCLEUS)
    end = free[0][0][4]
    end_with(target, end)
    stopped = ids_of(target, PROMPTS, NUCLEUS)
    expected = [[ids[: ids.index(end)] if end in ids else ids for ids in row] for row in free]
    assert stopped == expected
    assert len({len(row[0]) for row in stopped}) > 1


def test_every_configured_end_token_stops_and_the_first_one_counts(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    free = ids_of(target, PROMPTS, NUCLEUS)
    ends = [free[0][0][2], free[0][0][5]]  # the first row runs into a second end while the others go on
    target.model.generation_config.eos_token_id = ends
    stopped = ids_of(target, PROMPTS, NUCLEUS)
    assert stopped == [[list(itertools.takewhile(lambda token: token not in ends, row[0]))] for row in free]
    assert max(len(row[0]) for row in stopped) > 6


def test_the_tokenizers_end_token_stops_where_the_model_names_none(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    free = ids_of(target, PROMPTS, NUCLEUS)
    target.model.generation_config.eos_token_id = None
    end = free[0][0][3]
    target.tokenizer.eos_token = target.tokenizer.convert_ids_to_tokens(end)
    assert ids_of(target, PROMPTS, NUCLEUS)[0][0] == free[0][0][: free[0][0].index(end)]


def test_no_further_forward_pass_is_made_once_all_rows_have_ended(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    [[first]] = ids_of(target, ["a"], Sampling(max_new_tokens=1))
    passes: list[int] = []
    target.model.register_forward_pre_hook(lambda *_: passes.append(1))
    end_with(target, first[0])
    assert ids_of(target, ["a", "a"], Sampling(max_new_tokens=50)) == [[[]], [[]]]
    assert len(passes) == 1


def test_an_immediate_end_is_an_empty_text(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    [[first]] = ids_of(target, ["a"], Sampling(max_new_tokens=1))
    end_with(target, first[0])
    [batch] = generate(target, ["a"], Sampling(max_new_tokens=5))
    assert (batch.generations[0].texts, batch.generations[0].token_ids, batch.tokens) == ([""], [[]], 0)


# --- prompts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_an_empty_prompt_starts_from_the_token_that_begins_texts(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    begin = torch.tensor([[target.tokenizer.bos_token_id]], device=target.device)
    expected = target.model.generate(begin, max_new_tokens=5, do_sample=False, pad_token_id=258)[0, 1:].tolist()
    assert ids_of(target, ["", "fine"], Sampling(max_new_tokens=5))[0] == [expected]


def test_without_a_token_that_begins_texts_the_end_of_the_text_before_it_serves(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    target.tokenizer.bos_token = target.model.config.bos_token_id = None
    assert encode(target, "", 4) == [target.tokenizer.eos_token_id]
    target.tokenizer.eos_token = None
    with pytest.raises(UsageError, match="has no token that begins texts"):
        encode(target, "", 4)


@pytest.mark.parametrize("blank", ["  ", "\n"])
def test_a_prompt_of_white_space_alone_is_refused_by_its_place(blank: str) -> None:
    with pytest.raises(UsageError, match="prompt 2 is white space alone"):
        trimmed(["fine", blank])


def test_what_is_not_read_as_it_was_given_is_counted(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")  # a token is a byte, the window 128
    given = ["as it is", "a space ", "\ta tab and two lines\n\n", "x" * 200, "y" * 124]
    spaced, cut = describe_prompts(target, given, Sampling(max_new_tokens=4))
    assert spaced.startswith("2 of 5 prompts had white space around them")
    assert cut.startswith("1 of 5 prompts were cut to their last 124 tokens")
    assert describe_prompts(target, given[:1], Sampling(max_new_tokens=4)) == []
    assert len(describe_prompts(target, given[4:], Sampling(max_new_tokens=5))) == 1


def test_one_prompt_for_a_list_is_refused_before_anything_is_generated(tiny: Callable[..., Target]) -> None:
    target = tiny()
    with pytest.raises(UsageError, match=r"prompts: 'the old' is one text, and a list of them is expected"):
        generate(target, "the old", Sampling())
    with pytest.raises(UsageError, match=r"prompts\[1\] is None, not a text"):
        generate(target, ["the old", None], Sampling())  # type: ignore[list-item]


def test_a_prompt_without_tokens_is_refused(tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch) -> None:
    target = tiny("llama")
    monkeypatch.setattr(type(target.tokenizer), "__call__", lambda *_, **__: {"input_ids": []})
    with pytest.raises(UsageError, match="'abc' has no tokens in this model's tokenizer"):
        next(generate(target, ["abc"], Sampling()))


def test_no_prompts_are_no_batches(tiny: Callable[..., Target]) -> None:
    assert list(generate(tiny("llama"), [], Sampling())) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_longer_than_the_window_keeps_its_end(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    long = "".join(random.Random(0).choices("abcdefgh", k=300))
    sampling = Sampling(max_new_tokens=10)
    [cut], [whole], [short] = ids_of(target, [long, long[-118:], "ab"], sampling)  # 128 positions less 10 new tokens
    assert cut == whole
    assert [[cut], [whole]] == ids_of(target, [long, long[-118:]], sampling, batch_size=1)
    assert [[short]] == ids_of(target, ["ab"], sampling)  # padded to the whole window, and as it is alone
    assert encode(target, long, 10) == encode(target, long[-118:], 0)
    assert len(encode(target, long, 10)) == 118


def test_a_prompt_that_is_cut_keeps_the_token_that_begins_every_text(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny("llama")
    plain = target.tokenizer("x" * 5 + "abc" * 60)["input_ids"]
    monkeypatch.setattr(type(target.tokenizer), "__call__", lambda *_, **__: {"input_ids": [256, *plain]})
    assert target.tokenizer.bos_token_id == 256
    assert encode(target, "any", 10) == [256, *plain[-117:]]  # 128 positions less 10 new tokens


@pytest.mark.parametrize("kind", ["gpt2", "opt", "llama"])
def test_more_new_tokens_than_the_window_holds_are_refused(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    assert len(ids_of(target, ["ab"], Sampling(max_new_tokens=127))[0][0]) <= 127
    with pytest.raises(UsageError, match="max_new_tokens: 128 after a prompt do not fit the 128 tokens"):
        ids_of(target, ["ab"], Sampling(max_new_tokens=128))


# --- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "batch_size", "rows"), [(1, 3, 3), (2, 6, 3), (2, 7, 3), (5, 3, 1), (1, 100, 7)])
def test_batches_hold_at_most_batch_size_sequences_but_at_least_one_prompt(
    samples: int, batch_size: int, rows: int, tiny: Callable[..., Target]
) -> None:
    sampling = NUCLEUS.model_copy(update={"samples": samples})
    made = generate(tiny("llama"), PROMPTS, sampling, batch_size=batch_size)
    plan = [[one.index for one in batch.generations] for batch in made]
    assert sorted(itertools.chain(*plan)) == list(range(len(PROMPTS)))
    assert [len(batch) for batch in plan[:-1]] == [rows] * (len(plan) - 1)
    assert 1 <= len(plan[-1]) <= rows
    lengths = [len(PROMPTS[i].encode()) for batch in plan for i in batch]
    assert lengths == sorted(lengths)


def test_batches_are_made_only_when_they_are_asked_for(
    tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[str]] = []
    real = generation.sample_batch

    def counted(target: Target, prompts: list[str], sampling: Sampling) -> Any:
        made.append(prompts)
        return real(target, prompts, sampling)

    monkeypatch.setattr(generation, "sample_batch", counted)
    stream = generate(tiny("llama"), PROMPTS, NUCLEUS, batch_size=2)
    assert made == []
    first = next(stream)
    assert len(made) == 1
    assert [g.prompt for g in first.generations] == made[0]
    next(stream)
    assert len(made) == 2
    stream.close()
    assert len(made) == 2


@pytest.mark.parametrize("skip", range(5))
def test_what_is_skipped_is_not_made_and_the_rest_is_what_it_was(
    skip: int, tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny("llama")
    sampling = NUCLEUS.model_copy(update={"samples": 2})
    whole = [batch.generations for batch in generate(target, PROMPTS, sampling, batch_size=4)]
    assert len(whole) == 4
    made: list[int] = []
    real = generation.sample_batch
    monkeypatch.setattr(generation, "sample_batch", lambda *args: made.append(1) or real(*args))
    rest = [batch.generations for batch in generate(target, PROMPTS, sampling, batch_size=4, skip=2 * skip)]
    assert rest == whole[skip:]
    assert len(made) == len(whole[skip:])


def test_a_generation_carries_its_prompt_place_and_texts(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    for batch in generate(target, PROMPTS, NUCLEUS.model_copy(update={"samples": 3}), batch_size=6):
        for one in batch.generations:
            assert PROMPTS[one.index] == one.prompt
            assert one.texts == [decode(target, ids) for ids in one.token_ids]
            assert len(one.texts) == 3
        assert batch.tokens == sum(len(ids) for one in batch.generations for ids in one.token_ids)
        assert batch.seconds > 0


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [" leading", "none", "  two", " , .", "\nline", "été", " don 't", ""])
def test_decode_gives_the_text_back_with_its_spaces(text: str, tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    ids = target.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert decode(target, ids) == text
    assert decode(target, [256, *ids, 257]) == text  # special tokens are no text


@pytest.mark.parametrize("text", [" hello", " a", "  b", "hello", "ab whole", ""])
def test_decode_keeps_the_leading_space_that_sentencepiece_drops(text: str) -> None:
    tokenizer = sentencepiece_tokenizer()
    target: Any = SimpleNamespace(tokenizer=tokenizer)
    whole = tokenizer("b" + text, add_special_tokens=False)["input_ids"]
    assert decode(target, whole[1:]) == text  # what follows a prompt of `b`


def test_half_a_character_does_not_swallow_text(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    ids = target.tokenizer("é!", add_special_tokens=False)["input_ids"]
    assert decode(target, ids[1:]) == "�!"


# --- the real model -------------------------------------------------------------------------------------------------


@pytest.mark.embedded
def test_the_embedded_model_continues_sensibly_and_alike_in_any_batch(embedded: Target) -> None:
    prompts = ["The capital of France is", "Monday, Tuesday, Wednesday,", "One, two, three, four,"]
    sampling = Sampling(max_new_tokens=6)
    alone = [g for batch in generate(embedded, prompts, sampling, batch_size=1) for g in batch.generations]
    padded = [g for batch in generate(embedded, prompts, sampling, batch_size=32) for g in batch.generations]
    assert sorted(alone, key=lambda g: g.index) == sorted(padded, key=lambda g: g.index)
    texts = {g.index: g.texts[0] for g in alone}
    assert texts[0].startswith(" Paris")
    assert "Thursday" in texts[1]
    assert texts[2].startswith(" five, six")


@pytest.mark.parametrize("kind", ["metaspace", "prepend"])
@pytest.mark.parametrize("text", ["'s are", ", and", "nd the new", " are new", "s", "\nd"])
def test_what_follows_a_text_is_tokenised_without_a_space_that_is_not_there(
    kind: str, text: str, tiny: Callable[..., Target]
) -> None:
    target = replace(tiny(), tokenizer=spaced(kind))
    ids = encode_after(target, text)
    assert decode(target, ids) == text
    whole = target.tokenizer("the new" + text)["input_ids"]
    assert whole == target.tokenizer("the new")["input_ids"] + ids
    (passage,) = passages(target, [("the new", text)], 64)
    assert passage.ids[passage.start :] == ids


def test_byte_level_text_is_tokenised_as_it_stands(tiny: Callable[..., Target]) -> None:
    target = tiny()
    for text in ("'s are", ", and", "nd", " a b", "\n\n"):
        assert encode_after(target, text) == target.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_long_context_leaves_its_beginning_and_keeps_the_token_that_all_texts_begin_with(
    tiny: Callable[..., Target],
) -> None:
    target = tiny()
    begin = target.tokenizer.bos_token_id
    target.tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    context = "0123456789" * 3
    short, long = passages(target, [(context, "yes"), (context, "y" * 30)], 16)
    assert target.tokenizer.decode(short.ids) == "<s>" + context[-12:] + "yes"  # a short text leaves room
    assert (short.start, len(short.ids)) == (13, 16)
    assert target.tokenizer.decode(long.ids) == "<s>" + context[-7:] + "y" * 8  # a long one, no less than half
    assert (long.start, len(long.ids)) == (8, 16)
