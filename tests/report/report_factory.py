"""Synthetic results: no model, but the shape and skew of real ones."""

from __future__ import annotations

import numpy as np

from detoxlm.metrics import CORRECTED, METRICS, PAYING, TOXICITY, agreements
from detoxlm.metrics.answers import ANSWERS
from detoxlm.results import (
    Comparison,
    Cost,
    DetoxifierInfo,
    Estimate,
    ModelInfo,
    Opinion,
    OpinionChange,
    Results,
    Row,
    ScorerInfo,
    Window,
)

TEXT = (
    "the people there were said that it would be a long night for all of us and she went on about how "
    "this idiot never paid while damn traffic kept moving along old river roads toward some quiet house"
)
WORDS = TEXT.split()
#: The metrics that `make` measures: no reader has checked its scorer, it has continuations, not answers, and no text
#: about groups.
MEASURED = [metric for metric in METRICS.values() if metric not in (CORRECTED, *ANSWERS, *PAYING)]


def estimate(values: np.ndarray) -> Estimate:
    """Give the mean of per-prompt values and its bootstrap interval."""
    draws = np.random.default_rng(0).integers(0, len(values), (200, len(values)))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return Estimate(value=float(values.mean()), low=float(low), high=float(high), n=len(values))


def rows(prompts: int, samples: int, power: float, seed: int) -> list[Row]:
    """Make texts with skewed scores: most near 0, `power` says how thin the toxic tail is."""
    # One stream for the prompts whatever the run, so that runs share their prompts as real ones do.
    words, rng = np.random.default_rng(7), np.random.default_rng([7, seed])
    pool = [f" {seed} {' '.join(rng.choice(WORDS, 14))}" for _ in range(100)]
    leaning = words.beta(0.8, 2.2, prompts)
    made = []
    for i in range(prompts):
        scores = np.clip(rng.beta(0.35 + leaning[i], 1.1, samples) ** power, 0, 1)
        made.append(
            Row(
                prompt=" ".join(words.choice(WORDS, 9)),
                continuations=[pool[j] for j in rng.permutation(len(pool))[:samples]],
                scores=[float(score) for score in scores],
                tokens=[18] * samples,
                nll=[55.0] * samples,
                nll_tokens=[17] * samples,
            )
        )
    return made


def matrix(made: list[Row]) -> np.ndarray:
    """Scores, float [prompts, samples]."""
    return np.array([row.scores for row in made])


def make(
    strength: float | None = None,
    *,
    prompts: int = 12,
    samples: int = 3,
    power: float | None = None,
    perplexity: float = 30.0,
    **changes: object,
) -> Results:
    """Make one results object: untouched without a strength, else detoxified with a paired comparison."""
    base = rows(prompts, samples, 1.9, 0)
    touched = strength is not None
    own = base
    if strength is not None:
        own = rows(prompts, samples, 1.9 + 4 * strength if power is None else power, 1 + int(100 * strength))

    def measure(scores: np.ndarray, perplexity: float, kl: float, variety: float) -> dict[str, Estimate]:
        spread = np.random.default_rng(3).normal(0, 0.02, prompts)
        return {
            "mean_toxicity": estimate(scores.mean(1)),
            "toxic_fraction": estimate((scores >= 0.5).mean(1)),
            "expected_max_toxicity": estimate(scores.max(1)),
            "toxicity_probability": estimate((scores.max(1) >= 0.5).astype(float)),
            "model_perplexity": estimate(perplexity * (1 + spread)),
            "continuation_perplexity": estimate(1.4 * perplexity * (1 + 4 * spread)),
            "kl_from_base": estimate(kl * (1 + spread)),
            "distinct_1": estimate(variety + spread),
            "distinct_2": estimate(variety + 0.08 + spread / 2),
            "distinct_3": estimate(variety + 0.09 + spread / 2),
            "empty_fraction": Estimate(value=0.0, low=0.0, high=0.0, n=prompts),
            "mean_length": estimate(18.0 + spread),
        }

    before = measure(matrix(base), 30.0, 0.0, 0.84)
    after = (
        measure(matrix(own), perplexity, 0.2 * (strength or 0), 0.84 - 0.06 * (strength or 0)) if touched else before
    )
    noise = np.random.default_rng(5).normal(0, 0.05, prompts)
    difference = {name: estimate((after[name].value - before[name].value) * (1 + noise)) for name in before} | {
        "mean_toxicity": estimate(matrix(own).mean(1) - matrix(base).mean(1)),
        "toxic_fraction": estimate((matrix(own) >= 0.5).mean(1) - (matrix(base) >= 0.5).mean(1)),
        "expected_max_toxicity": estimate(matrix(own).max(1) - matrix(base).max(1)),
    }
    cost = Cost(
        tokens_per_second=412.0 - 60 * (strength or 0),
        peak_memory_mb=1480.0 + 210 * (strength or 0),
        generation_seconds=431.5,
        total_seconds=612.0,
        generated_tokens=18 * prompts * samples,
    )
    fields: dict[str, object] = {
        "recipe": "emt-25",
        "created": "2026-03-01T12:00:00Z",
        "model": ModelInfo(
            name="HuggingFaceTB/SmolLM2-135M",
            revision="93efa2f097d5",
            architecture="LlamaForCausalLM",
            parameters=134_515_008,
            dtype="float32",
            device="cpu",
        ),
        "detoxifier": DetoxifierInfo(
            method="fusion",
            folder="detox-smollm2",
            strength=strength,
            settings={"k": 8, "layers": [12, 13, 14, 15]},
            fitting={
                "pairs": 20_000,
                "seconds": 84.2,
                "explained_variance": 0.913,
                "loss_curve": [[10 * i, 0.7 * 0.96**i + 0.2] for i in range(60)],
            },
        )
        if strength is not None
        else None,
        "scorer": ScorerInfo(
            name="embedded",
            version="1.2",
            revision="sha256:5f0c2a",
            validity={
                "hatecheck": {"accuracy": 0.781, "auc": 0.852, "n": 3728},
                "realtoxicityprompts": {"auc": 0.979, "spearman": 0.883, "n": 1199},
                "trained on": "English comments",
            },
        ),
        "fluency_judge": "openai-community/gpt2-xl",
        "metrics": after,
        "comparison": Comparison(
            baseline=before,
            baseline_cost=cost.model_copy(update={"tokens_per_second": 412.0, "peak_memory_mb": 1480.0}),
            difference=difference,
        )
        if touched
        else None,
        "rows": own,
        "windows": [Window(nll=1700.0, tokens=512)],
        "cost": cost,
        "settings": {
            "seed": 17,
            "samples": samples,
            "max_new_tokens": 20,
            "top_p": 0.9,
            "command": f"detoxlm evaluate HuggingFaceTB/SmolLM2-135M --recipe emt-25 --strength {strength or 0:g}",
        },
        "versions": {"detoxlm": "0.1.0", "torch": "2.6.0", "transformers": "5.0.0"},
        "notes": ["3 prompts longer than 64 tokens were cut at the left."],
    }
    return Results.model_validate(fields | changes)


def with_opinion(result: Results, label: str = "hub:other", difference: Estimate | None = None) -> Results:
    """Add a further scorer: it squares the main one's scores and, where compared, sees this change of toxic fraction.

    The main scorer's own change of the toxic fraction stays as it is.
    """
    own = [row.model_copy(update={"scores": [score**2 for score in row.scores]}) for row in result.rows]
    metrics = {m.name: found for m in TOXICITY if (found := m.estimate(own, []))}
    opinion = Opinion(
        scorer=ScorerInfo(name=label, version="7", revision="r", validity={"auc": 0.654}), metrics=metrics
    )
    pairs = zip(result.rows, own, strict=True)
    seen = [row.model_copy(update={"opinions": row.opinions | {label: other.scores}}) for row, other in pairs]
    comparison = result.comparison
    if comparison is not None:
        change = OpinionChange(
            baseline={"toxic_fraction": Estimate(value=0.0625, low=0.03, high=0.09, n=12)},
            difference={"toxic_fraction": difference} if difference else {},
        )
        comparison = comparison.model_copy(update={"opinions": comparison.opinions | {label: change}})
    return result.model_copy(
        update={
            "rows": seen,
            "opinions": result.opinions | {label: opinion},
            "agreement": agreements(result.scorer.name, seen),
            "comparison": comparison,
        }
    )
