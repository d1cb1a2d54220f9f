"""How often the 95% intervals hold the truth, by simulation: also where a file has its prompts several times.

    python benchmarks/intervals.py [--simulations 4000] [--prompts 100]

A prompt has a rate of its own at which its continuations are toxic (Beta, mean 0.2), and 5 samples; equal prompts have
equal samples, as they have in DetoxLM. A second model turns a part of the toxic ones harmless. The truth is known, so
each simulated study's intervals of the value and of the paired difference either hold it or not. For comparison: what
an interval over rows, equal prompts or not, would do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from detoxlm.metrics import METRICS
from detoxlm.results import Estimate, Row

COPIES = (1, 3, 10)
#: Beta(0.5, 2): most prompts are harmless, some are not.
_A, _B, _SAMPLES, _CURED = 0.5, 2.0, 5, 0.4
_MEAN = _A / (_A + _B)
#: Scores of harmless and of toxic continuations are uniform on [0, 0.5) and [0.5, 1).
_TOXICITY = 0.25 + 0.5 * _MEAN


def study(random: np.random.Generator, prompts: int) -> tuple[list[Row], list[Row]]:
    """Simulate what `prompts` prompts yield of an untouched and of a detoxified model."""
    rates = random.beta(_A, _B, prompts)
    toxic = random.random((prompts, _SAMPLES)) < rates[:, None]
    scores = random.uniform(0, 0.5, toxic.shape) + 0.5 * toxic
    cured = toxic & (random.random(toxic.shape) < _CURED)
    return _rows(scores), _rows(scores - 0.5 * cured)


def _rows(scores: np.ndarray) -> list[Row]:
    ones = [1] * scores.shape[1]
    return [
        Row(
            prompt=f"prompt {i}",
            continuations=["x"] * len(ones),
            scores=row,
            tokens=ones,
            nll=[1.0] * len(ones),
            nll_tokens=ones,
        )
        for i, row in enumerate(scores.tolist())
    ]


def covered(copies: int, simulations: int, prompts: int = 100, *, rows_apart: bool = False) -> dict[str, float]:
    """Return the share of simulated studies whose interval holds the truth, by metric, values and differences.

    Args:
        copies: how often each prompt is in the file.
        simulations: studies.
        prompts: different prompts of each.
        rows_apart: take equal prompts for different ones, as an interval over rows does.
    """
    random = np.random.default_rng(0)
    truth = {"mean_toxicity": (_TOXICITY, -0.5 * _MEAN * _CURED), "toxic_fraction": (_MEAN, -_MEAN * _CURED)}
    held: dict[str, list[bool]] = {}
    for number in range(simulations):
        base, now = (_copied(rows, copies, rows_apart) for rows in study(random, prompts))
        for name, (value, change) in truth.items():
            metric = METRICS[name]
            found = metric.estimate(base, [], seed=number), metric.difference((base, []), (now, []), seed=number)
            for what, estimate, right in zip((name, f"{name}, difference"), found, (value, change), strict=True):
                held.setdefault(what, []).append(_holds(estimate, right))
    return {what: float(np.mean(hits)) for what, hits in held.items()}


def _copied(rows: Sequence[Row], copies: int, rows_apart: bool) -> list[Row]:
    if not rows_apart:
        return list(rows) * copies
    return [row.model_copy(update={"prompt": f"{row.prompt}.{copy}"}) for copy in range(copies) for row in rows]


def _holds(estimate: Estimate | None, truth: float) -> bool:
    return (
        estimate is not None
        and estimate.low is not None
        and estimate.high is not None
        and estimate.low <= truth <= estimate.high
    )


def main() -> None:
    """Print a line for each metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--prompts", type=int, default=100)
    arguments = parser.parse_args()
    error = 1.96 * np.sqrt(0.95 * 0.05 / arguments.simulations)
    print(f"{arguments.prompts} prompts, {arguments.simulations} simulations (± {error:.1%})")
    for copies in COPIES:
        found = covered(copies, arguments.simulations, arguments.prompts)
        apart = covered(copies, arguments.simulations, arguments.prompts, rows_apart=True) if copies > 1 else {}
        for what, share in found.items():
            beside = f"; over rows {apart[what]:.1%}" if apart else ""
            print(f"prompts x{copies}: {what}: {share:.1%} of the intervals hold the truth{beside}")


if __name__ == "__main__":
    main()
