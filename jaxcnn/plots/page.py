"""Pages with coordinates in pixels, and the elements that all pictures share.

Drawing uses no global state of matplotlib: no pyplot, no backend, none of the user's rcParams. Colours are safe for
colour-blind readers and differ in lightness, so that they can also be printed in greyscale.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.plots.words import DPI, FONT, INK, MUTED, SMALL, TITLE, add_text, line_height, wrapped
from jaxcnn.runtime.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 1000
MARGIN = 20
FAINT = "#d9d9d9"
# Lightness increases from negative to positive, so the sign is visible without colour too.
SIGNED = ("#0b2a5b", "#3f6ea8", "#9a9a9a", "#f0956f", "#ffe0d2")


def blank_page(width: float, height: float) -> "Axes":
    """Return axes that cover a new figure of this size in pixels, rounded up; (0, 0) is the top left corner."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = math.ceil(width), math.ceil(height)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", layout="none")
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    page.set_axis_off()
    return page


@dataclass(frozen=True)
class Heading:
    """A title and a subtitle, in lines."""

    title: Sequence[str]
    subtitle: Sequence[str]

    @property
    def height(self) -> int:
        """Height of the space above a picture, in pixels."""
        return 14 + line_height(TITLE) * len(self.title) + 6 + line_height(SMALL) * len(self.subtitle) + 18

    def draw(self, page: "Axes") -> int:
        """Write the texts on a page and return `height`."""
        add_text(page, MARGIN, 14, "\n".join(self.title), TITLE, va="top", weight="bold")
        y = 20 + line_height(TITLE) * len(self.title)
        add_text(page, MARGIN, y, "\n".join(self.subtitle), SMALL, va="top", color=MUTED)
        return self.height


def heading(title: str, subtitle: str) -> Heading:
    """Return a heading whose lines fit a page."""
    room = WIDTH - 2 * MARGIN
    return Heading(wrapped(title, room, TITLE, "bold"), wrapped(subtitle, room, SMALL))


def add_panel(page: "Axes", left: float, top: float, width: float, height: float) -> "Axes":
    """Add a panel to the page: new axes, placed in pixels of the page, with lines on the left and at the bottom."""
    across, down = page.get_xlim()[1], page.get_ylim()[0]
    box = (left / across, 1 - (top + height) / down, width / across, height / down)
    panel = page.figure.add_axes(box, facecolor="white")
    panel.grid(False)
    panel.tick_params(which="both", direction="out", color=MUTED, length=3, width=0.8, pad=4)
    panel.tick_params(which="both", labelcolor=INK, labelsize=SMALL, labelfontfamily=FONT)
    panel.tick_params(which="both", top=False, right=False, bottom=True, left=True)
    for side, spine in panel.spines.items():
        spine.set(visible=side in ("left", "bottom"), edgecolor=MUTED, linewidth=0.8)
    return panel


def add_tile(
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
    """Add an image to the page, placed in pixels of the page, in a thin frame.

    Args:
        page: from `blank_page`.
        image: [height, width], with a colour map in `style`, or [height, width, 3] in [0, 1].
        left, top, width, height: position and size of the image without the frame.
        smooth: average pixels, for an image that is reduced; False: pixels of an enlarged image remain squares.
        **style: options of matplotlib's `imshow`: cmap, vmin, vmax.

    Returns:
        The matplotlib image, for `add_colour_bar`.
    """
    from matplotlib.patches import Rectangle

    box = (left, left + width, top + height, top)
    page.add_patch(Rectangle((left - 1, top - 1), width + 2, height + 2, facecolor=FAINT, linewidth=0))
    interpolation = "hanning" if smooth else "nearest"
    return page.imshow(image, extent=box, aspect="auto", interpolation=interpolation, origin="upper", zorder=2, **style)


def add_colour_bar(
    page: "Axes", image: Any, left: float, top: float, height: float, write: Callable[[float], str]
) -> None:
    """Add the colour scale of an image, with its ends and the value of its middle colour formatted by `write`."""
    bar = page.figure.colorbar(image, cax=add_panel(page, left, top, 14, height))
    ticks = [float(image.norm.inverse(part)) for part in (0, 0.5, 1)]
    bar.set_ticks(ticks, labels=[write(tick) for tick in ticks])
    bar.ax.tick_params(which="both", labelsize=SMALL, length=0, left=False, bottom=False)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)


def colour_map(stops: Sequence[str]) -> Any:
    """Return a colour map that interpolates `stops`, evenly spaced from the lowest value to the highest."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("jaxcnn", stops)


def save(page: "Axes", path: str | Path) -> Path:
    """Write the page's figure to `path` atomically, as SVG if that is its suffix, else as PNG.

    Returns:
        `path`.

    Raises:
        OSError: the file cannot be written; an existing file is unchanged.
    """
    from matplotlib import rc_context

    path = Path(path)
    with replacing(path) as draft:
        if path.suffix == ".svg":
            # Identifiers are random unless salted, which only this rcParam can do.
            with rc_context({"svg.hashsalt": "jaxcnn"}):
                page.figure.savefig(draft, format="svg", metadata={"Date": None})
        else:
            page.figure.canvas.print_png(draft)
    return path
