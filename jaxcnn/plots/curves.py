"""Loss, error and learning rate over the epochs of a run, or of several."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcnn.plots.page import FAINT, WIDTH, add_panel, blank_page, save
from jaxcnn.plots.scales import set_scale, spread
from jaxcnn.plots.words import INK, LABEL, MUTED, SMALL, add_text, line_height
from jaxcnn.runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour, marker, line width, and the largest number of points that are drawn with markers.
_SPLITS = {
    "train": ("#e69f00", "D", 1.2, 1),
    "validation": ("#009e73", "o", 1.8, 40),
    "test": ("#00558c", "s", 1.8, 40),
}


def learning_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw loss, error rate and, if it changes, learning rate over the epochs of one run.

    A panel has a logarithmic scale if its values span more than a decade; exact zeros are then drawn on a separate line
    below. The last evaluation is written beside its curve.

    Args:
        rows: records of metrics.jsonl: `step`, `epoch`, `split` (train, validation or test), `loss`, `accuracy` in
            [0, 1], and `learning_rate` for train. Values that are not finite leave a gap.
        path: PNG file to write; an existing file is replaced only when the new one is complete.

    Returns:
        `path`.

    Raises:
        InputError: there are no rows.
    """
    return learning_curves_of_seeds([rows], path)


def learning_curves_of_seeds(runs: Sequence[Sequence[Mapping[str, Any]]], path: str | Path) -> Path:
    """Draw the panels of `learning_curves` for several runs of one experiment: their mean, and a band from min to max.

    Args:
        runs: rows of each run, as for `learning_curves`. Steps that are not logged by every run are omitted.
        path: PNG file to write.

    Returns:
        `path`.

    Raises:
        InputError: there are no rows, or no step is logged by all runs.
    """
    curves = [curve for split in _SPLITS if (curve := read_curve(runs, split)).epoch.size]
    if not curves:
        raise InputError(f"the metrics of {len(runs)} runs share no logged step; draw runs that logged the same steps.")
    rates = [curve.learning_rate for curve in curves if curve.split == "train" and np.ptp(curve.learning_rate) > 0]
    left, width, height, strip, gap = 72, 734, 230, 64, 44
    bottoms = [gap + height, 2 * (gap + height)] + [2 * (gap + height) + gap + strip] * len(rates)
    page = blank_page(WIDTH, bottoms[-1] + 58)
    last = max(curve.epoch[-1] for curve in curves) or 1.0
    titles = ["Loss", "Error rate, %", "Learning rate"]
    for title, bottom, tall in zip(titles, bottoms, [height, height, strip], strict=False):
        panel = add_panel(page, left, bottom - tall, width, tall)
        epochs_axis(panel, last, labels=bottom == bottoms[-1])
        add_text(page, left, bottom - tall - 8, title, LABEL, va="bottom", weight="bold")
        if title == "Learning rate":
            rate = rates[0].mean(axis=0)
            panel.plot(curves[0].epoch, rate, color=INK, linewidth=1.4, linestyle="-", marker="none")
            # A smooth schedule is easier to read on a linear scale, a schedule of drops on a logarithmic one.
            set_scale(panel, rate, linear=np.unique(rate).size > 10, ticks=3)
        else:
            _lines(page, panel, curves, title)
    add_text(page, left + width / 2, bottoms[-1] + 48, "epoch", LABEL, ha="center", va="bottom")
    if len(runs) > 1:
        note = f"mean of {len(runs)} runs, band from min to max"
        add_text(page, left + width, gap - 8, note, SMALL, ha="right", va="bottom", color=MUTED)
    return save(page, path)


class Curve(NamedTuple):
    """One split of several runs: `epoch` is [n], the other arrays [runs, n]; the error is in percent."""

    split: str
    epoch: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    learning_rate: np.ndarray


def read_curve(runs: Sequence[Sequence[Mapping[str, Any]]], split: str) -> Curve:
    """Return the rows of one split of several runs, at the steps that all of them have logged."""
    by_step = [{row["step"]: row for row in run if row["split"] == split} for run in runs]
    steps = sorted(set(by_step[0]).intersection(*by_step)) if by_step else []

    def column(key: str) -> np.ndarray:
        values = [[rows[step].get(key) for step in steps] for rows in by_step]
        return np.array(values, np.float64).reshape(len(runs), len(steps))

    epoch = np.array([by_step[0][step]["epoch"] for step in steps], np.float64)
    return Curve(split, epoch, column("loss"), 100 * (1 - column("accuracy")), column("learning_rate"))


def _lines(page: "Axes", panel: "Axes", curves: list[Curve], title: str) -> None:
    """Draw mean and band of every split, labelled with its name and last evaluation."""
    labels, values, lines = [], [], 1
    for curve in curves:
        colour, marker, thick, marked = _SPLITS[curve.split]
        runs = curve.loss if title == "Loss" else curve.error
        runs = np.where(np.isfinite(runs), runs, np.nan)
        mean, low, high = runs.mean(axis=0), runs.min(axis=0), runs.max(axis=0)
        marker = marker if len(mean) <= marked else "none"
        panel.plot(curve.epoch, mean, color=colour, linewidth=thick, linestyle="-", marker=marker, markersize=4)
        if len(runs) > 1:
            panel.fill_between(curve.epoch, low, high, color=colour, alpha=0.25, linewidth=0)
        values += [mean, low, high]
        finite = mean[np.isfinite(mean)]
        if finite.size:
            text = curve.split
            if curve.split != "train":
                digits, unit = (".3g", "") if title == "Loss" else (".2f", " %")
                text += f" {mean[-1]:{digits}}{unit}"
                if len(runs) > 1:
                    text += f"\n{low[-1]:{digits}} to {high[-1]:{digits}}"
                    lines = 2
            labels.append((finite[-1], text, colour))
    set_scale(panel, np.concatenate(values))
    left, right = page.get_xlim()[0], panel.bbox.x1
    total = page.get_ylim()[0]
    wanted = [panel.transData.transform((0, value))[1] for value, _, _ in labels]
    places = spread(wanted, lines * line_height(SMALL) + 2, panel.bbox.y0, panel.bbox.y1)
    for place, (_, text, colour) in zip(places, labels, strict=True):
        add_text(page, left + right + 12, total - place, text, SMALL, va="center", color=colour, weight="bold")


def epochs_axis(panel: "Axes", last: float, *, labels: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    panel.set_xlim(-0.01 * last, 1.01 * last)
    panel.xaxis.set_major_locator(MaxNLocator(10, integer=last >= 4, steps=[1, 2, 5, 10]))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.tick_params(axis="x", labelbottom=labels, length=3)
    panel.grid(True, axis="both", color=FAINT, linewidth=0.6, linestyle="-")
    panel.set_axisbelow(True)
