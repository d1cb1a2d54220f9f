"""Earth-mover distance between next-token distributions, with a semantic cost (TA-SFT, arXiv 2412.06843; re-derived).

Moving probability from token u to token v costs c(u, v) = 1 - ê_u . ê_v, ê the unit rows of the embedding matrix
without what all its rows share: little between synonyms, 1 between unrelated words. c(u, v) = |ê_u - ê_v|^2 / 2, so
with the means m_p = Σ_v p_v ê_v of two distributions (Jensen's inequality; the product coupling)

    |m_p - m_q|^2 / 2  <=  EMD(p, q)  <=  1 - m_p . m_q,

and for q all on one token y there is only one way to move: EMD(p, y) = 1 - m_p . ê_y exactly. Nothing here is larger
than [N, V]: no V x V matrix of costs. 0 <= EMD <= 2, so its negative is a loss that cannot run away as
log-likelihoods can.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def unit_rows(embeddings: torch.Tensor) -> torch.Tensor:
    """Return Ê [V, d] in float32: rows of length 1, less their mean and their d // 100 strongest common directions.

    Those ("all but the top", arXiv 1702.01417) tell how frequent a token is rather than what it means. With them in,
    the tokens farthest from a frequent one are the rarest of the vocabulary, whatever they mean, and a model that
    keeps its distance from it takes to those. A row of zeros (padding of the vocabulary) stays zeros.
    """
    rows = embeddings.detach().float()
    real = rows.any(-1, keepdim=True)
    centred = (rows - rows.sum(0) / real.sum().clamp(min=1)) * real
    common = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, rows.shape[1] - rows.shape[1] // 100 :]
    return F.normalize(centred - (centred @ common) @ common.T, dim=-1) * real


def emd_to_token(p: torch.Tensor, tokens: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Return the exact EMD [N], in [0, 2], between distributions and single tokens.

    Args:
        p: probabilities [N, V].
        tokens: ids [N].
        units: Ê [V, d].
    """
    return 1 - ((p @ units) * units[tokens]).sum(-1)


def emd_lower_bound(p: torch.Tensor, q: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Return |m_p - m_q|^2 / 2 [N], in [0, 2]: no more than EMD(p, q), for probabilities [N, V] each."""
    return ((p - q) @ units).square().sum(-1) / 2


def smoothed(tokens: torch.Tensor, ids: torch.Tensor, log_p: torch.Tensor, smoothing: float, size: int) -> torch.Tensor:
    """Return soft targets q [N, V]: (1 - smoothing) of the mass on one token, the rest as a model spreads it.

    Args:
        tokens: ids [N].
        ids: the k tokens [N, k] that the model found likeliest.
        log_p: their log-probabilities [N, k]; the model's other tokens get nothing, so that q is a distribution.
        smoothing: in [0, 1].
        size: V.
    """
    q = log_p.new_zeros(len(tokens), size).scatter_add(-1, ids, smoothing * log_p.softmax(-1))
    return q.scatter_add(-1, tokens[:, None], torch.full_like(q[:, :1], 1 - smoothing))


def emd_upper_bound(p: torch.Tensor, q: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Return 1 - m_p . m_q [N], in [0, 2]: no less than EMD(p, q), and linear in p and in q.

    It is the mean of `emd_to_token` over tokens drawn from q: what many sampled continuations would push away from.
    """
    return 1 - ((p @ units) * (q @ units)).sum(-1)
