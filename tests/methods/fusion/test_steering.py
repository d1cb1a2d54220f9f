"""The two rules of fusion against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detoxlm.errors import UsageError
from detoxlm.methods.decoding.rule import SLOPE, by_row, penalties
from detoxlm.methods.fusion.calibrator import RiskHead
from detoxlm.methods.fusion.steering import contrast, fuse, mapped


def test_penalties_by_hand() -> None:
    toxicity = torch.tensor([0.9, 0.4, 0.1])
    assert penalties(toxicity, torch.tensor(0.5), 0.3).tolist() == pytest.approx([SLOPE * 0.3, SLOPE * 0.05, 0.0])
    assert penalties(toxicity, torch.tensor(2.0), 0.95).tolist() == [0.0, 0.0, 0.0]


def test_no_other_distribution_buys_as_little_toxicity_with_as_little_divergence() -> None:
    """q ~ p exp(-beta t) maximises -E_q[t] - KL(q || p) / beta: any small step away from it is worse."""
    torch.manual_seed(0)
    p, toxicity = torch.randn(50).softmax(-1).double(), torch.rand(50).double()
    beta = SLOPE * 0.5
    q = (p.log() - penalties(toxicity, torch.tensor(0.5), 0.0)).softmax(-1)

    def worth(logits: torch.Tensor) -> float:
        other = logits.softmax(-1)
        return float(-(other * toxicity).sum() - (other * (other / p).log()).sum() / beta)

    best = worth(q.log())
    for _ in range(50):
        assert worth(q.log() + 0.05 * torch.randn(50).double()) < best


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
    rows, length = logits.shape[:2]
    given = torch.tensor(by_row([strength] if isinstance(strength, float) else strength, rows))
    settings = {"threshold": 0.2, "candidates": 5, **options}
    flat, states = logits.clone().flatten(0, 1), torch.zeros(rows * length, 8)
    changed = contrast(flat, states, head, given.repeat_interleave(length), **settings)  # type: ignore[arg-type]
    return changed.view(logits.shape)


def test_contrast_lowers_risky_candidates_and_gives_what_they_lose_to_the_others() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 30)
    got = steer(logits, 0.5)
    torch.manual_seed(1)
    head = RiskHead(torch.randn(30, 8))
    nn.init.normal_(head.token, std=3)
    for b in range(2):
        for t in range(3):
            chosen = logits[b, t].topk(5).indices.tolist()
            before, after = logits[b, t].softmax(-1), got[b, t].softmax(-1)
            # states are 0, so only b_v and c are left of the risk
            toxicity = {v: 1 / (1 + math.exp(2.0 - head.token[v].item())) for v in chosen}
            weight = {v: before[v].item() * math.exp(-SLOPE * 0.5 * max(0.0, toxicity[v] - 0.2)) for v in chosen}
            share = before[chosen].sum().item() / sum(weight.values())
            for v in range(30):
                expected = weight[v] * share if v in chosen else before[v].item()
                assert after[v].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert not torch.equal(got, logits)


def test_text_below_the_threshold_is_left_alone_bit_for_bit() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 30)
    assert torch.equal(steer(logits, 4.0, threshold=0.9999), logits)


def test_each_request_has_its_own_strength_and_its_beams_share_it() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 1, 30)
    got = steer(logits, [0.0, 2.0, 1.0])
    assert torch.equal(got[:2], logits[:2])
    assert torch.equal(got[2:4], steer(logits, 2.0)[2:4])
    assert torch.equal(got[4:], steer(logits, 1.0)[4:])
    with pytest.raises(UsageError, match="4 strengths do not fit a batch of 6 rows"):
        by_row([1.0] * 4, 6)


def test_a_vocabulary_map_gives_each_token_its_stand_ins_risk_and_the_uncovered_the_average() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 20)
    vocabulary = torch.randperm(30)[:20]
    vocabulary[logits[0, 0].argmax()] = -1
    got = steer(logits, 3.0, vocabulary=vocabulary, candidates=20)
    torch.manual_seed(1)
    head = RiskHead(torch.randn(30, 8))
    nn.init.normal_(head.token, std=3)
    covered = vocabulary >= 0
    toxicity = (head.token[vocabulary.clamp(min=0)] - 2.0).sigmoid()
    p = F.softmax(logits[0, 0], -1) * covered
    toxicity = torch.where(covered, toxicity, (p * toxicity).sum() / p.sum())  # the uncovered token counts as average
    expected = (logits[0, 0] - SLOPE * 3.0 * (toxicity - 0.2).clamp(min=0)).softmax(-1)
    torch.testing.assert_close(got[0, 0].softmax(-1), expected, atol=1e-5, rtol=1e-4)


def test_the_papers_mixture_and_its_layer_norm() -> None:
    h, g = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    assert fuse(h, g, torch.tensor([0.25])).tolist() == [[1.5, 1.0]]
    A = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    z = torch.tensor([0.0, 4.0, 0.0])
    normed = (z - z.mean()) / (z.var(unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(mapped(g, A)[0], normed)
    assert mapped(g, None) is g
