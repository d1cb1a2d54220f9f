"""Trains the paper's calibration model: next-token prediction on non-toxic completions (arXiv 2506.01266)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.errors import DetoxError
from detoxlm.progress import track

#: (token ids, labels): labels are -100 where the token is prompt.
Sequence_ = tuple[list[int], list[int]]


def completion_loss(
    hidden: torch.Tensor, W: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy in nats over completion tokens only.

    Args:
        hidden: final hidden states [B, T, d].
        W: head [V, d].
        bias: the head's bias [V] or None.
        labels: token ids [B, T], -100 where the token is prompt or padding; position t is predicted from t - 1.
    """
    counted = labels[:, 1:] != -100
    logits = F.linear(hidden[:, :-1][counted], W, bias)  # only these rows meet the head, the largest matrix
    return F.cross_entropy(logits.float(), labels[:, 1:][counted])


def own_tensors(calibrator: PreTrainedModel, own_embeddings: bool) -> dict[str, torch.Tensor]:
    """Return the calibrator's weights that are not the target's, by name."""
    view = Architecture.of(calibrator)
    shared = () if own_embeddings else (id(view.embeddings.weight), id(view.head.weight), id(view.head.bias))
    return {name: p for name, p in calibrator.named_parameters() if id(p) not in shared}


def train(
    calibrator: PreTrainedModel,
    sequences: Sequence[Sequence_],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    own_embeddings: bool,
    seed: int,
) -> dict[str, Any]:
    """Train the calibrator in place; return its loss curve, held-out losses before and after, and counts.

    Raises:
        DetoxError: the loss became NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(sequences), generator=generator).tolist()
    held = max(1, len(sequences) // 20)
    held_out, kept = [sequences[i] for i in order[:held]], [sequences[i] for i in order[held:]]
    parameters = list(own_tensors(calibrator, own_embeddings).values())
    for parameter in parameters:
        parameter.requires_grad_(True).data = parameter.data.float()  # not the target's embeddings, if shared
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
    before = _held_out_loss(calibrator, held_out, batch)
    curve: list[list[float]] = []
    queue: list[int] = []
    calibrator.train()
    try:
        with track("training the calibration model", steps, "steps") as advance, torch.enable_grad():
            for step in range(steps):
                if len(queue) < batch:
                    queue += torch.randperm(len(kept), generator=generator).tolist()
                chosen, queue = queue[:batch], queue[batch:]
                loss = _loss(calibrator, [kept[i] for i in chosen])
                if not math.isfinite(loss.item()):
                    raise DetoxError(
                        f"fusion: the training loss is {loss.item()} at step {step}; lower --set learning_rate, or "
                        "check the model's weights."
                    )
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                decay.step()
                curve.append([step + 1, round(loss.item(), 4)])
                advance(1)
    finally:
        calibrator.eval().requires_grad_(False)
    return {
        "texts": len(kept),
        "held_out_texts": held,
        "held_out_loss_before": before,
        "held_out_loss_after": _held_out_loss(calibrator, held_out, batch),
        "loss_curve": curve,
    }


@torch.no_grad()
def _held_out_loss(calibrator: PreTrainedModel, sequences: Sequence[Sequence_], size: int) -> float:
    batches = [sequences[i : i + size] for i in range(0, len(sequences), size)]
    return sum(float(_loss(calibrator, batch)) * len(batch) for batch in batches) / len(sequences)


def _loss(calibrator: PreTrainedModel, batch: Sequence[Sequence_]) -> torch.Tensor:
    view = Architecture.of(calibrator)
    longest = max(len(ids) for ids, _ in batch)
    device = calibrator.device
    ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in batch], device=device)
    labels = torch.tensor([row + [-100] * (longest - len(row)) for _, row in batch], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in batch], device=device)
    # the embeddings may be the target's, in its dtype; training is in float32
    inputs = view.embeddings(ids).float()
    hidden = view.decoder(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
    if view.scale != 1:
        hidden = view.scale * hidden
    bias = None if view.head.bias is None else view.head.bias.float()
    return completion_loss(hidden, view.head.weight.float(), bias, labels)
