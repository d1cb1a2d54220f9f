"""Direct preference optimisation (arXiv 2305.18290) from non-toxic over toxic continuations, by TRL's trainer.

    minimise  -log sigmoid(beta (d(clean) - d(toxic))),    d(y) = log p(y | x) - log p_base(y | x).

Nothing limits the drift but beta; of the looks at the model, the least toxic one within `drift` is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from detoxlm.methods.base import FitData, Method
from detoxlm.methods.training import check_installed
from detoxlm.methods.training.settings import DRIFT_OF_LOOKS, FineTuneSettings
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target


class DpoSettings(FineTuneSettings):
    """Settings of `dpo`."""

    batch: int = Field(8, ge=1, description="Pairs in a step, on each device.")
    drift: float = Field(0.05, gt=0, description=f"{DRIFT_OF_LOOKS}; training does not heed it.")
    beta: float = Field(0.1, gt=0, description="beta: how much a step away from the base costs.")
    learning_rate: float = Field(5e-5, gt=0, lt=1, description="AdamW's, falling linearly after a short warm-up.")


@dataclass
class DpoDetoxifier(FineTunedDetoxifier):
    """A model trained by DPO."""

    method: ClassVar[str] = "dpo"
    settings_type: ClassVar = DpoSettings


class Dpo(Method):
    """Fine-tune on pairs of the target's own continuations."""

    name: ClassVar[str] = "dpo"
    paper: ClassVar[str] = "Direct preference optimization, arXiv 2305.18290; for detoxification 2401.01967"
    summary: ClassVar[str] = "An adapter learns to prefer clean continuations over toxic ones, by TRL. A baseline."
    detoxifier_type: ClassVar = DpoDetoxifier

    @classmethod
    def check(cls, data: FitData, settings: Any, target: Target | None = None) -> None:
        """Refuse to train where what trains is not installed."""
        super().check(data, settings, target)
        check_installed(cls.name)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> DpoDetoxifier:
        """Get pairs, train, and keep the best look within the limit on drift."""
        cls.check(data, settings, target)
        from detoxlm.methods.finetuning.fit import fine_tune_by_preference

        made = fine_tune_by_preference(target, data, settings, settings.beta, cls.detoxifier_type)
        assert isinstance(made, DpoDetoxifier)
        return made
