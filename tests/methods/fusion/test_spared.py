"""Function words that the contrast spares: which tokens they are, and what is left of their penalty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import encoded
from tokenizing import byte_tokenizer

from detoxlm.data import Example
from detoxlm.errors import UsageError
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.decoding.rule import SLOPE
from detoxlm.methods.fusion import Fusion, FusionSettings, method
from detoxlm.methods.fusion.spared import function_tokens, kept_shares
from detoxlm.methods.fusion.steering import contrast
from detoxlm.models import Target


class Words:
    """A vocabulary of these pieces, with `\u0120` for a space as byte-level ones have it."""

    all_special_ids = (0,)

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.pieces[i] for i in ids]


def test_function_words_stand_behind_a_space_and_no_piece_of_another_word_is_one() -> None:
    tokenizer = Words("\u0120are", "\u0120Are", "is", "\u0120is", "\u0120fool", "\u0120", "\u0120you", "\u0120the")
    assert function_tokens(tokenizer, 12).tolist() == [1, 3, 7]  # the first is special
    with pytest.raises(UsageError, match="spared: no token of this model is an English function word"):
        function_tokens(byte_tokenizer(), 260)
    assert kept_shares(torch.tensor([1, 3]), 0.75, 5).tolist() == [1, 0.25, 1, 0.25, 1]


def test_what_spared_tokens_keep_of_their_penalty_by_hand() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 6, generator=generator)
    risks = torch.tensor([[2.0, -3.0, 0.5, 1.0, -1.0, 0.0]]).expand(2, -1)
    head: Any = lambda _, tokens: risks.gather(-1, tokens)  # noqa: E731
    kept = torch.tensor([1.0, 1.0, 0.25, 0.0, 0.0, 1.0])
    strength = torch.tensor([0.1, 0.3])
    got = contrast(logits.clone(), torch.zeros(2, 1), head, strength, threshold=0.4, candidates=6, kept=kept)
    penalty = SLOPE * strength[:, None] * (risks.sigmoid() - 0.4).clamp(min=0) * kept
    expected = (logits - penalty).log_softmax(-1)
    assert torch.allclose(got.log_softmax(-1), expected, atol=1e-5)
    whole = contrast(logits.clone(), torch.zeros(2, 1), head, strength, threshold=0.4, candidates=6)
    assert (got[:, 3] > whole[:, 3]).all() and (got[:, 0] < whole[:, 0]).all(), "the mass goes to the spared ones"


def test_a_fit_keeps_which_tokens_are_spared_and_the_loaded_detoxifier_spares_them(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()
    spaces = torch.arange(0, 250, dtype=torch.int32)  # a tiny model's tokens are bytes: nearly all stand for words here
    monkeypatch.setattr(method, "function_tokens", lambda *_: spaces)
    corpus = [Example(None, text) for i in range(16) for text in (f"eee bee {i}", f"calm words {i}")]

    def fitted(spared: float) -> Detoxifier:
        settings = FusionSettings(
            calibrator="own", layers=2, epochs=1, batch=8, threshold=0.0, candidates=400, spared=spared
        )
        made = Fusion.fit(target, FitData(corpus=corpus, scorer=letter_scorer), settings)
        made.save_pretrained(tmp_path / f"{spared:g}")
        return Detoxifier.from_pretrained(tmp_path / f"{spared:g}")

    inputs, made = encoded(target, "over the hills"), {spared: fitted(spared) for spared in (0.0, 1.0)}
    with torch.inference_mode():
        plain = target.model(**inputs).logits.log_softmax(-1)
        logits = {}
        for spared, detoxifier in made.items():
            with detoxifier.attached(target.model, 2.0):
                logits[spared] = target.model(**inputs).logits.log_softmax(-1)
    between = plain[..., :250, None] - plain[..., None, :250]
    kept = logits[1.0][..., :250, None] - logits[1.0][..., None, :250]
    assert torch.allclose(kept, between, atol=1e-4), "none of them is lowered against another"
    assert not torch.allclose(logits[0.0], plain, atol=1e-2)
    assert "spared" not in Detoxifier.from_pretrained(tmp_path / "0").tensors


def test_the_papers_mixture_spares_no_words() -> None:
    with pytest.raises(UsageError, match="spared: the paper's mixture lowers no single words"):
        Fusion.check(FitData(corpus=[]), FusionSettings(variant="paper", spared=0.5))
    assert FusionSettings().spared == 0
