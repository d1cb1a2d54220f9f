"""Trains a calibrator's trunk and risk head on continuations with known toxicity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from detoxlm.errors import DetoxError
from detoxlm.methods.fusion.calibrator import Calibrator
from detoxlm.metrics.ranks import rank_correlation
from detoxlm.progress import track

#: The per-token risks are looked up, not computed: rows that rarely occur need long steps.
TOKEN_LEARNING_RATE = 3e-3
WARM_UP, LAST, WEIGHT_DECAY = 0.05, 0.05, 0.01
#: Toxic continuations are the rare ones: a token weighs 1 + this much times its continuation's toxicity.
TOXIC_WEIGHT = 3.0


@dataclass(frozen=True)
class Passage:
    """A tokenised text whose tokens from `start` on are a continuation of known toxicity."""

    ids: list[int]
    start: int  # at least 1: a continuation has something before it
    toxicity: float  # of the continuation alone, in [0, 1]


def risk_loss(calibrator: Calibrator, passages: Sequence[Passage], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return (loss, risks [n], targets [n]) over all continuation tokens of the passages.

    The loss is the cross-entropy between sigmoid(s(token | text before it)) and the toxicity that the whole
    continuation turned out to have, toxic ones weighted up: s is then the log-odds of where the text is going, on
    average over how it went on (FUDGE, arXiv 2104.05218, eq. 3, with soft labels).
    """
    longest = max(len(p.ids) for p in passages)
    device = calibrator.risk.token.device
    ids = torch.tensor([p.ids + [0] * (longest - len(p.ids)) for p in passages], device=device)
    lengths = torch.tensor([len(p.ids) for p in passages], device=device)
    starts = torch.tensor([p.start for p in passages], device=device)
    places = torch.arange(longest, device=device)
    counted = ((places >= starts[:, None]) & (places < lengths[:, None]))[:, 1:]
    mask = (places < lengths[:, None]).long()
    # the embeddings may be the target's, in its dtype
    inputs = calibrator.trunk.get_input_embeddings()(ids).float()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        states = calibrator.decoder(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
    risks = calibrator.risk(states[:, :-1][counted].float(), ids[:, 1:][counted][:, None])[:, 0]
    targets = torch.tensor([p.toxicity for p in passages], device=device)[:, None].expand_as(counted)[counted]
    weights = 1 + TOXIC_WEIGHT * targets
    losses = F.binary_cross_entropy_with_logits(risks, targets, reduction="none")
    return (losses * weights).sum() / weights.sum(), risks, targets


def train(
    calibrator: Calibrator,
    passages: Sequence[Passage],
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Train in place; one passage in twenty is held out. Returns counts, the loss curve and held-out validity.

    Raises:
        DetoxError: the loss became NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(passages), generator=generator).tolist()
    held = max(1, len(passages) // 20)
    held_out, kept = [passages[i] for i in order[:held]], [passages[i] for i in order[held:]]
    plan = [chunk for _ in range(epochs) for chunk in _batches(kept, batch, generator)]
    optimiser, others = _optimiser(calibrator, learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (WARM_UP * len(plan)), 1 - (1 - LAST) * step / len(plan))
    )
    curve: list[list[float]] = []
    calibrator.train()
    try:
        with track("training the calibrator", len(plan), "steps") as advance, torch.enable_grad():
            for step, chunk in enumerate(plan):
                loss, _, _ = risk_loss(calibrator, chunk, dtype)
                if not math.isfinite(loss.item()):
                    raise DetoxError(
                        f"fusion: the training loss is {loss.item()} at step {step}; lower --set learning_rate, or "
                        "check the model's weights."
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(others, 1.0)
                optimiser.step()
                schedule.step()
                curve.append([step + 1, round(loss.item(), 4)])
                advance(1)
    finally:
        calibrator.eval().requires_grad_(False)
    return {
        "passages": len(kept),
        "held_out_passages": held,
        "toxic_passages": sum(p.toxicity >= 0.5 for p in kept),
        "loss_curve": curve,
        **_validity(calibrator, held_out, batch, dtype),
    }


def _optimiser(calibrator: Calibrator, learning_rate: float) -> tuple[torch.optim.AdamW, list[nn.Parameter]]:
    """Return the optimiser of all that is trained, in float32, and the parameters but for the per-token risks."""
    parameters = calibrator.trained()
    for parameter in parameters.values():
        parameter.requires_grad_(True).data = parameter.data.float()
    tokens = [calibrator.risk.token]
    others = [p for name, p in parameters.items() if name != "risk.token"]
    return torch.optim.AdamW(
        [
            {"params": others, "lr": learning_rate, "weight_decay": WEIGHT_DECAY},
            {"params": tokens, "lr": TOKEN_LEARNING_RATE, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    ), others


def _batches(passages: Sequence[Passage], batch: int, generator: torch.Generator) -> list[list[Passage]]:
    """Shuffled batches of passages of like length."""
    shuffled = [passages[i] for i in torch.randperm(len(passages), generator=generator).tolist()]
    shuffled.sort(key=lambda p: len(p.ids) // 4)  # stable: within a length, the order stays random
    chunks = [shuffled[i : i + batch] for i in range(0, len(shuffled), batch)]
    return [chunks[i] for i in torch.randperm(len(chunks), generator=generator).tolist()]


@torch.inference_mode()
def _validity(calibrator: Calibrator, passages: Sequence[Passage], batch: int, dtype: torch.dtype) -> dict[str, Any]:
    """How well the risk of single tokens tells toxic continuations from others that training did not see."""
    losses, risks, targets = [], [], []
    for start in range(0, len(passages), batch):
        chunk = passages[start : start + batch]
        loss, risk, target = risk_loss(calibrator, chunk, dtype)
        losses.append(float(loss) * len(chunk))
        risks.append(risk)
        targets.append(target)
    found = rank_correlation(*(torch.cat(values).float().cpu().numpy() for values in (risks, targets)))
    return {
        "held_out_loss": sum(losses) / len(passages),
        "held_out_rank_correlation": None if found is None else round(found, 4),
    }
