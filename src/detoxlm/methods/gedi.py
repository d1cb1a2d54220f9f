"""GeDi (arXiv 2009.06367): a language model of two classes judges each next token by Bayes' rule.

    z~_v = log p(v | x) + strength log P(clean | x v),
    P(clean | x) = sigmoid(R),  R = log p(x | clean) - log p(x | toxic),

in the target's own nucleus, renormalised there. Where the text so far is clean beyond
doubt the posterior is 1 whatever comes next, and the target is left alone; where it is in doubt, or lost, the two
classes' preferences count in full.

One adapter is both classes, W + B A of clean and W - B A of toxic text: what the texts have in common cancels out, and
before any training the classes are the target. It learns to generate both and to tell them apart:

    minimise  generative L_g + (1 - generative) L_d,
    L_g = -mean log p(x_t | its class),  L_d = -mean log P(its class | x).

Ours where the paper divides R by the length t of the text: the sum of the last `window` tokens, which is Bayes' rule
for short text, and forgets in long text. A token's part in R counts t times as much then, so strength is omega / t: the
paper's 30 is 1.5 at 20 tokens, and 30 here leaves text that looks toxic no likelihood (WikiText's perplexity: 1e32).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F
from transformers import PreTrainedModel

from detoxlm.calibration.calibrator import check_copyable
from detoxlm.calibration.sources import acting_on_logits
from detoxlm.errors import UsageError
from detoxlm.experts.classes import ClassRatio, classes
from detoxlm.experts.detoxifier import ExpertDetoxifier
from detoxlm.experts.settings import ExpertSettings
from detoxlm.experts.steering import change_nucleus
from detoxlm.finetuning.method import training
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.models import Target


class GediSettings(ExpertSettings):
    """Settings of `gedi`."""

    generative: float = Field(0.6, ge=0, le=1, description="Share of the generative loss; the rest is discriminative.")
    window: int = Field(20, ge=0, description="So many tokens of the text so far are weighed with each next one.")


@dataclass
class GediDetoxifier(ExpertDetoxifier):
    """A model of two classes beside the target; tensors as fine-tuning leaves them."""

    method: ClassVar[str] = "gedi"
    settings_type: ClassVar = GediSettings

    @contextmanager
    def _attach(self, model: PreTrainedModel, strength: float) -> Iterator[None]:
        assert isinstance(self.settings, GediSettings)
        settings = self.settings
        made = self._made(lambda: classes(model, self.tensors))
        source = ClassRatio(model, made, settings.window)

        def act(logits: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
            said = states.flatten(0, 1)

            def change(tokens: torch.Tensor, before: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
                so_far = said[at, -1, None]
                return strength * F.logsigmoid(so_far + source.ratios(said[at], tokens))

            return change_nucleus(logits, change, candidates=settings.candidates, nucleus=settings.nucleus)

        with acting_on_logits(model, source, act):
            yield


class Gedi(Method):
    """Tune one copy of the target to be a model of clean and of toxic text, and steer by Bayes' rule."""

    name: ClassVar[str] = "gedi"
    paper: ClassVar[str] = "GeDi, arXiv 2009.06367"
    summary: ClassVar[str] = (
        "A tuned copy of the model, of clean and of toxic text, says how toxic each token makes the text. No weights "
        "change; three times the work."
    )
    detoxifier_type: ClassVar = GediDetoxifier

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> GediDetoxifier:
        """Get texts, and train the model of two classes."""
        training(cls.name)  # says what is missing, before hours of sampling
        check_copyable(target.model)
        if settings.tune == "full":
            raise UsageError("tune: gedi's two classes are one adapter, added and taken away; leave tune=lora.")
        from detoxlm.experts.training import train_classes

        fitting: dict[str, Any] = {}
        tensors = train_classes(target, data, settings, settings.generative, fitting)
        return GediDetoxifier(settings, describe_target(target), tensors, fitting)
