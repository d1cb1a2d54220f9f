"""The plots of the validity page, in the style and with the promises of `detoxlm.report.plots`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from detoxlm.report.plots import GRID, INK, STYLE, as_svg, error_bar, look_of, new_axes, shortened
from detoxlm.validity.measures import TOXIC
from detoxlm.validity.results import Group, SetValidity

#: (label, what it did) of every scorer on one set.
Sets = Sequence[tuple[str, SetValidity]]
# The first colour of the runs is the grey of the untouched model; no scorer is that.
_FIRST = 1


def calibration(sets: Sets, name: str) -> str:
    """Plot the mean target against the mean score of every bin, and below it how many texts each bin holds."""
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        axes.set_position((0.16, 0.36, 0.805, 0.61))
        below = figure.add_axes((0.16, 0.135, 0.805, 0.15), sharex=axes)
        below.patch.set_alpha(0)
        below.tick_params(length=0, pad=5)
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.2, linestyle=(0, (2, 2)))
        width = 0.8 / 10 / len(sets)
        for index, (label, one) in enumerate(sets):
            look = look_of(index + _FIRST)
            axes.plot(
                [b.mean_score for b in one.calibration],
                [b.mean_target.value for b in one.calibration],
                label=shortened(label),
                **look,
            )
            for b in one.calibration:
                axes.errorbar(
                    b.mean_score,
                    b.mean_target.value,
                    yerr=error_bar(b.mean_target),
                    color=look["color"],
                    linewidth=1.1,
                    capsize=2.5,
                )
            # Bars of several scorers stand side by side within their bin.
            left = [b.low + 0.01 + index * width for b in one.calibration]
            below.bar(left, [b.n for b in one.calibration], width=width, align="edge", color=look["color"])
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="Mean target")
        axes.tick_params(labelbottom=False)
        below.set(xlabel="Score", ylabel="Texts")
        below.locator_params(axis="y", nbins=3)
        if len(sets) > 1:
            axes.legend(loc="upper left", handlelength=3)
        spoken = [
            f"{label}: " + ", ".join(f"{b.mean_target.value:.2f} at {b.mean_score:.2f}" for b in one.calibration)
            for label, one in sets
        ]
        return as_svg(figure, name, "Mean target against mean score by bin of the score. " + "; ".join(spoken) + ".")


def roc(sets: Sets, name: str) -> str:
    """Plot the ROC curves, each with a point where the threshold is 0.5; empty where one class is missing."""
    known = [(index, label, one) for index, (label, one) in enumerate(sets) if one.roc]
    if not known:
        return ""
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.2, linestyle=(0, (2, 2)))
        spoken = []
        for index, label, one in known:
            look = look_of(index + _FIRST)
            area, missed = one.metrics["auc"].value, one.metrics["false_negative_rate"].value
            x, y = zip(*one.roc, strict=True)
            line = {key: look[key] for key in ("color", "linestyle")}
            axes.plot(x, y, label=f"{shortened(label)}, AUC {area:.3f}", **line)
            point = {key: look[key] for key in ("color", "marker", "markersize")}
            axes.plot(one.metrics["false_positive_rate"].value, 1 - missed, linestyle="none", **point)
            spoken.append(f"{label} {area:.3f}")
        axes.set(xlim=(-0.02, 1.04), ylim=(-0.01, 1.02), xlabel="Benign texts called toxic", ylabel="Toxic texts found")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="lower right", handlelength=3)
        return as_svg(figure, name, "ROC curves; area under the curve: " + ", ".join(spoken) + ".")


def histogram(one: SetValidity, name: str) -> str:
    """Plot how the scores of benign and of toxic texts are spread, as shares of each class."""
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure, axes = new_axes()
        edges = np.linspace(0, 1, len(one.histogram[0]) + 1)
        for counts, label, color in zip(
            one.histogram, ("benign texts", "toxic texts"), (look_of(1)["color"], look_of(5)["color"]), strict=True
        ):
            total = sum(counts)
            if total:
                share = np.array(counts) / total
                axes.stairs(share, edges, fill=True, alpha=0.28, color=color)
                axes.stairs(share, edges, color=color, linewidth=1.6, label=f"{total:,} {label}")
        axes.axvline(TOXIC, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.set(xlim=(0, 1), xlabel="Score", ylabel="Share of the class")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.legend(loc="best")
        wrong = [sum(one.histogram[0][len(edges) // 2 :]), sum(one.histogram[1][: len(edges) // 2])]
        return as_svg(
            figure,
            name,
            f"Scores by class. {wrong[0]} benign texts score 0.5 or more, {wrong[1]} toxic texts score less.",
        )


def groups(shown: Sequence[Group], overall: float, index: int, name: str) -> str:
    """Plot the false positive rate of identity groups with intervals beside the overall rate; empty without groups.

    `index` is the scorer's place among the others: it has the same colour in all plots.
    """
    if not shown:
        return ""
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        # A line of text a group, so the height follows from their number.
        inches = 0.75 + 0.21 * len(shown)
        figure = Figure(figsize=(5.4, inches))
        figure.patch.set_alpha(0)
        axes = figure.add_axes((0.27, 0.5 / inches, 0.695, 1 - 0.6 / inches))
        axes.patch.set_alpha(0)
        axes.tick_params(length=0, pad=5)
        axes.grid(visible=False, axis="y")
        place = np.arange(len(shown))[::-1]
        color = look_of(index + _FIRST)["color"]
        axes.barh(place, [group.rate.value for group in shown], height=0.62, color=color, alpha=0.45)
        for y, group in zip(place, shown, strict=True):
            axes.errorbar(
                group.rate.value, y, xerr=error_bar(group.rate), color=color, linewidth=1.1, capsize=2.5, marker="|"
            )
        axes.axvline(overall, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.set_yticks(place, [f"{shortened(group.name)} ({group.n:,})" for group in shown])
        axes.set(ylim=(-0.6, len(shown) - 0.4), xlabel="Benign texts called toxic")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        spoken = ", ".join(f"{group.name} {group.rate.value:.1%}" for group in shown)
        return as_svg(
            figure, name, f"False positive rate of benign texts by identity, {overall:.1%} over all of them: {spoken}."
        )
