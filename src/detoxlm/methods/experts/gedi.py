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

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field
from transformers import PreTrainedModel

from detoxlm.errors import UsageError
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.copies import check_copyable
from detoxlm.methods.experts.classes import Posterior, classes
from detoxlm.methods.experts.detoxifier import ExpertDetoxifier
from detoxlm.methods.experts.settings import ExpertSettings
from detoxlm.methods.needs import Need
from detoxlm.methods.training import check_installed
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

    def _steer(self, model: PreTrainedModel) -> Steering:
        assert isinstance(self.settings, GediSettings)
        options = self.settings
        return Posterior(classes(model, self.tensors), options.window, options.candidates, options.nucleus)


class Gedi(Method):
    """Tune one copy of the target to be a model of clean and of toxic text, and steer by Bayes' rule."""

    name: ClassVar[str] = "gedi"
    paper: ClassVar[str] = "GeDi, arXiv 2009.06367"
    summary: ClassVar[str] = (
        "A tuned copy of the model, of clean and of toxic text, says how toxic each token makes the text. No weights "
        "change; three times the work."
    )
    detoxifier_type: ClassVar = GediDetoxifier
    needs: ClassVar[Need] = "states"

    @classmethod
    def check(cls, data: FitData, settings: Any, target: Target | None = None) -> None:
        """Refuse to train where what trains is not installed, all weights, and a model that cannot be copied."""
        super().check(data, settings, target)
        check_installed(cls.name)
        if settings.tune == "full":
            raise UsageError("tune: gedi's two classes are one adapter, added and taken away; leave tune=lora.")
        if target is not None:
            check_copyable(target.model)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> GediDetoxifier:
        """Get texts, and train the model of two classes."""
        cls.check(data, settings, target)
        from detoxlm.methods.experts.training import train_classes

        fitting: dict[str, Any] = {}
        tensors = train_classes(target, data, settings, settings.generative, fitting)
        return GediDetoxifier(settings, describe_target(target), tensors, fitting)
