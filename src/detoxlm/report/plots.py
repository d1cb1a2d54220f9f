"""The report's plots: results in, one SVG string out, the same bytes for the same input.

Colours are CSS variables with a fallback and text is text in the page's own font, so a plot follows the page's
light, dark and print styles.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from detoxlm.metrics import METRICS, Metric
from detoxlm.report.facts import Run, difference_text, finite, value_text
from detoxlm.report.labels import labelled, legend_above
from detoxlm.report.samples import TOXIC
from detoxlm.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# matplotlib knows no CSS variables, so it draws in stand-in colours that `as_svg` replaces. The fallbacks after the
# comma read on white and on black alike; they count where a plot is shown outside the page.
INK, GRID = "#010101", "#020202"
_RUNS = 7
_STAND_INS = {INK: "currentColor", GRID: "var(--rule, #8886)"} | {
    f"#0300{i:02x}": f"var(--run-{i}, {fallback})"
    for i, fallback in enumerate(("#808080", "#3c93a8", "#3d7fc4", "#7a6fd0", "#b0629f", "#c07030", "#6f9440"))
}
# Shape and dashes say the same as the colour.
_MARKERS = "osD^vPX"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (8, 3)))
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "detoxlm",
    "text.parse_math": False,  # a method may be called `$x$`
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
#: The system fonts of the page, for a plot that is shown alone.
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def score_distribution(runs: Sequence[Run]) -> str:
    """Plot, for every score, the share of continuations scored that high or higher; empty without scores.

    The continuations are those that the toxic fraction is of (of conversations of several kinds, the provoked answers).
    At 0.5 a curve's height is the toxic fraction of the table, so plot and table can be read against each other.
    """
    known = [(index, run) for index, run in enumerate(runs) if run.scores]
    if not known:
        return ""
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        grid = np.linspace(0, 1, 101)
        spoken = []
        for index, run in known:
            share = share_at_least(run.scores, grid)
            axes.plot(grid, share, markevery=(5 + 2 * index, 20), label=shortened(run.label), **look_of(index))
            spoken.append(f"{run.label} {share_at_least(run.scores, np.array([TOXIC]))[0]:.1%}")
        axes.axvline(TOXIC, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.annotate("toxic from here", (TOXIC, 1), (5, -3), textcoords="offset points", va="top", fontsize=9)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Toxicity score", ylabel="Continuations at or above the score")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="best", bbox_to_anchor=(0, 0, 1, 0.92), handlelength=3)
        return as_svg(
            figure,
            "distribution",
            "Distribution of toxicity scores. Continuations scored 0.5 or more: " + ", ".join(spoken) + ".",
        )


def share_at_least(scores: Sequence[float], thresholds: np.ndarray) -> np.ndarray:
    """Return the share of scores that are at least each threshold, float [len(thresholds)]."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    # The grid's 0.5 is exact, but 0.3 is not: a hair's breadth keeps a score equal to its threshold inside.
    below = np.searchsorted(ordered, thresholds - 1e-12, side="left")
    return 1 - below / len(ordered)


def tradeoff(runs: Sequence[Run], up: Metric = METRICS["toxic_fraction"], name: str = "tradeoff") -> str:
    """Plot a toxic fraction against model perplexity, one point with intervals per run; empty with fewer than two."""
    across = METRICS["model_perplexity"]
    points = [
        (index, run, run.metrics[across.name], run.metrics[up.name])
        for index, run in enumerate(runs)
        if finite(run.metrics.get(across.name)) and finite(run.metrics.get(up.name))
    ]
    if len(points) < 2:
        return ""
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        for method in dict.fromkeys(run.method for _, run, _, _ in points if run.detoxified):
            line = [(x.value, y.value) for _, run, x, y in points if run.method in ("", method)]
            axes.plot(*zip(*line, strict=True), color=GRID, linewidth=1.2, zorder=1)
        for index, run, x, y in points:
            axes.errorbar(
                x.value,
                y.value,
                xerr=error_bar(x),
                yerr=error_bar(y),
                capsize=2.5,
                label=shortened(run.label),
                **(look_of(index) | {"linewidth": 1.1}),
            )
        axes.margins(x=0.18, y=0.15)
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
        axes.set(xlabel=f"{across.label} (lower is more fluent)", ylabel=f"{up.label} (lower is better)")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        labelled(axes, [(shortened(run.label), x, y) for _, run, x, y in points])
        spoken = [f"{run.label} {value_text(up, y)} at {value_text(across, x)}" for _, run, x, y in points]
        return as_svg(
            figure,
            name,
            f"{up.label} against model perplexity: " + ", ".join(spoken) + ". Lower left is best.",
        )


def differences(scorers: Sequence[tuple[str, Sequence[Run]]], metric: Metric) -> str:
    """Plot every detoxified run's paired difference with its interval, one band for each (label, runs) of a scorer.

    Empty where no run has a difference.
    """
    points = [
        (place, label, index, run, run.difference[metric.name])
        for place, (label, runs) in enumerate(scorers)
        for index, run in enumerate(runs)
        if finite(run.difference.get(metric.name))
    ]
    if not points:
        return ""
    scale = metric.scale
    indices = sorted({index for _, _, index, _, _ in points})
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        for place, label, index, run, difference in points:
            # runs of a scorer one below the other, under its name
            height = place + 0.35 + 0.5 * (indices.index(index) + 0.5) / len(indices)
            error = error_bar(difference)
            axes.errorbar(
                difference.value * scale,
                height,
                xerr=error and [[side * scale for side in sides] for sides in error],
                capsize=2.5,
                label=shortened(run.label) if label == points[0][1] else None,
                **(look_of(index) | {"linewidth": 1.1}),
            )
        for place, (label, _) in enumerate(scorers):
            axes.annotate(
                shortened(label),
                (0.02, place + 0.12),
                xycoords=("axes fraction", "data"),
                va="center",
                fontweight="bold",
            )
            axes.axhline(place, color=GRID, linewidth=0.9)
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.set(
            ylim=(len(scorers), 0), yticks=[], xlabel=f"Change of {metric.label.lower()}" + ", points" * (scale > 1)
        )
        axes.margins(x=0.1)
        if len(indices) > 1:
            legend_above(axes)
        spoken = [
            f"{label}: {run.label} {' '.join(difference_text(metric, change))}" for _, label, _, run, change in points
        ]
        return as_svg(
            figure,
            "opinions",
            f"Paired difference of the {metric.label.lower()} from the untouched model by scorer. {'; '.join(spoken)}.",
        )


def loss_curve(curve: Sequence[Sequence[float | None]], name: str = "loss") -> str:
    """Plot [step, loss] pairs; empty with fewer than two that are numbers (JSON stores NaN as null)."""
    points = [
        (step, loss)
        for step, loss in curve
        if step is not None and loss is not None and math.isfinite(step) and math.isfinite(loss)
    ]
    if len(points) < 2:
        return ""
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        axes.plot([step for step, _ in points], [loss for _, loss in points], color=look_of(1)["color"])
        axes.set(xlabel="Step", ylabel="Loss")
        (first, start), (last, end) = points[0], points[-1]
        return as_svg(
            figure, name, f"Loss of the fit, from {start:.4g} at step {first:g} to {end:.4g} at step {last:g}."
        )


def looks(watched: Sequence[dict[str, Any]], name: str = "looks") -> str:
    """Plot what a training was seen to do to the model, by step: toxicity against drift; empty with fewer than two."""
    if len(watched) < 2:
        return ""
    steps = [look["step"] for look in watched]
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        figure.delaxes(axes)
        # two plots over one another: the two scales have nothing to do with each other
        upper, lower = figure.add_axes((0.16, 0.5, 0.805, 0.465)), figure.add_axes((0.16, 0.135, 0.805, 0.285))
        for i, (key, label) in enumerate((("toxicity", "Mean toxicity"), ("refusals", "Refusals")), 1):
            upper.plot(steps, [100 * look[key] for look in watched], label=label, **look_of(i))
        upper.set(ylabel="%", ylim=(0, None), xticklabels=[])
        upper.legend()
        lower.plot(steps, [look["drift"] for look in watched], **look_of(3))
        lower.set(xlabel="Step", ylabel="Drift, nats", ylim=(0, None))
        for part in (upper, lower):
            part.patch.set_alpha(0)
            part.tick_params(length=0, pad=5)
        first, last = watched[0], watched[-1]
        return as_svg(
            figure,
            name,
            f"Mean toxicity on held-out prompts from {first['toxicity']:.3f} at step {first['step']} to "
            f"{last['toxicity']:.3f} at step {last['step']}, drift to {last['drift']:.3f} nats a token, refusals of "
            f"harmless instructions from {first['refusals']:.0%} to {last['refusals']:.0%}.",
        )


def search(tried: dict[str, dict[str, Any]], name: str = "search") -> str:
    """Plot toxicity against drift of what a search tried (`untouched` and trials); empty with fewer than two trials."""
    trials = {key: look for key, look in tried.items() if key != "untouched" and look["drift"] > 0}
    if len(trials) < 2 or "untouched" not in tried:
        return ""
    before = tried["untouched"]["toxicity"]
    groups = {
        choice: [one for one in trials.values() if one["choice"] == choice] for choice in ("–", "frontier", "chosen")
    }
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        axes.axhline(100 * before, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), label="Untouched")
        line = sorted((one["drift"], 100 * one["toxicity"]) for one in groups["frontier"] + groups["chosen"])
        axes.plot(*zip(*line, strict=True), color=look_of(2)["color"], linewidth=1.1)
        for i, (choice, label) in enumerate((("–", "Tried"), ("frontier", "Frontier"), ("chosen", "Chosen"))):
            some = groups[choice]
            axes.plot(
                [one["drift"] for one in some],
                [100 * one["toxicity"] for one in some],
                **(look_of(i + (i == 2)) | {"linestyle": "none", "label": label}),
            )
        axes.set(xlabel="Drift, nats a token", ylabel="Mean toxicity, %", xscale="log", ylim=(0, None))
        axes.xaxis.set_major_formatter(lambda drift, _: f"{drift:g}")  # powers would be written as formulas
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="best")
        chosen = groups["chosen"][0] if groups["chosen"] else None
        spoken = (
            f" The chosen one has {chosen['toxicity']:.3f} at a drift of {chosen['drift']:.3f} nats a token."
            if chosen
            else ""
        )
        return as_svg(figure, name, f"Mean toxicity and drift of {len(trials)} trials; untouched {before:.3f}.{spoken}")


def new_axes() -> tuple[Figure, Axes]:
    """Return a transparent figure of the size of every plot, and its axes."""
    # Small, so that text is still readable when a phone scales the plot to 350 px.
    figure = Figure(figsize=(5.4, 3.9))
    figure.patch.set_alpha(0)
    # Fixed margins: a layout engine would measure fonts that are not the reader's, and costs half the drawing time.
    axes = figure.add_axes((0.16, 0.135, 0.805, 0.835))
    axes.patch.set_alpha(0)
    axes.tick_params(length=0, pad=5)
    return figure, axes


def shortened(label: str) -> str:
    """Return the label, cut to what fits into a legend."""
    return label if len(label) <= 28 else f"{label[:27]}…"  # or it would push the plot out of its frame


def look_of(index: int) -> dict[str, Any]:
    """Return colour, dash and marker of the run of that number, as matplotlib arguments."""
    return {
        "color": f"#0300{index % _RUNS:02x}",
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 5.5,
    }


def error_bar(estimate: Estimate) -> list[list[float]] | None:
    """Return the distances from the value to its interval's ends as matplotlib wants them; None without interval."""
    if estimate.low is None or estimate.high is None:
        return None
    sides = [estimate.value - estimate.low, estimate.high - estimate.value]
    # A percentile interval can miss its own value by a rounding error; a bar cannot have a negative length.
    return [[max(0.0, side)] for side in sides] if all(map(math.isfinite, sides)) else None


def as_svg(figure: Figure, name: str, description: str) -> str:
    """Draw the figure: an inline SVG with the page's colours and fonts, its own ids, and words for screen readers."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    view = re.search(r'viewBox="([^"]*)"', text)
    assert view is not None  # matplotlib always writes one
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    # matplotlib's style sheet would apply to the whole page.
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", body)
    body = re.sub(r"\bfont: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"#0[1-3][0-9a-f]{4}\b", lambda found: _STAND_INS.get(found[0], found[0]), body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view[1]}" '
        f'role="img" aria-label="{escape(description)}" stroke-linejoin="round" stroke-linecap="butt" '
        f'font-family="{FONTS}">{body}</svg>'
    )
