"""Settings of the auxiliary model, for every method that has one, and of fine-tuning under its constraint."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from detoxlm.methods.control.auxiliary import Rule
from detoxlm.methods.control.constraint import Direction
from detoxlm.methods.training.settings import DRIFT_OF_LOOKS, FineTuneSettings
from detoxlm.settings import Settings

Schedule = Literal["sequential", "parallel"]


class AuxiliarySettings(Settings):
    """How the auxiliary model is made, and when it stays out of the way."""

    auxiliary: Literal["auto", "shipped", "own"] = Field(
        "auto",
        description="shipped: the one that comes with detoxlm, of toxicity, for the embedded model; own: trained now; "
        "auto: shipped where it fits and nothing is asked for that only its own can have, such as --prompts; else own.",
    )
    rule: Rule = Field(
        "tilt",
        description="How far a token is lowered: tilt, 24 strength max(0, probability of a violation - tolerance); "
        "published, -strength log of the probability of none.",
    )
    samples: int = Field(16, ge=2, description="Continuations of each prompt by the target that it learns from.")
    temperature: float = Field(
        1.0, gt=0, le=2, description="At which they are drawn; above 1 violations are less rare, and weights correct."
    )
    auxiliary_rank: int = Field(384, ge=1, description="Width of the auxiliary model.")
    auxiliary_epochs: int = Field(3, ge=1, description="Passes over the samples.")
    consistency: float = Field(0.5, ge=0, description="mu: how much R is held to its mean one token later.")
    tolerance: float = Field(
        0.25, ge=0, lt=1, description="Probability of a violation up to which nothing is changed: it is mostly noise."
    )

    @property
    def of_its_own(self) -> list[str]:
        """The settings that were given and that only an auxiliary model trained now can heed."""
        return sorted({"auxiliary_rank", "auxiliary_epochs", "consistency", "temperature"} & self.model_fields_set)


class ConstrainedSettings(FineTuneSettings, AuxiliarySettings):
    """Settings of `constrained`."""

    drift: float = Field(
        0.05, gt=0, description=f"{DRIFT_OF_LOOKS}; not heeded with a corpus or pairs, which are learned to the end."
    )
    weight: float = Field(12.0, gt=0, description="lambda, the weight of the distance from q.")
    delta: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of violations to reach: the weight follows it at every look [default: the weight stays].",
    )
    direction: Direction = Field("forward", description="forward: KL(q || model), always well defined; reverse.")
    guidance: float = Field(1.0, gt=0, description="The strength in `rule` that q, which is learned, is made with.")
    adaptive: bool = Field(
        True, description="With a corpus: hold to q only its texts that violate the constraint; false: all of it."
    )
    iterations: int = Field(
        1,
        ge=1,
        description="Parts of the steps; after each the auxiliary model learns on samples of the model as it is.",
    )
    schedule: Schedule = Field(
        "sequential",
        description="Of several iterations: one stage after the other; or parallel, on up to three Ray workers, under "
        "an auxiliary model that is two iterations older.",
    )
