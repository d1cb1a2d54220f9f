"""The toxic subspace of a layer, from embeddings of paired texts (DeTox/ProFS, arXiv 2405.13967): plain linear algebra.

Letters follow the paper: X+ and X- [N, d] hold the embeddings of N non-toxic texts and their toxic partners.
"""

from __future__ import annotations

import torch

#: Coefficients of Gavish and Donoho's optimal hard threshold for an unknown noise level (arXiv 1305.5870, eq. 5).
_OMEGA = (0.56, -0.95, 1.82, 1.43)


def context_directions(positive: torch.Tensor, width: int) -> torch.Tensor:
    """Return what all texts share, [width, d]: the first right singular vectors of the *uncentred* X+.

    The paper takes one (its mean mu); small models need more, or fluency goes too (docs/methods/subspace.md).

    Args:
        positive: X+ [N, d].
        width: 0 gives no direction; above N or d, all there are.
    """
    if not width:
        return positive.new_zeros(0, positive.shape[1])
    return torch.linalg.svd(positive, full_matrices=False).Vh[:width]


def toxic_directions(
    positive: torch.Tensor, negative: torch.Tensor, width: int, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the toxic subspace of one layer.

    T = (X+ - X-) / 2;  T <- T (I - C^T C) with C the context directions;  T = U S V^T;  the first `rank` rows of V^T.
    Swapping the two texts of any pair changes the sign of a row of T, and so neither S nor V.

    Args:
        positive: X+ [N, d].
        negative: X- [N, d], row by row the partner of `positive`.
        width: of the context subspace that is left alone.
        rank: how many directions.

    Returns:
        Orthonormal directions [min(rank, N, d), d], and all singular values [min(N, d)].
    """
    shared = context_directions(positive, width)
    difference = (positive - negative) / 2
    difference = difference - difference @ shared.T @ shared
    _, values, directions = torch.linalg.svd(difference, full_matrices=False)
    return directions[:rank], values


def rank_of(values: torch.Tensor, shape: tuple[int, int], most: int) -> int:
    """Return how many singular values stand out of the noise: Gavish and Donoho's hard threshold, from 1 to `most`.

    Args:
        values: singular values, largest first.
        shape: (N, d) of the matrix.
        most: never more than this.
    """
    beta = min(shape) / max(shape)
    omega = sum(c * beta**power for c, power in zip(_OMEGA, (3, 2, 1, 0), strict=True))
    return max(1, min(most, int((values > omega * values.median()).sum())))


def both_ends(directions: torch.Tensor, gain: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what to read from a matrix's output, and what to write there, to rid the residual stream of directions.

    The same [..., d] twice, but where a norm with gain gamma stands between the two (Gemma 2 and 3): the stream gets
    gamma * y / rms(y), which loses V exactly where y loses V / gamma by its product with V * gamma.
    """
    if gain is None:
        return directions, directions
    inverse = torch.where(gain.abs() > 1e-6, 1 / gain, 0.0)  # where gamma is 0 nothing passes anyway
    return directions * gain, directions * inverse


def low_rank(
    weight: torch.Tensor, directions: torch.Tensor, shares: torch.Tensor, gain: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A [k, m] and B [d, k] with W + B A = (I - V^T diag(shares) V) W.

    Args:
        weight: W [d, m], its columns in the residual stream.
        directions: V [k, d], orthonormal rows.
        shares: [k]; 1 removes a direction whole, 0 leaves it.
        gain: of a norm behind W, see `both_ends`.
    """
    read, write = both_ends(directions, gain)
    return read @ weight, -(write * shares[:, None]).T
