"""The method on a tiny random model: what it changes, that it leaves no trace, and that every host carries it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detoxlm_banned_words.method import BannedWords, BannedWordsDetoxifier, BannedWordsSettings, beginnings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from detoxlm.errors import UsageError
from detoxlm.methods import METHODS, Detoxifier, FitData
from detoxlm.models import Target, load_target

STRENGTHS = [0.0, 3.0, 100.0]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights whose tokens are bytes."""
    place = tmp_path_factory.mktemp("model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>").save_pretrained(place)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=256,
        pad_token_id=257,
        initializer_range=0.3,  # the usual 0.02 makes all logits alike
    )
    LlamaForCausalLM(config).save_pretrained(place)
    return place


@pytest.fixture
def target(folder: Path) -> Target:
    return load_target(str(folder), device="cpu")


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """Let detoxlm know the method where the package is not installed."""
    if "banned-words" in METHODS:
        yield
        return
    METHODS["banned-words"] = BannedWords
    yield
    del METHODS["banned-words"]


def fitted(target: Target, words: str = "river,stone") -> BannedWordsDetoxifier:
    return BannedWords.fit(target, FitData(), BannedWordsSettings(words=words))


def ids_of(target: Target, text: str = "the bridge over the ") -> torch.Tensor:
    return target.tokenizer(text, return_tensors="pt")["input_ids"]


@torch.inference_mode()
def logits(target: Target, ids: torch.Tensor) -> torch.Tensor:
    return target.model(ids).logits.clone()


def test_a_word_begins_with_a_token_that_is_no_space(target: Target) -> None:
    (r,) = target.tokenizer("r")["input_ids"]
    assert beginnings(target.tokenizer, "river") == [r, r]


def test_banned_tokens_fall_by_the_strength_and_all_others_stay(target: Target) -> None:
    ids, detoxifier = ids_of(target), fitted(target)
    banned = {int(i) for i in detoxifier.tensors["banned"].nonzero()}
    assert banned == set(target.tokenizer("rs")["input_ids"])
    untouched = logits(target, ids)
    with detoxifier.attached(target.model, 4.0):
        fell = untouched - logits(target, ids)
    expected = torch.tensor([4.0 if token in banned else 0.0 for token in range(260)])
    assert torch.allclose(fell, expected.expand_as(fell), atol=1e-4)


def test_it_leaves_no_trace_also_after_an_exception(target: Target) -> None:
    ids, detoxifier = ids_of(target), fitted(target)
    untouched = logits(target, ids)
    with pytest.raises(RuntimeError, match="inside"), detoxifier.attached(target.model):
        raise RuntimeError("inside")
    assert torch.equal(logits(target, ids), untouched)
    with detoxifier.attached(target.model, 0.0):
        assert torch.equal(logits(target, ids), untouched)


def test_a_saved_folder_loads_to_the_same_logits(target: Target, tmp_path: Path) -> None:
    ids, detoxifier = ids_of(target), fitted(target)
    detoxifier.save_pretrained(tmp_path / "saved")
    again = Detoxifier.from_pretrained(tmp_path / "saved")
    assert isinstance(again, BannedWordsDetoxifier)
    assert again.settings == detoxifier.settings
    with detoxifier.attached(target.model):
        expected = logits(target, ids)
    with again.attached(target.model):
        assert torch.equal(logits(target, ids), expected)


def test_every_host_gives_each_request_its_own_strength(target: Target) -> None:
    """Attached, as a logits processor (beams too), and by a session, whose host adds, reorders and drops rows."""
    ids, detoxifier = ids_of(target), fitted(target)
    alone = []
    for strength in STRENGTHS:
        with detoxifier.attached(target.model, strength):
            alone.append(logits(target, ids)[0, -1].log_softmax(-1))
    batch = ids.expand(3, -1)
    plain = logits(target, batch)[:, -1]

    with detoxifier.attached(target.model, STRENGTHS):
        attached = logits(target, batch)[:, -1].log_softmax(-1)
    assert torch.allclose(attached, torch.stack(alone), atol=1e-4)
    processed = detoxifier.logits_processor(target.model, STRENGTHS)(batch, plain.clone())
    assert torch.allclose(processed, torch.stack(alone), atol=1e-4)

    session = detoxifier.session(target.model)
    for row, strength in zip("abc", STRENGTHS, strict=True):
        session.add(row, strength)
        session.read({row: ids[0].tolist()})
    session.arrange({"c": "a", "d": "b", "a": "c"})  # beams: a row keeps the strength of the one that it comes of
    session.roll_back("d", 2)
    session.drop("c")
    acted = session.act(["a", "d"], plain[:2].clone()).log_softmax(-1)
    assert torch.allclose(acted, torch.stack([alone[2], alone[1]]), atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True}])
def test_the_processor_writes_what_the_attached_model_writes(target: Target, options: dict) -> None:
    detoxifier, inputs = fitted(target), {"input_ids": ids_of(target).expand(3, -1)}
    arguments = {"max_new_tokens": 8, "do_sample": False, **options}
    torch.manual_seed(3)
    with detoxifier.attached(target.model, STRENGTHS):
        attached = target.model.generate(**inputs, **arguments)
    torch.manual_seed(3)
    processor = detoxifier.logits_processor(target.model, STRENGTHS)
    processed = target.model.generate(**inputs, **arguments, logits_processor=[processor])
    assert processed.tolist() == attached.tolist()


def test_what_cannot_be_done_is_refused_in_one_line(target: Target) -> None:
    with pytest.raises(UsageError, match=r"words: name at least one, such as --set words="):
        fitted(target, " , ")
    with pytest.raises(UsageError, match=r"strength: 101 is outside \[0, 100\] of banned-words"):
        fitted(target).attached(target.model, 101.0)
    with pytest.raises(UsageError, match="merge: banned-words works at decoding time"):
        fitted(target).merge(target.model)
