"""What detoxifiers of kind `decoding` share: a steering, and the hosts that carry it."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel

from detoxlm.errors import UsageError, first_line
from detoxlm.methods.attachment import lent
from detoxlm.methods.base import Detoxifier, Strength
from detoxlm.methods.decoding import attached as hooks
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.processor import SteeringProcessor, padding_of
from detoxlm.methods.decoding.session import Session


@dataclass
class DecodingDetoxifier(Detoxifier):
    """A detoxifier that acts while the target decodes; its weights stay as they are.

    Subclasses implement `_steer`; every host then carries them, with a strength for each request.
    """

    kind: ClassVar = "decoding"

    #: The last steering that was built, and what it was built for.
    _built: tuple[weakref.ref[PreTrainedModel], torch.device, torch.dtype, Steering] | None = field(
        default=None, repr=False, compare=False
    )

    @abstractmethod
    def _steer(self, model: PreTrainedModel) -> Steering:
        """Build the steering of `model` from the tensors.

        Raises:
            KeyError, AttributeError, RuntimeError, ValueError, TypeError: the tensors are not for this model.
        """

    def steering(self, model: PreTrainedModel) -> Steering:
        """Return what is done to `model`, built once; for hosts of your own (`detoxlm.methods.decoding.contract`).

        Raises:
            UsageError: another model, or weights that do not fit it.
        """
        self.check_target(model)
        built = self._built
        if built is None or built[1:3] != (model.device, model.dtype) or built[0]() is not model:
            try:
                with torch.random.fork_rng(devices=[]):  # new modules draw weights, and a seed must mean the same twice
                    built = self._built = (weakref.ref(model), model.device, model.dtype, self._steer(model))
            except (KeyError, AttributeError, RuntimeError, ValueError, TypeError) as error:
                raise UsageError(
                    f"detoxifier: the weights of {self.folder or 'this one'} do not fit this model: {first_line(error)}"
                ) from error
        return built[3]

    def session(self, model: PreTrainedModel) -> Session:
        """Return a session without rows, for a host that serves `model` by token ids and logits.

        Raises:
            UsageError: another model, or a method that needs more than that; `Session(steering(model))` is for hosts
                that show it the target's states too.
        """
        return Session(self.steering(model).on_logits())

    def attached(self, model: PreTrainedModel, strength: Strength | None = None) -> AbstractContextManager[None]:
        """Return a context in which `model` is detoxified. Strength 0 leaves it untouched, bit for bit.

        Args:
            model: the model that this detoxifier was fitted for.
            strength: from 0 to `max_strength`, or one for each request of the batches to come (their beams and
                samples share it); None takes the recommended one, else the method's default.

        Raises:
            UsageError: another model, or a strength out of range.
        """
        strengths = self._strengths(strength)
        steering = self.steering(model) if any(strengths) else None
        if steering is None:
            self.check_target(model)
            return nullcontext()
        label = f"{self.method} at strength {', '.join(f'{one:g}' for one in strengths)}"
        return lent(model, "decoding", label, lambda covers: hooks.attached(model, steering, strengths, covers))

    def _attach(self, model: PreTrainedModel, strength: float) -> AbstractContextManager[None]:
        return hooks.attached(model, self.steering(model), [strength])

    def logits_processor(
        self, model: PreTrainedModel, strength: Strength | None = None, *, pad_token_id: int | None = None
    ) -> SteeringProcessor:
        """Return the detoxifier as a `LogitsProcessor`, for loops and engines that only show token ids and logits.

        The same logits as `attached`, to float rounding, at the same strengths; each call reads only what is new.

        Args:
            model: the model that this detoxifier was fitted for; it is read, not changed.
            strength: as in `attached`.
            pad_token_id: what rows are padded with on the left; None takes the model's, and where it has none the end
                token, as `generate` does. Rows that begin with that token as text need another one for padding.

        Raises:
            UsageError: another model, a strength out of range, or what cannot be done on logits, by name.
        """
        strengths = self._strengths(strength)
        pad = padding_of(model) if pad_token_id is None else pad_token_id
        return SteeringProcessor(self.steering(model), strengths, pad)

    def _strengths(self, strength: Strength | None) -> list[float]:
        """Return the strengths of requests; raise `UsageError` where one is out of range or there is none."""
        if strength is None or isinstance(strength, int | float):
            return [self.check_strength(strength)]
        if not isinstance(strength, Sequence) or not strength:
            raise UsageError(f"strength: {strength!r} is neither a number nor a list of one for each request.")
        return [self.check_strength(one) for one in strength]

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or pickled: not what was built for a model."""
        return {**self.__dict__, "_built": None}
