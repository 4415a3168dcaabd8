"""A metric over two settings, as a heat map."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.plots.page import MARGIN, WIDTH, add_colour_bar, add_panel, blank_page, colour_map, heading, save
from jaxcnn.plots.words import INK, LABEL, MUTED, SMALL, TINY, add_text, line_height, text_width, wrapped
from jaxcnn.runtime.errors import InputError

_GOOD_LAST = ("#f3f6fa", "#6ba3d0", "#08306b")
_BEST = "#e69f00"


def heat_map(
    means: Any,
    notes: Sequence[Sequence[str]],
    path: str | Path,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_name: str,
    column_name: str,
    title: str,
    form: str = ".2f",
    lower_is_better: bool = True,
) -> Path:
    """Draw the mean of a metric for each pair of two settings; the better, the darker, and the best in a frame.

    Colours are spaced logarithmically if the means are positive and span more than a decade.

    Args:
        means: [rows, columns], NaN where there is none.
        notes: texts of the cells without a mean, as in `diverged`; empty where there was no run.
        path: PNG file to write.
        rows, columns: values of the settings.
        row_name, column_name: names of the settings.
        title: text above.
        form: format of a mean. If the cells are too narrow for it, there is a colour bar instead.
        lower_is_better: whether small means are good.

    Returns:
        `path`.

    Raises:
        InputError: there is no mean.
    """
    means = np.ma.masked_invalid(np.asarray(means, np.float64))
    if not means.count():
        raise InputError("the heat map has no mean; draw a sweep with a finished run.")
    names = [wrapped(name, 300, SMALL) for name in rows]
    left = MARGIN + math.ceil(max(text_width(line, SMALL) for name in names for line in name)) + 10
    texts = [
        [note if hidden else f"{mean:{form}}" for mean, hidden, note in zip(*row, strict=True)]
        for row in zip(means.data, np.ma.getmaskarray(means), notes, strict=True)
    ]
    longest = max(text_width(text, LABEL) for row in texts for text in row)
    cell = min(max(longest + 24, 130), (WIDTH - left - MARGIN) / len(columns))
    size = LABEL * min(1, (cell - 6) / longest)
    written = size >= TINY - 1
    if not written:
        cell = min(cell, (WIDTH - left - 110) / len(columns))
    height = max(40, *(line_height(SMALL) * len(name) + 6 for name in names)) if len(rows) <= 24 else 24
    upright = max(text_width(name, SMALL) for name in columns) + 10 > cell
    foot = math.ceil(max(text_width(name, SMALL) for name in columns)) + 12 if upright else line_height(SMALL) + 12
    width, tall = cell * len(columns), height * len(rows)
    head = heading(title, "the darker, the better; the best mean has a frame")
    page = blank_page(WIDTH, head.height + 24 + tall + foot + line_height(LABEL) + MARGIN)
    top = head.draw(page) + 24
    panel = add_panel(page, left, top, width, tall)
    image = panel.imshow(
        means,
        cmap=colour_map(_GOOD_LAST if not lower_is_better else _GOOD_LAST[::-1]),
        norm=_norm(means),
        aspect="auto",
        interpolation="nearest",
        origin="upper",
    )
    panel.set_facecolor("#f0f0f0")
    panel.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    panel.set_xticks(range(len(columns)), columns, rotation=90 if upright else 0, parse_math=False)
    panel.set_yticks(range(len(rows)), ["\n".join(name) for name in names], parse_math=False)
    panel.tick_params(length=0, pad=6)
    panel.hlines(np.arange(1, len(rows)) - 0.5, -0.5, len(columns) - 0.5, color="white", linewidth=1)
    panel.vlines(np.arange(1, len(columns)) - 0.5, -0.5, len(rows) - 0.5, color="white", linewidth=1)
    best = np.unravel_index((means if lower_is_better else -means).argmin(), means.shape)
    _frame(panel, best)
    for i, j in np.ndindex(means.shape) if written else ():
        hidden = means[i, j] is np.ma.masked
        dark = not hidden and np.dot(image.cmap(image.norm(means[i, j]))[:3], (0.299, 0.587, 0.114)) < 0.5
        style = {"weight": "bold"} if (i, j) == best else {}
        colour = MUTED if hidden else "white" if dark else INK
        add_text(panel, j, i, texts[i][j], size, ha="center", va="center", color=colour, **style)
    if not written:
        add_colour_bar(page, image, left + width + 20, top, min(tall, 240), lambda value: f"{value:{form}}")
    add_text(page, MARGIN, top - 8, row_name, LABEL, va="bottom")
    add_text(page, left + width / 2, top + tall + foot, column_name, LABEL, ha="center", va="top")
    return save(page, path)


def _norm(means: np.ma.MaskedArray) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(means.min()), float(means.max())
    if low > 0 and high > 10 * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _frame(panel: Any, place: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    corner = (place[1] - 0.5, place[0] - 0.5)
    panel.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=_BEST, linewidth=3, clip_on=False, zorder=4))
