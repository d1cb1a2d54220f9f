"""Hub models as scorers, on tiny random classifiers, and Detoxify through a stand-in package."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    GPT2Config,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from detoxlm.errors import UsageError
from detoxlm.scorers import load_scorer
from detoxlm.scorers.cache import CachedScorer
from detoxlm.scorers.detoxify import DetoxifyScorer
from detoxlm.scorers.hub import HubScorer, parse

WORDS = ["you", "are", "an", "idiot", "nice", "day", "the", "cat"]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXTS = ["you are an idiot", "nice day", "", "the cat " * 40, "you"]


def save_tokenizer(folder, **special):
    vocabulary = {word: i for i, word in enumerate([*SPECIAL.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(special or SPECIAL)).save_pretrained(folder)


def save_classifier(folder, kind=BertConfig, labels=("fine", "Toxic", "rude"), **options):
    torch.manual_seed(0)
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2} if kind is GPT2Config else SIZE
    config = kind(
        vocab_size=len(SPECIAL) + len(WORDS),
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
        initializer_range=0.5,
        **size,
        **{"max_position_embeddings": 32, **options},
    )
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model.eval()


def logits(model, text, length=32):
    ids = [len(SPECIAL) + WORDS.index(word) for word in text.split()][:length]
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].double()


def test_softmax_of_the_named_label(tmp_path):
    model = save_classifier(tmp_path)
    scorer = HubScorer(str(tmp_path), label="toxic", device="cpu")  # case does not matter
    assert scorer.score([TEXTS[0]])[0] == pytest.approx(logits(model, TEXTS[0]).softmax(0)[1].item(), abs=1e-5)


def test_multilabel_uses_the_sigmoid(tmp_path):
    model = save_classifier(tmp_path, problem_type="multi_label_classification")
    scorer = load_scorer(f"hub:{tmp_path}#Toxic", device="cpu", cache=False)
    assert scorer.score([TEXTS[0]])[0] == pytest.approx(logits(model, TEXTS[0]).sigmoid()[1].item(), abs=1e-5)


@pytest.mark.parametrize("problem", [None, "regression"])
def test_one_logit_needs_no_label(tmp_path, problem):
    model = save_classifier(tmp_path, labels=("score",), problem_type=problem)
    raw = torch.stack([logits(model, text) for text in TEXTS[:2]])[:, 0]
    expected = raw.clamp(0, 1) if problem else raw.sigmoid()
    assert HubScorer(str(tmp_path), device="cpu").score(TEXTS[:2]) == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize("kind", [BertConfig, RobertaConfig, GPT2Config])
def test_batch_equals_single_and_long_texts_are_cut(tmp_path, kind):
    model = save_classifier(tmp_path, kind, max_position_embeddings=34 if kind is RobertaConfig else 32)
    if kind is GPT2Config:  # decoders come without a padding token
        save_tokenizer(tmp_path, eos_token="[EOS]", unk_token="[UNK]")
    if kind is RobertaConfig:
        assert model.roberta.embeddings.position_embeddings.padding_idx == 0
    scorer = HubScorer(str(tmp_path), label="rude", device="cpu")
    batched = scorer.score(TEXTS[:2] + TEXTS[3:])
    assert batched == pytest.approx([scorer.score([t])[0] for t in TEXTS[:2] + TEXTS[3:]], abs=1e-5)
    assert batched[0] == pytest.approx(logits(model, TEXTS[0]).softmax(0)[2].item(), abs=1e-5)
    cut = 33 if kind is RobertaConfig else 32
    assert batched[2] == pytest.approx(logits(model, TEXTS[3], cut).softmax(0)[2].item(), abs=1e-5)


def test_a_label_is_required_and_listed(tmp_path):
    save_classifier(tmp_path)
    with pytest.raises(UsageError, match="one of: fine, Toxic, rude"):
        HubScorer(str(tmp_path), device="cpu")
    with pytest.raises(UsageError, match=r"no label 'nice'\. Its labels: fine, Toxic, rude"):
        HubScorer(str(tmp_path), label="nice", device="cpu")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_git_lfs_pointer_is_called_that(tmp_path, file):
    save_classifier(tmp_path)
    (tmp_path / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(UsageError, match=rf"^scorer: .*{file} is a Git LFS pointer.*git lfs pull"):
        HubScorer(str(tmp_path), label="Toxic", device="cpu")


def test_a_folder_without_a_tokenizer_is_told_how_to_get_one(tmp_path):
    save_classifier(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"^scorer: the folder .* has no tokenizer: .*tokenizer\.save_pretrained"):
        HubScorer(str(tmp_path), label="Toxic", device="cpu")


@pytest.mark.parametrize("path", ["/no/such/folder", "./none", "C:\\models\\judge", "~/none"])
def test_a_path_that_does_not_exist_is_called_that(path):
    with pytest.raises(UsageError, match=r"^scorer: the folder .* does not exist\. Write hub:"):
        load_scorer(f"hub:{path}#Toxic", cache=False)


def test_code_of_its_own_is_not_run(tmp_path):
    save_classifier(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    names = {"AutoConfig": "code.C", "AutoModelForSequenceClassification": "code.M"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "homemade", "auto_map": names}))
    (tmp_path / "code.py").write_text("raise SystemExit('this code was run')")
    with pytest.raises(UsageError, match="brings code of its own, which a scorer never runs"):
        HubScorer(str(tmp_path), label="Toxic", device="cpu")


def test_tokens_that_the_model_was_not_made_room_for_are_named(tmp_path):
    save_classifier(tmp_path)
    WORDS.append("surplus")
    try:
        save_tokenizer(tmp_path)
    finally:
        WORDS.remove("surplus")
    with pytest.raises(UsageError, match=r"^scorer: the tokenizer of 'hub:.*1 tokens \(surplus\).*resize_token_embed"):
        HubScorer(str(tmp_path), label="Toxic", device="cpu")


def test_a_model_without_a_trained_head_is_refused(tmp_path):
    BertModel(BertConfig(vocab_size=11, **SIZE)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(UsageError, match="no trained text classifier"):
        HubScorer(str(tmp_path), label="LABEL_1", device="cpu")


def test_a_head_of_another_shape_than_the_configuration_says_is_refused(tmp_path):
    save_classifier(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    labels = dict(enumerate(["fine", "Toxic", "rude", "late"]))
    (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": labels, "label2id": {}}))
    with pytest.raises(
        UsageError, match=r"lack classifier\.\w+, or have it in another shape than config\.json"
    ) as caught:
        HubScorer(str(tmp_path), label="Toxic", device="cpu")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused(tmp_path):
    model = save_classifier(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="safetensors"):
        HubScorer(str(tmp_path), label="Toxic", device="cpu")


def test_missing_model_and_device_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"the folder .* does not exist") as caught:
        HubScorer(str(tmp_path / "nothing"))
    assert "\n" not in str(caught.value)
    save_classifier(tmp_path)
    with pytest.raises(UsageError, match="device: 'gpu9'"):
        HubScorer(str(tmp_path), label="Toxic", device="gpu9")


def test_the_revision_follows_the_weights(tmp_path):
    save_classifier(tmp_path / "a")
    save_classifier(tmp_path / "b", hidden_act="relu")
    revisions = {HubScorer(str(tmp_path / name), label="Toxic", device="cpu").revision for name in "aab"}
    assert len(revisions) == 2


def test_a_revision_of_a_folder_is_refused(tmp_path):
    save_classifier(tmp_path / "m")
    with pytest.raises(UsageError, match=r"scorer: .*m is a folder, and revisions are of the Hub; leave @v2 out"):
        HubScorer(str(tmp_path / "m"), revision="v2", label="Toxic", device="cpu")


def test_loaded_through_the_registry_it_is_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("DETOXLM_CACHE", str(tmp_path / "cache"))
    save_classifier(tmp_path / "m")
    scorer = load_scorer(f"hub:{tmp_path / 'm'}#Toxic", device="cpu")
    assert isinstance(scorer, CachedScorer)
    first = scorer.score(TEXTS)
    monkeypatch.setattr(scorer.inner, "_score_batch", lambda texts: pytest.fail("asked again"))
    assert np.array_equal(scorer.score(TEXTS), first)


def test_the_parts_of_a_specification(tmp_path):
    assert parse("own/er@v1#toxic") == ("own/er", "v1", "toxic")
    assert parse("own/er") == ("own/er", None, None)
    odd = tmp_path / "a@b#c"
    odd.mkdir()
    assert parse(str(odd)) == (str(odd), None, None)
    assert parse(f"{odd}#toxic") == (str(odd), None, "toxic")


def test_detoxify_without_the_package_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "detoxify", None)
    with pytest.raises(UsageError, match=r"pip install 'detoxlm\[detoxify\]'"):
        load_scorer("detoxify")


def test_detoxify_variant_output_and_revision(monkeypatch):
    class Detoxify:
        def __init__(self, variant, device):
            self.variant = variant

        def predict(self, texts):
            return {"toxicity": [len(t) / 10 for t in texts], "insult": [0.9] * len(texts)}

    package, inner = ModuleType("detoxify"), ModuleType("detoxify.detoxify")
    package.Detoxify = Detoxify
    inner.MODEL_URLS = {"unbiased": "https://x.test/toxic_debiased-c7548aa0.ckpt"}
    monkeypatch.setitem(sys.modules, "detoxify", package)
    monkeypatch.setitem(sys.modules, "detoxify.detoxify", inner)
    scorer = DetoxifyScorer("unbiased", "cpu")
    assert scorer.score(["a", "bbb"]).tolist() == [0.1, 0.3]
    assert scorer.revision == "toxic_debiased-c7548aa0.ckpt"
    with pytest.raises(UsageError, match="Did you mean 'unbiased'"):
        DetoxifyScorer("unbiassed")
