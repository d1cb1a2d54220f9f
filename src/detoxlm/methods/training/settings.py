"""Settings that every fine-tuning method shares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from detoxlm.settings import Settings

#: Of methods whose training does not follow the drift.
DRIFT_OF_LOOKS = "KL(base || tuned) on clean text up to 1.25 times which a look may be kept, nats per token"


class TrainingSettings(Settings):
    """What is trained, on how much and for how long."""

    harmful: int = Field(300, ge=1, description="Harmful responses learned from: the worst of what there is.")
    samples: int = Field(16, ge=2, description="Without data: continuations of each prompt that they are drawn from.")
    max_length: int = Field(
        64,
        ge=8,
        description="Longest text, in tokens; of longer ones the prompt loses its beginning, then the text its end.",
    )
    steps: int = Field(60, ge=1, description="Training steps at most.")
    batch: int = Field(8, ge=1, description="Harmful texts, and clean texts, in a step, on each device.")
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="AdamW's, falling linearly after a short warm-up.")
    tune: Literal["lora", "full"] = Field(
        "lora", description="lora: an adapter on all linear layers; full: all weights, in float32."
    )
    rank: int = Field(16, ge=1, description="lora: its rank.")
    check_every: int = Field(20, ge=1, description="Steps between two looks at toxicity, drift and refusals.")
    gradient_checkpointing: bool = Field(False, description="Less memory for more time.")


class FineTuneSettings(TrainingSettings):
    """Besides: how far the model may drift."""

    drift: float = Field(
        0.05,
        gt=0,
        description="KL(base || tuned) on clean text that is aimed at, nats per token: what quality may cost.",
    )
    patience: int = Field(3, ge=1, description="Looks without progress after which training stops.")
