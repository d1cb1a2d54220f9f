"""What detoxifiers with experts share: their strengths, and what is said of weights that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from detoxlm.errors import UsageError, first_line
from detoxlm.methods.base import Detoxifier

T = TypeVar("T")


@dataclass
class ExpertDetoxifier(Detoxifier):
    """Experts beside the target while it decodes; tensors as fine-tuning leaves them."""

    kind: ClassVar = "decoding"

    @property
    def default_strength(self) -> float:
        """2: DExperts' alpha, and GeDi's omega over 15 tokens."""
        return 2.0

    @property
    def max_strength(self) -> float:
        """8, where the target has hardly a say."""
        return 8.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (1.0, 2.0, 4.0)

    def _made(self, make: Callable[[], T]) -> T:
        """Return what `make` builds of the tensors.

        Raises:
            UsageError: they do not fit the model.
        """
        try:
            return make()
        except (KeyError, AttributeError, RuntimeError) as error:
            raise UsageError(
                f"detoxifier: the weights of {self.folder or 'this one'} do not fit this model: {first_line(error)}"
            ) from error
