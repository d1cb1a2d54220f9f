"""Linear probes of toxicity: for each layer the direction along which toxic and non-toxic texts differ most."""

from __future__ import annotations

import torch

#: Share of the pooled covariance that is replaced by its mean variance: there are fewer texts than dimensions.
SHRINKAGE = 0.2


def probe_direction(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Return the unit vector w [d], from non-toxic to toxic, of the linear discriminant of two sets of embeddings.

    w ~ S^-1 (mean(X-) - mean(X+)), S the pooled covariance, shrunk towards a multiple of the identity.

    Args:
        positive: X+ [N, d], of non-toxic texts.
        negative: X- [N, d], of toxic texts.
    """
    x, y = positive.double(), negative.double()
    centred = torch.cat([x - x.mean(0), y - y.mean(0)])
    covariance = centred.T @ centred / len(centred)
    variance = covariance.diagonal().mean()
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * variance * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    w = torch.linalg.solve(shrunk, y.mean(0) - x.mean(0))
    return (w / w.norm().clamp(min=1e-12)).float()


def separation(positive: torch.Tensor, negative: torch.Tensor, direction: torch.Tensor) -> float:
    """Return how well projections on `direction` tell the sets apart: the area under the ROC curve."""
    x, y = positive @ direction, negative @ direction
    return float(((y[:, None] > x).double() + 0.5 * (y[:, None] == x).double()).mean())
