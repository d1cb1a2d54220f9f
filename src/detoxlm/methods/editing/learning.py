"""How much of each direction to remove: shares learned against the model's own likelihoods, under a limit on drift.

A singular value says how far two groups of texts lie apart along a direction, not what happens to the text when the
direction is gone. The shares s [L, k] are the only trained numbers, so a few dozen steps are enough:

    minimise  -log sigmoid(beta (d(clean) - d(toxic))) + lambda KL(base || edited on harmless text)
    over s in [0, 1],    d(y) = log p_edited(y | x) - log p_base(y | x),

the loss of DPO (arXiv 2305.18290, eq. 7) over projections instead of weights. lambda follows the drift that is
measured: it grows while KL is above the limit, and falls while it is below (dual ascent).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from detoxlm.errors import DetoxError
from detoxlm.files import write_atomically
from detoxlm.journal import digest_of
from detoxlm.models import Target
from detoxlm.passages import Passage, batches, endless, log_p, padded
from detoxlm.progress import track

log = logging.getLogger(__name__)

#: What to read from a module's output and what to write there: two of [k, d].
Ends = tuple[torch.Tensor, torch.Tensor]
#: Modules whose outputs lose the same shares of directions, each with its own ends: a mixture has several in a layer.
Group = Sequence[tuple[nn.Module, Ends]]
#: DPO's temperature. The shares cannot run away as weights can, so it is larger than DPO's usual 0.1.
BETA = 0.2
#: Step of the shares (Adam), falling linearly to a tenth; in [0, 1] a few dozen steps cross the whole range.
LEARNING_RATE = 0.05
#: Pairs, and harmless texts, in a step; and how many of the latter are read together.
BATCH, TOGETHER = 8, 4
#: lambda at the start, and how fast it follows the drift.
PRICE, PRICE_STEP = 3.0, 0.1
#: Steps between two checkpoints.
KEEP_EVERY = 5
#: How fast the running mean of the drift, which is what is held against the limit, forgets.
FORGET = 0.8


def learn_shares(
    target: Target,
    groups: Sequence[Group],
    pairs: Sequence[tuple[Passage, Passage]],
    harmless: Sequence[Passage],
    *,
    drift: float,
    steps: int,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return shares [E, k] in [0, 1] and how the learning went.

    Args:
        target: the model, untouched; `load_target` has frozen its weights.
        groups: E groups of modules whose outputs [..., d] are projected, with what to read and what to write there
            (`both_ends`).
        pairs: (non-toxic, toxic) texts of one context each.
        harmless: texts on which the drift is measured.
        drift: KL(base || edited) per token, in nats, that is aimed at.
        steps: of training.
        seed: of the batches.
        checkpoint: a file where the state is kept every few steps, so that a killed run continues to the same shares.

    Raises:
        DetoxError: the loss became NaN or infinite.
    """
    k = next(len(read) for group in groups for _, (read, _) in group)
    shares = torch.zeros(len(groups), k, device=target.device, requires_grad=True)
    optimiser = torch.optim.Adam([shares], lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    pair_order, harmless_order = (endless(len(items), generator) for items in (pairs, harmless))
    price, running, curve, start = PRICE, 0.0, [], 0
    key = _key(target, groups, pairs, harmless, [drift, steps, seed])
    if checkpoint is not None and (kept := _resumed(checkpoint, key, shares, optimiser)):
        start, price, running, curve = (kept[name] for name in ("step", "price", "running", "curve"))
    with track("learning what to remove", steps, "steps", done=start) as advance, torch.enable_grad():
        for step in range(steps):
            chosen = [pairs[next(pair_order)] for _ in range(min(BATCH, len(pairs)))]
            anchors = [harmless[next(harmless_order)] for _ in range(min(BATCH, len(harmless)))]
            if step < start:  # done before: only the order of the texts moves on
                continue
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 - 0.9 * step / steps)
            kl = drift_on(target, groups, shares, anchors)
            total = preference_loss(target, groups, shares, chosen) + price * kl
            if not math.isfinite(total.item()):
                raise DetoxError(f"subspace: the loss is {total.item()} at step {step}; check the model's weights.")
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            with torch.no_grad():
                shares.clamp_(0, 1)
            running = FORGET * running + (1 - FORGET) * kl.item()
            price *= math.exp(PRICE_STEP * max(-1.0, min(2.0, running / drift - 1)))
            curve.append([step + 1, round(total.item(), 4)])
            state = {"key": key, "step": step + 1, "price": price, "running": running, "curve": curve}
            _keep(checkpoint, state, shares, optimiser)
            advance(1)
    return shares.detach().cpu(), {"drift": round(running, 4), "price": round(price, 2), "loss_curve": curve}


def _key(
    target: Target,
    groups: Sequence[Group],
    pairs: Sequence[tuple[Passage, Passage]],
    harmless: Sequence[Passage],
    numbers: Sequence[float],
) -> str:
    """What tells this very learning from others."""
    texts = [[p.ids for pair in pairs for p in pair], [p.ids for p in harmless]]
    every = [torch.stack([ends[i] for group in groups for _, ends in group]) for i in (0, 1)]
    ends = [hashlib.sha256(end.cpu().contiguous().numpy().tobytes()).hexdigest() for end in every]
    made_by = [target.architecture.fingerprint, str(target.model.dtype), metadata.version("detoxlm")]
    return digest_of([made_by, ends, texts, *numbers])


def _keep(path: Path | None, state: dict[str, Any], shares: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
    """Write a checkpoint every few steps, where one is wanted."""
    if path is None or state["step"] % KEEP_EVERY:
        return
    tensors = {"shares": shares.detach(), **optimiser.state[shares]}
    data = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {"state": json.dumps(state)})
    write_atomically(path, data)


def _resumed(path: Path, key: str, shares: torch.Tensor, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Load what `_keep` wrote of this very run into `shares` and `optimiser`; None where there is nothing of it."""
    try:
        with safe_open(path, "pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    if state.get("key") != key:
        return None
    with torch.no_grad():
        shares.copy_(tensors.pop("shares"))
    saved = {"state": {0: tensors}, "param_groups": optimiser.state_dict()["param_groups"]}
    optimiser.load_state_dict(saved)
    log.warning("%s holds %d steps of this very learning: it goes on from there.", path, state["step"])
    return state


def preference_loss(
    target: Target,
    groups: Sequence[Group],
    shares: torch.Tensor,
    pairs: Sequence[tuple[Passage, Passage]],
) -> torch.Tensor:
    """Return the mean of -log sigmoid(beta (d(clean) - d(toxic))) over pairs (module docstring)."""
    texts = [clean for clean, _ in pairs] + [toxic for _, toxic in pairs]
    ids, mask, counted = padded(target, texts)
    labels = ids[:, 1:, None]
    with torch.no_grad():
        base = log_p(target, ids, mask).gather(-1, labels)[..., 0]
    with projected(groups, shares):
        edited = log_p(target, ids, mask).gather(-1, labels)[..., 0]
    change = ((edited - base) * counted).sum(1)
    return -F.logsigmoid(BETA * (change[: len(pairs)] - change[len(pairs) :])).mean()


def drift_on(
    target: Target,
    groups: Sequence[Group],
    shares: torch.Tensor,
    texts: Sequence[Passage],
) -> torch.Tensor:
    """Return KL(base || edited) in nats, the mean over the tokens of `texts`.

    Texts of like length are read together: half of them are sentences and half are long passages of neutral text, and
    padding costs what text costs.
    """
    total, tokens = torch.zeros((), device=target.device), torch.zeros((), device=target.device)
    for part in batches(texts, TOGETHER):
        ids, mask, counted = padded(target, [texts[i] for i in part])
        with torch.no_grad():
            base = log_p(target, ids, mask)
        with projected(groups, shares):
            edited = log_p(target, ids, mask)
        total, tokens = total + summed_kl(base, edited, counted), tokens + counted.sum()
    return total / tokens


def mean_kl(base: torch.Tensor, edited: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return the mean of KL(base || edited) over the counted [B, T] of log-probabilities [B, T, V]."""
    return summed_kl(base, edited, counted) / counted.sum()


def summed_kl(base: torch.Tensor, edited: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return the sum of KL(base || edited) over the counted [B, T] of log-probabilities [B, T, V]."""
    return (F.kl_div(edited, base, reduction="none", log_target=True).sum(-1) * counted).sum()


@contextmanager
def projected(groups: Sequence[Group], shares: torch.Tensor) -> Iterator[None]:
    """Remove shares [E, k] of directions from the outputs of E groups of modules, differentiably, within this context.

    A bias is removed with the rest, as it is not when weights are edited; in gradients of the shares that is noise.
    """
    handles = []
    for group, s in zip(groups, shares, strict=True):
        for module, ends in group:

            def after(_: nn.Module, __: Any, y: torch.Tensor, ends: Ends = ends, s: torch.Tensor = s) -> torch.Tensor:
                return y - (((y.to(s.dtype) @ ends[0].T) * s) @ ends[1]).to(y.dtype)

            handles.append(module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
