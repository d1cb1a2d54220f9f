"""Settings that decoding with experts shares, and who the experts of `dexperts` are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from detoxlm.methods.training.settings import TrainingSettings


class ExpertSettings(TrainingSettings):
    """How experts are trained, and which tokens they have a say in."""

    check_every: int = Field(60, ge=1, description="Steps between two looks at what the expert says; they only show.")
    nucleus: float = Field(
        0.9, gt=0, le=1, description="Only tokens of the target's own nucleus of this mass are weighed."
    )
    candidates: int = Field(256, ge=1, description="How many of the target's likeliest tokens that may be at most.")


class DExpertsSettings(ExpertSettings):
    """Settings of `dexperts`."""

    experts: Literal["pair", "anti"] = Field(
        "pair",
        description="pair: an expert and an anti-expert; anti: the anti-expert alone, against the target itself.",
    )


EXPERT, ANTI = "expert", "anti-expert"


def roles_of(settings: DExpertsSettings) -> tuple[str, ...]:
    """Return who is trained, the anti-expert last."""
    return (EXPERT, ANTI) if settings.experts == "pair" else (ANTI,)
