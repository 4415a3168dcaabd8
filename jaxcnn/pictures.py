"""The pictures a finished run leaves in its folder, as PNG files about 1000 pixels wide.

Drawing touches no global state of matplotlib: no pyplot, no backend, no rcParams of the user's. Colours are safe for
colour-blind readers and differ in lightness, so that they also survive a greyscale print.
"""

import bisect
import functools
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxcnn.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A power of two: sizes in pixels then pass through matplotlib's inches without rounding.
_DPI = 128
_WIDTH = 1000
_MARGIN = 20
_FONT = "DejaVu Sans"
_TITLE, _LABEL, _SMALL, _NARROW, _TINY = 10.5, 9.0, 8.0, 7.0, 6.5
_INK, _MUTED, _FAINT = "#222222", "#666666", "#d9d9d9"
# Colour, marker, line width, and the number of points up to which they are marked.
_SPLITS = {
    "train": ("#e69f00", "D", 1.2, 1),
    "validation": ("#009e73", "o", 1.8, 40),
    "test": ("#00558c", "s", 1.8, 40),
}
_CORRECT = ("#dbe8f5", "#6ba3d0", "#08519c")
_WRONG = ("#fdd0a2", "#f08030", "#8c2d04")
# Lightness rises from negative to positive, so the sign shows without colour too.
_SIGNED = ("#0b2a5b", "#3f6ea8", "#9a9a9a", "#f0956f", "#ffe0d2")
_COUNTED_CLASSES = 20


def learning_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw loss, error rate and, where it changes, learning rate over the epochs of one run.

    A panel has a logarithmic scale where its values span more than a decade; exact zeros then stand on a line of their
    own. The last evaluation is written beside its curve.

    Args:
        rows: records of metrics.jsonl: `step`, `epoch`, `split` (train, validation or test), `loss`, `accuracy` in
            [0, 1], and `learning_rate` for train. Values that are not finite leave a gap.
        path: PNG file to write; one that is there is replaced only when the new one is complete.

    Returns:
        `path`.

    Raises:
        InputError: there are no rows.
    """
    return learning_curves_of_seeds([rows], path)


def learning_curves_of_seeds(runs: Sequence[Sequence[Mapping[str, Any]]], path: str | Path) -> Path:
    """Draw the panels of `learning_curves` for several runs of one experiment: their mean, and a band from min to max.

    Args:
        runs: rows of each run, as for `learning_curves`. Steps that not every run has logged are left out.
        path: PNG file to write.

    Returns:
        `path`.

    Raises:
        InputError: there are no rows, or no step that all runs have logged.
    """
    curves = [curve for split in _SPLITS if (curve := _curve(runs, split)).epoch.size]
    if not curves:
        raise InputError(f"metrics of {len(runs)} runs share no logged step; draw runs that logged the same ones.")
    rates = [curve.learning_rate for curve in curves if curve.split == "train" and np.ptp(curve.learning_rate) > 0]
    left, width, height, strip, gap = 72, 734, 230, 64, 44
    bottoms = [gap + height, 2 * (gap + height)] + [2 * (gap + height) + gap + strip] * len(rates)
    page = _page(_WIDTH, bottoms[-1] + 58)
    last = max(curve.epoch[-1] for curve in curves) or 1.0
    titles = ["Loss", "Error rate, %", "Learning rate"]
    for title, bottom, tall in zip(titles, bottoms, [height, height, strip], strict=False):
        panel = _panel(page, left, bottom - tall, width, tall)
        _epochs(panel, last, labels=bottom == bottoms[-1])
        _text(page, left, bottom - tall - 8, title, _LABEL, va="bottom", weight="bold")
        if title == "Learning rate":
            rate = rates[0].mean(axis=0)
            panel.plot(curves[0].epoch, rate, color=_INK, linewidth=1.4, linestyle="-", marker="none")
            # A smooth schedule is read best on a linear scale, a schedule of drops by factors on a logarithmic one.
            _scale(panel, rate, linear=np.unique(rate).size > 10, ticks=3)
        else:
            _lines(page, panel, curves, title)
    _text(page, left + width / 2, bottoms[-1] + 48, "epoch", _LABEL, ha="center", va="bottom")
    if len(runs) > 1:
        note = f"mean of {len(runs)} runs, band from min to max"
        _text(page, left + width, gap - 8, note, _SMALL, ha="right", va="bottom", color=_MUTED)
    return _save(page, path)


def count_confusions(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """How often each class was taken for each.

    Args:
        labels: true classes, whole numbers [n].
        predictions: predicted classes, whole numbers [n].
        num_classes: number of classes c.

    Returns:
        Counts, int64 [c, c]; the row is the true class, the column the predicted one.

    Raises:
        InputError: the lengths differ, there are no examples, or a class is outside [0, c).
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or not labels.size:
        raise InputError(
            f"labels {labels.shape} and predictions {predictions.shape} must be two lists of one length, at least 1."
        )
    for name, classes in (("labels", labels), ("predictions", predictions)):
        if classes.min() < 0 or classes.max() >= num_classes:
            raise InputError(
                f"{name} run from {classes.min()} to {classes.max()}; with {num_classes} class names they must lie in "
                f"0 to {num_classes - 1}."
            )
    pairs = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, class_names: Sequence[str], path: str | Path) -> Path:
    """Draw which classes are taken for which, with the recall of each.

    Correct predictions are blue by recall. Errors are orange by their share of the true class, on a square-root scale
    of their own that ends at the largest, or at 5 %, so that one error in a thousand still shows. Counts other than 0
    are written in the cells up to 20 classes; beyond that there is a colour bar, and the recalls are bars.

    Args:
        labels: true classes, whole numbers [n].
        predictions: predicted classes, whole numbers [n].
        class_names: one name a class, in order; those too long are cut.
        path: PNG file to write.

    Returns:
        `path`.

    Raises:
        InputError: as `count_confusions`.
    """
    counts = count_confusions(labels, predictions, len(class_names))
    classes, few = len(counts), len(counts) <= _COUNTED_CLASSES
    correct, totals = np.diagonal(counts), counts.sum(axis=1)
    title = f"Accuracy {100 * correct.sum() / counts.sum():.2f} %, n = {counts.sum()}"

    size = _SMALL if few else _TINY
    names = [_cut(name, 220 if few else 170, size) for name in _one_line(class_names)]
    longest, line = math.ceil(max(_width(name, size) for name in names)), _line(size)
    left, right, top = _MARGIN + 30 + longest + 8, 100 if few else 230, 70
    # Every class gets at least a pixel, even where that makes the picture wider than the others.
    cell = max(1, min(72, (_WIDTH - left - right) // classes))
    side = cell * classes
    upright = longest + 8 > cell
    foot = 8 + (longest if upright else line) + 12 + _line(_LABEL)
    width = max(left + side + right, left + math.ceil(_width(title, _TITLE, "bold")) + _MARGIN)
    page = _page(width, top + side + foot + _MARGIN)
    _text(page, left, 14, title, _TITLE, va="top", weight="bold")
    _text(page, _MARGIN, top + side / 2, "true class", _LABEL, ha="left", va="center", rotation=90)
    _text(page, left + side / 2, top + side + foot, "predicted class", _LABEL, ha="center", va="bottom")

    share = counts / np.maximum(totals, 1)[:, None]
    recall = np.diagonal(share)
    wrong = np.ma.array(share, mask=(counts == 0) | np.eye(classes, dtype=bool))
    right_ones = np.ma.array(share, mask=~np.diag(totals > 0))
    panel = _panel(page, left, top, side, side)
    errors, hits = _shade(panel, wrong, right_ones)
    panel.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5))
    shown = range(0, classes, math.ceil((line + 2) / cell))
    panel.set_xticks(shown, [names[i] for i in shown], rotation=90 if upright else 0, parse_math=False)
    panel.set_yticks(shown, [names[i] for i in shown], parse_math=False)
    panel.tick_params(labelsize=size, length=0 if few else 2, pad=6)
    for spine in panel.spines.values():
        spine.set_visible(True)

    if few:
        _counts(panel, counts, cell, errors, hits)
        _text(page, left + side + 72, top - 8, "recall", _SMALL, ha="right", va="bottom", color=_MUTED)
        for i in range(classes):
            value = f"{100 * recall[i]:.1f} %" if totals[i] else "none"
            _text(page, left + side + 72, top + (i + 0.5) * cell, value, _SMALL, ha="right", va="center")
        return _save(page, path)

    bars = _panel(page, left + side + 14, top, 70, side)
    bars.stairs(recall, np.arange(classes + 1) - 0.5, orientation="horizontal", fill=True, color=_CORRECT[1])
    bars.set(xlim=(0, 1), ylim=(classes - 0.5, -0.5), yticks=[])
    bars.set_xticks([0, 1], ["0", "100 %"])
    _text(page, left + side + 49, top - 8, "recall", _SMALL, ha="center", va="bottom", color=_MUTED)
    _colour_bar(page, errors, left + side + 120, top, min(side, 240), lambda v: f"{100 * v:.3g} %")
    note = "errors, share of the true class"
    _text(page, left + side + 210, top + 4, note, _SMALL, ha="right", va="top", rotation=90, color=_MUTED)
    return _save(page, path)


def most_confident_errors(labels: ArrayLike, probabilities: ArrayLike, most: int = 25) -> np.ndarray:
    """The wrong predictions, those with the largest probability of the wrong class first.

    Args:
        labels: true classes, whole numbers [n].
        probabilities: of each class [n, c]; the prediction is the largest, the first of equals.
        most: how many at most; 25 fill a picture.

    Returns:
        Indices of examples, int64 [at most `most`]; equals keep their order.

    Raises:
        InputError: the shapes do not match, or `most` is not positive.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise InputError(f"probabilities are {probabilities.shape}; with labels {labels.shape} they must be [n, c].")
    if most < 1:
        raise InputError(f"most is {most}; it must be at least 1.")
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order[:most]]


def confident_errors(
    images: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    path: str | Path,
    most: int = 25,
) -> Path:
    """Draw the images whose wrong class has the largest probability, each under `true → predicted, probability`.

    Pixels are shown as they are, enlarged by a whole factor; images above 180 pixels are reduced.

    Args:
        images: [n, height, width, channels]; uint8, or floats, which are stretched to [0, 1] if they leave it. Three
            channels are RGB; of any other number the first is shown, in grey.
        labels: true classes, whole numbers [n].
        probabilities: of each class [n, c].
        class_names: one name a class, in order; those too long are cut.
        path: PNG file to write. Without errors the picture says so.
        most: how many at most; 25 fill a picture.

    Returns:
        `path`.

    Raises:
        InputError: the shapes do not match.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    worst = most_confident_errors(labels, probabilities, most)
    shape, total = np.shape(images), len(labels)
    if len(shape) != 4 or shape[0] != total:
        raise InputError(f"images are {shape}; with {total} labels they must be [{total}, height, width, channels].")
    if probabilities.shape[1] != len(class_names):
        raise InputError(f"class_names has {len(class_names)} names; {probabilities.shape[1]} classes need one each.")
    predictions = probabilities.argmax(axis=1)
    wrong = int((predictions != labels).sum())
    if not wrong:
        return _save(_sentence(f"No errors, n = {total}"), path)

    height, width = shape[1:3]
    tile = 180
    factor = tile / max(height, width)
    factor = math.floor(factor) if factor > 1 else factor
    high, wide = math.ceil(height * factor), math.ceil(width * factor)
    names = _one_line(class_names)
    pairs = [(names[labels[i]], names[predictions[i]], probabilities[i].max()) for i in worst]
    columns, size, captions = _captions(pairs)
    lines = 1 + max(caption.count("\n") for caption in captions)
    across = min(columns, len(worst))
    pitch = (_WIDTH - 2 * _MARGIN) // columns
    header, row = 56, lines * _line(size) + 6 + high + 18
    heading = f"{wrong} error{'s' * (wrong > 1)}, n = {total}"
    heading = f"{len(worst)} most confident of {heading}" if len(worst) < wrong else heading
    page_width = max(across * pitch, math.ceil(_width(heading, _TITLE, "bold"))) + 2 * _MARGIN
    page = _page(page_width, header + math.ceil(len(worst) / columns) * row)
    _text(page, page_width / 2, 14, heading, _TITLE, ha="center", va="top", weight="bold")
    start = (page_width - across * pitch) / 2
    for place, (caption, image) in enumerate(zip(captions, _unit(np.asarray(images)[worst]), strict=True)):
        centre = start + (place % columns + 0.5) * pitch
        top = header + place // columns * row + lines * _line(size) + 6
        _text(page, centre, top - 6, caption, size, ha="center", va="bottom")
        _tile(page, image, round(centre - wide / 2), top, wide, high, smooth=factor < 1, cmap="gray", vmin=0, vmax=1)
    return _save(page, path)


def first_layer_filters(kernel: ArrayLike, path: str | Path) -> Path:
    """Draw the filters of a convolution that sees the image.

    Filters over RGB are shown in colour, each stretched to its own range. Filters over one channel share one scale,
    symmetric about 0, dark for negative and light for positive weights. Of other kernels, the first 8 input channels
    (rows) of the first 16 filters (columns) are shown on one such scale.

    Args:
        kernel: weights [height, width, in, out].
        path: PNG file to write.

    Returns:
        `path`.

    Raises:
        InputError: the kernel does not have four axes of at least 1.
    """
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim != 4 or not kernel.size:
        raise InputError(f"kernel is {kernel.shape}; it must be a convolution's, [height, width, in, out].")
    height, width, channels, filters = kernel.shape
    title = f"{filters} filter{'s' * (filters > 1)} of {height}x{width}x{channels}"
    rgb = channels == 3
    if rgb:
        title += ", each stretched to its own range"
        low, high = kernel.min(axis=(0, 1, 2)), kernel.max(axis=(0, 1, 2))
        tiles = np.moveaxis((kernel - low) / np.where(high > low, high - low, 1), 3, 0)
    else:
        shown = kernel[:, :, :8, :16] if channels > 1 else kernel
        if shown.size < kernel.size:
            title += f": the first {shown.shape[2]} channels (rows) of the first {shown.shape[3]} (columns)"
        tiles = shown.transpose(2, 3, 0, 1).reshape(-1, height, width)
    columns = math.ceil(filters / math.ceil(filters / 16)) if channels in (1, 3) else shown.shape[3]
    rows, gap, right = math.ceil(len(tiles) / columns), 8, 0 if rgb else 90
    room = (_WIDTH - 2 * _MARGIN - right) // columns - gap
    factor = max(1, min(room // width, 96 // max(height, width)))
    high, wide, top = height * factor, width * factor, 54
    grid = columns * (wide + gap) - gap
    page_width = max(grid + right, math.ceil(_width(title, _TITLE, "bold"))) + 2 * _MARGIN
    page = _page(page_width, top + rows * (high + gap) - gap + _MARGIN)
    _text(page, _MARGIN, 14, title, _TITLE, va="top", weight="bold")
    limit = float(np.abs(tiles).max()) or 1.0
    style = {} if rgb else {"cmap": _colours(_SIGNED), "vmin": -limit, "vmax": limit}
    for place, tile in enumerate(tiles):
        x, y = _MARGIN + place % columns * (wide + gap), top + place // columns * (high + gap)
        image = _tile(page, tile, x, y, wide, high, **style)
    if not rgb:
        tall = min(rows * (high + gap) - gap, 240)
        _colour_bar(page, image, _MARGIN + grid + 20, top, tall, lambda v: f"{v:.2g}")
    return _save(page, path)


class _Curve(NamedTuple):
    """One split of several runs: epochs [n], the others [runs, n], the error in percent."""

    split: str
    epoch: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    learning_rate: np.ndarray


def _curve(runs: Sequence[Sequence[Mapping[str, Any]]], split: str) -> _Curve:
    by_step = [{row["step"]: row for row in run if row["split"] == split} for run in runs]
    steps = sorted(set(by_step[0]).intersection(*by_step)) if by_step else []

    def column(key: str) -> np.ndarray:
        values = [[rows[step].get(key) for step in steps] for rows in by_step]
        return np.array(values, np.float64).reshape(len(runs), len(steps))

    epoch = np.array([by_step[0][step]["epoch"] for step in steps], np.float64)
    return _Curve(split, epoch, column("loss"), 100 * (1 - column("accuracy")), column("learning_rate"))


def _lines(page: "Axes", panel: "Axes", curves: list[_Curve], title: str) -> None:
    """Mean and band of every split, and beside them their names with the last evaluation."""
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
    _scale(panel, np.concatenate(values))
    left, right = page.get_xlim()[0], panel.bbox.x1
    total = page.get_ylim()[0]
    wanted = [panel.transData.transform((0, value))[1] for value, _, _ in labels]
    places = _spread(wanted, lines * _line(_SMALL) + 2, panel.bbox.y0, panel.bbox.y1)
    for place, (_, text, colour) in zip(places, labels, strict=True):
        _text(page, left + right + 12, total - place, text, _SMALL, va="center", color=colour, weight="bold")


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, `gap` apart, inside [low, high] as far as that holds them."""
    order = np.argsort(wanted, kind="stable")
    places = np.asarray(wanted, np.float64)[order]
    floor = low + gap / 2
    for i in range(len(places)):
        places[i] = floor = max(places[i], floor)
        floor += gap
    ceiling = high - gap / 2
    for i in reversed(range(len(places))):
        places[i] = ceiling = min(places[i], ceiling)
        ceiling -= gap
    return places[np.argsort(order)].tolist()


def _scale(panel: "Axes", values: np.ndarray, *, linear: bool = False, ticks: int = 5) -> None:
    """Scale, limits and ticks of the y axis for values of which some may not be finite."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    positive = values[values > 0]
    if linear or low < 0 or not positive.size or high <= 10 * positive.min():
        margin = 0.05 * ((high - low) or abs(high) or 1.0)
        panel.set_ylim(low - margin, high + margin)
        locator = MaxNLocator(ticks, steps=[1, 2, 5, 10])
    else:
        least = positive.min()
        decades = math.log10(high / least)
        marks = _decade_ticks(least, high, 8 if ticks > 3 else 3)
        if low > 0:
            panel.set_yscale("log")
            panel.set_ylim(least / 10 ** (0.05 * decades), high * 10 ** (0.05 * decades))
        else:
            panel.set_yscale("symlog", linthresh=least, linscale=max(0.5, decades / 8))
            panel.set_ylim(-0.1 * least, high * 10 ** (0.05 * decades))
            marks = [0.0, *marks]
        locator = FixedLocator(marks)
    panel.yaxis.set_major_locator(locator)
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _decade_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values in [low, high], evenly spaced on a logarithmic scale: 1, 2, 5 in a decade or every few decades."""
    decades = math.log10(high / low)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if 3 * decades <= most else (1,)
    stride = max(1, math.ceil(decades / most))
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    # Rates such as 0.1 * 0.1 miss the round value by a rounding error.
    return [tick for tick in ticks if 0.999 * low <= tick <= 1.001 * high][::stride]


def _epochs(panel: "Axes", last: float, *, labels: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    panel.set_xlim(-0.01 * last, 1.01 * last)
    panel.xaxis.set_major_locator(MaxNLocator(10, integer=last >= 4, steps=[1, 2, 5, 10]))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.tick_params(axis="x", labelbottom=labels, length=3)
    panel.grid(True, axis="both", color=_FAINT, linewidth=0.6, linestyle="-")
    panel.set_axisbelow(True)


def _shade(panel: "Axes", wrong: np.ma.MaskedArray, right: np.ma.MaskedArray) -> tuple[Any, Any]:
    """Both parts of a confusion matrix, each on its own colour scale."""
    from matplotlib.colors import Normalize, PowerNorm

    style = {"aspect": "auto", "interpolation": "nearest", "origin": "upper"}
    most = max(0.05, wrong.filled(0).max())
    errors = panel.imshow(wrong, cmap=_colours(_WRONG), norm=PowerNorm(0.5, 0, most), **style)
    hits = panel.imshow(right, cmap=_colours(_CORRECT), norm=Normalize(0, 1), **style)
    return errors, hits


def _counts(panel: "Axes", counts: np.ndarray, cell: int, errors: Any, hits: Any) -> None:
    """Counts in the cells, white on dark ones, and thin lines between the cells."""
    longest = _width(str(counts.max()), _LABEL)
    size = _LABEL * min(1.0, 0.85 * cell / longest)
    inner = np.arange(len(counts) - 1) + 0.5
    panel.hlines(inner, -0.5, len(counts) - 0.5, color=_FAINT, linewidth=0.6)
    panel.vlines(inner, -0.5, len(counts) - 0.5, color=_FAINT, linewidth=0.6)
    for i, j in np.argwhere(counts):
        shade = hits if i == j else errors
        dark = np.dot(shade.cmap(shade.norm(shade.get_array()[i, j]))[:3], (0.299, 0.587, 0.114)) < 0.5
        _text(panel, j, i, str(counts[i, j]), size, ha="center", va="center", color="white" if dark else _INK)


def _captions(pairs: Sequence[tuple[str, str, float]]) -> tuple[int, float, list[str]]:
    """Columns of the grid, size of the letters and captions that fit: one line of each, two, or two smaller ones."""
    room = (_WIDTH - 2 * _MARGIN) // 5 - 10
    captions = [f"{true} → {predicted}, {p:.2f}" for true, predicted, p in pairs]
    if max(_width(caption, _SMALL) for caption in captions) <= room:
        return 5, _SMALL, captions
    columns, size = 5, _SMALL
    if max(_width(text, _SMALL) for true, predicted, p in pairs for text in (true, f"→ {predicted}, {p:.2f}")) > room:
        columns, size, room = 4, _NARROW, (_WIDTH - 2 * _MARGIN) // 4 - 10
    rest = room - _width("→ , 0.00", size)
    cut = [(_cut(true, room, size), _cut(predicted, rest, size), p) for true, predicted, p in pairs]
    return columns, size, [f"{true}\n→ {predicted}, {p:.2f}" for true, predicted, p in cut]


def _unit(images: np.ndarray) -> np.ndarray:
    """Images as floats in [0, 1], RGB [n, height, width, 3] or grey [n, height, width]."""
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    images = images.astype(np.float32)
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        images = (images - low) / ((high - low) or 1)
    return images if images.shape[3] == 3 else images[..., 0]


def _page(width: float, height: float) -> "Axes":
    """Axes over the whole of a new figure, in pixels from its top left corner."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = math.ceil(width), math.ceil(height)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white", layout="none")
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    page.set_axis_off()
    return page


def _panel(page: "Axes", left: float, top: float, width: float, height: float) -> "Axes":
    """Axes of their own at a place of the page, framed left and below."""
    across, down = page.get_xlim()[1], page.get_ylim()[0]
    box = (left / across, 1 - (top + height) / down, width / across, height / down)
    panel = page.figure.add_axes(box, facecolor="white")
    panel.grid(False)
    panel.tick_params(which="both", direction="out", color=_MUTED, length=3, width=0.8, pad=4)
    panel.tick_params(which="both", labelcolor=_INK, labelsize=_SMALL, labelfontfamily=_FONT)
    panel.tick_params(which="both", top=False, right=False, bottom=True, left=True)
    for side, spine in panel.spines.items():
        spine.set(visible=side in ("left", "bottom"), edgecolor=_MUTED, linewidth=0.8)
    return panel


def _sentence(text: str) -> "Axes":
    """A page that says only this."""
    page = _page(math.ceil(_width(text, _TITLE, "bold")) + 8 * _MARGIN, 120)
    _text(page, page.get_xlim()[1] / 2, 60, text, _TITLE, ha="center", va="center", weight="bold")
    return page


def _text(axes: "Axes", x: float, y: float, text: str, size: float, **style: Any) -> None:
    style = {"color": _INK, "family": _FONT, "parse_math": False, "usetex": False, **style}
    axes.text(x, y, text, fontsize=size, linespacing=1.2, **style)


def _tile(
    page: "Axes",
    image: np.ndarray,
    left: float,
    top: float,
    width: int,
    height: int,
    *,
    smooth: bool = False,
    **style: Any,
) -> Any:
    """An image at a place of the page, in a thin frame."""
    from matplotlib.patches import Rectangle

    box = (left, left + width, top + height, top)
    page.add_patch(Rectangle((left - 1, top - 1), width + 2, height + 2, facecolor=_FAINT, linewidth=0))
    interpolation = "hanning" if smooth else "nearest"
    return page.imshow(image, extent=box, aspect="auto", interpolation=interpolation, origin="upper", zorder=2, **style)


def _colour_bar(page: "Axes", image: Any, left: float, top: float, height: float, write: Any) -> None:
    """The scale of an image, with its two ends and the value of its middle colour written out."""
    bar = page.figure.colorbar(image, cax=_panel(page, left, top, 14, height))
    ticks = [float(image.norm.inverse(part)) for part in (0, 0.5, 1)]
    bar.set_ticks(ticks, labels=[write(tick) for tick in ticks])
    bar.ax.tick_params(which="both", labelsize=_SMALL, length=0, left=False, bottom=False)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)


def _colours(stops: Sequence[str]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("jaxcnn", stops)


@functools.lru_cache(maxsize=4096)
def _width(text: str, size: float, weight: str = "normal") -> float:
    """Width in pixels of one line."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=_FONT, size=size, weight=weight)
    return RendererAgg(1, 1, _DPI).get_text_width_height_descent(text, font, False)[0]


def _line(size: float) -> int:
    """Height in pixels that a line of text takes."""
    return math.ceil(1.25 * size * _DPI / 72)


def _one_line(names: Sequence[str]) -> list[str]:
    return [" ".join(str(name).split()) for name in names]


def _cut(name: str, room: float, size: float) -> str:
    """A class name, with an ellipsis where it is wider than `room` pixels."""
    if _width(name, size) <= room:
        return name
    shorter = [name[:length].rstrip() + "…" for length in range(1, len(name))]
    fitting = bisect.bisect_right(shorter, room, key=lambda text: _width(text, size))
    return shorter[max(fitting - 1, 0)]


def _save(page: "Axes", path: str | Path) -> Path:
    """Write the page's figure beside `path`, then put it in its place in one move; SVG if that is its suffix."""
    from matplotlib import rc_context

    path = Path(path)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        if path.suffix == ".svg":
            # Identifiers are random unless salted, which nothing but this can do.
            with rc_context({"svg.hashsalt": "jaxcnn"}):
                page.figure.savefig(draft, format="svg", metadata={"Date": None})
        else:
            page.figure.canvas.print_png(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path
