"""The transformer scorer: its network, its packed weights, how it reads texts, and its validity on held-out files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from detoxlm import load_scorer
from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers import adapter, embedded, encoder, package
from detoxlm.scorers.adapter import GROUP, LEVELS, Classifier, apply, difference, pack, unpack
from detoxlm.scorers.base import EMPTY_SCORE
from detoxlm.scorers.embedded import END, OVERLAP, START, WINDOW, EmbeddedScorer, clean, windows
from detoxlm.validity import auc, calibration_error, spearman

FOLDER = package.package_folder()
needs_encoder = pytest.mark.skipif(FOLDER is None, reason=f"the encoder is not installed: {package.INSTALL}")


@pytest.fixture(scope="module")
def scorer() -> EmbeddedScorer:
    if FOLDER is None:
        pytest.skip(f"the encoder is not installed: {package.INSTALL}")
    return EmbeddedScorer(FOLDER, device="cpu")


@needs_encoder
def test_the_encoder_is_the_bert_of_transformers():
    from transformers import BertModel

    theirs = BertModel.from_pretrained(FOLDER, add_pooling_layer=False).eval()
    ours = encoder.load_encoder(FOLDER).eval()
    ids = torch.randint(1000, 20000, (5, 37), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(37) < torch.tensor([[37], [20], [3], [36], [1]])
    with torch.inference_mode():
        expected = theirs(ids, mask.long()).last_hidden_state
        torch.testing.assert_close(ours(ids, mask)[mask], expected[mask], atol=2e-5, rtol=1e-4)


@needs_encoder
def test_another_encoder_file_is_refused(tmp_path):
    data = bytearray((FOLDER / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(DetoxError, match="not the encoder it was trained on"):
        encoder.load_encoder(tmp_path)


def test_packing_rounds_to_one_of_the_two_levels_around_and_keeps_the_mean():
    change = torch.randn(6, 3 * GROUP, generator=torch.Generator().manual_seed(1)) * 1e-2
    packed, scale = pack(change)
    assert packed.shape == (6, 3 * GROUP // 2) and packed.dtype == torch.uint8
    largest = change.reshape(6, 3, GROUP).abs().amax(-1)
    # One step of LEVELS steps to the largest weight, and float16's rounding of the scale.
    bound = (largest / LEVELS + largest * 1e-3).repeat_interleave(GROUP, 1)
    assert ((unpack(packed, scale) - change).abs() <= bound).all()


def test_packing_keeps_a_change_smaller_than_half_a_step_on_average():
    grid = torch.tensor([-7.0, 7.0] + [3.0] * (GROUP - 2)).repeat(200, 1)
    found = unpack(*pack(grid + 0.2 * (grid == 3.0)))
    assert found[:, 2:].mean().item() == pytest.approx(3.2, abs=0.02)


def test_packing_keeps_representable_weights_and_zero_exactly():
    levels = torch.arange(-LEVELS, LEVELS + 1).repeat(5)[:GROUP].float()
    change = torch.stack([levels * 0.25, levels * -0.25, torch.zeros(GROUP)])
    assert torch.equal(unpack(*pack(change)), change)


def small_classifier(seed: int) -> Classifier:
    torch.manual_seed(seed)
    model = Classifier(encoder.Encoder())
    for name, value in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.ones_(value)
        else:
            torch.nn.init.normal_(value, 0, 0.02)
    return model


def test_shipped_tensors_restore_the_trained_classifier():
    base = small_classifier(0)
    trained = small_classifier(0)
    with torch.no_grad():
        for value in trained.parameters():
            if value.requires_grad:
                value += torch.randn_like(value) * 2e-3
    tensors = difference(trained, base.encoder)
    assert not any("words" in name or "positions" in name for name in tensors)  # not trained, not shipped
    restored = apply(base.encoder, tensors)
    ids = torch.randint(1000, 20000, (4, 12))
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        expected, found = trained(ids, mask), restored(ids, mask)
        untrained = small_classifier(0)(ids, mask)
    assert (found - expected).abs().max() < 0.25 * (untrained - expected).abs().max()


@pytest.mark.parametrize("count", [3, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 2000])
def test_windows_cover_every_token_and_overlap(count):
    ids = [START, *range(1000, 1000 + count - 2), END]
    parts = windows(ids)
    assert all(part[0] == START and part[-1] == END and len(part) <= WINDOW for part in parts)
    rebuilt = parts[0][1:-1]
    for part in parts[1:]:
        assert rebuilt[-OVERLAP:] == part[1 : 1 + OVERLAP]
        rebuilt += part[1 + OVERLAP : -1]
    assert rebuilt == ids[1:-1]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("F.U.C.K this", "fuck this"),
        ("sooooo niiice", "so nice"),
        ("what the f*ck", "what the fuck"),
        ("ｓｔｕｐｉｄ", "stupid"),
        ("id\u200biot\x00", "idiot"),
        ("class assignment, mp3", "class assignment, mp3"),
    ],
)
def test_disguises_are_undone(raw, expected):
    assert clean(raw) == expected


def test_pictures_become_words():
    assert clean("go 🐒").split() == ["go", "monkey"]
    assert clean("👨🏿").split() == ["man", "dark", "skin"]
    assert clean("🇩🇪") == "de"
    assert clean("日本 ≠ Île") == "日本 ≠ île"


@needs_encoder
def test_a_score_does_not_depend_on_the_texts_beside_it(scorer):
    texts = ["You are an idiot.", "a", "The weather was mild " * 20, "have a nice day", "🐒" * 3]
    together = scorer.score(texts)
    alone = np.concatenate([scorer.score([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(scorer.score(texts[::-1])[::-1], together, atol=1e-5)


@needs_encoder
def test_dimensions_start_with_the_headline(scorer):
    texts = ["You are an idiot.", "I will kill you tonight", "have a nice day"]
    found = scorer.score_dimensions(texts)
    assert tuple(found) == adapter.DIMENSIONS
    np.testing.assert_array_equal(found["toxicity"], scorer.score(texts))
    assert found["insult"].argmax() == 0 and found["threat"].argmax() == 1


@needs_encoder
def test_severity_and_flirtation_are_told_from_toxicity(scorer):
    texts = ["Hey gorgeous, you look so sexy tonight, kiss me", "You are a bit silly.", "Fuck you, you fucking cunt"]
    found = scorer.score_dimensions(texts)
    assert found["flirtation"].argmax() == 0 and found["flirtation"][0] > 0.5
    assert found["severe_toxicity"].argmax() == 2 and found["severe_toxicity"][2] > 0.5
    # a mild insult is toxic, and not severely so
    assert found["severe_toxicity"][1] < found["toxicity"][1] / 2


@needs_encoder
def test_one_attack_in_a_long_text_is_found_and_length_alone_is_not_toxic(scorer):
    calm = "The museum opens at nine and the garden at ten. Tickets are sold at the gate. " * 40
    attack = "You are a worthless piece of shit and I hope you die."
    clean_score, hidden, alone = scorer.score([calm, calm + attack + calm, attack])
    assert clean_score < 0.3 and alone > 0.8
    assert hidden > 0.5


@needs_encoder
def test_a_long_text_has_the_power_mean_of_its_windows(scorer):
    text = "The museum opens at nine. You are an idiot. " * 30
    owner, logits = scorer.window_logits(["short", text])
    assert owner.tolist() == [0] + [1] * (len(owner) - 1) and len(owner) > 3
    single = 1 / (1 + np.exp(-(logits[1:] * scorer._slope + scorer._offset)))
    np.testing.assert_allclose(
        list(scorer.score_dimensions([text]).values()), np.mean(single**8, axis=0)[:, None] ** (1 / 8), rtol=1e-5
    )


@needs_encoder
@pytest.mark.parametrize("text", ["", "   \n\t", "\u200b\u200d", "\x00\x01\x7f"])
def test_a_text_without_visible_characters_scores_zero(scorer, text):
    assert scorer.score([text])[0] == EMPTY_SCORE


@pytest.mark.more
@needs_encoder
@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "word " * 20_000,
        "\ud800 lone surrogate",
        "Das ist ein schöner Tag.",
        "今日はいい天気ですね。",
        "مرحبا بالعالم",
        "👩‍👩‍👧‍👦" * 500,
        "\u202eabc\u202c" + "́" * 1000,
        "[PAD] [SEP] [CLS] [MASK]",
    ],
    ids=["one word", "long", "surrogate", "German", "Japanese", "Arabic", "emoji", "marks", "special tokens"],
)
def test_any_text_gets_a_score(scorer, text):
    assert 0 <= scorer.score([text])[0] <= 1


def test_without_the_encoder_the_ngram_scorer_stands_in_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(embedded, "package_folder", lambda: None)
    found = load_scorer("embedded")
    assert found.name == "ngram"
    assert package.INSTALL in caplog.text


def test_another_version_is_refused_by_name():
    with pytest.raises(UsageError, match=r"no version 'large'.*`embedded:2`"):
        load_scorer("embedded:large")


@needs_encoder
def test_version_2_is_still_there_for_results_of_before(scorer):
    earlier = load_scorer("embedded:2")
    assert (earlier.name, earlier.version, earlier.revision) == ("embedded", "2", "7c8e4ce5d8c9")
    assert (scorer.version, load_scorer("embedded:3").revision) == ("3", scorer.revision)
    # what looked toxic to Perspective, and does not to readers: crime news, and a word alone
    news = ["He raped the girl and killed her mother", "woman"]
    assert (earlier.score(news) > 0.5).all() and (scorer.score(news) < 0.5).all()


@needs_encoder
def test_damaged_weights_are_named(tmp_path):
    bad = tmp_path / "embedded.safetensors"
    bad.write_bytes(b"not safetensors")
    with pytest.raises(DetoxError, match=r"embedded\.safetensors is missing or damaged"):
        EmbeddedScorer(FOLDER, bad)


@needs_encoder
def test_scoring_imports_no_transformers():
    code = (
        "import sys; from detoxlm.scorers import load_scorer; load_scorer('embedded').score(['a']);"
        "assert 'transformers' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.more
@needs_encoder
def test_version_2_agrees_with_perspective_on_held_out_prompts_and_continuations(rtp):
    texts, target = rtp("challenge_dev")
    score = load_scorer("embedded:2").score(texts)
    assert auc(score, target) >= 0.92
    assert spearman(score, target) >= 0.87
    assert calibration_error(score, target) <= 0.06


def test_validity_on_file_is_of_these_weights():
    stored = json.loads(embedded.WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    found = load_scorer("embedded")
    if found.name == "embedded":
        assert stored["revision"] == found.revision
        assert stored["scorer"] == f"{found.name} {found.version}"


def test_the_card_shows_the_measured_numbers(missing_from):
    card = embedded.WEIGHTS.with_name("README.md").read_text(encoding="utf-8")
    assert missing_from(card, json.loads(embedded.WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))) == []
