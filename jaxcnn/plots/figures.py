"""Figures of reports: a title, a note and a drawing of one width, so that pages show them as SVG, and a PNG several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn.plots.page import MARGIN, blank_page, save
from jaxcnn.plots.words import LABEL, MUTED, SMALL, TITLE, add_text, line_height, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN = 480
"""Width of a figure in pixels: a phone shows it at three quarters of this size, with letters of 11 pixels."""


@dataclass(frozen=True)
class Figure:
    """A picture without its texts.

    Attributes:
        name: identifier, unique on a page.
        title: the finding.
        note: what is drawn.
        height: in pixels.
        draw: draws it on a page, `COLUMN` pixels wide, from a left and a top edge.
    """

    name: str
    title: str
    note: str
    height: float
    draw: Callable[["Axes", float, float], None]


def draw_figures(rows: Sequence[Sequence[Figure]], path: str | Path, *, title: str) -> Path:
    """Draw all figures on one PNG, two beside each other.

    Args:
        rows: figures that belong together; each row starts on the left.
        path: PNG file to write.
        title: text above.

    Returns:
        `path`.
    """
    gap, width = 28, 2 * COLUMN + 3 * MARGIN
    pairs = [row[i : i + 2] for row in rows for i in range(0, len(row), 2)]
    texts = {figure.name: _texts(figure) for pair in pairs for figure in pair}
    heads = [
        max(line_height(LABEL) * len(t) + line_height(SMALL) * len(n) for t, n in _of(texts, pair)) for pair in pairs
    ]
    heights = [head + 12 + max(f.height for f in pair) + gap for head, pair in zip(heads, pairs, strict=True)]
    heading = wrapped(title, width - 2 * MARGIN, TITLE, "bold")
    top = 14 + line_height(TITLE) * len(heading) + 14
    page = blank_page(width, top + sum(heights))
    add_text(page, MARGIN, 14, "\n".join(heading), TITLE, va="top", weight="bold")
    for head, height, pair in zip(heads, heights, pairs, strict=True):
        for i, figure in enumerate(pair):
            left = MARGIN + i * (COLUMN + MARGIN)
            name, note = texts[figure.name]
            add_text(page, left, top, "\n".join(name), LABEL, va="top", weight="bold")
            below = top + line_height(LABEL) * len(name) + 2
            add_text(page, left, below, "\n".join(note), SMALL, va="top", color=MUTED)
            figure.draw(page, left, top + head + 12)
        top += height
    return save(page, path)


def figure_page(figure: Figure) -> "Axes":
    """Return a page with the drawing of one figure and nothing else."""
    page = blank_page(COLUMN, figure.height)
    figure.draw(page, 0, 0)
    return page


def _texts(figure: Figure) -> tuple[list[str], list[str]]:
    return wrapped(figure.title, COLUMN, LABEL, "bold"), wrapped(figure.note, COLUMN, SMALL)


def _of(texts: Mapping[str, Any], figures: Sequence[Figure]) -> list[Any]:
    return [texts[figure.name] for figure in figures]
