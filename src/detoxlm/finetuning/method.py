"""What the fine-tuning methods have in common: everything but their loss."""

from __future__ import annotations

import os
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
    """Return the module that trains.

    Raises:
        UsageError: what it needs is not installed, or accelerate was told to shard the model by FSDP 1.
    """
    # what `accelerate launch` hands on of its configuration
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and os.environ.get("FSDP_VERSION", "1") != "2":
        raise UsageError(
            f"fsdp_version: {method} cannot read weights that FSDP 1 has flattened; train with version 2; see "
            "configs/accelerate/fsdp.yaml."
        )
    try:
        return import_module("detoxlm.finetuning.fit")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{method}: fine-tuning needs {error.name}, which is not installed: pip install 'detoxlm[finetune]'"
        ) from error
