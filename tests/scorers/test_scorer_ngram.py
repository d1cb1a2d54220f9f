"""The offline scorer: hashing, normalisation, calibration to Perspective, and text that must not break it."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from detoxlm.errors import DetoxError
from detoxlm.scorers import load_scorer
from detoxlm.scorers.base import EMPTY_SCORE
from detoxlm.scorers.ngram import BUCKETS, WEIGHTS, NgramScorer, featurise, normalise

DATA = Path(os.environ.get("DETOXLM_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
MASK = 2**64 - 1


@pytest.fixture(scope="module")
def scorer() -> NgramScorer:
    return NgramScorer()


def mix(h: int) -> int:
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & MASK
    return (h ^ h >> 33) % BUCKETS


def char_bucket(gram: str) -> int:
    h = 0xCBF29CE484222325 ^ len(gram)
    for c in gram:
        h = (h ^ ord(c)) * 0x100000001B3 & MASK
    return mix(h)


def word_bucket(*words: str) -> int:
    h = 0
    for word in words:
        w = sum((ord(c) + 1) * pow(0x9E3779B97F4A7C15, i, 2**64) for i, c in enumerate(word[:32]))
        h = (h * 0xC2B2AE3D27D4EB4F + w) & MASK
    return mix(h ^ len(words))


def test_ngrams_are_hashed_as_documented():
    features = featurise(["ab cde"])
    chars = [
        " a",
        "ab",
        "b ",
        " ab",
        "ab ",
        " ab ",
        " c",
        "cd",
        "de",
        "e ",
        " cd",
        "cde",
        "de ",
        " cde",
        "cde ",
        " cde ",
    ]
    assert set(features.bucket[features.family == 0]) == {char_bucket(g) for g in chars}
    words = {word_bucket("ab"), word_bucket("cde"), word_bucket("ab", "cde")}
    assert set(features.bucket[features.family == 1]) == words


def test_ngrams_do_not_cross_texts():
    together, rows = featurise(["ab", "", "cd ef"]), {0: "ab", 2: "cd ef"}
    assert set(together.row) == set(rows)
    for row, text in rows.items():
        alone = featurise([text])
        here = together.row == row
        assert np.array_equal(together.bucket[here], alone.bucket)
        assert np.array_equal(together.family[here], alone.family)


def test_score_on_tiny_weights(tmp_path):
    """`a` has char n-grams " a", "a ", " a " and one word; computed by hand, family scales 1.5 and 1."""
    weights, idf = np.zeros(BUCKETS, np.float16), np.zeros(BUCKETS, np.uint8)
    for gram, idf_value, weight in ((" a", 3, 1.0), ("a ", 4, 0.5)):
        idf[char_bucket(gram)], weights[char_bucket(gram)] = idf_value, weight
    idf[word_bucket("a")], weights[word_bucket("a")] = 7, -0.25
    save_file({"weights": weights, "idf": idf, "calibration": np.array([0.2, 2.0, 0.1])}, tmp_path / "w.safetensors")
    log_odds = 0.2 + 1.5 * (3 * 1.0 + 4 * 0.5) / 5 + 1.0 * -0.25
    expected = 1 / (1 + math.exp(-(2 * log_odds + 0.1)))
    assert NgramScorer(tmp_path / "w.safetensors").score(["A"])[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        ("F*CK you", "fuck you"),
        ("sh1t!", "shit !"),
        ("you @sshole", "you asshole"),
        ("f u c k you", "fuck you"),
        ("s.h.i.t", "shit"),
        ("fuuuuuck", "fuck"),
        ("ｆｕｃｋ 𝓽𝓱𝓲𝓼", "fuck this"),
        ("fu\u200bck\x00ing", "fucking"),
        ("don’t", "don't"),
    ],
)
def test_disguises_are_undone(disguised, plain):
    assert normalise(disguised) == plain


@pytest.mark.parametrize("text", ["mp3 b2b 2024 455", "i am a b", "3 4 5 6", "good book", "c*t"])
def test_ordinary_text_is_left_alone(text):
    assert normalise(text) == text


def test_batch_equals_single(scorer):
    texts = ["you are an idiot", "", " and then they left.", "fuck " * 300, "日本語", "you are an idiot"] * 60
    batched = scorer.score(texts)
    assert np.array_equal(batched, [scorer.score([text])[0] for text in texts])


def test_same_score_in_another_process(scorer):
    texts = ["what a stupid idea", "the 🐀 left", "Ünïcödé"]
    code = f"from detoxlm.scorers import load_scorer; print(load_scorer('ngram').score({texts!r}).tolist())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(out.stdout) == scorer.score(texts).tolist()


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "1-" * 50_000,
        "a " * 50_000,
        "f*" * 50_000,
        "\ud800",
        "\x00\x01\x1b[31m",
        "مرحبا",
        "ﷺ" * 500,
        "\n\t",
    ],
    ids=["long word", "dashes", "many words", "stars", "surrogate", "control", "arabic", "expanding", "blank"],
)
def test_any_text_gets_a_score(scorer, text):
    assert 0 <= scorer.score([text])[0] <= 1


def test_empty_text_scores_as_documented(scorer):
    assert scorer.score(["", "  \n", "\u200b"]).tolist() == [EMPTY_SCORE] * 3


def test_benign_identity_is_below_insult(scorer):
    benign = scorer.score(["I am a gay man", "she is a proud muslim woman", "my black neighbours are lovely"])
    toxic = scorer.score(["you stupid gay bastard", "muslim scum should die", "fuck off you ugly idiot"])
    assert benign.max() < 0.5 < toxic.min()


def test_damaged_weights_say_so(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(DetoxError, match="damaged"):
        NgramScorer(path)


def test_shipped_validity_is_of_the_shipped_weights(scorer):
    assert scorer.validity is not None
    assert scorer.validity["revision"] == scorer.revision


def test_validity_is_reproduced_on_rtp(scorer):
    path = DATA / "rtp" / "prompts_challenge_dev.jsonl"
    if not path.exists():
        pytest.skip(f"needs {path}; set DETOXLM_SHARED_DATA")
    halves = [row[k] for row in map(json.loads, path.read_text().splitlines()) for k in ("prompt", "continuation")]
    halves = [h for h in halves if h.get("toxicity") is not None and h["text"].strip()]
    scores, target = (
        load_scorer("ngram").score([h["text"] for h in halves]),
        np.array([h["toxicity"] for h in halves]),
    )
    positive, negative = scores[target >= 0.5], scores[target < 0.5]
    difference = positive[:, None] - negative[None]
    auc = float((difference > 0).mean() + (difference == 0).mean() / 2)
    bins = np.minimum(scores * 10, 9).astype(int)
    error = sum(abs((scores - target)[bins == b].sum()) for b in range(10)) / len(scores)
    stored = scorer.validity["validity"]["rtp_challenge_dev"]
    assert len(scores) == stored["auc"]["n"]
    assert auc == pytest.approx(stored["auc"]["value"], abs=1e-4)
    assert error == pytest.approx(stored["calibration_error"]["value"], abs=1e-4)
    assert auc > 0.9


def test_the_card_shows_the_measured_numbers(scorer, missing_from):
    assert missing_from((WEIGHTS.parent / "ngram.md").read_text(encoding="utf-8"), scorer.validity) == []
