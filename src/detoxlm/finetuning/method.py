"""What the fine-tuning methods have in common: everything but their loss."""

from __future__ import annotations

from abc import abstractmethod
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

from detoxlm.errors import UsageError
from detoxlm.finetuning.blame import Blame
from detoxlm.finetuning.detoxifier import FineTunedDetoxifier
from detoxlm.finetuning.objectives import Objective
from detoxlm.methods.base import FitData, Method
from detoxlm.models import Target


class FineTuning(Method):
    """A method that trains a copy of the target on an `Objective`."""

    detoxifier_type: ClassVar[type[FineTunedDetoxifier]]

    @classmethod
    @abstractmethod
    def objective(cls, target: Target, settings: Any) -> Objective:
        """Return the loss."""

    @classmethod
    def blame(cls, settings: Any) -> Blame:
        """Return how tokens of harmful texts are weighted."""
        return "uniform"

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: Any) -> FineTunedDetoxifier:
        """Get texts, train, and keep the best look within the limit on drift."""
        return training(cls.name).fine_tune(
            target, data, settings, cls.objective(target, settings), cls.blame(settings), cls.detoxifier_type
        )


def training(method: str) -> ModuleType:
    """Return the module that trains; raise `UsageError` where what it needs is not installed."""
    try:
        return import_module("detoxlm.finetuning.fit")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{method}: fine-tuning needs {error.name}, which is not installed: pip install 'detoxlm[finetune]'"
        ) from error
