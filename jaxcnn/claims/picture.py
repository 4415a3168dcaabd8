"""The page that all pictures of claims share: a finding as the title, panels, and labels beside the lines."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.claims.estimates import Estimate, mean_interval
from jaxcnn.plots.page import FAINT, WIDTH, add_panel, blank_page
from jaxcnn.plots.scales import spread
from jaxcnn.plots.words import LABEL, MUTED, SMALL, TITLE, add_text, line_height, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Safe for colour-blind readers, and of different lightness.
COLOURS = ("#00558c", "#e69f00", "#009e73", "#b2467c", "#666666", "#56b4e9")

_LEFT, _RIGHT, _GAP = 76, 24, 96


def page(
    title: str, axes: list[tuple[str, str]], *, label_width: int = 130, height: int = 330
) -> tuple["Axes", list["Axes"]]:
    """Return a page and its panels, from left to right.

    Args:
        title: the finding, a whole sentence, wrapped to the page.
        axes: labels of the x and the y axis of each panel; the label of y stands above the panel.
        label_width: pixels to the right of each panel for labels.
        height: pixels of each panel.
    """
    longest = next(n for n in range(120, 0, -1) if _fits(textwrap.wrap(title, n)))
    lines = textwrap.wrap(title, longest)
    top = 24 + len(lines) * line_height(TITLE) + 40
    area = blank_page(WIDTH, top + height + 84)
    for number, line in enumerate(lines):
        add_text(area, 20, 20 + number * line_height(TITLE), line, TITLE, va="top", weight="bold")
    each = (WIDTH - _LEFT - _RIGHT + _GAP) / len(axes)
    panels = []
    for number, (x, y) in enumerate(axes):
        left, width = _LEFT + number * each, each - _GAP - label_width
        panel = add_panel(area, left, top, width, height)
        panel.grid(True, axis="y", color=FAINT, linewidth=0.6)
        panel.set_axisbelow(True)
        add_text(area, left, top - 10, y, LABEL, va="bottom")
        add_text(area, left + width / 2, top + height + 52, x, LABEL, ha="center", va="bottom")
        panels.append(panel)
    return area, panels


def _fits(lines: Sequence[str]) -> bool:
    return all(text_width(line, TITLE, "bold") <= WIDTH - 40 for line in lines)


def labels(panel: "Axes", entries: Sequence[tuple[float, str, str]]) -> None:
    """Write labels to the right of a panel, near their heights but without overlap; call it when the y axis is set.

    Args:
        panel: the panel.
        entries: height in the units of the y axis, text, colour.
    """
    if not entries:
        return
    box, lines = panel.bbox, max(text.count("\n") + 1 for _, text, _ in entries)
    wanted = [panel.transData.transform((panel.get_xlim()[0], height))[1] for height, _, _ in entries]
    places = spread(wanted, lines * line_height(SMALL) + 2, box.y0, box.y1)
    for place, (_, text, colour) in zip(places, entries, strict=True):
        style = {"transform": panel.transAxes, "va": "center", "color": colour, "weight": "bold", "clip_on": False}
        add_text(panel, 1 + 10 / box.width, (place - box.y0) / box.height, text, SMALL, **style)


def inside(panel: "Axes", x: float, y: float, text: str, colour: str, *, right: float = 8, up: float = -8) -> None:
    """Write a label beside a point of a panel, moved by some pixels."""
    left, low = panel.transAxes.inverted().transform(panel.transData.transform((x, y)) + np.array([right, up]))
    add_text(panel, left, low, text, SMALL, transform=panel.transAxes, color=colour, weight="bold", va="center")


def rows(panel: "Axes", arms: Sequence[tuple[str, Sequence[float], str]], *, reference: float | None = None) -> None:
    """Draw one row for each arm, from top to bottom: a mark for every seed, the mean and its 95 % interval.

    Args:
        panel: the panel; its x axis is the measured value, which the text above the panel names.
        arms: text above the row, value of every seed, colour.
        reference: value of a dashed line through all rows, such as 0 for differences.
    """
    from matplotlib.ticker import MaxNLocator

    for place, (_, values, colour) in enumerate(arms):
        estimate = mean_interval(values)
        panel.plot(values, [place] * len(values), "|", color=colour, markersize=9, alpha=0.5)
        ends = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        panel.errorbar(estimate.mean, place, xerr=ends, color=colour, marker="o", markersize=7, capsize=5, linewidth=2)
    panel.set_ylim(len(arms) - 0.6, -0.8)
    panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.grid(False)
    panel.grid(True, axis="x", color=FAINT, linewidth=0.6)
    if reference is not None:
        panel.axvline(reference, color=MUTED, linewidth=1.2, linestyle="--")
    for place, (text, _, colour) in enumerate(arms):
        style = {"transform": panel.get_yaxis_transform(), "color": colour, "weight": "bold", "va": "center"}
        style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        add_text(panel, 0.01, place - 0.38, text, SMALL, **style)


def line(panel: "Axes", x: Sequence[float], estimates: Sequence[Estimate], colour: str) -> None:
    """Draw means with their intervals over x, joined by a line."""
    ends = [[e.mean - e.low for e in estimates], [e.high - e.mean for e in estimates]]
    style = {"marker": "o", "markersize": 6, "capsize": 5, "linewidth": 1.8}
    panel.errorbar(x, [e.mean for e in estimates], ends, color=colour, **style)


def note(area: "Axes", text: str) -> None:
    """Write how to read the picture below it."""
    add_text(area, WIDTH - 20, area.get_ylim()[0] - 8, text, SMALL, ha="right", va="bottom", color=MUTED)
