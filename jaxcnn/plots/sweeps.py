"""The pictures of a sweep: every run by the value of a setting, learning curves, responses to a number."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jaxcnn.plots.curves import epochs_axis, read_curve
from jaxcnn.plots.page import FAINT, MARGIN, WIDTH, add_panel, blank_page, heading, save
from jaxcnn.plots.scales import set_scale, spread
from jaxcnn.plots.words import LABEL, MUTED, SMALL, add_text, line_height, text_width, wrapped
from jaxcnn.runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Their lightness differs, so that a greyscale print distinguishes neighbours.
COLOURS = ("#00558c", "#e69f00", "#222222", "#56b4e9", "#d55e00", "#cc79a7", "#009e73")
"""Colours of arms, in the order in which they are drawn; no picture of lines has more arms."""


@dataclass(frozen=True)
class Arm:
    """The runs with one setting, which differ in their seeds.

    Attributes:
        label: text of the setting.
        values: the metric of each run, in the unit of the picture.
        mean: their mean; None without runs.
        interval: interval of the mean; None if it has none.
        note: runs without a value, as in `2 diverged, 1 unfinished`; empty if there are none.
        diverged: whether a run has diverged.
        position: the setting on a numeric axis.
    """

    label: str
    values: Sequence[float]
    mean: float | None
    interval: tuple[float, float] | None = None
    note: str = ""
    diverged: bool = False
    position: float = 0.0


def strip_plot(
    arms: Sequence[Arm],
    path: str | Path,
    *,
    title: str,
    subtitle: str,
    axis: str,
    form: str = ".2f",
    baseline: str | None = None,
) -> Path:
    """Draw every run as a dot, and the mean of each arm with its interval, one arm below the other.

    Args:
        arms: from top to bottom.
        path: PNG file to write.
        title, subtitle: texts above; long ones are broken into lines.
        axis: name of the metric and its unit.
        form: format of a mean.
        baseline: label of the arm whose mean is drawn through all arms.

    Returns:
        `path`.

    Raises:
        InputError: no arm has a value.
    """
    if not any(arm.values for arm in arms):
        raise InputError("no arm has a value; draw a sweep with a finished run.")
    labels = [wrapped(arm.label, 400, LABEL) for arm in arms]
    means = ["" if arm.mean is None else f"{arm.mean:{form}}  " for arm in arms]
    left = MARGIN + math.ceil(max(text_width(line, LABEL) for label in labels for line in label)) + 12
    shift = max(text_width(mean, SMALL, "bold") for mean in means)
    right = MARGIN + 12 + math.ceil(shift + max(text_width(arm.note, SMALL) for arm in arms))
    heights = [max(38, line_height(LABEL) * len(label) + 12) for label in labels]
    head = heading(title, subtitle)
    page = blank_page(WIDTH, head.height + sum(heights) + 62)
    top, width = head.draw(page), WIDTH - left - right
    panel = add_panel(page, left, top, width, sum(heights))
    panel.set(ylim=(sum(heights), 0), yticks=[])
    dots = [value for arm in arms for value in arm.values]
    set_scale(panel, [*dots, *_ends(arms, dots)], axis="x", ticks=7)
    panel.grid(True, axis="x", color=FAINT, linewidth=0.6, linestyle="-")
    panel.set_axisbelow(True)
    # Where no arm has several runs, a mean would repeat the dot.
    apart, y = 7 * any(len(arm.values) > 1 for arm in arms), 0.0
    for arm, label, mean, height in zip(arms, labels, means, heights, strict=True):
        colour, middle = MUTED if arm.label == baseline else COLOURS[0], y + height / 2
        if arm.mean is not None and arm.label == baseline:
            panel.axvline(arm.mean, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if arm.mean is not None and apart:
            style = {"linewidth": 3, "linestyle": "-", "marker": "none", "solid_capstyle": "butt"}
            panel.plot([arm.mean] * 2, [middle - 1, middle + 13], color=colour, **style)
        if arm.interval is not None:
            _interval(panel, arm.interval, middle + 6, colour)
        style = {"linestyle": "none", "marker": "o", "markersize": 6, "alpha": 0.6, "markeredgewidth": 0}
        panel.plot(arm.values, [middle - apart] * len(arm.values), color=colour, **style)
        add_text(page, left - 12, top + middle, "\n".join(label), LABEL, ha="right", va="center")
        add_text(page, left + width + 12, top + middle, mean, SMALL, va="center", weight="bold")
        add_text(page, left + width + 12 + shift, top + middle, arm.note, SMALL, va="center", color=MUTED)
        y += height
    add_text(page, left + width / 2, top + sum(heights) + 48, axis, LABEL, ha="center", va="bottom")
    return save(page, path)


def _ends(arms: Sequence[Arm], dots: Sequence[float]) -> list[float]:
    """Return the ends of the intervals, at most as far from the dots as these extend, and not below 0 if no dot is."""
    ends = [end for arm in arms if arm.interval for end in arm.interval]
    low, high = min(dots), max(dots)
    reach = (high - low) or math.inf
    ends = [min(max(end, low - reach), high + reach) for end in ends]
    floor = 0.0 if low >= 0 else -math.inf
    positive = [dot for dot in dots if dot > 0]
    if positive and high > 10 * min(positive):
        floor = min(positive)
    return [max(end, floor) for end in ends]


def _interval(panel: "Axes", interval: tuple[float, float], y: float, colour: str) -> None:
    """Draw an interval, with an arrow head at an edge of the panel beyond which it extends."""
    left, right = panel.get_xlim()
    low, high = max(interval[0], left), min(interval[1], right)
    style = {"linewidth": 1.8, "linestyle": "-", "marker": "none", "solid_capstyle": "butt"}
    panel.plot([low, high], [y, y], color=colour, **style)
    for place, outside, marker in ((low, interval[0] < low, "<"), (high, interval[1] > high, ">")):
        if outside:
            style = {"marker": marker, "markersize": 7, "markeredgewidth": 0, "clip_on": False}
            panel.plot([place], [y], color=colour, **style)


def learning_curves_of_arms(
    arms: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    path: str | Path,
    *,
    title: str,
    split: Literal["validation", "test"],
    quantity: Literal["error", "loss"],
) -> Path | None:
    """Draw the training loss and an evaluated metric over the epochs of several arms: mean and range over the seeds.

    Args:
        arms: rows of metrics.jsonl of each run of an arm, by its label; at most as many arms as `COLOURS`.
        path: PNG file to write.
        title: text above.
        split: split of the evaluated metric; runs that evaluated only the other one are drawn with that.
        quantity: the metric: error in percent, or loss.

    Returns:
        `path`; None, with nothing drawn, if no arm has rows that all its runs have logged.
    """
    other = "test" if split == "validation" else "validation"
    logged = {row["split"] for runs in arms.values() for rows in runs for row in rows}
    split = split if split in logged else other
    name = f"{split} {'error, %' if quantity == 'error' else 'loss'}".capitalize()
    panels = {
        name: curves
        for name, part in (("Training loss", "train"), (name, split))
        if (curves := {k: c for k, runs in arms.items() if runs and (c := read_curve(runs, part)).epoch.size})
    }
    if not panels:
        return None
    colours = dict(zip(arms, COLOURS, strict=False))
    texts = {label: wrapped(label, 300, SMALL, "bold") for label in arms}
    right = 24 + math.ceil(max(text_width(line, SMALL, "bold") for lines in texts.values() for line in lines))
    left, tall, gap = 72, max(260, _labels_height(texts)), 44
    seeds = max(len(runs) for runs in arms.values())
    head = heading(title, f"mean of up to {seeds} seeds, band from min to max" if seeds > 1 else "one seed")
    width = WIDTH - left - max(right, 60)
    page = blank_page(WIDTH, head.height + len(panels) * (tall + gap) + 30)
    top = head.draw(page) + 24
    last = max(curve.epoch[-1] for curves in panels.values() for curve in curves.values()) or 1.0
    for place, (name, curves) in enumerate(panels.items()):
        y = top + place * (tall + gap)
        panel = add_panel(page, left, y, width, tall)
        epochs_axis(panel, last, labels=place == len(panels) - 1)
        add_text(page, left, y - 8, name, LABEL, va="bottom", weight="bold")
        runs = {label: curve.error if name.endswith("%") else curve.loss for label, curve in curves.items()}
        set_scale(panel, np.concatenate([values.ravel() for values in runs.values()]))
        # The first arm is drawn last, above the others.
        for label, values in reversed(runs.items()):
            _mean_and_range(panel, curves[label].epoch, values, colours[label])
        ends = [(values.mean(axis=0)[-1], texts[label], colours[label]) for label, values in runs.items()]
        end_labels(page, panel, ends)
    add_text(page, left + width / 2, top + len(panels) * (tall + gap) + 4, "epoch", LABEL, ha="center", va="bottom")
    return save(page, path)


def _mean_and_range(panel: "Axes", epoch: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Draw the mean over runs [runs, n] as a line, and a band from their minimum to their maximum."""
    low, mean, high = values.min(axis=0), values.mean(axis=0), values.max(axis=0)
    # A line and a band of one point would be invisible.
    marker = "o" if len(epoch) == 1 else "none"
    panel.plot(epoch, mean, color=colour, linewidth=1.8, linestyle="-", marker=marker, markersize=5)
    if len(values) > 1 and len(epoch) == 1:
        panel.vlines(epoch, low, high, color=colour, linewidth=1.8, alpha=0.5)
    elif len(values) > 1:
        panel.fill_between(epoch, low, high, color=colour, alpha=0.2, linewidth=0)


def _labels_height(labels: Mapping[str, Sequence[str]]) -> int:
    """Return the height in pixels that the labels of lines need."""
    return len(labels) * (max(map(len, labels.values())) * line_height(SMALL) + 2)


def end_labels(page: "Axes", panel: "Axes", ends: Sequence[tuple[float, Sequence[str], str]]) -> None:
    """Write the labels of lines to the right of a panel, each near the height at which its line ends."""
    total, lines = page.get_ylim()[0], max(len(label) for _, label, _ in ends)
    wanted = [panel.transData.transform((0, end))[1] for end, _, _ in ends]
    places = spread(wanted, lines * line_height(SMALL) + 2, panel.bbox.y0, panel.bbox.y1)
    for place, (_, label, colour) in zip(places, ends, strict=True):
        style = {"va": "center", "color": colour, "weight": "bold"}
        add_text(page, panel.bbox.x1 + 12, total - place, "\n".join(label), SMALL, **style)


def response_curves(
    panels: Mapping[str, Mapping[str, Sequence[Arm]]],
    path: str | Path,
    *,
    title: str,
    axis: str,
    connected: bool = True,
    worse: Literal["up", "down"] = "up",
) -> Path:
    """Draw a metric over a numeric setting: every run as a dot, the mean as a line, its interval as a band.

    The axis of the setting is logarithmic if its values span a factor of 10 or more. Diverged runs are crosses at the
    edge of the panel.

    Args:
        panels: by the name of the setting, the lines of a panel by their label; the arms of a line have a `position`.
            A panel has at most as many lines as `COLOURS`; the label of a single one is not drawn.
        path: PNG file to write.
        title: text above.
        axis: name of the metric and its unit.
        connected: draw line and band; False: only dots, for settings that were varied together at random.
        worse: the edge of the panel at which crosses are drawn.

    Returns:
        `path`.
    """
    texts = {label: wrapped(label, 300, SMALL, "bold") for lines in panels.values() for label in lines}
    named = any(len(lines) > 1 for lines in panels.values())
    longest = max(text_width(line, SMALL, "bold") for lines in texts.values() for line in lines) if named else 36
    left, tall, gap = 72, max(320, _labels_height(texts)), 76
    width = WIDTH - left - math.ceil(longest) - 24
    lost = any(arm.diverged for lines in panels.values() for arms in lines.values() for arm in arms)
    parts = ["dots: single runs"]
    if connected and any(arm.interval for lines in panels.values() for arms in lines.values() for arm in arms):
        parts = ["dots: single runs; line: their mean; band: its 95 % interval"]
    head = heading(title, "; ".join([*parts, *(["crosses: diverged runs"] if lost else [])]))
    page = blank_page(WIDTH, head.height + len(panels) * (tall + gap) + 10)
    top = head.draw(page) + 24
    for place, (name, lines) in enumerate(panels.items()):
        y = top + place * (tall + gap)
        panel = add_panel(page, left, y, width, tall)
        add_text(page, left, y - 8, axis, LABEL, va="bottom", weight="bold")
        add_text(page, left + width / 2, y + tall + 52, name, LABEL, ha="center", va="bottom")
        _responses(page, panel, lines, texts if len(lines) > 1 else {}, connected, worse)
    return save(page, path)


def _responses(
    page: "Axes",
    panel: "Axes",
    lines: Mapping[str, Sequence[Arm]],
    texts: Mapping[str, Sequence[str]],
    connected: bool,
    worse: Literal["up", "down"],
) -> None:
    arms = [arm for line in lines.values() for arm in line]
    set_scale(panel, [value for arm in arms for value in arm.values])
    positions = sorted({arm.position for arm in arms})
    set_scale(panel, positions, axis="x", ticks=8, ratio=9.99)
    _tick_values(panel, positions)
    panel.grid(True, axis="both", color=FAINT, linewidth=0.6, linestyle="-")
    panel.set_axisbelow(True)
    bottom, top = panel.get_ylim()
    ends, lost, crosses = [], Counter(arm.position for arm in arms if arm.diverged), Counter[float]()
    # The first line is drawn last, above the others.
    for (label, line), colour in reversed([*zip(lines.items(), COLOURS, strict=False)]):
        line = sorted(line, key=lambda arm: arm.position)
        drawn = [arm for arm in line if arm.mean is not None]
        for arm in line:
            style = {"linestyle": "none", "marker": "o", "markersize": 5, "alpha": 0.5, "markeredgewidth": 0}
            panel.plot([arm.position] * len(arm.values), arm.values, color=colour, **style)
            if arm.diverged:
                # Those of several lines are drawn side by side.
                shift = 12 * (crosses[arm.position] - (lost[arm.position] - 1) / 2)
                _cross(panel, arm.position, shift, top if worse == "up" else bottom, colour)
                crosses[arm.position] += 1
        if connected and drawn:
            x = [arm.position for arm in drawn]
            panel.plot(x, [arm.mean for arm in drawn], color=colour, linewidth=1.8, marker="none", linestyle="-")
            bands = [arm.interval or (math.nan, math.nan) for arm in drawn]
            low, high = np.clip(bands, bottom, top).T
            panel.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        if drawn and label in texts:
            ends.append((drawn[-1].mean, texts[label], colour))
    if ends:
        end_labels(page, panel, ends)


def _cross(panel: "Axes", x: float, shift: float, y: float, colour: str) -> None:
    """Draw a cross, `shift` pixels to the right of x; it may lie on the edge of the panel."""
    across, up = panel.transData.transform((x, y))
    place = panel.transAxes.inverted().transform((across + shift, up))
    style = {"linestyle": "none", "marker": "X", "markersize": 8, "markeredgewidth": 0, "clip_on": False, "zorder": 5}
    panel.plot(*place, color=colour, transform=panel.transAxes, **style)


def _tick_values(panel: "Axes", positions: Sequence[float]) -> None:
    """Place the ticks of the x axis at the values themselves if their labels fit."""
    from matplotlib.ticker import FixedLocator

    places = panel.transData.transform([(position, 0) for position in positions])[:, 0]
    widths = [text_width(f"{position:g}", SMALL) for position in positions]
    room = [(a + b) / 2 + 8 for a, b in itertools.pairwise(widths)]
    if (np.diff(places) >= room).all():
        panel.xaxis.set_major_locator(FixedLocator(list(positions)))
