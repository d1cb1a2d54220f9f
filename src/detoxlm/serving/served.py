"""What a server serves: a target, and the detoxifiers that requests may name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detoxlm.errors import UsageError
from detoxlm.generation import window_of
from detoxlm.methods import Detoxifier
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target
from detoxlm.settings import ServeSettings
from detoxlm.workflows import target_of


@dataclass(frozen=True)
class Served:
    """A target with its detoxifiers, by the names that clients call them `model`."""

    target: Target
    #: The name of the model itself; with detoxifiers it means the first of them.
    name: str
    #: By name; of kind decoding all, for others are in the weights.
    detoxifiers: dict[str, DecodingDetoxifier]
    #: The strength of requests that name none; None: each detoxifier's own.
    strength: float | None = None
    #: What is in the weights, if anything is, and its strength.
    merged: tuple[str, float] | None = None

    @property
    def names(self) -> list[str]:
        """What a request's `model` may be."""
        return [self.name, *self.detoxifiers]

    @property
    def window(self) -> int | None:
        """How many tokens prompt and continuation may have together; None: the model does not say."""
        return window_of(self.target)

    def chosen(self, model: str, strength: float | None) -> tuple[str | None, float]:
        """Return which detoxifier acts on a request that calls the model so, and how strongly.

        Raises:
            UsageError: the strength is out of range, or there is no choice of it.
        """
        if self.merged is not None:
            method, fixed = self.merged
            if strength not in (None, fixed):
                raise UsageError(
                    f"strength: {method} is in the model's weights at strength {fixed:g}, for all requests; start "
                    "another server for another one."
                )
            return None, 0.0
        if not self.detoxifiers:
            if strength:
                raise UsageError("strength: no detoxifier is served; start the server with --detoxifier DIR.")
            return None, 0.0
        name = model if model in self.detoxifiers else next(iter(self.detoxifiers))
        wanted = self.strength if strength is None else strength
        return name, self.detoxifiers[name].check_strength(wanted)

    def described(self, model: str, strength: float) -> dict[str, object]:
        """Return what answers say of the detoxifier that acted: its method, None for none, and its strength."""
        if self.merged is not None:
            return {"method": self.merged[0], "strength": self.merged[1]}
        name = model if model in self.detoxifiers else next(iter(self.detoxifiers), None)
        return {"method": None if name is None else self.detoxifiers[name].method, "strength": strength}


def load(model: str, settings: ServeSettings) -> Served:
    """Load what is served.

    Raises:
        UsageError: a detoxifier of another model, two of one name, a strength out of range, a method that changes
            weights beside another detoxifier.
    """
    folders = settings.detoxifier or []
    found = [Detoxifier.from_pretrained(one) for one in folders]
    if settings.strength is not None and not found:
        raise UsageError("strength: it needs --detoxifier DIR; without one the model is untouched.")
    for detoxifier in found:
        detoxifier.check_strength(settings.strength)
        if detoxifier.kind != "decoding":
            if len(found) > 1:
                raise UsageError(
                    f"detoxifier: {detoxifier.method} changes the model's weights, so it is served alone; leave the "
                    "others out."
                )
            detoxifier.check_form("checkpoint")
    target = target_of(model, settings, found[0] if found else None)
    name = Path(model).name if Path(model).exists() else model
    decoding = [one for one in found if isinstance(one, DecodingDetoxifier)]
    if found and not decoding:
        strength = found[0].check_strength(settings.strength)
        if strength:
            found[0].merge(target.model, strength)
        return Served(target, name, {}, merged=(found[0].method, strength))
    return Served(target, name, _named(name, folders, decoding), settings.strength)


def _named(
    name: str, folders: Sequence[str], detoxifiers: Sequence[DecodingDetoxifier]
) -> dict[str, DecodingDetoxifier]:
    """Name each detoxifier by its folder, behind the model's name."""
    found: dict[str, DecodingDetoxifier] = {}
    for folder, detoxifier in zip(folders, detoxifiers, strict=True):
        key = f"{name}:{Path(folder).name}"
        if key in found:
            raise UsageError(f"detoxifier: two are called {Path(folder).name!r}; rename a folder.")
        found[key] = detoxifier
    return found
