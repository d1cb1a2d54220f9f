"""Trains the auxiliary model on the target's own continuations and what the constraint's scorer says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from detoxlm.errors import DetoxError
from detoxlm.methods.control.auxiliary import Auxiliary, bernoulli_kl
from detoxlm.methods.control.states import OwnStates
from detoxlm.metrics.ranks import rank_correlation
from detoxlm.models import Target
from detoxlm.passages import Passage, padded, read_in_batches
from detoxlm.progress import track
from detoxlm.sizing import BatchSize

#: Likeliest next tokens over which the consistency term sums, renormalised.
LIKELIEST = 64
#: Sequences drawn at another temperature count at most so much more or less than on average.
CLIP = 10.0
#: Tokens in a training step, and how many of them the consistency term looks at.
BATCH, CONSISTENT = 512, 256
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.01


@dataclass(frozen=True)
class Positions:
    """The n tokens of some continuations, in order, and what the untouched model makes of the text before each."""

    states: torch.Tensor  # [n, d], final ones before the token
    tokens: torch.Tensor  # [n]
    text: torch.Tensor  # [n], which continuation
    place: torch.Tensor  # [n], 0 for its first token
    violation: torch.Tensor  # [n], of the whole continuation, in [0, 1]
    weight: torch.Tensor  # [n], p over what it was drawn from
    likeliest: torch.Tensor  # [n, k]
    p: torch.Tensor  # [n, k], their probabilities, summing to 1

    def __getitem__(self, rows: torch.Tensor) -> Positions:
        """Return some of them."""
        return Positions(*(getattr(self, field.name)[rows] for field in fields(self)))


@torch.inference_mode()
def positions(
    target: Target,
    continuations: Sequence[Passage],
    violations: Sequence[float],
    *,
    batch_size: BatchSize,
    temperature: float = 1.0,
    drawn: Sequence[float] | None = None,
) -> Positions:
    """Read continuations with the untouched target; everything is kept on the CPU.

    Args:
        target: the model.
        continuations: tokens from `start` on are the model's own; the first of them counts too, padding does not.
        violations: how far each violates the constraint, in [0, 1].
        batch_size: texts read at once.
        temperature: at which they were drawn; where it is not 1, weights make up for it.
            They do not for a nucleus (`own_sampling` draws from one): R is that of continuations from the nucleus.
        drawn: log-probability of each where it was drawn, if that was another model; weights make up for it too.
    """
    lengths = torch.tensor([len(one.ids) - max(1, one.start) for one in continuations])
    ends = lengths.cumsum(0)
    count, view = int(ends[-1]), target.architecture
    k = min(LIKELIEST, view.vocab_size)
    # made at once: what is kept piece by piece between large temporaries holds on to their memory
    rows = Positions(
        states=torch.empty(count, view.hidden_size),
        tokens=torch.empty(count, dtype=torch.long),
        text=torch.arange(len(continuations)).repeat_interleave(lengths),
        place=torch.cat([torch.arange(int(n)) for n in lengths]),
        violation=torch.tensor(list(violations), dtype=torch.float32).repeat_interleave(lengths),
        weight=torch.empty(count),
        likeliest=torch.empty(count, k, dtype=torch.long),
        p=torch.empty(count, k),
    )
    own = OwnStates()

    def read(part: list[int]) -> None:
        ids, mask, counted = padded(target, [continuations[i] for i in part])
        logits = target.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        states = own.states(ids.shape[1])[:, :-1]
        for i, row, state, given, keep in zip(part, ids, states, logits, counted.bool(), strict=True):
            here = slice(int(ends[i] - lengths[i]), int(ends[i]))
            z = given[keep].float()
            top = z.topk(k)
            rows.states[here], rows.tokens[here] = state[keep].float().cpu(), row[1:][keep].cpu()
            log_q = None if drawn is None else z.new_tensor(drawn[i])
            rows.weight[here] = importance(z, row[1:][keep], temperature, log_q).cpu()
            rows.likeliest[here], rows.p[here] = top.indices.cpu(), top.values.softmax(-1).cpu()

    with track("reading the samples", len(continuations), "texts") as advance, own.watching(target.model):
        for part, _ in read_in_batches(target.device, continuations, batch_size, read):
            advance(len(part))
    rows.weight.div_(rows.weight.mean()).clamp_(1 / CLIP, CLIP)
    return rows


def importance(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float, drawn: torch.Tensor | None = None
) -> torch.Tensor:
    """Return p(y) / p_T(y), a scalar, of a continuation drawn at a temperature T; both of the whole vocabulary.

    Of draws from a nucleus it is right but for what p and p_T leave out of theirs. An exact weight would be 0 for every
    text that has a token outside the nucleus of p.

    Args:
        logits: the model's before each of its tokens [n, V], float32.
        tokens: ids [n].
        temperature: T.
        drawn: in place of log p_T(y), for a continuation that another model has drawn, its log-probability there.
    """
    if drawn is None:
        drawn = log_probability(logits, tokens, temperature)
    return (log_probability(logits, tokens) - drawn).clamp(max=80).exp()


def log_probability(logits: torch.Tensor, tokens: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Return log p_T(y) in nats, a scalar; arguments as in `importance`."""
    return (logits / temperature).log_softmax(-1).gather(-1, tokens[:, None]).sum()


@torch.inference_mode()
def log_probabilities(
    target: Target, continuations: Sequence[Passage], *, batch_size: BatchSize, temperature: float
) -> list[float]:
    """Return log p_T(y) of each continuation, in nats, for the model as it is now; arguments as in `positions`."""
    found = [0.0] * len(continuations)

    def read(part: list[int]) -> None:
        ids, mask, counted = padded(target, [continuations[i] for i in part])
        logits = target.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        for i, row, given, keep in zip(part, ids, logits, counted.bool(), strict=True):
            found[i] = float(log_probability(given[keep].float(), row[1:][keep], temperature))

    for _ in read_in_batches(target.device, continuations, batch_size, read):
        pass
    return found


def auxiliary_loss(auxiliary: Auxiliary, rows: Positions, before: Positions | None, consistency: float) -> torch.Tensor:
    """Return the weighted cross-entropy of the violations, and the consistency of R with itself (NADO, eq. 8-10).

    By the tower rule R before a token is the mean of R after it: KL(Bernoulli(sum_v p(v) R(y, v)) || Bernoulli(R(y))).

    Args:
        auxiliary: the model.
        rows: positions.
        before: for the first of them, the positions one token earlier; None leaves the consistency out.
        consistency: mu, its weight.
    """
    s = auxiliary(rows.states, rows.tokens[:, None])[:, 0]
    losses = F.binary_cross_entropy_with_logits(s, rows.violation, reduction="none")
    loss = (rows.weight * losses).sum() / rows.weight.sum()
    if before is None or not len(before.tokens):
        return loss
    now = rows[torch.arange(len(before.tokens))]
    after = (now.p * auxiliary(now.states, now.likeliest).sigmoid()).sum(-1)
    until = auxiliary(before.states, before.tokens[:, None])[:, 0].sigmoid()
    return loss + consistency * bernoulli_kl(after, until).mean()


def train(
    auxiliary: Auxiliary,
    rows: Positions,
    *,
    epochs: int,
    consistency: float,
    seed: int,
    held_out: torch.Tensor,
    fresh: bool = True,
) -> dict[str, Any]:
    """Train in place. Returns the loss curve, and how well held-out violations are told.

    Args:
        auxiliary: one on the CPU.
        rows: positions of all texts.
        epochs: passes over them.
        consistency: mu.
        seed: of their order.
        held_out: which rows are not learned from [n].
        fresh: whether it is untrained: a trained one goes on reading states as it has learned to.

    Raises:
        DetoxError: the loss became NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    learned = (~held_out).nonzero()[:, 0]
    if fresh:
        auxiliary.standardise(rows.states[learned])
    optimiser = torch.optim.AdamW(auxiliary.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * math.ceil(len(learned) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    curve: list[list[float]] = []
    torch.manual_seed(seed)
    auxiliary.train()
    with track("training the auxiliary model", steps, "steps") as advance, torch.enable_grad():
        for _ in range(epochs):
            shuffled = learned[torch.randperm(len(learned), generator=generator)]
            for chosen in shuffled.split(BATCH):
                follows = rows.place[chosen] > 0
                chosen = torch.cat([chosen[follows], chosen[~follows]])
                before = rows[chosen[: min(CONSISTENT, int(follows.sum()))] - 1] if consistency else None
                loss = auxiliary_loss(auxiliary, rows[chosen], before, consistency)
                if not math.isfinite(loss.item()):
                    raise DetoxError(f"auxiliary: its loss is {loss.item()} at step {len(curve) + 1}; check the model.")
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(auxiliary.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                curve.append([len(curve) + 1, round(loss.item(), 4)])
                advance(1)
    auxiliary.eval().requires_grad_(False)
    return {"loss_curve": curve, **validity(auxiliary, rows[held_out.nonzero()[:, 0]])}


@torch.inference_mode()
def validity(auxiliary: Auxiliary, rows: Positions) -> dict[str, Any]:
    """How well single tokens tell whether texts end up violating: cross-entropy in nats, and rank correlation."""
    if not len(rows.tokens):
        return {"held_out_loss": None, "held_out_rank_correlation": None}
    s = auxiliary(rows.states, rows.tokens[:, None])[:, 0]
    found = rank_correlation(s.numpy(), rows.violation.numpy())
    return {
        "held_out_loss": round(float(F.binary_cross_entropy_with_logits(s, rows.violation)), 5),
        "held_out_rank_correlation": None if found is None else round(found, 4),
    }
