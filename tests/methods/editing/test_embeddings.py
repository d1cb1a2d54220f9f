"""Sentence embeddings of all layers, against transformers' own hidden states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from devices import as_row

from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods.editing.embeddings import sentence_embeddings
from detoxlm.models import Target
from detoxlm.passages import Passage, passages

TEXTS = [("the old", " bridge is closed today"), ("x", " y"), ("over the hills", " and far away it goes, on and on")]


def states(target: Target, ids: list[int]) -> torch.Tensor:
    """Outputs of all decoder layers [L, T, d], by hooks on one unpadded text."""
    seen: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out))
        for layer in target.architecture.layers
    ]
    with torch.inference_mode():
        target.model(input_ids=as_row(target, ids), use_cache=False)
    for hook in hooks:
        hook.remove()
    return torch.stack([one.reshape(len(ids), -1) for one in seen]).cpu()


@pytest.mark.parametrize("shape", ["llama", "gpt2", "opt", "gemma2", "gemma3_text", "gptj", "gpt_neox", "phi"])
@pytest.mark.parametrize("pooling", ["all", "completion"])
def test_a_padded_batch_gives_the_means_of_single_texts(shape: str, pooling: str, tiny: Callable[..., Target]) -> None:
    target = tiny(shape)
    read = passages(target, TEXTS, 64)
    found = sentence_embeddings(target, read, pooling=pooling, skip_sinks=False, batch_size=3)  # type: ignore[arg-type]
    for i, passage in enumerate(read):
        start = passage.start if pooling == "completion" else 0
        expected = states(target, passage.ids)[:, start:].mean(1)
        torch.testing.assert_close(found[:, i], expected, atol=1e-5, rtol=1e-4)


def test_attention_sinks_are_left_out_of_the_mean(tiny: Callable[..., Target]) -> None:
    target = tiny()
    sink = target.tokenizer("Q")["input_ids"]
    with torch.no_grad():  # a byte whose state dwarfs all others, as a first token's does in real models
        target.architecture.embeddings.weight[sink] *= 1e4
    words = target.tokenizer("and far away")["input_ids"]
    passage = Passage(sink + words, 0)
    found = sentence_embeddings(target, [passage], pooling="all", skip_sinks=True)[:, 0]
    everything = states(target, passage.ids)
    torch.testing.assert_close(found, everything[:, 1:].mean(1), atol=1e-5, rtol=1e-4)
    only = sentence_embeddings(target, [Passage(sink, 0)], pooling="all", skip_sinks=True)[:, 0]
    assert torch.isfinite(only).all(), "a text of sinks alone keeps them"


def test_long_texts_are_cut_and_empty_ones_refused(tiny: Callable[..., Target]) -> None:
    target = tiny()
    (cut,) = passages(target, [("a" * 100, "b" * 100)], 16)
    assert (len(cut.ids), cut.start) == (16, 8)
    assert target.tokenizer.decode(cut.ids) == "a" * 8 + "b" * 8
    with pytest.raises(UsageError, match="pairs: a text is empty"):
        passages(target, [("the", "  ")], 16)


def test_states_that_are_not_numbers_stop_the_fit(tiny: Callable[..., Target]) -> None:
    target = tiny()
    with torch.no_grad():
        target.architecture.writers(0, "value")[0].matrix.fill_(float("nan"))
    with pytest.raises(DetoxError, match="model: its hidden states are NaN"):
        sentence_embeddings(target, passages(target, TEXTS, 64), pooling="all", skip_sinks=False)
