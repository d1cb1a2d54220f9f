"""What readers say of texts by the score that a judge gives them, and what follows for texts that nobody has read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detoxlm.errors import UsageError
from detoxlm.metrics.bootstrap import RESAMPLES
from detoxlm.results import Estimate

#: Where a scorer's validity keeps the table.
ENTRY = "reader"


class ReaderTable(BaseModel):
    """Readers' verdicts on labelled texts, counted by the judge's score in K bins; lists have an entry for each bin.

    `detoxlm.validity.reader_table` makes one. A scorer keeps it in its validity, under `reader`.

    What it is for: the share of texts that a judge calls toxic is not the share that readers would. Rogan and Gladen
    (1978) correct a share p for the judge's errors, (p + specificity - 1) / (sensitivity + specificity - 1). That takes
    the judge for one with two answers, and its specificity for a constant; but a method that detoxifies changes which
    texts are written, and with them the specificity. With the bins of a score in place of two answers, the corrected
    share is the mean of P(toxic | bin) over the texts, which stays between 0 and 1 by itself. It asks for something
    else to be constant: that a text of some score is as often toxic as the labelled texts of that score, whatever model
    and method wrote it.
    """

    model_config = ConfigDict(frozen=True)

    data: str = Field(description="Name of the labelled texts, with their split.")
    sha256: str = Field(description="SHA-256 of what they are read from.")
    readers: str = Field(default="readers", description="Who read them, as words in a sentence.")
    edges: list[float] = Field(description="Ends of the bins, K + 1 numbers from 0 to 1; a bin holds its lower end.")
    toxic: list[int] = Field(description="Texts that readers found toxic.")
    not_toxic: list[int]
    unsure: list[int] = Field(description="Texts that they were unsure of, or disputed; they are counted nowhere else.")
    mean_score: list[float | None] = Field(description="Mean score of the clear ones; None: there are none.")
    natural: list[bool] = Field(description="The bin counts only texts that were drawn without a look at scores.")
    precision: Estimate | None = Field(default=None, description="Share of those called toxic that readers find toxic.")
    recall: Estimate | None = Field(default=None, description="Share of those that readers find toxic called so.")
    natural_precision: Estimate | None = Field(default=None, description="Of texts drawn without a look at scores.")
    natural_recall: Estimate | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        count, edges = len(self.edges) - 1, self.edges
        if count < 1 or edges[0] != 0 or edges[-1] != 1 or (np.diff(edges) <= 0).any():
            raise ValueError("edges must rise from 0 to 1")
        for name in ("toxic", "not_toxic", "unsure", "mean_score", "natural"):
            if len(values := getattr(self, name)) != count:
                raise ValueError(f"{name} has {len(values)} entries for {count} bins")
        if min(self.toxic + self.not_toxic + self.unsure) < 0:
            raise ValueError("counts must not be below 0")
        return self

    @classmethod
    def of(cls, validity: Mapping[str, Any] | None) -> ReaderTable | None:
        """Return the table that a scorer's validity holds; None: it holds none.

        Raises:
            UsageError: what stands there is no such table; the message names the field.
        """
        entry = (validity or {}).get(ENTRY)
        if entry is None:
            return None
        try:
            return cls.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (ENTRY, *first["loc"])))
            raise UsageError(
                f"validity: {where}: {first['msg']}; `detoxlm.validity.reader_table` makes what belongs there."
            ) from None

    @property
    def clear(self) -> int:
        """How many texts it counts whose readers were sure."""
        return sum(self.toxic) + sum(self.not_toxic)

    def bins(self, scores: np.ndarray) -> np.ndarray:
        """Return the number of each score's bin, int [N] from 0; scores are float [N] in [0, 1]."""
        return np.minimum(np.searchsorted(self.edges, scores, side="right") - 1, len(self.toxic) - 1)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """P(readers find a text toxic | bin), float [K], rising with the score.

        Jeffreys means, (toxic + 1/2) / (toxic + not toxic + 1), made monotone by pooling neighbours.
        """
        toxic, benign = np.array(self.toxic), np.array(self.not_toxic)
        return monotone((toxic + 0.5) / (toxic + benign + 1), toxic + benign)

    def drawn(self, seed: int) -> np.ndarray:
        """Return draws of `probabilities`, float [RESAMPLES, K]: from each bin's Beta posterior, made monotone.

        The prior is Jeffreys', Beta(1/2, 1/2). Readings of different texts are taken as independent.
        """
        toxic, benign = np.array(self.toxic), np.array(self.not_toxic)
        random = np.random.default_rng([seed, 1])  # another stream than the one that draws prompts
        return monotone(random.beta(toxic + 0.5, benign + 0.5, (RESAMPLES, len(toxic))), toxic + benign)

    def probability(self, score: float) -> float:
        """P(readers find a text of this score toxic), in [0, 1]: linear between the mean scores of the bins."""
        middles = (np.array(self.edges[:-1]) + np.array(self.edges[1:])) / 2
        centres = [middle if mean is None else mean for middle, mean in zip(middles, self.mean_score, strict=True)]
        return float(np.interp(score, centres, self.probabilities))


def labels_of(validity: Mapping[str, Any] | None) -> str | None:
    """Return the SHA-256 of the readers' labels that a scorer's toxic fraction is corrected by; None: it is not.

    Raises:
        UsageError: as `ReaderTable.of`.
    """
    readers = ReaderTable.of(validity)
    return None if readers is None else readers.sha256


def monotone(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the nearest rising values in weighted least squares, float [..., K]: pooled adjacent violators.

    By the max-min formula: the k-th is the largest over i <= k of the smallest over j >= k of the weighted mean of
    values i to j (Robertson, Wright and Dykstra, 1988, theorem 1.4.4).

    Args:
        values: float [..., K].
        weights: float [K], at least 0; a value without weight gives way to its neighbours.
    """
    weights = np.maximum(weights, 1e-9)
    zero = np.zeros((*values.shape[:-1], 1))
    sums = np.concatenate([zero, np.cumsum(values * weights, axis=-1)], axis=-1)
    total = np.concatenate([[0.0], np.cumsum(weights)])
    place = np.arange(values.shape[-1])
    upper = place[:, None] <= place  # i <= j
    weight = np.where(upper, total[None, 1:] - total[:-1, None], 1.0)
    means = np.where(upper, (sums[..., None, 1:] - sums[..., :-1, None]) / weight, np.inf)  # [..., i, j]
    smallest = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]  # over j >= k: [..., i, k]
    return np.where(upper, smallest, -np.inf).max(axis=-2)
