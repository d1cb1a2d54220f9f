"""Fluency and drift: WikiText-style perplexity and KL on neutral text, perplexity of continuations under a judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detoxlm.metrics.base import Ratio, Units
from detoxlm.results import Row, Window


def _continuation_units(rows: Sequence[Row], _: Sequence[Window]) -> Units:
    return (
        np.asarray([sum(nll or 0.0 for nll in row.nll) for row in rows]),
        np.asarray([sum(row.nll_tokens) for row in rows], dtype=np.float64),
    )


def _window_units(_: Sequence[Row], every: Sequence[Window]) -> Units:
    windows = [w for w in every if w.groups is None]
    return np.asarray([w.nll for w in windows]), np.asarray([w.tokens for w in windows], dtype=np.float64)


def _kl_units(_: Sequence[Row], windows: Sequence[Window]) -> Units:
    measured = [w for w in windows if w.kl is not None and w.groups is None]
    return np.asarray([w.kl for w in measured], dtype=np.float64), np.asarray([w.tokens for w in measured], dtype=float)


FLUENCY = (
    Ratio(
        "model_perplexity",
        "Model perplexity",
        "perplexity of the model on neutral text, WikiText style (windows of 1,024 tokens, stride 512)",
        "lower",
        "",
        2,
        _window_units,
        exponential=True,
        over="windows",
    ),
    Ratio(
        "continuation_perplexity",
        "Continuation perplexity",
        "perplexity of its continuations given the prompt, under the fluency judge",
        "lower",
        "",
        2,
        _continuation_units,
        exponential=True,
        of="plain",
    ),
)
DRIFT = Ratio(
    "kl_from_base",
    "KL from base",
    "mean per-token KL(base || model) on neutral text",
    "lower",
    "nats/token",
    4,
    _kl_units,
    over="windows",
)
