"""95% percentile bootstrap intervals over prompts (or windows of text), plain and paired."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import numpy as np

from detoxlm.results import Estimate

RESAMPLES = 2000
_LEVELS = (2.5, 97.5)
#: A broken model's loss can pass the 709 nats whose exp is infinite, and JSON has no infinity.
_LARGEST = 700.0


def bootstrap(
    top: np.ndarray, bottom: np.ndarray, *, exponential: bool = False, proportion: bool = False, seed: int = 0
) -> Estimate:
    """Estimate `sum(top) / sum(bottom)` (or its exp) and its interval, resampling units with replacement.

    Units whose denominator is 0 (a prompt without a rule, or with empty continuations alone) have nothing of what is
    measured: they are no evidence, and not drawn. From a single unit with a denominator there is no interval.

    Args:
        top: numerator of each unit, float64 [N].
        bottom: denominator of each unit, float64 [N], not all zero.
        exponential: the metric is exp of the ratio (perplexity).
        proportion: a share of 0% or 100% resamples to itself, which would claim certainty; its open side is then
            the exact binomial bound over the n units that are drawn, 1 - 0.025^(1/n).
        seed: seed of the resampling.
    """
    counted = bottom > 0
    top, bottom, n = top[counted], bottom[counted], int(counted.sum())
    value = float(ratio(top.sum(), bottom.sum(), exponential))
    if n < 2:
        return Estimate(value=value, n=n)
    tops, bottoms = resampled((top, bottom), seed)
    low, high = interval(ratio(tops, bottoms, exponential))
    if proportion and value in (0.0, 1.0):
        reach = upper_bound(n)
        low, high = (0.0, reach) if value == 0 else (1 - reach, 1.0)
    return Estimate(value=value, low=low, high=high, n=n)


def paired_bootstrap(
    base: tuple[np.ndarray, np.ndarray],
    now: tuple[np.ndarray, np.ndarray],
    *,
    exponential: bool = False,
    seed: int = 0,
) -> Estimate:
    """Estimate `metric(now) - metric(base)`, resampling the same units in both; arrays [N] as in `bootstrap`.

    Drawn are the units with a denominator in either of the two. There is no interval where one of the two has fewer
    than two such units: it would be as wide as the other's alone.
    """
    if len(now[0]) != len(base[0]):
        raise ValueError(
            f"paired bootstrap: {len(base[0])} units against {len(now[0])}; the two must answer the same prompts"
        )
    counted = (base[1] > 0) | (now[1] > 0)
    base, now = ((top[counted], bottom[counted]) for top, bottom in (base, now))
    n = int(counted.sum())
    value = float(ratio(now[0].sum(), now[1].sum(), exponential) - ratio(base[0].sum(), base[1].sum(), exponential))
    if not several(base[1], now[1]):
        return Estimate(value=value, n=n)
    tops, bottoms, base_tops, base_bottoms = resampled((*now, *base), seed)
    low, high = interval(ratio(tops, bottoms, exponential) - ratio(base_tops, base_bottoms, exponential))
    return Estimate(value=value, low=low, high=high, n=n)


def several(*bottoms: np.ndarray) -> bool:
    """Tell whether each of some denominators [N] is there in two units or more: from fewer there is no interval."""
    return all(np.count_nonzero(bottom) > 1 for bottom in bottoms)


def upper_bound(n: int) -> float:
    """Return the exact binomial bound of a share that none of n units has: the 97.5% end of its interval."""
    return float(1 - 0.025 ** (1 / n))


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% percentile interval of a statistic over resamples, float [R]; NaN stands for undefined there."""
    low, high = np.nanpercentile(values, _LEVELS)
    return float(low), float(high)


def numbered(names: Iterable[Hashable]) -> np.ndarray:
    """Number names from 0 in the order of their first place, int [N]: equal ones, which are drawn as one, alike."""
    number: dict[Hashable, int] = {}
    return np.asarray([number.setdefault(name, len(number)) for name in names], dtype=np.int64)


def draws(n: int, seed: int) -> Iterator[np.ndarray]:
    """Yield `RESAMPLES` resamples of n units with replacement, in chunks int [C, n]: how often each unit is in it."""
    draw = np.random.default_rng(seed)
    size = max(1, min(RESAMPLES, 2_000_000 // n))  # 16 MB of counts at a time, however many units there are
    for start in range(0, RESAMPLES, size):
        yield draw.multinomial(n, np.full(n, 1 / n), size=min(size, RESAMPLES - start))


def resampled(values: tuple[np.ndarray, ...], seed: int) -> np.ndarray:
    """Sums of each array [N] over each resample of the N units, drawn alike for all: [len(values), RESAMPLES]."""
    columns = np.stack(values, axis=1)
    return np.concatenate([counts @ columns for counts in draws(len(columns), seed)]).T


def ratio(top: np.ndarray, bottom: np.ndarray, exponential: bool = False) -> np.ndarray:
    """Return top / bottom, or its exp, arrays of one shape; NaN where the bottom is 0."""
    # a resample of a pair can miss every unit that one of the two has a denominator in: NaN, it is left out
    nothing = np.full_like(np.asarray(top, dtype=np.float64), np.nan)
    found = np.divide(top, bottom, out=nothing, where=np.asarray(bottom) > 0)
    return finite_exp(found) if exponential else found


def finite_exp(nats: np.ndarray | float) -> np.ndarray:
    """Return exp of nats, of any shape; e^700 in place of what is larger, NaN of NaN."""
    return np.exp(np.minimum(nats, _LARGEST))
