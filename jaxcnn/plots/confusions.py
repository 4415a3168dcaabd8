"""The confusion matrix."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from jaxcnn.plots.page import FAINT, MARGIN, WIDTH, add_colour_bar, add_panel, blank_page, colour_map, save
from jaxcnn.plots.words import (
    INK,
    LABEL,
    MUTED,
    SMALL,
    TINY,
    TITLE,
    add_text,
    line_height,
    one_line,
    shortened,
    text_width,
)
from jaxcnn.runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CORRECT = ("#dbe8f5", "#6ba3d0", "#08519c")
_WRONG = ("#fdd0a2", "#f08030", "#8c2d04")
_COUNTED_CLASSES = 20


def count_confusions(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Count how often each class was predicted for each true class.

    Args:
        labels: true classes, integers [n].
        predictions: predicted classes, integers [n].
        num_classes: number of classes c.

    Returns:
        Counts, int64 [c, c]; rows are true classes, columns predicted ones.

    Raises:
        InputError: the lengths differ, there are no examples, or a class is outside [0, c).
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or not labels.size:
        raise InputError(
            f"labels {labels.shape} and predictions {predictions.shape} must be two lists of equal length, at least 1."
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
    """Draw the confusion matrix, with the recall of each class.

    Correct predictions are blue, shaded by recall. Errors are orange, shaded by their fraction of the true class, on a
    separate square-root scale that ends at the largest fraction, or at 5 %, so that one error in a thousand is still
    visible. With up to 20 classes, counts other than 0 are written in the cells; with more, there is a colour bar, and
    the recalls are bars.

    Args:
        labels: true classes, integers [n].
        predictions: predicted classes, integers [n].
        class_names: one name per class, in order; long names are shortened.
        path: PNG file to write.

    Returns:
        `path`.

    Raises:
        InputError: as in `count_confusions`.
    """
    counts = count_confusions(labels, predictions, len(class_names))
    classes, few = len(counts), len(counts) <= _COUNTED_CLASSES
    correct, totals = np.diagonal(counts), counts.sum(axis=1)
    title = f"Accuracy {100 * correct.sum() / counts.sum():.2f} %, n = {counts.sum()}"

    size = SMALL if few else TINY
    names = [shortened(name, 220 if few else 170, size) for name in one_line(class_names)]
    longest, line = math.ceil(max(text_width(name, size) for name in names)), line_height(size)
    left, right, top = MARGIN + 30 + longest + 8, 100 if few else 230, 70
    # Every class gets at least one pixel, even if that makes this picture wider than the others.
    cell = max(1, min(72, (WIDTH - left - right) // classes))
    side = cell * classes
    upright = longest + 8 > cell
    foot = 8 + (longest if upright else line) + 12 + line_height(LABEL)
    width = max(left + side + right, left + math.ceil(text_width(title, TITLE, "bold")) + MARGIN)
    page = blank_page(width, top + side + foot + MARGIN)
    add_text(page, left, 14, title, TITLE, va="top", weight="bold")
    add_text(page, MARGIN, top + side / 2, "true class", LABEL, ha="left", va="center", rotation=90)
    add_text(page, left + side / 2, top + side + foot, "predicted class", LABEL, ha="center", va="bottom")

    share = counts / np.maximum(totals, 1)[:, None]
    recall = np.diagonal(share)
    wrong = np.ma.array(share, mask=(counts == 0) | np.eye(classes, dtype=bool))
    right_ones = np.ma.array(share, mask=~np.diag(totals > 0))
    panel = add_panel(page, left, top, side, side)
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
        add_text(page, left + side + 72, top - 8, "recall", SMALL, ha="right", va="bottom", color=MUTED)
        for i in range(classes):
            value = f"{100 * recall[i]:.1f} %" if totals[i] else "none"
            add_text(page, left + side + 72, top + (i + 0.5) * cell, value, SMALL, ha="right", va="center")
        return save(page, path)

    bars = add_panel(page, left + side + 14, top, 70, side)
    bars.stairs(recall, np.arange(classes + 1) - 0.5, orientation="horizontal", fill=True, color=_CORRECT[1])
    bars.set(xlim=(0, 1), ylim=(classes - 0.5, -0.5), yticks=[])
    bars.set_xticks([0, 1], ["0", "100 %"])
    add_text(page, left + side + 49, top - 8, "recall", SMALL, ha="center", va="bottom", color=MUTED)
    add_colour_bar(page, errors, left + side + 120, top, min(side, 240), lambda v: f"{100 * v:.3g} %")
    note = "errors, fraction of the true class"
    add_text(page, left + side + 210, top + 4, note, SMALL, ha="right", va="top", rotation=90, color=MUTED)
    return save(page, path)


def _shade(panel: "Axes", wrong: np.ma.MaskedArray, right: np.ma.MaskedArray) -> tuple[Any, Any]:
    """Draw the errors and the correct predictions, each on its own colour scale."""
    from matplotlib.colors import Normalize, PowerNorm

    style = {"aspect": "auto", "interpolation": "nearest", "origin": "upper"}
    most = max(0.05, wrong.filled(0).max())
    errors = panel.imshow(wrong, cmap=colour_map(_WRONG), norm=PowerNorm(0.5, 0, most), **style)
    hits = panel.imshow(right, cmap=colour_map(_CORRECT), norm=Normalize(0, 1), **style)
    return errors, hits


def _counts(panel: "Axes", counts: np.ndarray, cell: int, errors: Any, hits: Any) -> None:
    """Write the counts in the cells, white on dark ones, and draw thin lines between the cells."""
    longest = text_width(str(counts.max()), LABEL)
    size = LABEL * min(1.0, 0.85 * cell / longest)
    inner = np.arange(len(counts) - 1) + 0.5
    panel.hlines(inner, -0.5, len(counts) - 0.5, color=FAINT, linewidth=0.6)
    panel.vlines(inner, -0.5, len(counts) - 0.5, color=FAINT, linewidth=0.6)
    for i, j in np.argwhere(counts):
        shade = hits if i == j else errors
        dark = np.dot(shade.cmap(shade.norm(shade.get_array()[i, j]))[:3], (0.299, 0.587, 0.114)) < 0.5
        add_text(panel, j, i, str(counts[i, j]), size, ha="center", va="center", color="white" if dark else INK)
