"""The stand-in for the Perspective API: what it is made of, its refusals, and its validity on held-out files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from detoxlm import load_scorer
from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers import package, perspective_like
from detoxlm.scorers.embedded import EmbeddedScorer
from detoxlm.scorers.perspective_like import WEIGHTS, PerspectiveLikeScorer
from detoxlm.validity import auc, calibration_error, spearman

FOLDER = package.package_folder()
needs_encoder = pytest.mark.skipif(FOLDER is None, reason=f"the encoder is not installed: {package.INSTALL}")
TEXTS = ["You are an idiot.", "I will kill you tonight", "have a nice day", "the fucking best pizza " * 60]


@pytest.fixture(scope="module")
def scorer() -> PerspectiveLikeScorer:
    if FOLDER is None:
        pytest.skip(f"the encoder is not installed: {package.INSTALL}")
    return PerspectiveLikeScorer(FOLDER, device="cpu")


def odds(scores: np.ndarray) -> np.ndarray:
    return np.log(scores) - np.log1p(-scores)


@needs_encoder
def test_the_headline_is_the_calibrated_weighted_mean_of_three_scorers(scorer):
    expert = EmbeddedScorer(FOLDER, WEIGHTS, "cpu").score(TEXTS)
    known = [load_scorer(name).score(TEXTS) for name in ("embedded:2", "ngram")]
    slope, offset = load_file(WEIGHTS)["mixture"].astype(np.float64)
    z = 0.5 * odds(expert) + 0.3 * odds(known[0]) + 0.3 * odds(known[1])
    np.testing.assert_allclose(odds(scorer.score(TEXTS)), slope * z + offset, atol=1e-4)


@needs_encoder
def test_further_dimensions_are_the_mean_of_expert_and_embedded(scorer):
    found = scorer.score_dimensions(TEXTS)
    np.testing.assert_array_equal(found["toxicity"], scorer.score(TEXTS))
    expert = EmbeddedScorer(FOLDER, WEIGHTS, "cpu").score_dimensions(TEXTS)
    embedded = load_scorer("embedded:2").score_dimensions(TEXTS)
    for name in scorer.dimensions[1:]:
        np.testing.assert_allclose(odds(found[name]), (odds(expert[name]) + odds(embedded[name])) / 2, atol=1e-4)


@needs_encoder
@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\x00\x7f"])
def test_a_text_without_visible_characters_scores_zero(scorer, text):
    assert all(values.tolist() == [0.0] for values in scorer.score_dimensions([text]).values())


@pytest.mark.more
@needs_encoder
@pytest.mark.parametrize("text", ["x" * 100_000, "\ud800", "今日はいい天気ですね。", "kill " * 9000])
def test_any_text_gets_a_score(scorer, text):
    assert 0 <= scorer.score([text])[0] <= 1


@needs_encoder
def test_other_weights_are_another_revision_and_damaged_ones_are_named(scorer, tmp_path):
    tensors = load_file(WEIGHTS)
    path = tmp_path / WEIGHTS.name
    save_file({**tensors, "mixture": tensors["mixture"] * 2}, path)
    assert PerspectiveLikeScorer(FOLDER, path, "cpu").revision != scorer.revision
    save_file({name: value for name, value in tensors.items() if name != "mixture"}, path)
    with pytest.raises(DetoxError, match=r"perspective_like\.safetensors is damaged"):
        PerspectiveLikeScorer(FOLDER, path, "cpu")


def test_refusals_name_the_fix(monkeypatch):
    with pytest.raises(UsageError, match="takes no argument"):
        load_scorer("perspective-like:large")
    monkeypatch.setattr(perspective_like, "package_folder", lambda: None)
    with pytest.raises(UsageError, match="pip install"):  # nothing may stand in: its numbers would be others
        load_scorer("perspective-like")


@pytest.mark.more
@needs_encoder
@pytest.mark.parametrize(
    ("name", "least_auc", "least_spearman"),
    [("challenge_dev", 0.94, 0.895), pytest.param("nontoxic_dev", 0.974, 0.87, marks=pytest.mark.slow)],
)
def test_it_is_nearer_to_perspective_than_embedded(scorer, rtp, name, least_auc, least_spearman):
    texts, target = rtp(name)
    score, other = scorer.score(texts), load_scorer("embedded").score(texts)
    assert auc(score, target) >= max(least_auc, auc(other, target) + 0.01)
    assert spearman(score, target) >= max(least_spearman, spearman(other, target) + 0.02)
    assert calibration_error(score, target) <= 0.05


def test_validity_on_file_is_of_these_weights_and_the_card_shows_it(missing_from):
    stored = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    if FOLDER is not None:
        assert stored["revision"] == PerspectiveLikeScorer(FOLDER, device="cpu").revision
    assert missing_from(WEIGHTS.with_suffix(".md").read_text(encoding="utf-8"), stored) == []
