"""Two vocabularies held against each other, and the alignment matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from tokenizing import spaced
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from detoxlm.errors import UsageError
from detoxlm.methods.fusion.alignment import align, info_nce
from detoxlm.methods.fusion.vocabulary import common_tokens, same_tokens, spellings, stand_ins
from detoxlm.models import Target


@pytest.fixture(scope="module")
def sentencepiece() -> PreTrainedTokenizerFast:
    """A vocabulary with SentencePiece's marks: ▁ for a space and byte tokens."""
    pieces = ["<s>", "</s>", "<0x0A>", "<0xE2>", "▁the", "the", "▁", "é", "▁cat"]
    inner = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="the"))
    inner.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


def test_spellings_are_bytes_whatever_the_kind(
    tiny: Callable[..., Target], sentencepiece: PreTrainedTokenizerFast
) -> None:
    assert spellings(sentencepiece, 11) == [
        None,
        None,
        b"\n",
        b"\xe2",
        b" the",
        b"the",
        b" ",
        "é".encode(),
        b" cat",
        None,
        None,
    ]
    target = tiny()
    spelled = spellings(target.tokenizer, 260)
    assert sorted(s for s in spelled if s) == [bytes([i]) for i in range(256)]
    assert [s is None for s in spelled].count(True) == 4  # three special tokens and a row of padding
    ids = target.tokenizer("naïve 🙂")["input_ids"]
    assert b"".join(spelled[i] or b"" for i in ids).decode() == "naïve 🙂"


def test_common_tokens_are_paired_by_what_they_spell(
    tiny: Callable[..., Target], sentencepiece: PreTrainedTokenizerFast
) -> None:
    ours, theirs = spellings(tiny().tokenizer, 260), spellings(sentencepiece, 9)
    pairs = common_tokens(theirs, ours)
    assert {theirs[a] for a, _ in pairs.tolist()} == {b"\n", b"\xe2", b" "}
    assert all(theirs[a] == ours[b] for a, b in pairs.tolist())


def test_stand_ins_are_the_same_spelling_or_its_first_piece(
    tiny: Callable[..., Target], sentencepiece: PreTrainedTokenizerFast
) -> None:
    byte_tokenizer = tiny().tokenizer
    ours, theirs = spellings(byte_tokenizer, 260), spellings(sentencepiece, 9)
    found = stand_ins(theirs, ours, byte_tokenizer)
    assert found[:2].tolist() == [-1, -1]  # special tokens
    first = {2: b"\n", 3: b"\xe2", 4: b" ", 5: b"t", 6: b" ", 7: "é".encode()[:1], 8: b" "}
    assert {i: ours[int(found[i])] for i in first} == first


@pytest.mark.parametrize("kind", ["metaspace", "prepend"])
def test_a_stand_in_has_no_space_that_its_token_has_not(kind: str) -> None:
    tokenizer = spaced(kind)
    theirs = spellings(tokenizer, len(tokenizer))
    found = stand_ins([b"as", b" as", b"nd", b" anda", b"s,", b"\nd"], theirs, tokenizer)
    assert [theirs[i] for i in found.tolist()] == [b"a", b" a", b"n", b" and", b"s", b"\n"]


def test_a_tokenizer_is_the_same_whatever_its_padding(tiny: Callable[..., Target]) -> None:
    one, other = tiny().tokenizer, tiny().tokenizer
    one(["padded", "so that the backend remembers"], padding=True)
    assert same_tokens(one, other)
    other.add_tokens(["new"])
    assert not same_tokens(one, other)


def test_the_alignment_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    e, u, others, A = torch.randn(3, 4), torch.randn(3, 5), torch.randn(3, 2, 5), torch.randn(4, 5)
    expected = 0.0
    for i in range(3):
        up = torch.exp(e[i] @ A @ u[i])
        down = up + sum(torch.exp(e[i] @ A @ others[i, k]) for k in range(2))
        expected -= float(torch.log(up / down)) / 3
    assert info_nce(e, u, others, A).item() == pytest.approx(expected, rel=1e-5)


def test_alignment_learns_which_token_is_which() -> None:
    torch.manual_seed(0)
    target = torch.randn(300, 12)
    calibrator = F.normalize(target @ torch.linalg.qr(torch.randn(12, 12))[0][:, :8], dim=-1)
    pairs = torch.stack([torch.arange(300), torch.arange(300)], 1)
    A, report = align(calibrator, target, pairs, seed=0, epochs=300)
    assert report["loss_at_last"] < 0.5 * report["loss_at_first"]
    scores = calibrator @ A @ target.T
    rank = (scores > scores.diagonal()[:, None]).sum(1).float()
    assert rank.median() < 15, "of 300 tokens, the right one is among the first"
    again, _ = align(calibrator, target, pairs, seed=0, epochs=300)
    assert torch.equal(A, again)


def test_vocabularies_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(UsageError, match=r"share 0 tokens; 64 are the least"):
        align(torch.randn(5, 4), torch.randn(5, 4), torch.empty(0, 2, dtype=torch.long), seed=0)
