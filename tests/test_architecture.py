"""The view of a model's parts, held against the model's own forward pass, for every architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from devices import DEVICE
from torch import nn
from transformers import AutoModelForCausalLM, OPTConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError
from detoxlm.models import Target, load_target

KINDS = ["gemma2", "gemma3_text", "gpt2", "gpt_neox", "gptj", "llama", "mistral", "opt", "phi", "qwen2"]
IDS = torch.tensor([[256, 72, 101, 108, 108, 111, 44, 32, 119]], device=DEVICE)


@pytest.fixture
def noisy(tiny: Callable[..., Target]) -> Callable[[str], Target]:
    """Return a loader of tiny models whose biases and norm weights are random too: fresh ones are 0 and 1."""

    def load(kind: str) -> Target:
        target = tiny(kind)
        generator = torch.Generator().manual_seed(1)
        for parameter in target.model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(parameter.device))
        return target

    return load


def logits_of(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits[0]


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_the_decoder_layers_in_order_of_execution(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    layers = target.architecture.layers
    seen: list[nn.Module] = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda module, _: seen.append(module))
    logits_of(target.model)
    assert len(layers) == 4
    assert [id(layer) for layer in seen] == [id(layer) for layer in layers]
    assert target.architecture.name == kind


@pytest.mark.parametrize("kind", KINDS)
def test_head_of_final_norm_is_the_models_logits(kind: str, noisy: Callable[[str], Target]) -> None:
    target = noisy(kind)
    view = target.architecture
    normed: list[torch.Tensor] = []
    view.final_norm.register_forward_hook(lambda _, __, output: normed.append(output))
    expected = logits_of(target.model)
    [hidden] = normed  # the final norm runs once
    with torch.no_grad():
        mine = hidden[0] @ view.head.weight.T
        if view.head.bias is not None:
            assert float(view.head.bias.abs().max()) > 0.1
            mine = mine + view.head.bias
        if view.softcap is not None:
            mine = view.softcap * torch.tanh(mine / view.softcap)
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)
    assert view.softcap == (5.0 if kind == "gemma2" else None)
    assert (view.head.bias is not None) == (kind in ("gptj", "phi"))


@pytest.mark.parametrize("kind", KINDS)
def test_decoder_returns_the_final_norms_output(kind: str, noisy: Callable[[str], Target]) -> None:
    view = noisy(kind).architecture
    normed: list[torch.Tensor] = []
    view.final_norm.register_forward_hook(lambda _, __, output: normed.append(output))
    with torch.no_grad():
        hidden = view.decoder(input_ids=IDS, use_cache=False).last_hidden_state
    torch.testing.assert_close(hidden, normed[0], rtol=0, atol=0)
    assert hidden.shape == (1, IDS.shape[1], view.hidden_size)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_and_embeddings_are_the_models_own(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    view = target.architecture
    assert (view.vocab_size, view.hidden_size) == (260, 32)
    assert view.embeddings.weight.shape == (260, 32)
    before = logits_of(target.model)
    view.embeddings.weight[72] += 1.0  # a token of IDS
    assert not torch.equal(before, logits_of(target.model))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 3])
def test_value_matrix_turns_activations_into_the_mlps_output(
    kind: str, layer: int, noisy: Callable[[str], Target]
) -> None:
    target = noisy(kind)
    matrix = target.architecture.writers(layer, "value")[0].matrix
    assert matrix.shape == (32, 128 if kind in ("gpt2", "gptj") else 48)
    found = last_matrix(target.architecture.layers[layer])
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    found.register_forward_hook(lambda _, args, output: calls.append((args[0], output)))
    logits_of(target.model)
    [(activations, written)] = calls
    with torch.no_grad():
        mine = torch.einsum("dn,...n->...d", matrix, activations)  # column n is what neuron n writes
        if found.bias is not None:
            mine = mine + found.bias
    torch.testing.assert_close(mine, written, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_writes_by_the_matrix_that_is_named(kind: str, noisy: Callable[[str], Target]) -> None:
    target = noisy(kind)
    matrix = target.architecture.writers(1, "attention")[0].matrix
    layer = target.architecture.layers[1]
    [attention] = [part for name, part in layer.named_children() if name in ("self_attn", "attn", "attention")]
    order: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
    written: list[torch.Tensor] = []
    for module in attention.modules():
        if isinstance(module, nn.Linear | Conv1D):
            module.register_forward_hook(lambda module, args, output: order.append((module, args[0], output)))
    attention.register_forward_hook(lambda _, __, output: written.append(output[0]))
    logits_of(target.model)
    last, heads, output = order[-1]
    assert torch.equal(output.flatten(), written[0].flatten())  # it is what attention gives to the layer
    with torch.no_grad():
        mine = torch.einsum("dn,...n->...d", matrix, heads)
        if last.bias is not None:
            mine = mine + last.bias
    torch.testing.assert_close(mine, output, rtol=1e-4, atol=1e-4)


def last_matrix(layer: nn.Module) -> nn.Module:
    """Return the matrix of the MLP that runs last, found by running: not by the name that the code under test uses."""
    order: list[nn.Module] = []
    mlp = getattr(layer, "mlp", layer)  # OPT has its MLP in the layer itself
    handles = [
        module.register_forward_hook(lambda module, _, __: order.append(module))
        for name, module in mlp.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and "attn" not in name
    ]
    with torch.no_grad():
        if mlp is layer:
            layer(torch.randn(1, 3, 32, device=DEVICE))
        else:
            mlp(torch.randn(1, 3, 32, device=DEVICE))
    for handle in handles:
        handle.remove()
    return order[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_writing_to_a_value_vector_changes_only_what_that_neuron_writes(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    view = target.architecture
    module = last_matrix(view.layers[1])
    stored = module.weight if isinstance(module, nn.Linear) else module.weight.T
    before, old = logits_of(target.model), stored.clone()
    view.writers(1, "value")[0].matrix[:, 5] = 7.0
    assert torch.equal(stored[:, 5], torch.full((32,), 7.0, device=DEVICE))
    rest = [n for n in range(stored.shape[1]) if n != 5]
    assert torch.equal(stored[:, rest], old[:, rest])
    assert not torch.equal(before, logits_of(target.model))


def test_conv1d_is_read_as_rows_of_the_residual_stream(tiny: Callable[..., Target]) -> None:
    view = tiny("gpt2").architecture
    stored = view.layers[2].mlp.c_proj.weight
    assert stored.shape == (128, 32)  # Conv1D: [in, out]
    assert torch.equal(view.writers(2, "value")[0].matrix, stored.T)
    assert view.writers(2, "value")[0].matrix.data_ptr() == stored.data_ptr()


def test_a_model_without_a_final_norm_has_its_states_but_no_layers_that_lead_to_the_head_by_one_norm() -> None:
    config = OPTConfig(
        vocab_size=20,
        hidden_size=8,
        ffn_dim=8,
        word_embed_proj_dim=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        do_layer_norm_before=False,  # as OPT-350m
    )
    view = Architecture.of(AutoModelForCausalLM.from_config(config).eval())
    assert view.family is None
    assert view.hidden_size == 4
    assert view.decoder is view.model.model.decoder
    with pytest.raises(
        UsageError, match=r"the layers of this opt model cannot be told: the last layer's output does not"
    ):
        _ = view.layers


def test_a_value_matrix_that_is_not_dense_is_refused(tiny: Callable[..., Target]) -> None:
    class Quantised(nn.Linear):
        pass

    target = tiny("llama")
    target.architecture.layers[1].mlp.down_proj = Quantised(48, 32)
    with pytest.raises(UsageError, match=r"layer 1 of this llama model has Quantised at mlp\.down_proj"):
        target.architecture.writers(1, "value")
    del target.architecture.layers[2].mlp.down_proj
    with pytest.raises(UsageError, match=r"layer 2 of this llama model has nothing at mlp\.down_proj"):
        target.architecture.writers(2, "value")


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_is_the_same_in_float32_and_bfloat16_but_not_for_other_weights(
    kind: str, tiny: Callable[..., Target]
) -> None:
    prints = {tiny(kind).architecture.fingerprint for _ in range(2)}
    prints.add(tiny(kind, dtype="bfloat16").architecture.fingerprint)
    assert len(prints) == 1
    assert tiny(kind, seed=1).architecture.fingerprint not in prints


def test_fingerprints_of_all_tiny_models_differ(tiny: Callable[..., Target]) -> None:
    assert len({tiny(kind).architecture.fingerprint for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("neuron", [0, 40])
def test_fingerprint_sees_the_edit_of_a_single_neuron(
    kind: str, layer: int, neuron: int, tiny: Callable[..., Target]
) -> None:
    view = tiny(kind).architecture
    before = view.fingerprint
    old = view.writers(layer, "value")[0].matrix[:, neuron].clone()
    view.writers(layer, "value")[0].matrix[:, neuron] *= 0.5
    assert view.fingerprint != before
    view.writers(layer, "value")[0].matrix[:, neuron] = old
    assert view.fingerprint == before


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_sees_a_change_of_any_weight(kind: str, tiny: Callable[..., Target]) -> None:
    target = tiny(kind)
    before = target.architecture.fingerprint
    for name, weight in target.model.named_parameters():
        old = weight.clone()
        weight.flatten()[0].add_(1.0)
        assert target.architecture.fingerprint != before, name
        weight.copy_(old)
    assert target.architecture.fingerprint == before


@pytest.mark.embedded
def test_the_embedded_model_has_thirty_layers_and_a_known_fingerprint(embedded: Target) -> None:
    view = embedded.architecture
    assert (view.name, len(view.layers), view.hidden_size, view.vocab_size) == ("llama", 30, 576, 49152)
    assert view.writers(29, "value")[0].matrix.shape == (576, 1536)
    assert view.fingerprint == "971cfde4c421329a"


@pytest.mark.parametrize(
    ("fitted", "used"),
    [("float32", "float16"), ("float16", "float32"), ("float32", "bfloat16"), ("bfloat16", "float32")],
)
def test_a_model_is_known_again_in_another_precision(
    fitted: str, used: str, tiny: Callable[..., Target], tiny_folder: Callable[..., Path]
) -> None:
    before, now = (
        load_target(str(tiny_folder("llama")), device=DEVICE, dtype=one).architecture for one in (fitted, used)
    )
    assert now.is_of(before.prints)
    assert not tiny(seed=1).architecture.is_of(before.prints)
    halves = "float16" in (fitted, used)
    assert now.is_of({"fingerprint": before.fingerprint}) != halves, "as versions before this one kept it"
