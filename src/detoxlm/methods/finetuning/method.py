"""What the fine-tuning methods have in common: everything but their loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from detoxlm.methods.base import FitData, Method
from detoxlm.methods.finetuning.blame import Blame
from detoxlm.methods.needs import Need
from detoxlm.methods.training import check_installed
from detoxlm.methods.training.objectives import Objective
from detoxlm.methods.weights.tuned import FineTunedDetoxifier
from detoxlm.models import Target


class FineTuning(Method):
    """A method that trains a copy of the target on an `Objective`."""

    detoxifier_type: ClassVar[type[FineTunedDetoxifier]]
    needs: ClassVar[Need] = "states"

    @classmethod
    @abstractmethod
    def objective(cls, target: Target, settings: Any) -> Objective:
        """Return the loss."""

    @classmethod
    def blame(cls, settings: Any) -> Blame:
        """Return how tokens of harmful texts are weighted."""
        return "uniform"

    @classmethod
    def check(cls, data: FitData, settings: Any, target: Target | None = None) -> None:
        """Refuse to train where what trains is not installed."""
        super().check(data, settings, target)
        check_installed(cls.name)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> FineTunedDetoxifier:
        """Get texts, train, and keep the best look within the limit on drift."""
        cls.check(data, settings, target)
        from detoxlm.methods.finetuning.fit import fine_tune

        objective, blame = cls.objective(target, settings), cls.blame(settings)
        return fine_tune(target, data, settings, objective, blame, cls.detoxifier_type)
