"""Models that are in no table: their parts prove themselves, and what works on text and logits works on them."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from any_models import SHAPES, config_of
from devices import DEVICE, as_row, encoded
from fits import PROMPTS, fit
from tokenizers import Tokenizer
from tokenizing import byte_tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from detoxlm import writers
from detoxlm.architecture import FAMILIES, Part
from detoxlm.caching import cached_as
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, encode, generate
from detoxlm.likelihood import continuation_nll, measure_window
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.editing.subspaces import low_rank
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.methods.weights.replacing import replaced
from detoxlm.models import Target, load_target

pytestmark = pytest.mark.more
every_kind = pytest.mark.parametrize("kind", SHAPES)
#: What of their layers cannot be shown: Gemma 3n's hand on several streams at once.
NO_LAYERS = {"gemma3n_text"}
#: No matrix of theirs writes to the stream by itself (RWKV multiplies what it made), or there is no MLP.
NO_VALUES = {"rwkv", "mamba", "mamba2", "falcon_mamba"}
#: By how much logits are scaled behind the head.
SCALES = {
    "cohere": 0.25,
    "cohere2": 0.25,
    "falcon_h1": 0.5,
    "granite": 0.25,
    "granitemoe": 0.25,
    "granitemoehybrid": 0.25,
}
edited = pytest.mark.parametrize("kind", [kind for kind in SHAPES if kind not in NO_LAYERS | NO_VALUES])


@pytest.fixture(scope="session")
def any_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return `any_folder(kind)`: the folder of a tiny random model, made once a session."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config_of(kind)).save_pretrained(made[kind])
            byte_tokenizer().save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def any_model(any_folder: Callable[[str], Path]) -> Callable[[str], Target]:
    """Return `any_model(kind)`: a freshly loaded tiny target."""
    return lambda kind: load_target(str(any_folder(kind)), device=DEVICE, dtype="float32")


@torch.inference_mode()
def logits(target: Target, text: str = "the weather is") -> torch.Tensor:
    return target.model(input_ids=encoded(target, text)["input_ids"], use_cache=False).logits[0]


def test_there_are_twenty_five_and_more_and_the_table_lists_none() -> None:
    assert len(SHAPES) >= 25
    assert not SHAPES.keys() & FAMILIES.keys()


# --- parts ------------------------------------------------------------------------------------------------------------


@every_kind
def test_logits_recomputed_from_the_last_layer_are_the_models_own(kind: str, any_model: Callable[..., Target]) -> None:
    target = any_model(kind)
    view = target.architecture
    for parameter in target.model.parameters():  # fresh norms are 1 and biases 0, and would hide a part left out
        if parameter.ndim == 1:
            parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
    if kind in NO_LAYERS:
        states: list[torch.Tensor] = []
        view.decoder.register_forward_hook(lambda _, __, output: states.append(output[0]))
        expected = logits(target)
        torch.testing.assert_close(view.capped(view.head(states[0]))[0], expected, rtol=1e-3, atol=1e-3)
        with pytest.raises(UsageError, match=f"the layers of this {kind} model cannot be told: "):
            _ = view.layers
        return
    last: list[torch.Tensor] = []
    view.layers[-1].register_forward_hook(lambda _, __, out: last.append(out if torch.is_tensor(out) else out[0]))
    expected = logits(target)
    with torch.inference_mode():
        head = view.head(view.final_norm(last[0]))[0] * SCALES.get(kind, 1.0)
    torch.testing.assert_close(head, expected, rtol=1e-3, atol=1e-3)
    assert view.scale == SCALES.get(kind, 1.0)
    assert view.vocab_size == 260
    assert view.hidden_size == 32


@edited
def test_without_a_direction_in_its_matrices_a_layer_writes_nothing_along_it(
    kind: str, any_model: Callable[..., Target]
) -> None:
    """So all that writes to the stream was found: experts, shared ones, attention, and what stands in its place."""
    target = any_model(kind)
    view = target.architecture
    v = torch.nn.functional.normalize(torch.randn(1, 32, generator=torch.Generator().manual_seed(3))).to(DEVICE)
    parts: tuple[Part, Part] = ("value", "attention")
    new = []
    for layer in range(len(view.layers)):
        for writer in (one for part in parts for one in view.writers(layer, part)):
            down, up = low_rank(writer.matrix.float(), v, torch.ones(1, device=v.device), writer.gain)
            new.append((writer.matrix, writer.matrix + up @ down))
        for name, parameter in view.layers[layer].named_parameters():
            if "bias" in name:
                parameter.zero_()  # no matrix: what is written whatever the text
    streams: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer_module in view.layers:
        layer_module.register_forward_hook(
            lambda _, args, kwargs, out: streams.append(
                (args[0] if args else kwargs["hidden_states"], out if torch.is_tensor(out) else out[0])
            ),
            with_kwargs=True,
        )
    logits(target)
    with replaced(new):
        logits(target)
    before, after = streams[: len(view.layers)], streams[len(view.layers) :]
    for (old_in, old_out), (now_in, now_out) in zip(before, after, strict=True):
        was, left = (((out - given) @ v.T).abs().max() for given, out in ((old_in, old_out), (now_in, now_out)))
        assert left < 1e-3 * was


@edited
def test_gates_are_rows_whose_neurons_stay_silent_without_them(kind: str, any_model: Callable[..., Target]) -> None:
    target = any_model(kind)
    view = target.architecture
    for layer in range(len(view.layers)):
        values, gates = view.writers(layer, "value"), view.gates(layer)
        assert [one.matrix.shape[-1] for one in values] == [one.shape[-2] for one in gates]
        assert all(one.shape[-1] == 32 for one in gates)


# --- text and logits --------------------------------------------------------------------------------------------------


def by_hand(target: Target, prompt: str, steps: int) -> list[int]:
    """Greedy continuation of one prompt, the whole text read anew for each token."""
    ids = encode(target, prompt, None)
    start = len(ids)
    with torch.inference_mode():
        for _ in range(steps):
            token = int(target.model(input_ids=as_row(target, ids), use_cache=False).logits[0, -1].argmax())
            if token == target.tokenizer.eos_token_id:
                break
            ids.append(token)
    return ids[start:]


def ours(target: Target, steps: int) -> list[list[int]]:
    batches = generate(target, PROMPTS, Sampling(max_new_tokens=steps), batch_size=4)
    made = {g.index: g.token_ids[0] for batch in batches for g in batch.generations}
    return [made[i] for i in range(len(PROMPTS))]


def turned_tokenizer(target: Target) -> PreTrainedTokenizerFast:
    """The same bytes under other ids."""
    inner: Any = target.tokenizer
    described = json.loads(inner.backend_tokenizer.to_str())
    described["model"]["vocab"] = {token: (i + 40) % 256 for token, i in described["model"]["vocab"].items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="session")
def calibrator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrator")


@every_kind
def test_a_batch_continues_as_each_prompt_alone_fused_across_tokenizers_too(
    kind: str,
    any_model: Callable[..., Target],
    tiny: Callable[..., Target],
    letter_scorer: Any,
    calibrator_folder: Path,
) -> None:
    target = any_model(kind)
    target = dataclasses.replace(target, tokenizer=turned_tokenizer(target))
    target.tokenizer.padding_side = "left"
    assert ours(target, 6) == [by_hand(target, prompt, 6) for prompt in PROMPTS]
    if not (calibrator_folder / "detoxifier.json").exists():
        fit(tiny(), "fusion", letter_scorer).save_pretrained(calibrator_folder)
    moved = Fusion.fit(target, FitData(), FusionSettings(calibrator=str(calibrator_folder), threshold=0.0))
    assert moved.foreign
    plain = logits(target)
    with moved.attached(target.model, 4.0):
        fused, changed = ours(target, 6), logits(target)
        assert fused == [by_hand(target, prompt, 6) for prompt in PROMPTS]
    assert not torch.allclose(changed, plain, atol=0.1)
    assert torch.equal(logits(target), plain)
    if cached_as(target.model) is None:
        with moved.attached(target.model), pytest.raises(UsageError, match="use_cache: fusion cannot follow"):
            target.model(**encoded(target, "the old"), use_cache=True)


@every_kind
def test_likelihoods_are_those_of_one_plain_pass(kind: str, any_model: Callable[..., Target]) -> None:
    target = any_model(kind)
    [(nats, counts)] = continuation_nll(target, ["the old"], [[" bridge", " x"]])
    assert counts == [7, 2]
    for text, found in zip((" bridge", " x"), nats, strict=True):
        ids = encode(target, "the old" + text, None)
        with torch.inference_mode():
            log_p = target.model(input_ids=as_row(target, ids), use_cache=False).logits[0].log_softmax(-1)
        tail = len(text)
        expected = -sum(float(log_p[place - 1, ids[place]]) for place in range(len(ids) - tail, len(ids)))
        assert found == pytest.approx(expected, rel=1e-3)
    window = measure_window(target, encode(target, "the old bridge", None), 6, None)
    assert window.tokens == 6


def test_a_search_for_writers_that_was_broken_off_is_made_again(
    any_model: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, target = any_model("granite"), any_model("granite")
    find, found = writers._Layer.writers, 0

    def interrupted(layer: Any) -> Any:
        nonlocal found
        found += 1
        if found == 2:
            raise KeyboardInterrupt
        return find(layer)

    with monkeypatch.context() as patched:
        patched.setattr(writers._Layer, "writers", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writers_of(target)
    assert writers_of(target) == writers_of(whole)


def writers_of(target: Target) -> list[Any]:
    layers = target.architecture.layers
    return [writers.writers_in(target.model, layers, i) for i in range(len(layers))]


# --- weights ----------------------------------------------------------------------------------------------------------


@edited
@pytest.mark.parametrize("method", ["subspace", "subspace, the paper's", "surgery", "dinm"])
def test_an_edit_is_the_same_attached_and_as_a_checkpoint(
    kind: str, method: str, any_model: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    target = any_model(kind)
    plain = logits(target)
    routers = {name: p.clone() for name, p in target.model.named_parameters() if "router" in name or "gate.w" in name}
    detoxifier: Detoxifier = fit(target, method, letter_scorer, fresh=True)
    assert torch.equal(logits(target), plain), "fitting must not change the target"
    with detoxifier.attached(target.model):
        changed = logits(target)
        assert all(torch.equal(target.model.get_parameter(name), kept) for name, kept in routers.items())
    assert not torch.allclose(changed, plain, atol=1e-4)
    assert torch.equal(logits(target), plain)
    detoxifier.merge(target.model).save_pretrained(tmp_path / "edited")
    target.tokenizer.save_pretrained(tmp_path / "edited")
    again = load_target(str(tmp_path / "edited"), device=DEVICE, dtype="float32")
    torch.testing.assert_close(logits(again), changed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(NO_LAYERS | NO_VALUES))
def test_a_method_that_needs_what_cannot_be_told_says_so_by_its_name(
    kind: str, any_model: Callable[..., Target], letter_scorer: Any
) -> None:
    with pytest.raises(
        UsageError, match=rf"^subspace: it needs the matrices .* of this {kind} model they cannot be told"
    ):
        fit(any_model(kind), "subspace", letter_scorer, fresh=True)


def test_the_page_says_which_method_serves_which_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[1]
    monkeypatch.syspath_prepend(root / "scripts")
    page = importlib.import_module("architecture_page").architecture_page()
    assert (root / "docs" / "architectures.md").read_text("utf-8") == page, "run scripts/architecture_page.py"
