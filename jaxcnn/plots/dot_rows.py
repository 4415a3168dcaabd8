"""Values with intervals, one named row below the other, one column wide."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.plots.figures import COLUMN
from jaxcnn.plots.page import FAINT, add_panel
from jaxcnn.plots.scales import set_scale
from jaxcnn.plots.words import INK, MUTED, SMALL, add_text, line_height, text_width, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES, _TEXTS = 150, 118
"""Most pixels of the names on the left and of the texts on the right."""


@dataclass(frozen=True)
class Dots:
    """One dot a row.

    Attributes:
        values: NaN for no dot.
        colour: of all dots.
        label: text above the rows, in this colour; empty: none.
        intervals: low and high end for each dot; empty: none.
    """

    values: Sequence[float]
    colour: str
    label: str = ""
    intervals: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Rows:
    """Names and texts of the rows, in lines.

    Attributes:
        names: left of the dots.
        texts: right of the dots; empty: none.
    """

    names: Sequence[Sequence[str]]
    texts: Sequence[Sequence[str]] = ()

    @property
    def pitches(self) -> list[float]:
        """Height of each row in pixels."""
        texts = self.texts or [()] * len(self.names)
        return [
            line_height(SMALL) * max(len(name), len(text), 1) + 7 for name, text in zip(self.names, texts, strict=True)
        ]


def make_rows(names: Sequence[str], texts: Sequence[str] = ()) -> Rows:
    """Return rows whose names and texts are broken into lines."""
    return Rows([wrapped(name, _NAMES, SMALL) for name in names], [wrapped(text, _TEXTS, SMALL) for text in texts])


def rows_height(rows: Rows) -> float:
    """Return the height in pixels of the drawing."""
    return 24 + sum(rows.pitches) + 52


def dot_rows(
    page: "Axes",
    left: float,
    top: float,
    *,
    rows: Rows,
    dots: Sequence[Dots],
    axis: str,
    line: float | None = None,
    limits: tuple[float, float] | None = None,
    joined: bool = False,
    percent: bool = False,
) -> None:
    """Draw the rows.

    Args:
        page, left, top: the page and the corner of the drawing.
        rows: names and texts.
        dots: dots of every row, the last in front.
        axis: text below.
        line: where a dashed line is drawn, such as a threshold.
        limits: ends of the axis; None: those of the values, on a logarithmic axis if they span more than a decade.
        joined: draw a line between the dots of a row.
        percent: values are shares.
    """
    beside = max((math.ceil(text_width(part, SMALL)) for name in rows.names for part in name), default=0) + 18
    right = max((math.ceil(text_width(part, SMALL)) for text in rows.texts for part in text), default=0)
    wide = COLUMN - beside - (right + 12 if right else 0) - 10
    tall, start = sum(rows.pitches), left + beside
    panel = add_panel(page, start, top + 24, wide, tall)
    ends = np.cumsum([0, *rows.pitches])
    centres = (ends[:-1] + ends[1:]) / 2
    values = [value for each in dots for value in (*each.values, *(end for pair in each.intervals for end in pair))]
    set_scale(panel, [*values, *([line] if line is not None else [])], axis="x", linear=limits is not None, ticks=3)
    if limits is not None:
        margin = 0.03 * (limits[1] - limits[0])
        panel.set_xlim(limits[0] - margin, limits[1] + margin)
    if percent:
        panel.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    panel.set(ylim=(tall, 0), yticks=[])
    panel.spines["left"].set_visible(False)
    panel.hlines(centres, *panel.get_xlim(), color=FAINT, linewidth=0.7, zorder=0)
    if line is not None:
        panel.axvline(line, color=MUTED, linewidth=1.2, linestyle="--", zorder=1)
    if joined:
        found = np.array([each.values for each in dots], np.float64)
        low, high = np.nanmin(found, axis=0), np.nanmax(found, axis=0)
        panel.hlines(centres, low, high, color=MUTED, linewidth=1.6, zorder=2)
    for each in dots:
        if each.intervals:
            low, high = np.array(each.intervals, np.float64).T
            panel.hlines(centres, low, high, color=each.colour, linewidth=2.2, zorder=3)
        panel.plot(each.values, centres, color=each.colour, linestyle="none", marker="o", markersize=5.5, zorder=4)
    for place, name in zip(centres, rows.names, strict=True):
        add_text(page, start - 10, top + 24 + place, "\n".join(name), SMALL, ha="right", va="center")
    for place, text in zip(centres, rows.texts or [()] * len(centres), strict=True):
        add_text(page, start + wide + 12, top + 24 + place, "\n".join(text), SMALL, va="center", color=INK)
    x = start
    for each in dots:
        if each.label:
            add_text(page, x, top + 12, f"● {each.label}", SMALL, va="center", color=each.colour, weight="bold")
            x += text_width(f"● {each.label}", SMALL, "bold") + 16
    add_text(page, start + wide / 2, top + 24 + tall + 46, axis, SMALL, ha="center", va="bottom")
