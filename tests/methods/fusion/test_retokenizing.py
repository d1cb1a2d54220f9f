"""Retokenising a row step by step against tokenising its whole text, and what a step costs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizing import byte_tokenizer
from transformers import PreTrainedTokenizerFast

from detoxlm.methods.decoding.translation import Line
from detoxlm.methods.fusion.retokenizing import Retokenizer

TEXT = (
    "The quick brown fox — naïve, 20 years old — jumps over the lazy dog; 🙂 and again the quick brown fox jumps. "
    "Words that were seen before were seen again, and again they were quick: 日本語 too, of course.\n\n"
    '\t"Don\'t!" she said;  two  spaces, e\u0301tude, 12345 67, x_y = f(a[0]) 한국어 ไทย. '
)
#: What is thrown together: words, several scripts, marks that combine, emoji of several parts, white space, odd signs.
PIECES = [
    *TEXT.split(" "), " ", "  ", "\n", "\t", " the", " quick", "quick", "日本語日本", "語", "한국", "🙂", "👩\u200d👧",
    "e\u0301", "\u0301", "ไทย", " ไทย", "\ufffd", "\u00a0", "…", "1", "23", "456", " 7", "'s", " n't", "Ab", "B日c",
    "</s>", "ß", " É",
]  # fmt: skip


def byte_level(text: str, size: int, regex: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE, as GPT-2's."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator([text] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="</s>")


def byte_fallback(text: str, size: int) -> PreTrainedTokenizerFast:
    """A SentencePiece BPE with a space before every text and bytes for what it lacks, as Llama 2's."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.train_from_iterator([text] * 4, trainers.BpeTrainer(vocab_size=size, limit_alphabet=48))
    learned = json.loads(words.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    merges = [tuple(merge) for merge in learned["merges"]]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(names))}
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {
    "bytes": byte_tokenizer,
    "byte-level": lambda: byte_level(TEXT, 420),
    "another byte-level": lambda: byte_level(TEXT[::2] + TEXT[100:] * 2, 600),
    "byte fallback": lambda: byte_fallback(TEXT, 300),
    "another byte fallback": lambda: byte_fallback(TEXT[50:] + TEXT[::3], 200),
    "across words": lambda: byte_level("of the old in the old of the " * 9, 300, regex=False),
}


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    return {name: make() for name, make in TOKENIZERS.items()}


def whole(target: Any, calibrator: Any, ids: list[int]) -> list[int]:
    """The calibrator's tokens of a row's text, from scratch: a character that is not finished is not there yet."""
    text = target.backend_tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd")
    begin = calibrator("", add_special_tokens=True)["input_ids"]
    found = begin + calibrator.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return found or [next(token for token in (calibrator.bos_token_id, calibrator.eos_token_id) if token is not None)]


class Rows:
    """Rows that grow step by step."""

    def __init__(self, retokenizer: Retokenizer, rows: int) -> None:
        self._retokenizer = retokenizer
        self.lines, self.tokens = [Line()] * rows, [list[int]() for _ in range(rows)]

    def grow(self, new: Sequence[list[int]]) -> None:
        for i, grown in enumerate(self._retokenizer.grow(self.lines, new)):
            self.lines[i] = grown.line
            self.tokens[i][grown.at :] = grown.tokens


def fuzzed(rng: random.Random, tokenizer: Any, kind: str) -> list[int]:
    """Tokens of running text, of pieces thrown together, or random ones: parts of characters, specials and all."""
    if kind == "text":
        return list(tokenizer(TEXT * 2, add_special_tokens=False)["input_ids"])
    if kind == "pieces":
        text = "".join(rng.choice(PIECES) + rng.choice(["", "", " "]) for _ in range(90))
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return [rng.randrange(len(tokenizer)) for _ in range(150)]


@pytest.mark.parametrize("calibrator", ["byte-level", "another byte-level", "byte fallback", "across words"])
@pytest.mark.parametrize("target", ["bytes", "byte-level", "another byte fallback"])
def test_step_by_step_the_tokens_are_those_of_the_whole_text(
    target: str, calibrator: str, tokenizers: dict[str, Any]
) -> None:
    theirs, ours = tokenizers[target], tokenizers[calibrator]
    retokenizer, rng = Retokenizer(theirs, ours), random.Random(7)
    rows = [fuzzed(rng, theirs, kind) for kind in ("text", "pieces", "pieces", "pieces", "random")]
    grown, done = Rows(retokenizer, len(rows)), [0] * len(rows)
    while any(done[i] < len(row) for i, row in enumerate(rows)):
        steps = [rng.choice([0, 1, 1, 1, 1, 2, 5]) for _ in rows]
        grown.grow([row[start : start + step] for row, start, step in zip(rows, done, steps, strict=True)])
        done = [min(len(row), start + step) for row, start, step in zip(rows, done, steps, strict=True)]
        for row, end, line, tokens in zip(rows, done, grown.lines, grown.tokens, strict=True):
            assert len(line) == end
            expected = whole(theirs, ours, row[:end])
            assert tokens == expected, (theirs.decode(row[:end])[-60:], tokens[-9:], expected[-9:])


def test_a_row_that_lost_its_last_tokens_goes_on_from_what_is_left(tokenizers: dict[str, Any]) -> None:
    theirs, ours = tokenizers["bytes"], tokenizers["byte-level"]
    retokenizer, rng = Retokenizer(theirs, ours), random.Random(1)
    ids = theirs(TEXT)["input_ids"]
    (grown,) = retokenizer.grow([Line()], [ids[:60]])
    line, row, tokens, again = grown.line, list(ids[:60]), list(grown.tokens), 0
    for token in ids[60:200]:
        kept = len(row) - rng.choice([0] * 12 + [1, 2, 9])
        line = line.cut(kept)
        again += not line.begun
        row = [*row[:kept], token]
        (grown,) = retokenizer.grow([line], [row[len(line) :]])
        line, tokens = grown.line, tokens[: grown.at] + grown.tokens
        assert tokens == whole(theirs, ours, row)
    assert again < 40, "a row is read again from its beginning only where what was taken back was settled"


class Counting:
    """A tokenizer's library that counts what it is asked for."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.calls, self.size = inner, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def decode_batch(self, rows: list[list[int]], **given: Any) -> Any:
        self.calls, self.size = self.calls + 1, self.size + sum(map(len, rows))
        return self._inner.decode_batch(rows, **given)

    def encode_batch_fast(self, texts: list[str], **given: Any) -> Any:
        self.calls, self.size = self.calls + 1, self.size + sum(map(len, texts))
        return self._inner.encode_batch_fast(texts, **given)


@pytest.mark.parametrize("spaced", [True, False], ids=["with spaces", "without spaces"])
def test_what_a_step_asks_of_the_tokenizers_does_not_grow_with_the_row(
    spaced: bool, tokenizers: dict[str, Any]
) -> None:
    theirs, ours = tokenizers["bytes"], tokenizers["byte-level"]
    retokenizer, rng = Retokenizer(theirs, ours), random.Random(0)
    letters = "abcdefgh" if spaced else "日本語漢字的是一"
    words = ["".join(rng.choice(letters) for _ in range(rng.randint(2, 9))) for _ in range(700)]
    ids = theirs((" " if spaced else "").join(words))["input_ids"][:2000]
    decoding = retokenizer._target = Counting(retokenizer._target)
    encoding = retokenizer._calibrator = Counting(retokenizer._calibrator)
    grown = Rows(retokenizer, 4)
    calls, sizes = [], []
    for token in ids:
        decoding.calls = decoding.size = encoding.calls = encoding.size = 0
        grown.grow([[token]] * 4)
        calls.append(decoding.calls + encoding.calls)
        sizes.append(decoding.size + encoding.size)
        if len(calls) % 97 == 0:
            assert grown.tokens[0] == whole(theirs, ours, ids[: len(calls)])
    assert max(calls[100:]) <= (3 if spaced else 40), "one call of each for all rows, and one for a token not met yet"
    assert sum(sizes[1500:]) < 1.5 * sum(sizes[100:600])
    assert max(len(line.tail) for line in grown.lines) < 100
