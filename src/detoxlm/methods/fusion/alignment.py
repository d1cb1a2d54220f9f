"""The alignment matrix of arXiv 2506.01266: maps a calibrator's states into the target's space of another width."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from detoxlm.errors import DetoxError, UsageError
from detoxlm.progress import track

EPOCHS, NEGATIVES, BATCH, LEARNING_RATE = 5, 10, 32, 1e-3  # the released code's
#: Fewer common tokens than this cannot pin down a matrix of hundreds of columns.
FEWEST = 64


def info_nce(e: torch.Tensor, u: torch.Tensor, others: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """Mean of −log exp(eA·u) / (exp(eA·u) + Σ_k exp(eA·u_k)) over a batch (arXiv 2506.01266).

    Args:
        e: calibrator embeddings [B, d_c].
        u: target embeddings of the same tokens [B, d].
        others: target embeddings of negatives [B, K, d].
        A: alignment matrix [d_c, d].
    """
    mapped = e @ A
    logits = torch.cat([(mapped * u).sum(-1, keepdim=True), (others @ mapped[:, :, None])[:, :, 0]], 1)
    return F.cross_entropy(logits, torch.zeros(len(e), dtype=torch.long, device=e.device))


def align(
    calibrator: torch.Tensor, target: torch.Tensor, pairs: torch.Tensor, *, seed: int, epochs: int = EPOCHS
) -> tuple[torch.Tensor, dict[str, float]]:
    """Fit A [d_c, d] on the tokens that both vocabularies have.

    Args:
        calibrator: embedding rows [V_c, d_c].
        target: embedding rows [V, d].
        pairs: ids [n, 2] of common tokens, calibrator and target.
        seed: of the start, which is N(0, 1), of the order and of the negatives.
        epochs: passes over the common tokens.

    Returns:
        A, and the loss of the first and the last hundred steps with the number of common tokens.

    Raises:
        UsageError: too few common tokens.
        DetoxError: the loss became NaN or infinite.
    """
    if len(pairs) < FEWEST:
        raise UsageError(
            f"alignment: the calibrator's and the target's vocabularies share {len(pairs)} tokens; {FEWEST} are the "
            "least. Take a calibrator whose vocabulary is closer, or variant=contrast, which needs no alignment matrix."
        )
    generator = torch.Generator().manual_seed(seed)
    e, u = calibrator[pairs[:, 0]].detach().float().cpu(), target[pairs[:, 1]].detach().float().cpu()
    A = torch.randn(e.shape[1], u.shape[1], generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([A], lr=LEARNING_RATE)
    losses: list[float] = []
    steps = epochs * -(-len(e) // BATCH)
    with track("aligning the calibrator", steps, "steps") as advance, torch.enable_grad():
        for _ in range(epochs):
            for chosen in torch.randperm(len(e), generator=generator).split(BATCH):
                # one of the other tokens, evenly: a step around the ring of all tokens is never the token itself
                step = torch.randint(1, len(e), (len(chosen), NEGATIVES), generator=generator)
                others = u[(chosen[:, None] + step) % len(e)]
                loss = info_nce(e[chosen], u[chosen], others, A)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
                advance(1)
    if not bool(torch.isfinite(A).all()):
        raise DetoxError("alignment: its loss became NaN or infinite; an embedding of one of the models is damaged.")
    head, tail = losses[:100], losses[-100:]
    return A.detach(), {
        "common_tokens": float(len(pairs)),
        "loss_at_first": sum(head) / len(head),
        "loss_at_last": sum(tail) / len(tail),
    }
