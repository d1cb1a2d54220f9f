"""Names in a plot, where they cover neither points nor error bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from detoxlm.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points of text, and of a letter's width: matplotlib has not the reader's fonts, so a wide one is assumed.
SIZE = 9.5
LETTER = 0.6 * SIZE
#: Where a name may begin beside its point, in points: nearest first, and no farther, or it would seem another's.
SHIFTS = [(across, up) for up in (6, -14, 16, -24, 26, -34) for across in (7, -7)]

#: Left, bottom, right, top, in points of the figure.
Box = tuple[float, float, float, float]


def labelled(axes: Axes, points: Sequence[tuple[str, Estimate, Estimate]]) -> None:
    """Write each name beside its point, or all of them in a legend above where one has no free place.

    Args:
        axes: with their final limits, and the points drawn with names.
        points: name, across, up.
    """
    scale = 72 / axes.figure.dpi
    frame = axes.get_window_extent()
    inside = (frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y)) * scale
        return float(across), float(up)

    taken: list[Box] = []
    for _, x, y in points:
        (left, middle), (right, _) = (at(end, y.value) for end in _ends(x))
        (centre, low), (_, high) = (at(x.value, end) for end in _ends(y))
        # caps and the point itself reach beyond the lines
        taken += [(left - 2, middle - 5, right + 2, middle + 5), (centre - 5, low - 2, centre + 5, high + 2)]
    places = []
    for name, x, y in points:
        across, up = at(x.value, y.value)
        free = (
            (shift, box)
            for shift in SHIFTS
            if _within(box := _box(name, across, up, *shift), inside) and not any(_overlap(box, one) for one in taken)
        )
        found = next(free, None)
        if found is None:
            legend_above(axes)
            return
        shift, box = found
        places.append((name, (x.value, y.value), shift))
        taken.append(box)
    for name, point, shift in places:
        side = "left" if shift[0] > 0 else "right"
        axes.annotate(name, point, shift, textcoords="offset points", ha=side, fontsize=SIZE)


def legend_above(axes: Axes) -> None:
    """Name what is drawn above the axes, which give way to it."""
    columns, position = 2, axes.get_position()
    rows = math.ceil(len(axes.get_legend_handles_labels()[1]) / columns)
    axes.set_position((position.x0, position.y0, position.width, position.height - 0.06 * rows))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, handlelength=2, fontsize=SIZE)


def _ends(estimate: Estimate) -> tuple[float, float]:
    low, high = (
        end if end is not None and math.isfinite(end) else estimate.value for end in (estimate.low, estimate.high)
    )
    return low, high


def _box(name: str, across: float, up: float, right: float, above: float) -> Box:
    width = LETTER * len(name)
    left = across + right if right > 0 else across + right - width
    return left, up + above - 2, left + width, up + above + SIZE


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
