"""The linear algebra of toxic subspaces, against float64 re-derivations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detoxlm.methods.editing.subspaces import both_ends, context_directions, low_rank, rank_of, toxic_directions


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [0, 1, 3])
def test_directions_are_those_of_the_paper(width: int) -> None:
    positive, negative = random(20, 12) + 3, random(20, 12, seed=1) + 3
    found, values = toxic_directions(positive, negative, width, 4)
    # again in numpy float64, by eigenvectors of the Gram matrices instead of an SVD
    x, t = positive.double().numpy(), (positive - negative).double().numpy() / 2
    shared = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :width]
    t = t @ (np.eye(12) - shared @ shared.T)
    squares, vectors = np.linalg.eigh(t.T @ t)
    np.testing.assert_allclose(values.numpy()[:4], np.sqrt(squares[::-1][:4]), rtol=1e-4)
    ours, theirs = found.double().numpy(), vectors[:, ::-1][:, :4].T
    np.testing.assert_allclose(ours.T @ ours, theirs.T @ theirs, atol=1e-4)  # one subspace, whatever the signs
    np.testing.assert_allclose(np.abs(np.sum(ours * theirs, 1)), 1, atol=1e-4)


def test_swapping_the_texts_of_pairs_changes_nothing_without_context() -> None:
    positive, negative = random(20, 12), random(20, 12, seed=1)
    flipped = torch.arange(20)[:, None] % 3 == 0
    swapped = torch.where(flipped, negative, positive), torch.where(flipped, positive, negative)
    before, values = toxic_directions(positive, negative, 0, 5)
    after, others = toxic_directions(*swapped, 0, 5)
    torch.testing.assert_close(values, others)
    torch.testing.assert_close(before.T @ before, after.T @ after, atol=1e-5, rtol=0)


def test_more_directions_than_there_are_give_all_of_them() -> None:
    assert context_directions(random(3, 8), 99).shape == (3, 8)
    assert toxic_directions(random(5, 8), random(5, 8, seed=1), 0, 99)[0].shape == (5, 8)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_rank_is_that_of_the_signal_under_noise(rank: int) -> None:
    noise = random(400, 120)
    scales = torch.linspace(400, 150, rank)
    signal = torch.linalg.qr(random(400, rank, seed=1)).Q * scales @ torch.linalg.qr(random(120, rank, seed=2)).Q.T
    values = torch.linalg.svdvals(signal + noise)
    assert rank_of(values, (400, 120), 50) == rank
    assert rank_of(values, (400, 120), 3) == min(rank, 3)


def test_noise_alone_still_gives_one_direction() -> None:
    assert rank_of(torch.linalg.svdvals(random(60, 40)), (60, 40), 10) == 1


@pytest.mark.parametrize("with_gain", [False, True])
def test_the_low_rank_edit_removes_each_share_from_what_reaches_the_stream(with_gain: bool) -> None:
    weight, directions = random(10, 30), torch.linalg.qr(random(10, 3, seed=1)).Q.T
    gain = random(10, seed=2) + 3 if with_gain else None
    shares = torch.tensor([1.0, 0.25, 0.0])
    down, up = low_rank(weight, directions, shares, gain)
    assert down.shape == (3, 30)
    assert up.shape == (10, 3)
    scale = gain if gain is not None else torch.ones(10)
    before, after = scale[:, None] * weight, scale[:, None] * (weight + up @ down)
    torch.testing.assert_close(directions @ after, (1 - shares)[:, None] * (directions @ before), atol=1e-4, rtol=1e-4)
    others = torch.eye(10) - directions.T @ directions
    torch.testing.assert_close(others @ after, others @ before, atol=1e-4, rtol=1e-4)


def test_a_dimension_that_the_norm_switches_off_breaks_nothing() -> None:
    read, write = both_ends(random(2, 4), torch.tensor([1.0, 0.0, 2.0, -1.0]))
    assert torch.isfinite(read).all()
    assert torch.isfinite(write).all()
