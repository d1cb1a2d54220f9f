"""Model Surgery, probe subtraction and DINM: what each does, derived again on tiny models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from devices import as_row, encoded
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from detoxlm.data import Pair
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods import FitData
from detoxlm.methods.editing.dinm import Dinm, DinmSettings
from detoxlm.methods.editing.embeddings import sentence_embeddings
from detoxlm.methods.editing.probe import Probe, ProbeSettings
from detoxlm.methods.editing.probes import SHRINKAGE, probe_direction, separation
from detoxlm.methods.editing.surgery import Surgery, SurgerySettings
from detoxlm.models import Target
from detoxlm.passages import passages

PAIRS = [Pair(f"eeee {word} e{i}", f"good {word} {i}", "the old") for i, word in enumerate(["sea", "hill", "road"] * 4)]
SHAPES = ("llama", "gpt2", "opt", "gemma2", "gemma3_text", "gptj", "gpt_neox", "phi", "mistral", "qwen2")


def embedded(target: Target) -> tuple[torch.Tensor, torch.Tensor]:
    positive, negative = (
        sentence_embeddings(
            target, passages(target, [("the old", text) for text in side], 64), pooling="completion", skip_sinks=True
        )
        for side in ([p.nontoxic for p in PAIRS], [p.toxic for p in PAIRS])
    )
    return positive.to(target.device), negative.to(target.device)


def test_the_probe_is_the_shrunk_linear_discriminant() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=generator)
    positive = torch.randn(40, 12, generator=generator) @ mixing
    negative = torch.randn(40, 12, generator=generator) @ mixing + torch.randn(12, generator=generator)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    theirs.fit(torch.cat([positive, negative]).numpy(), [0] * 40 + [1] * 40)
    # theirs scales the features first, which changes what shrinking means; undo it by the same scales
    ours = probe_direction(positive, negative).numpy()
    assert np.linalg.norm(ours) == pytest.approx(1, abs=1e-5)
    cosine = float(ours @ theirs.coef_[0] / np.linalg.norm(theirs.coef_[0]))
    assert cosine > 0.9
    assert separation(positive, negative, torch.from_numpy(ours)) > 0.7


def test_separation_is_the_area_under_the_curve() -> None:
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert separation(x, y, torch.ones(1)) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_surgery_moves_the_rows_most_opposed_to_the_probe(shape: str, tiny: Callable[..., Target]) -> None:
    target = tiny(shape)
    view = target.architecture
    positive, negative = embedded(target)
    before = [view.gates(layer)[0].detach().clone() for layer in range(len(view.layers))]
    cosines, probes = [], {}
    for layer in range(1, len(view.layers)):
        probes[layer] = probe_direction(positive[layer - 1], negative[layer - 1])
        cosines += [(float(row @ probes[layer] / row.norm()), layer, i) for i, row in enumerate(before[layer])]
    moved = {(layer, i) for _, layer, i in sorted(cosines)[: round(0.1 * len(cosines))]}
    detoxifier = Surgery.fit(target, FitData(pairs=PAIRS), SurgerySettings(rows=0.1, alpha=0.7))
    with detoxifier.attached(target.model):
        for layer, old in enumerate(before):
            change = view.gates(layer)[0].detach() - old
            for i, row in enumerate(change):
                expected = torch.zeros_like(row)
                if (layer, i) in moved:
                    expected = 0.7 * old.norm(dim=1).median() * probes[layer]
                torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)
    assert detoxifier.fitting["rows"] == len(moved)


def test_the_probe_is_subtracted_after_its_layer(tiny: Callable[..., Target]) -> None:
    target = tiny()
    positive, negative = embedded(target)
    layer = len(target.architecture.layers) - 1
    w = probe_direction(positive[layer], negative[layer])
    length = torch.cat([positive[layer], negative[layer]]).norm(dim=1).mean()
    inputs = encoded(target, "the weather is")
    seen: list[torch.Tensor] = []
    handle = target.architecture.layers[layer].register_forward_hook(
        lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.inference_mode():
        target.model(**inputs)
        handle.remove()
        expected = target.architecture.head(target.architecture.final_norm(seen[0] - 0.3 * length * w))
        with Probe.fit(target, FitData(pairs=PAIRS), ProbeSettings()).attached(target.model, 0.3):
            torch.testing.assert_close(target.model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(UsageError, match="layer: 99 is none of this model's"):
        Probe.fit(target, FitData(pairs=PAIRS), ProbeSettings(layer=99))
    with pytest.raises(UsageError, match="layer: 99 is none of this model's"):
        Dinm.fit(target, FitData(pairs=PAIRS), DinmSettings(layer=99))


def test_the_first_step_of_dinm_goes_down_the_likelihoods_gradient(tiny: Callable[..., Target]) -> None:
    target = tiny()
    settings = DinmSettings(layer=1, steps=1, batch=len(PAIRS), learning_rate=1e-3)
    detoxifier = Dinm.fit(target, FitData(pairs=PAIRS), settings)
    # again by autograd on the weight itself, a text at a time; at the start the KL term has no gradient
    weight = target.model.model.layers[1].mlp.down_proj.weight.requires_grad_(True)
    total, tokens = torch.zeros((), device=target.device), 0
    for pair in PAIRS:
        (passage,) = passages(target, [("the old", pair.nontoxic)], 64)
        ids = as_row(target, passage.ids)
        log_p = target.model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        total, tokens = total - log_p[passage.start - 1 :].sum(), tokens + len(passage.ids) - passage.start
    (total / tokens).backward()
    gradient = weight.grad
    assert gradient is not None
    clear = gradient.abs() > 1e-6  # Adam's first step is the sign of the gradient where it is not tiny
    change = detoxifier.tensors["1.change"].to(target.device)
    assert clear.any()
    torch.testing.assert_close(change[clear], -1e-3 * gradient[clear].sign(), atol=1e-4, rtol=0.02)


def test_dinm_finds_the_layer_where_pairs_lie_furthest_apart(tiny: Callable[..., Target]) -> None:
    target = tiny()
    positive, negative = embedded(target)
    apart = ((positive - negative).norm(dim=-1) / positive.norm(dim=-1)).mean(1)
    assert Dinm.fit(target, FitData(pairs=PAIRS), DinmSettings(steps=1)).fitting["layer"] == int(apart.argmax())


def test_dinm_stops_at_a_loss_that_is_not_a_number(tiny: Callable[..., Target]) -> None:
    target = tiny()
    with torch.no_grad():  # behind the layers that the embeddings are of
        target.architecture.final_norm.weight.fill_(float("nan"))
    with pytest.raises(DetoxError, match="dinm: the loss is nan at step 0"):
        Dinm.fit(target, FitData(pairs=PAIRS), DinmSettings(layer=1))
