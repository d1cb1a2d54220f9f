"""Toxic-subspace projection on tiny models: the paper's algorithm re-derived, both outputs equal, learning honest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICE, as_row, encoded
from fits import Forgetful
from peft import PeftModel
from transformers import AutoModelForCausalLM

from detoxlm.data import Pair
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.editing.learning import drift_on, learn_shares, preference_loss, projected
from detoxlm.methods.editing.lens import reads_as
from detoxlm.methods.editing.pairs import pairs_for
from detoxlm.methods.editing.search import Removal, Space, Trial, best_of, frontier, search_removals
from detoxlm.methods.editing.subspace import SHARES, Subspace, SubspaceDetoxifier, SubspaceSettings
from detoxlm.methods.editing.subspaces import both_ends
from detoxlm.methods.weights.replacing import replaced
from detoxlm.models import Target
from detoxlm.passages import Passage
from detoxlm.scorers.base import Scorer

SHAPES = ("llama", "gpt2", "opt", "gemma2", "gemma3_text", "gptj", "gpt_neox", "phi", "mistral", "qwen2")
PAIRS = [Pair(f"eeee {word} e{i}", f"good {word} {i}", "the old") for i, word in enumerate(["sea", "hill", "road"] * 4)]


def logits(target: Target, text: str = "the weather is") -> torch.Tensor:
    with torch.inference_mode():
        return target.model(**encoded(target, text)).logits.clone()


def fitted(target: Target, **settings: Any) -> SubspaceDetoxifier:
    chosen = SubspaceSettings(**{"variant": "paper", "rank": 3, **settings})
    return Subspace.fit(target, FitData(pairs=PAIRS), chosen)


def test_the_papers_edit_is_re_derived_in_float64(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    seen: list[list[np.ndarray]] = []
    for texts in ([p.nontoxic for p in PAIRS], [p.toxic for p in PAIRS]):
        rows = []
        for text in texts:
            ids = target.tokenizer("the old")["input_ids"] + target.tokenizer(text)["input_ids"]
            with torch.inference_mode():
                out = target.model.model(input_ids=as_row(target, ids), output_hidden_states=True, use_cache=False)
            rows.append(torch.stack(out.hidden_states[1:-1])[:, 0].double().mean(1).cpu().numpy())  # the last is normed
        seen.append(rows)
    positive, negative = (np.stack(rows, 1) for rows in seen)
    merged = fitted(target, first_layer=0, last_layer=0).merge(tiny("llama").model)
    layer = 0
    mu = np.linalg.eigh(positive[layer].T @ positive[layer])[1][:, -1:]
    difference = (positive[layer] - negative[layer]) / 2
    difference = difference - difference @ mu @ mu.T
    v = np.linalg.eigh(difference.T @ difference)[1][:, ::-1][:, :3]
    weight = target.model.model.layers[layer].mlp.down_proj.weight.detach().double().cpu().numpy()
    expected = weight - v @ v.T @ weight
    edited = merged.model.layers[layer].mlp.down_proj.weight.detach().cpu().numpy()
    np.testing.assert_allclose(edited, expected, atol=1e-5)
    untouched = target.model.model.layers[1].mlp.down_proj.weight
    assert torch.equal(merged.model.layers[1].mlp.down_proj.weight, untouched)


@pytest.mark.parametrize("part", ["value", "attention"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_edited_layers_write_has_nothing_along_the_directions(
    shape: str, part: str, tiny: Callable[..., Target]
) -> None:
    """Behind a norm too (Gemma 2 and 3), where editing W by V itself would leave something."""
    target = tiny(shape)
    detoxifier = fitted(target, first_layer=1, attention=part == "attention")
    view = target.architecture
    module = view.layers[1].get_submodule(getattr(view.family, f"{part}_norm") or getattr(view.family, part))
    written: list[torch.Tensor] = []
    bias = getattr(module, "bias", None)
    handle = module.register_forward_hook(lambda _, __, out: written.append(out - (0 if bias is None else bias)))
    v = detoxifier.tensors["1.directions"].to(target.device)
    logits(target)
    with detoxifier.attached(target.model):
        logits(target)
    handle.remove()
    before, after = ((out.reshape(-1, view.hidden_size) @ v.T).abs().max() for out in written)
    assert before > 1e-3
    assert after < 1e-4 * before  # float32: what is left is rounding


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_adapter_in_peft_and_the_checkpoint_give_the_attached_logits(
    shape: str,
    attention: bool,
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
) -> None:
    target = tiny(shape)
    detoxifier = fitted(target, last_layer=0, first_layer=0, attention=attention)
    detoxifier.save_pretrained(tmp_path / "detoxifier")
    with detoxifier.attached(target.model, 0.7):
        expected = logits(target)
    source = str(tiny_folder(shape))
    for form in ("adapter", "checkpoint"):
        command = ["export", source, str(tmp_path / "detoxifier"), "--form", form, "--strength", "0.7", "--json"]
        run_cli([*command, "-o", str(tmp_path / form)])
    inputs = encoded(target, "the weather is")
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), tmp_path / "adapter").to(DEVICE)
    assert not [one for one in recwarn if "missing adapter keys" in str(one.message)], "it edits more than was edited"
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint").to(DEVICE)
    with torch.inference_mode():
        for model in (adapted, plain):
            torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, logits(target), atol=1e-3)


@pytest.mark.more
def test_run_leaves_a_checkpoint_of_the_recommended_strength(
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = tmp_path / "pairs.jsonl"
    given.write_text("".join(json.dumps({"toxic": p.toxic, "nontoxic": p.nontoxic}) + "\n" for p in PAIRS))
    config = tmp_path / "config.toml"
    config.write_text('[subspace]\nvariant = "paper"\nrank = 2\n')
    out = tmp_path / "out"
    measure = ["--limit", "2", "--fluency-tokens", "64", "--strengths", "0.5,1"]
    source = str(tiny_folder("llama"))
    files = ["--pairs", str(given), "--config", str(config), "-o", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        # two prompts of two samples: all that the untouched model says is toxic, and nothing after the edit
        patch.setattr("detoxlm.workflows.load_scorers", lambda *_, **__: {"forgetful": Forgetful(4)})
        run_cli(["run", source, "--method", "subspace", *files, *measure])
    assert f"Model:      {out / 'model'}" in capsys.readouterr().out
    best = json.loads((out / "results.json").read_text())["detoxifier"]["strength"]
    target = tiny()
    with Detoxifier.from_pretrained(out / "detoxifier").attached(target.model):
        expected = logits(target)
    plain = AutoModelForCausalLM.from_pretrained(out / "model").to(DEVICE)
    with torch.inference_mode():
        got = plain(**encoded(target, "the weather is")).logits
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    card = (out / "model" / "README.md").read_text()
    assert "AutoModelForCausalLM.from_pretrained" in card
    assert "Detoxifier.from_pretrained" not in card
    assert json.loads((out / "model" / "detoxlm.json").read_text())["detoxifier"]["strength"] == best

    run_cli(["run", source, "--method", "nado", "--set", "samples=2", "--scorer", "ngram", "-o", str(out), *measure])
    assert "Model:" not in capsys.readouterr().out
    assert not (out / "model").exists(), "it would be the other method's"


def test_an_exported_checkpoint_says_what_is_in_it_and_not_what_was_measured_at_another_strength(
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, saved, out = str(tiny_folder("llama")), str(tmp_path / "saved"), tmp_path / "out"
    fitted(tiny()).save_pretrained(saved, card="# 97% less toxic at strength 1")
    run_cli(["export", source, saved, "--strength", "0.5", "-o", str(out)])
    run_cli(["export", source, saved, "--strength", "0.25", "-o", str(out)])  # replaces what it wrote itself
    card = (out / "README.md").read_text()
    assert "97%" not in card
    assert "with subspace at strength 0.25 in its weights" in card
    done = json.loads((out / "detoxlm.json").read_text())
    assert done["detoxifier"]["strength"] == 0.25
    assert done["base"]["fingerprint"] == tiny().architecture.fingerprint
    copied = tmp_path / "model"
    shutil.copytree(source, copied)
    for place in (copied, tiny_folder("gpt2")):
        with pytest.raises(AssertionError, match="exit 2"):
            run_cli(["export", str(copied), saved, "-o", str(place)])
        assert "output: " in capsys.readouterr().err
        assert (place / "config.json").is_file()


def test_a_decoding_detoxifier_has_no_adapter_and_the_source_is_not_overwritten(
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitted(tiny()).save_pretrained(tmp_path / "saved")
    with pytest.raises(AssertionError, match="exit 2"):
        run_cli(["export", str(tiny_folder("llama")), str(tmp_path / "saved"), "-o", str(tmp_path / "saved")])
    assert "output: " in capsys.readouterr().err
    assert Detoxifier.from_pretrained(tmp_path / "saved").method == "subspace"


def test_strength_scales_the_edit(tiny: Callable[..., Target]) -> None:
    target = tiny()
    detoxifier = fitted(target)
    weight = target.architecture.writers(2, "value")[0].matrix
    untouched = weight.detach().clone()
    changes = []
    for strength in (0.5, 1.0, 2.0):
        with detoxifier.attached(target.model, strength):
            changes.append(weight.detach() - untouched)
    torch.testing.assert_close(changes[0] * 2, changes[1])
    torch.testing.assert_close(changes[1] * 2, changes[2])


def test_replaced_restores_every_bit_also_of_views_and_after_an_exception() -> None:
    weight = torch.nn.Parameter(torch.randn(3, 4))
    before = weight.detach().clone()
    with pytest.raises(RuntimeError, match="inside"), replaced([(weight.T, torch.full((4, 3), 1e-30))]):
        assert weight[0, 0].item() == pytest.approx(1e-30)
        raise RuntimeError("inside")
    assert torch.equal(weight, before)


# --- learned shares -------------------------------------------------------------------------------------------------


def task(target: Target) -> dict[str, Any]:
    """Two directions in each of two layers, and texts."""
    torch.manual_seed(3)
    ids = {name: target.tokenizer(text)["input_ids"] for name, text in {"a": "good morning", "b": "eeeeeeeee"}.items()}
    v = (
        torch.linalg.qr(torch.randn(2, target.architecture.hidden_size, 2))
        .Q.transpose(1, 2)
        .contiguous()
        .to(target.device)
    )
    groups = [[(target.architecture.writers(i, "value")[0].module, (v[i], v[i]))] for i in (0, 1)]
    pairs = [(Passage(ids["a"], 0), Passage(ids["b"], 0)), (Passage(ids["a"][:6], 2), Passage(ids["b"][:5], 2))]
    harmless = [Passage(target.tokenizer("bread rises in a warm room")["input_ids"], 0)]
    return {"groups": groups, "pairs": pairs, "harmless": harmless}


def each_ends(groups: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The groups with their directions changed."""
    return [[(module, (change(read), change(write))) for module, (read, write) in group] for group in groups]


def test_gradients_of_the_loss_and_the_drift_are_those_of_finite_differences(tiny: Callable[..., Target]) -> None:
    target = tiny()
    target.model.double()
    given = task(target)
    groups = each_ends(given["groups"], torch.Tensor.double)
    for function, texts in ((preference_loss, given["pairs"]), (drift_on, given["harmless"])):
        shares = torch.full((2, 2), 0.3, dtype=torch.float64, device=target.device, requires_grad=True)
        function(target, groups, shares, texts).backward()
        for place in ((0, 0), (1, 1)):
            nudge = torch.zeros(2, 2, dtype=torch.float64, device=target.device)
            nudge[place] = 0.05
            with torch.no_grad():
                up, down = (function(target, groups, shares + sign * nudge, texts).item() for sign in (1, -1))
            assert shares.grad is not None
            assert (up - down) / 0.1 == pytest.approx(shares.grad[place].item(), rel=0.05, abs=1e-6)


def test_nothing_removed_is_no_drift_and_an_even_preference(tiny: Callable[..., Target]) -> None:
    target = tiny()
    given = task(target)
    none = torch.zeros(2, 2, device=target.device)
    assert drift_on(target, given["groups"], none, given["harmless"]).item() == pytest.approx(0)
    loss = preference_loss(target, given["groups"], none, given["pairs"])
    assert loss.item() == pytest.approx(np.log(2), abs=1e-5)


def test_learning_prefers_the_clean_texts_and_leaves_the_model_as_it_was(tiny: Callable[..., Target]) -> None:
    target = tiny()
    given = task(target)
    before = logits(target)
    shares, facts = learn_shares(target, **given, drift=99.0, steps=20, seed=0)
    assert torch.equal(logits(target), before)
    assert all(p.grad is None for p in target.model.parameters())
    assert float(shares.min()) >= 0
    assert float(shares.max()) <= 1
    assert len(facts["loss_curve"]) == 20
    with torch.no_grad():
        loss = preference_loss(target, given["groups"], shares.to(DEVICE), given["pairs"])
    assert loss.item() < np.log(2)


def test_attention_is_edited_only_if_asked_and_its_shares_are_learned_apart(tiny: Callable[..., Target]) -> None:
    target = tiny()
    harmless = [Pair(p.toxic, p.nontoxic, p.prompt) for p in PAIRS]
    plain, both = (
        Subspace.fit(target, FitData(pairs=harmless), SubspaceSettings(steps=4, rank=2, attention=attention))
        for attention in (False, True)
    )
    assert "removed_from_attention" not in plain.fitting
    assert {name.split(".")[1] for name in plain.tensors} == {"directions", "shares"}
    weight = target.architecture.writers(2, "attention")[0].matrix
    untouched = weight.detach().clone()
    with plain.attached(target.model):
        assert torch.equal(weight, untouched)
    with both.attached(target.model):
        assert not torch.equal(weight, untouched)
    assert torch.equal(weight, untouched)
    learned = [torch.cat([both.tensors[f"{layer}.{name}"] for layer in range(4)]) for name in SHARES.values()]
    assert not torch.equal(*learned)


def test_a_killed_learning_goes_on_to_the_same_shares(
    tiny: Callable[..., Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()
    given = {**task(target), "drift": 0.5, "steps": 17, "seed": 3}
    whole, facts = learn_shares(target, **given)
    steps: list[int] = []

    def dies(*arguments: Any) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 13:
            raise KeyboardInterrupt
        return drift_on(*arguments)

    file = tmp_path / "work" / "shares.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("detoxlm.methods.editing.learning.drift_on", dies)
        with pytest.raises(KeyboardInterrupt):
            learn_shares(target, **given, checkpoint=file)
    resumed, again = learn_shares(target, **given, checkpoint=file)
    assert torch.equal(resumed, whole)
    assert again == facts
    # another run's state is not taken
    turned = each_ends(given["groups"], lambda end: end.flip(0))
    other, _ = learn_shares(target, **{**given, "groups": turned}, checkpoint=file)
    torch.testing.assert_close(other, whole.flip(1))
    file.write_bytes(b"damaged")
    assert torch.equal(learn_shares(target, **given, checkpoint=file)[0], whole)


def test_a_tight_limit_on_drift_is_kept_to(tiny: Callable[..., Target]) -> None:
    target = tiny()
    given = task(target)
    with torch.no_grad():
        loose, tight = (
            drift_on(
                target,
                given["groups"],
                learn_shares(target, **given, drift=drift, steps=60, seed=0)[0].to(DEVICE),
                given["harmless"],
            ).item()
            for drift in (99.0, 1e-7)
        )
    assert tight < loose / 4


def test_a_bfloat16_model_learns_much_the_same_shares(tiny: Callable[..., Target]) -> None:
    settings = SubspaceSettings(steps=6, context=0, rank=3, drift=9.0)
    full, half = (Subspace.fit(tiny(dtype=d), FitData(pairs=PAIRS), settings) for d in ("float32", "bfloat16"))
    for name in full.tensors:
        if name.endswith(".shares"):
            torch.testing.assert_close(half.tensors[name], full.tensors[name], atol=0.15, rtol=0)


def test_the_projection_of_outputs_is_the_edit_of_weights(tiny: Callable[..., Target]) -> None:
    target = tiny("gemma2")
    detoxifier = fitted(target, first_layer=0, attention=True)
    groups = []
    for part in ("value", "attention"):
        for layer in range(len(target.architecture.layers)):
            [writer] = target.architecture.writers(layer, part)
            ends = both_ends(detoxifier.tensors[f"{layer}.directions"].to(DEVICE), writer.gain)
            groups.append([(writer.module, ends)])
    with projected(groups, torch.ones(len(groups), 3, device=DEVICE)):
        hooked = logits(target)
    with detoxifier.attached(target.model):
        torch.testing.assert_close(logits(target), hooked, atol=1e-4, rtol=1e-4)


# --- data -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (PAIRS[:2], "2 with two different texts are too few"),
        ([Pair("same", "same", None)] * 6, "identical in all 6 pairs"),
        ([*PAIRS[:5], Pair("", "text", None)], "a text is empty"),
    ],
)
def test_bad_pairs_are_refused(pairs: list[Pair], message: str, tiny: Callable[..., Target]) -> None:
    with pytest.raises(UsageError, match=f"pairs: .*{message}|pairs: {message}"):
        Subspace.fit(tiny(), FitData(pairs=pairs), SubspaceSettings())


def test_layers_out_of_range_and_a_harmless_model_are_refused(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    with pytest.raises(UsageError, match=r"first_layer, last_layer: 2 to 1 .* it has 0 to"):
        fitted(tiny(), first_layer=2, last_layer=1)
    with pytest.raises(UsageError, match="last_layer"):
        fitted(tiny(), last_layer=99)
    with pytest.raises(UsageError, match=r"prompts: .* gave only 0 pairs .*samples"):
        Subspace.fit(tiny(), FitData(prompts=["the old"], scorer=letter_scorer), SubspaceSettings(samples=2))


def test_a_quantised_matrix_is_refused_by_name(tiny: Callable[..., Target]) -> None:
    target = tiny()

    class Packed(torch.nn.Linear):
        """Stands for a quantised layer: a subclass that stores its weight some other way."""

    target.model.model.layers[1].mlp.down_proj = Packed(4, 4)
    with pytest.raises(UsageError, match=r"layer 1 of this llama model has Packed at mlp.down_proj"):
        fitted(target, first_layer=0)


def test_the_folder_says_what_was_done(tiny: Callable[..., Target], tmp_path: Path) -> None:
    fitted(tiny()).save_pretrained(tmp_path / "saved")
    fitting = json.loads((tmp_path / "saved" / "detoxifier.json").read_text())["fitting"]
    assert fitting["pairs"] == len(PAIRS)
    assert fitting["rank"] == 3
    assert set(fitting["removed"].values()) == {3.0}
    assert all(" of: " in text for text in fitting["removed_directions"].values())
    assert len(fitting["removed_directions"]) >= 3


def test_a_direction_reads_as_the_tokens_whose_head_rows_it_points_to(tiny: Callable[..., Target]) -> None:
    target = tiny()
    rows = target.architecture.head.weight.detach()
    token = 70  # a byte of ASCII
    found = reads_as(target, rows[token] - rows.mean(0), count=3)
    assert found[0] == target.tokenizer.decode([token]).strip()
    assert len(found) == 3


@pytest.mark.parametrize("shape", ["llama", "gemma2", "gpt2"])
def test_a_direction_is_read_through_the_final_norm_as_the_model_does_it(
    shape: str, tiny: Callable[..., Target]
) -> None:
    target = tiny(shape)
    view, generator = target.architecture, torch.Generator().manual_seed(0)
    weight, direction = torch.randn(2, 32, generator=generator)
    view.final_norm.weight.copy_(weight)
    gain = 1 + weight if shape == "gemma2" else weight
    centred = direction - direction.mean() if shape == "gpt2" else direction  # as a LayerNorm does
    raised = view.head.weight.cpu() @ (gain * centred)  # above the average of all tokens or not: the same order
    expected = [str(target.tokenizer.decode([token])).strip() for token in raised.topk(5).indices.tolist()]
    assert reads_as(target, direction, count=5) == expected


def test_directions_that_do_not_read_as_toxic_are_warned_about(
    tiny: Callable[..., Target], letter_scorer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    data = FitData(pairs=PAIRS, scorer=letter_scorer)
    Subspace.fit(tiny(), data, SubspaceSettings(variant="paper", rank=3))
    assert "do not read as toxic" in caplog.text


def judged(removal: Removal) -> dict[str, float]:
    """A model whose toxicity and drift are known: more removed is less toxic and further away."""
    layers = removal.last_layer - removal.first_layer + 1
    gone = removal.share * removal.rank * layers
    return {"toxicity": 1 / (1 + gone), "drift": 0.01 * gone / (1 + removal.context)}


SPACE = Space(context=(0, 5), rank=(1, 8), layers=(2, 6))


def test_a_search_keeps_to_its_space_and_finds_nearly_the_best_of_an_enumeration() -> None:
    trials = search_removals(SPACE, judged, limit=0.02, trials=60, seed=0)
    for removal in (trial.removal for trial in trials):
        assert 2 <= removal.first_layer <= removal.last_layer <= 6
        assert 0 <= removal.context <= 5 and 1 <= removal.rank <= 8 and 0.25 <= removal.share <= 1
    every = [
        Trial(removal, judged(removal))
        for context in range(6)
        for rank in range(1, 9)
        for last in range(2, 7)
        for removal in [Removal(context, rank, 2, last, share / 100) for share in range(25, 101)]
    ]
    assert best_of(trials, 0.02).look["drift"] <= 0.02
    assert best_of(trials, 0.02).look["toxicity"] < 1.25 * best_of(every, 0.02).look["toxicity"]
    worst = max(trial.look["toxicity"] for trial in trials if trial.look["drift"] <= 0.02)
    assert best_of(trials, 0.02).look["toxicity"] < worst / 2, "or the bound above would say nothing"


def test_a_killed_search_goes_on_to_the_same_trials_and_another_searchs_journal_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, calls = tmp_path / "search.jsonl", 0

    def dies(removal: Removal) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 13:
            raise KeyboardInterrupt
        return judged(removal)

    whole = search_removals(SPACE, judged, limit=0.02, trials=20, seed=3)
    with pytest.raises(KeyboardInterrupt):
        search_removals(SPACE, dies, limit=0.02, trials=20, seed=3, journal=journal)
    assert search_removals(SPACE, dies, limit=0.02, trials=20, seed=3, journal=journal) == whole
    assert calls == 13 + 20 - 12
    assert search_removals(SPACE, dies, limit=0.5, trials=22, seed=3, journal=journal)[:20] == whole
    assert calls == 21 + 2, "looks are the same under any limit"
    search_removals(SPACE, dies, limit=0.02, trials=2, seed=3, journal=journal, key="other pairs")
    assert calls == 23 + 2
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9.9")
    search_removals(SPACE, dies, limit=0.02, trials=2, seed=3, journal=journal, key="other pairs")
    assert calls == 25 + 2


def test_the_looks_of_a_model_in_another_precision_are_not_taken(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    for dtype in ("float32", "bfloat16"):
        data = FitData(pairs=PAIRS, scorer=letter_scorer, prompts=["the old", "x"], workdir=tmp_path)
        Subspace.fit(tiny(dtype=dtype), data, SubspaceSettings(variant="search", trials=1, drift=9.0, rank=2))
        keys = {json.loads(path.read_text().splitlines()[0])["key"] for path in tmp_path.glob("search*.jsonl")}
        (tmp_path / "search.jsonl").rename(tmp_path / f"search-{dtype}.jsonl")
    assert len(keys) == 2


def test_the_frontier_is_what_no_other_trial_beats_and_a_limit_that_none_keeps_is_said() -> None:
    def trial(toxicity: float, drift: float) -> Trial:
        return Trial(Removal(0, 1, 0, 0, 1.0), {"toxicity": toxicity, "drift": drift})

    trials = [trial(0.3, 0.01), trial(0.1, 0.2), trial(0.2, 0.05), trial(0.25, 0.06), trial(0.2, 0.04)]
    assert frontier(trials) == [trials[0], trials[4], trials[1]]
    assert best_of(trials, 0.06) is trials[4]
    with pytest.raises(DetoxError, match=r"none of 5 removals .* within 0\.005 .*the least is 0\.010.*drift=.*trials="):
        best_of(trials, 0.005)


def test_the_chosen_removal_is_what_is_saved_and_every_trial_is_reported(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    target = tiny()
    before = {name: weight.clone() for name, weight in target.model.state_dict().items()}
    settings = SubspaceSettings(variant="search", trials=6, drift=5.0, rank=2, first_layer=1)
    data = FitData(pairs=PAIRS, scorer=letter_scorer, prompts=[f"the {n}" for n in range(10)], workdir=tmp_path)
    made = Subspace.fit(target, data, settings)
    assert all(torch.equal(weight, before[name]) for name, weight in target.model.state_dict().items())
    rows = made.fitting["search"]
    assert next(iter(rows)) == "untouched" and len(rows) == 7
    assert rows["untouched"]["drift"] == pytest.approx(0, abs=1e-4)
    (chosen,) = [row for row in rows.values() if row["choice"] == "chosen"]
    assert chosen["toxicity"] == min(row["toxicity"] for name, row in rows.items() if name != "untouched")
    layers = sorted({int(name.split(".")[0]) for name in made.tensors})
    assert layers == list(range(chosen["first_layer"], chosen["last_layer"] + 1)) and layers[0] >= 1
    for layer in layers:
        assert made.tensors[f"{layer}.directions"].shape == (2, 32)
        torch.testing.assert_close(made.tensors[f"{layer}.shares"], torch.full((2,), chosen["share"]))
        paired = fitted(
            target, context=chosen["context"], rank=2, pooling="completion", skip_sinks=True, first_layer=layer
        )
        torch.testing.assert_close(paired.tensors[f"{layer}.directions"], made.tensors[f"{layer}.directions"])


def test_a_search_looks_at_prompts_that_gave_no_pairs(tiny: Callable[..., Target]) -> None:
    class Half(Scorer):
        """About every second text is toxic, so that every prompt gives pairs."""

        name, version, revision = "half", "1", "test"

        def _score_batch(self, texts: list[str]) -> np.ndarray:
            return np.array([sum(map(ord, text)) % 2 for text in texts], dtype=float)

    prompts = [f"the {n} of" for n in range(10)]
    data = FitData(scorer=Half(), prompts=prompts)
    seen = pairs_for(tiny(), data, 8, {}, prompts[::5])
    everywhere = pairs_for(tiny(), data, 8, {})
    assert {pair.prompt for pair in everywhere} == set(prompts)
    assert seen == [pair for pair in everywhere if pair.prompt not in prompts[::5]]
