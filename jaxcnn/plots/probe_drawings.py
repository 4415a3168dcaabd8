"""Drawings of the readings of the probes, one column wide: heat maps, ridges, bands, bars and lines."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.plots.figures import COLUMN
from jaxcnn.plots.page import FAINT, add_colour_bar, add_panel, colour_map
from jaxcnn.plots.scales import set_scale, spread
from jaxcnn.plots.sweeps import COLOURS
from jaxcnn.plots.words import SMALL, add_text, line_height, shortened, text_width, wrapped
from jaxcnn.probes import EDGES
from jaxcnn.probes.diagnosis import last
from jaxcnn.probes.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From no share to all.
SHARES = ("#f3f6fa", "#f0a36f", "#7f1d1d")
# From the first reading to the last.
_FIRST, _LAST = "#b9c6d3", "#00558c"


def heat_height(rows: int) -> float:
    """Return the height in pixels of a heat map with some rows, with its axis."""
    return _cell(rows) * rows + 58


def _cell(rows: int) -> float:
    return max(60 / rows, min(26.0, 300 / rows))


def _left(names: Sequence[str]) -> int:
    return math.ceil(min(118, max(text_width(name, SMALL) for name in names))) + 10


def heat(
    page: "Axes",
    left: float,
    top: float,
    *,
    values: np.ndarray,
    names: Sequence[str],
    steps: np.ndarray,
    stops: Sequence[str],
    limits: tuple[float, float],
    write: Callable[[float], str],
    boundary: np.ndarray | None = None,
) -> None:
    """Draw values [layers, n] by layer, the first at the bottom, and step; -infinity is black, NaN is grey."""
    cell, room, top = _cell(len(names)), _left(names), top + 8
    wide, tall = COLUMN - room - 78, cell * len(names)
    panel = add_panel(page, left + room, top, wide, tall)
    panel.set_facecolor("#e4e4e4")
    shown = np.ma.masked_invalid(np.where(np.isneginf(values), limits[0], values))
    image = panel.imshow(
        shown,
        cmap=colour_map(stops),
        vmin=limits[0],
        vmax=limits[1],
        aspect="auto",
        interpolation="nearest",
        origin="lower",
    )
    panel.set(xlim=(-0.5, len(steps) - 0.5), ylim=(-0.5, len(names) - 0.5))
    _layer_ticks(panel, names, cell)
    _step_ticks(panel, steps)
    add_colour_bar(page, image, left + room + wide + 14, top, tall, write)
    if boundary is not None and boundary.any():
        across = np.arange(-0.5, len(steps))
        panel.step(across, [boundary[0] - 0.5, *(boundary - 0.5)], where="pre", color="white", linewidth=1.6)
        column, deepest = len(steps) // 2, boundary[len(boundary) // 2 :].min()
        if deepest * cell > 40:
            add_text(
                panel,
                column,
                deepest / 2 - 0.5,
                "dies here",
                SMALL,
                ha="center",
                va="center",
                color="white",
                weight="bold",
            )
    add_text(page, left + room + wide / 2, top + tall + 46, "step", SMALL, ha="center", va="bottom")


def _layer_ticks(panel: "Axes", names: Sequence[str], cell: float) -> None:
    every = math.ceil(line_height(SMALL) / cell)
    # The first and the last layer are always named.
    places = np.linspace(0, len(names) - 1, (len(names) - 1) // every + 1).round().astype(int)
    panel.set_yticks(places, [shortened(names[i], 118, SMALL) for i in places], parse_math=False)
    panel.tick_params(axis="y", length=0)


def _step_ticks(panel: "Axes", steps: np.ndarray) -> None:
    places = np.unique(np.linspace(0, len(steps) - 1, min(5, len(steps))).round().astype(int))
    panel.set_xticks(places, [f"{steps[i]:,}" for i in places])


def ridge(page: "Axes", left: float, top: float, *, record: Record, names: Sequence[str], height: float) -> None:
    """Draw the distributions of values of layers, one ridge a layer, at the first, a middle and the last reading."""
    room = _left(names)
    panel = add_panel(page, left + room, top, COLUMN - room - 14, height)
    half = len(EDGES) // 2
    centres = np.log10(np.sqrt(EDGES[half:-1] * EDGES[half + 1 :]))
    places = np.unique([0, (len(record.steps) - 1) // 2, len(record.steps) - 1])
    colours = [colour_map((_FIRST, _LAST))(i / max(len(places) - 1, 1)) for i in range(len(places))]
    seen = np.zeros(len(centres), bool)
    for row, name in enumerate(names):
        counts = np.asarray(record.layers[name]["gradients"]["histogram"])[places]
        # Bins of both signs; the one around 0 has no logarithm.
        shares = counts[:, half:] + counts[:, half - 2 :: -1]
        shares = shares / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        seen |= (shares > 0.002).any(axis=0)
        for k, (share, colour) in enumerate(zip(shares, colours, strict=True)):
            style = {"color": colour, "zorder": 2 * (len(names) - row) + 0.1 * k}
            curve = row + 1.5 * share / max(shares.max(), 1e-9)
            panel.fill_between(centres, row, curve, alpha=0.28, linewidth=0, **style)
            panel.plot(centres, curve, linewidth=1.2, **style)
    shown = centres[seen] if seen.any() else np.array([-1.0, 0.0])
    panel.set(xlim=(shown[0] - 0.4, shown[-1] + 0.4), ylim=(-0.1, len(names) + 0.7))
    panel.set_yticks(range(len(names)), [shortened(name, 118, SMALL) for name in names], parse_math=False)
    panel.tick_params(axis="y", length=0)
    panel.grid(True, axis="x", color=FAINT, linewidth=0.6)
    _integer_ticks(panel)
    add_text(page, left + room, top + height + 46, "log10 of the absolute gradient", SMALL, va="bottom")


def _integer_ticks(panel: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def band(page: "Axes", left: float, top: float, *, record: Record, names: Sequence[str]) -> None:
    """Draw the band of the values of each layer at the first and the last reading."""
    panel = add_panel(page, left + 58, top + 8, COLUMN - 72, 176)
    across, values = np.arange(len(names)), []
    for i, (colour, alpha) in zip((0, -1), ((_FIRST, 0.55), (_LAST, 0.35)), strict=True):
        low, mean, high = (
            np.array([record.layers[name]["activations"][key][i] for name in names]) for key in ("low", "mean", "high")
        )
        panel.fill_between(across, low, high, color=colour, alpha=alpha, linewidth=0)
        panel.plot(across, mean, color=colour if i else "#7b8b9a", linewidth=1.8, marker="o", markersize=3.5)
        values += [low, high]
    set_scale(panel, np.concatenate(values), linear=True)
    _names_below(panel, names, COLUMN - 72)


def bars(page: "Axes", left: float, top: float, *, dead: Mapping[str, float], inactive: Mapping[str, float]) -> None:
    """Draw the share of dead units of each layer, in front of that of inactive units."""
    panel = add_panel(page, left + 58, top + 8, COLUMN - 72, 176)
    across = np.arange(len(dead))
    panel.bar(across, [inactive[name] for name in dead], color=_FIRST, width=0.8)
    panel.bar(across, [*dead.values()], color=SHARES[-1], width=0.5)
    panel.set(ylim=(0, 1), yticks=[0, 0.5, 1])
    panel.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    _names_below(panel, [*dead], COLUMN - 72)


def _beside(label: str, room: float = 140) -> list[str]:
    """Return a label in lines that fit beside a panel, broken after an equals sign if need be."""
    if any(text_width(part, SMALL, "bold") > room for part in label.split()):
        label = label.replace("=", "= ")
    return wrapped(label, room, SMALL, "bold")


def _names_below(panel: "Axes", names: Sequence[str], wide: float) -> None:
    """Name the layers of a panel whose horizontal axis they are, upright."""
    every = math.ceil(len(names) * line_height(SMALL) / wide)
    places = range(0, len(names), every)
    panel.set(xlim=(-0.6, len(names) - 0.4))
    panel.set_xticks(places, [shortened(names[i], 90, SMALL) for i in places], rotation=90, parse_math=False)
    panel.tick_params(axis="x", length=0)


def lines(
    page: "Axes",
    left: float,
    top: float,
    *,
    curves: Sequence[tuple[np.ndarray, ...]],
    labels: Sequence[str],
    axis: str = "step",
    linear: bool = False,
) -> None:
    """Draw lines (x, y), some with a band (x, y, low, high), each labelled at its end."""
    names = [_beside(label) if label else [] for label in labels]
    beside = max((math.ceil(text_width(line, SMALL, "bold")) for name in names for line in name), default=0)
    wide, tall, start = COLUMN - 62 - 14 - (beside + 12 if beside else 0), 202, left + 58
    panel = add_panel(page, start, top + 8, wide, tall)
    for (across, centre, *band), colour in zip(curves, COLOURS, strict=False):
        if band:
            panel.fill_between(across, *band, color=colour, alpha=0.22, linewidth=0)
        panel.plot(across, centre, color=colour, linewidth=1.8, marker="o" if len(across) < 3 else "none", markersize=4)
    set_scale(panel, np.concatenate([y for _, *rest in curves for y in rest]), linear=linear)
    ends = [x[-1] for x, *_ in curves]
    panel.set_xlim(min(x[0] for x, *_ in curves) - 0.01 * max(ends), 1.01 * max(ends) or 1)
    _integer_ticks(panel)
    panel.grid(True, color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    add_text(page, start + wide / 2, top + 258, axis, SMALL, ha="center", va="bottom")
    if not beside:
        return
    total = page.get_ylim()[0]
    wanted = [
        panel.transData.transform((0, last(y)))[1] if math.isfinite(last(y)) else panel.bbox.y1 for _, y, *_ in curves
    ]
    gap = line_height(SMALL) * max(len(name) for name in names) + 2
    places = spread(wanted, gap, panel.bbox.y0 - 30, panel.bbox.y1 + 8)
    for place, name, colour in zip(places, names, COLOURS, strict=False):
        add_text(
            page, start + wide + 10, total - place, "\n".join(name), SMALL, va="center", color=colour, weight="bold"
        )
