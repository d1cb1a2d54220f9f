"""The content-addressed reader against reading every row from scratch."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from devices import as_row
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from detoxlm.methods.decoding import reading
from detoxlm.methods.decoding.content import ByContent
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.translation import Translator
from detoxlm.methods.fusion.retokenizing import Retokenizer
from detoxlm.models import Target

TEXT = (
    "The quick brown fox — naïve, 20 years old — jumps over the lazy dog; 🙂 and again the quick brown fox jumps. "
    "Words that were seen before were seen again, and again they were quick: 日本語 too, of course."
)


@pytest.fixture(scope="module")
def word_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 256 bytes and some merges: tokens of several characters, across which prefixes differ."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator([TEXT] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="</s>")


@pytest.fixture
def retokenizer(tiny: Callable[..., Target], word_tokenizer: PreTrainedTokenizerFast) -> Retokenizer:
    return Retokenizer(tiny().tokenizer, word_tokenizer)  # the target has one token a byte


class Reading(Steering):
    """Reads with the target's own decoder and changes nothing."""

    name = "reading"

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        return x


def reading_of(target: Target, *, context: int, translator: Translator | None = None) -> ByContent:
    steering = Reading()
    steering.readers, steering.context, steering.translator = (target.architecture.decoder,), context, translator
    return ByContent(steering)


def last_states(reader: ByContent, rows: list[list[int]]) -> torch.Tensor:
    return reader.follow(rows).says(range(len(rows)))


def from_scratch(target: Target, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return target.architecture.decoder(as_row(target, tokens), use_cache=False).last_hidden_state[0, -1]


def some_rows(rng: random.Random, rows: list[list[int]], alphabet: int) -> list[list[int]]:
    """What decoding loops do to their rows: go on, swap (beams), repeat, drop, take tokens back, start anew."""
    kind = rng.choice(["go on"] * 6 + ["swap", "repeat", "drop", "crop", "anew"])
    if kind == "swap":
        rows = [rng.choice(rows) for _ in rows]
    elif kind == "repeat" and len(rows) < 5:
        rows = [row for row in rows for _ in range(2)]
    elif kind == "drop" and len(rows) > 1:
        rows = rows[1:]
    elif kind == "crop":
        rows = [row[: max(1, len(row) - rng.randint(1, 4))] for row in rows]
    elif kind == "anew":
        rows = [[rng.randrange(alphabet) for _ in range(rng.randint(1, 6))] for _ in range(3)]
    return [[*row, *(rng.randrange(alphabet) for _ in range(rng.choice([0, 1, 1, 1, 2])))] for row in rows]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gpt_neox", "qwen2"])
def test_whatever_happens_to_the_rows_the_states_are_those_of_reading_from_scratch(
    shape: str, tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_HOLES", 0.05)  # squeeze often
    target, rng = tiny(shape), random.Random(3)
    reader = reading_of(target, context=128)
    rows = [[5], [7, 8, 9], [1, 2]]
    for _ in range(80):
        rows = [row[:100] for row in some_rows(rng, rows, 250)]
        got = last_states(reader, rows)
        expected = torch.stack([from_scratch(target, row) for row in rows])
        assert torch.allclose(got, expected, atol=2e-4)


def test_going_on_reads_only_the_new_tokens(tiny: Callable[..., Target]) -> None:
    target = tiny()
    reader = reading_of(target, context=128)
    read: list[int] = []
    target.architecture.decoder.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    rows = [[1, 2, 3, 4], [5, 6]]
    last_states(reader, rows)
    for token in range(10):
        rows = [[*row, token] for row in rows]
        last_states(reader, rows)
    last_states(reader, [rows[1], rows[1], rows[0]])  # nothing new
    assert read == [8] + [2] * 10


def test_the_states_of_a_whole_row_are_those_of_its_prefixes(
    tiny: Callable[..., Target], word_tokenizer: PreTrainedTokenizerFast, retokenizer: Retokenizer
) -> None:
    target = tiny("llama", 1)
    torch.manual_seed(0)
    target.model.resize_token_embeddings(len(word_tokenizer), mean_resizing=False)
    reader = reading_of(target, context=128, translator=retokenizer)
    ids = tiny().tokenizer(TEXT)["input_ids"]
    got = reader.session.says_of(ids, 60)
    expected = torch.cat([last_states(reader, [ids[:end]]) for end in range(len(ids) - 59, len(ids) + 1)])
    assert torch.allclose(got, expected, atol=2e-4)
    fresh = from_scratch(target, word_tokenizer(tiny().tokenizer.decode(ids[:-3]))["input_ids"])
    assert torch.allclose(got[-4], fresh, atol=2e-4)


def test_a_row_that_outgrows_the_window_keeps_its_end(tiny: Callable[..., Target]) -> None:
    target = tiny()
    reader = reading_of(target, context=32)
    ids = [(7 * i) % 250 for i in range(100)]
    one_by_one = []
    for end in range(1, len(ids) + 1):
        kept = ids[:end][reading._cut(end, 32) :]
        assert 16 <= len(kept) <= 32 or end < 16
        state = last_states(reader, [ids[:end]])[0]
        assert torch.allclose(state, from_scratch(target, kept), atol=2e-4)
        one_by_one.append(state)
    assert torch.allclose(reader.session.says_of(ids, 70), torch.stack(one_by_one[-70:]), atol=2e-4)


def test_the_cache_does_not_grow_with_what_is_taken_back(tiny: Callable[..., Target]) -> None:
    target, rng = tiny(), random.Random(0)
    reader = reading_of(target, context=128)
    for _ in range(300):
        last_states(reader, [[1, 2, 3, rng.randrange(200), rng.randrange(200)]])
    assert reader.session._reader is not None
    assert reader.session._reader._caches[0].get_seq_length() < 2 * 64
