"""The two rules of fusion against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detoxlm.calibration.calibrator import RiskHead
from detoxlm.calibration.steering import SLOPE, by_row, contrast, fuse, mapped, penalties


def test_penalties_by_hand() -> None:
    risk = torch.tensor([2.0, -1.0, -4.0])
    p = torch.tensor([0.5, 0.25, 0.25])  # expected risk: 1 - 0.25 - 1 = -0.25
    two = torch.tensor(2.0)
    assert penalties(risk, p, two, -1.5, 0.5).tolist() == pytest.approx([2 * SLOPE * 2.25, 0.0, 0.0])
    # what the target is sure of stays, up to the ceiling
    sure = torch.tensor([1.0, 0.0, 0.0])
    assert penalties(risk, sure, two, -1.5, 9.0).tolist() == [0.0, 0.0, 0.0]
    assert penalties(risk, sure, two, -1.5, 0.5).tolist() == pytest.approx([2 * SLOPE * 1.5, 0.0, 0.0])
    # a calm text: the threshold is above the expectation
    calm = torch.tensor([-0.5, -6.0, -6.0])
    assert penalties(calm, p, torch.tensor(3.0), -1.0, 0.5).tolist() == pytest.approx([SLOPE * 1.5, 0.0, 0.0])
    assert penalties(calm, p, torch.tensor(3.0), 0.0, 0.5).tolist() == [0.0, 0.0, 0.0]


def test_the_risk_head_by_hand() -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(11, 4)
    head = RiskHead(embeddings)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    g, v = torch.randn(3, 4), torch.tensor([[0, 5], [10, 1], [3, 3]])
    length = math.sqrt(sum(float(row @ row) for row in embeddings) / 11)
    got = head(g, v)
    for n in range(3):
        for k in range(2):
            e = embeddings[v[n, k]] / length
            expected = e @ head.contrast.weight @ g[n] + head.token[v[n, k]] + head.text(g[n])[0]
            assert got[n, k].item() == pytest.approx(expected.item(), rel=1e-5)


def steer(logits: torch.Tensor, strength: float | list[float], **options: object) -> torch.Tensor:
    torch.manual_seed(1)
    head = RiskHead(torch.randn(30, 8))
    nn.init.normal_(head.token, std=3)
    states = torch.zeros(*logits.shape[:2], 8)
    settings = {"threshold": -1.0, "ceiling": 9.0, "candidates": 5, **options}
    return contrast(logits.clone(), states, head, strength, **settings)  # type: ignore[arg-type]


def test_contrast_lowers_only_risky_candidates() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 30)
    got = steer(logits, 1.5)
    torch.manual_seed(1)
    head = RiskHead(torch.randn(30, 8))
    nn.init.normal_(head.token, std=3)
    for b in range(2):
        for t in range(3):
            chosen = logits[b, t].topk(5).indices.tolist()
            risk = {v: head.token[v].item() - 2.0 for v in chosen}  # states are 0, so only b_v and c are left
            p = F.softmax(logits[b, t][chosen], -1).tolist()
            floor = max(-1.0, sum(q * risk[v] for q, v in zip(p, chosen, strict=True)))
            for v in range(30):
                lowered = SLOPE * 1.5 * max(0.0, risk[v] - floor) if v in chosen else 0.0
                assert got[b, t, v].item() == pytest.approx(logits[b, t, v].item() - lowered, abs=1e-4)
    assert not torch.equal(got, logits)


def test_each_request_has_its_own_strength_and_its_beams_share_it() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 1, 30)
    got = steer(logits, [0.0, 2.0, 1.0])
    assert torch.equal(got[:2], logits[:2])
    assert torch.equal(got[2:4], steer(logits, 2.0)[2:4])
    assert torch.equal(got[4:], steer(logits, 1.0)[4:])
    with pytest.raises(ValueError, match="4 strengths do not fit a batch of 6 rows"):
        by_row([1.0] * 4, logits)


def test_a_vocabulary_map_gives_each_token_its_stand_ins_risk_and_leaves_the_uncovered_alone() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 20)
    vocabulary = torch.randperm(30)[:20]
    vocabulary[logits[0, 0].argmax()] = -1
    got = steer(logits, 3.0, vocabulary=vocabulary, candidates=20)
    torch.manual_seed(1)
    head = RiskHead(torch.randn(30, 8))
    nn.init.normal_(head.token, std=3)
    covered = vocabulary >= 0
    risk = head.token[vocabulary.clamp(min=0)] - 2.0
    p = F.softmax(logits[0, 0], -1) * covered
    floor = max(-1.0, float((p * risk).sum().detach() / p.sum()))
    expected = logits[0, 0] - SLOPE * 3.0 * (risk - floor).clamp(min=0) * covered
    # the uncovered token counts as average: it is not lowered, unless the average itself is above the floor
    assert torch.allclose(got[0, 0], expected, atol=1e-4)


def test_the_papers_mixture_and_its_layer_norm() -> None:
    h, g = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 4.0]]])
    assert fuse(h, g, 0.25).tolist() == [[[1.5, 1.0]]]
    A = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    z = torch.tensor([0.0, 4.0, 0.0])
    normed = (z - z.mean()) / (z.var(unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(mapped(g, A)[0, 0], normed)
    assert mapped(g, None) is g
