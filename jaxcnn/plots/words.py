"""Words on a page: their letters, the pixels they take, and what is cut off where they are too long."""

import bisect
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A power of two: sizes in pixels then pass through matplotlib's inches without rounding.
DPI = 128
FONT = "DejaVu Sans"
TITLE, LABEL, SMALL, NARROW, TINY = 10.5, 9.0, 8.0, 7.0, 6.5
INK, MUTED = "#222222", "#666666"


def add_text(axes: "Axes", x: float, y: float, text: str, size: float, **style: Any) -> None:
    """Write at a place of a page or panel, dollar signs and all; `size` in points, `style` as matplotlib's `Text`."""
    style = {"color": INK, "family": FONT, "parse_math": False, "usetex": False, **style}
    axes.text(x, y, text, fontsize=size, linespacing=1.2, **style)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width in pixels of one line in letters of `size` points."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=FONT, size=size, weight=weight)
    return RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, False)[0]


def line_height(size: float) -> int:
    """Height in pixels that a line takes in letters of `size` points."""
    return math.ceil(1.25 * size * DPI / 72)


def one_line(names: Sequence[str]) -> list[str]:
    """Names without line breaks, tabs and runs of blanks."""
    return [" ".join(str(name).split()) for name in names]


def shortened(name: str, room: float, size: float) -> str:
    """A name, with an ellipsis where it is wider than `room` pixels in letters of `size` points."""
    if text_width(name, size) <= room:
        return name
    shorter = [name[:length].rstrip() + "…" for length in range(1, len(name))]
    fitting = bisect.bisect_right(shorter, room, key=lambda text: text_width(text, size))
    return shorter[max(fitting - 1, 0)]
