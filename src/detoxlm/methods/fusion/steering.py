"""What the calibrator's states do to the target's logits or hidden states: the two rules of fusion."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError
from detoxlm.methods.decoding.contract import Place, Steering
from detoxlm.methods.decoding.rule import lower, penalties
from detoxlm.methods.fusion.calibrator import RiskHead


class Contrast(Steering):
    """Lowers the tokens after which the text is likely to end toxic."""

    name = "fusion"

    def __init__(
        self,
        head: RiskHead,
        threshold: float,
        candidates: int,
        vocabulary: torch.Tensor | None,
        kept: torch.Tensor | None = None,
    ) -> None:
        """Take the calibrator's head and the settings; `vocabulary` and `kept` are as in `contrast`."""
        self._head, self._threshold, self._candidates = head, threshold, candidates
        self._vocabulary, self._kept = vocabulary, kept

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, V], lowered by the risks after texts with the calibrator's states `said` [N, d]."""
        return contrast(
            x,
            said,
            self._head,
            strength,
            threshold=self._threshold,
            candidates=self._candidates,
            vocabulary=self._vocabulary,
            kept=self._kept,
        )


class Mixture(Steering):
    """Mixes the calibrator's final states into the target's, as published."""

    name = "fusion"

    def __init__(self, view: Architecture, alignment: torch.Tensor | None, place: Place) -> None:
        """Take the target, the alignment matrix (None: the widths are the same), and where to mix: states or logits.

        Behind the head it costs two head products, at the states one.

        Raises:
            UsageError: behind the head, where the target caps its logits: there the mixture is no function of them.
        """
        if place == "logits" and view.softcap is not None:
            raise UsageError(
                f"fusion: this {view.name} model caps its logits softly, so the paper's mixture cannot be done on "
                "logits; use attached() with a calibrator of this model's own, or variant=contrast."
            )
        self._view, self._alignment, self.place = view, alignment, place

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return the mixture: of states [N, d], or of logits [N, V] with what the head makes of the calibrator's."""
        other = mapped(said, self._alignment)
        if self.place == "states":
            return fuse(x, other, strength)
        # (1 - alpha) (Wh + b) + alpha (W z~ + b): the same mixture, behind the head
        theirs = self._view.head(other.to(self._view.head.weight.dtype))
        return fuse(x, theirs if self._view.scale == 1 else self._view.scale * theirs, strength)

    def on_logits(self) -> Steering:
        """Return the mixture behind the head.

        Raises:
            UsageError: the target caps its logits, or `as_released`.
        """
        if not self.keeps_past:
            raise UsageError("as_released: the released code works on hidden states; use attached().")
        same = Mixture(self._view, self._alignment, "logits")
        same.readers, same.translator, same.context = self.readers, self.translator, self.context
        return same


def contrast(
    logits: torch.Tensor,
    states: torch.Tensor,
    head: RiskHead,
    strength: torch.Tensor,
    *,
    threshold: float,
    candidates: int,
    vocabulary: torch.Tensor | None = None,
    kept: torch.Tensor | None = None,
) -> torch.Tensor:
    """Lower the logits of risky tokens among the likeliest `candidates`, in place; return them.

    What they lose goes to the other candidates alone: the tail beyond them keeps its probability.

    Args:
        logits: the target's [N, V].
        states: the calibrator's final states at the same positions [N, d].
        head: the calibrator's risk head.
        strength: [N]; 0 changes nothing.
        threshold: expected toxicity in [0, 1] below which no token is touched.
        candidates: how many of the likeliest tokens are looked at; a nucleus rarely reaches past them.
        vocabulary: the calibrator's token for each of the target's [V], -1 for none; None where they are the same.
        kept: which share of its penalty each of the target's tokens gets [V], in [0, 1]; None: all get all of it.
    """
    top, tokens = logits.topk(min(candidates, logits.shape[-1]), dim=-1)
    known = tokens if vocabulary is None else vocabulary[tokens]
    toxicity = head(states, known.clamp(min=0)).sigmoid()
    before = top.float()
    if vocabulary is not None:  # a token that the calibrator cannot read is as risky as the rest on average
        p = before.softmax(-1) * (known >= 0)
        mean = (p * toxicity).sum(-1, keepdim=True) / p.sum(-1, keepdim=True).clamp(min=1e-9)
        toxicity = torch.where(known >= 0, toxicity, mean)
    penalty = penalties(toxicity, strength[:, None], threshold)
    return lower(logits, tokens, before, penalty if kept is None else penalty * kept[tokens])


def fuse(h: torch.Tensor, g: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Return h~ = alpha g + (1 - alpha) h, h and g [N, d] with an alpha for each of them [N] (arXiv 2506.01266)."""
    share = alpha.to(h.dtype)[:, None]
    return share * g + (1 - share) * h


def mapped(states: torch.Tensor, alignment: torch.Tensor | None) -> torch.Tensor:
    """Return z~: g itself [..., d], or LayerNorm(g A) with A [d_c, d] (weight 1, bias 0, untrained)."""
    if alignment is None:
        return states
    z = states.float() @ alignment.to(states.device)
    return F.layer_norm(z, z.shape[-1:]).to(states.dtype)
