"""Settings of fusion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from detoxlm.settings import Settings


class FusionSettings(Settings):
    """Settings of `fusion`."""

    variant: Literal["contrast", "paper"] = Field(
        "contrast", description="contrast: lower risky tokens, the default; paper: the published mixture."
    )
    calibrator: str = Field(
        "auto",
        description="shipped: the one that comes with detoxlm; own: trained now; a fusion detoxifier's folder or Hub "
        "id: that one, aligned to this target; auto: own where data are given or the variant is paper, else shipped.",
    )
    strength: float | None = Field(
        None, ge=0, description="Default strength [default: contrast 0.5, paper 0.1, its alpha]."
    )
    threshold: float = Field(
        0.35, ge=0, lt=1, description="contrast: tokens with a smaller expected toxicity of the text are not touched."
    )
    spared: float = Field(
        0.0,
        ge=0,
        le=1,
        description="contrast: share of their penalty that English function words (are, a, who) are spared; 1: all of "
        "it. What they lead to is lowered as ever.",
    )
    candidates: int = Field(256, ge=1, description="contrast: how many of the target's likeliest tokens are judged.")
    layers: int = Field(3, ge=1, description="own: decoder layers of the calibrator, from the bottom of the target.")
    samples: int = Field(16, ge=1, description="own, without data: continuations of each prompt by the target.")
    max_length: int = Field(64, ge=8, description="own: longest training text, tokens; longer ones are cut at the end.")
    epochs: int = Field(2, ge=1, description="contrast, own: passes over the training texts.")
    batch: int = Field(64, ge=1, description="contrast, own: texts in a training step.")
    steps: int = Field(250, ge=1, description="paper: training steps of the calibrator.")
    train_batch: int = Field(16, ge=1, description="paper: texts in a training step.")
    learning_rate: float = Field(
        3e-4, gt=0, lt=1, description="AdamW's, decaying linearly (the paper's own: 1e-5 for 3 epochs)."
    )
    train_embeddings: bool = Field(
        False, description="paper: train the embeddings too, as published; off, they are shared with the target."
    )
    keep: float = Field(
        0.5, gt=0, le=1, description="paper, without data: share of own continuations kept, the cleanest."
    )
    alignment: Literal["input", "output"] = Field(
        "input", description="paper, for another target: the embeddings that the alignment matrix is fitted on."
    )
    as_released: bool = Field(
        False,
        description="paper: show the calibrator only the newest token after the prompt, as the released code does.",
    )
