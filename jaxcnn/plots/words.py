"""Text on a page: fonts, sizes in pixels, and shortening of long names."""

import bisect
import functools
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A power of two, so that sizes in pixels convert to matplotlib's inches and back without rounding.
DPI = 128
FONT = "DejaVu Sans"
TITLE, LABEL, SMALL, NARROW, TINY = 10.5, 9.0, 8.0, 7.0, 6.5
INK, MUTED = "#222222", "#666666"


def add_text(axes: "Axes", x: float, y: float, text: str, size: float, **style: Any) -> None:
    """Write text at a position on a page or panel, dollar signs literally; `size` in points, `style` for matplotlib's
    `Text`."""
    style = {"color": INK, "family": FONT, "parse_math": False, "usetex": False, **style}
    axes.text(x, y, text, fontsize=size, linespacing=1.2, **style)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width in pixels of one line in a font of `size` points."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=FONT, size=size, weight=weight)
    return RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, False)[0]


def line_height(size: float) -> int:
    """Return the height in pixels of a line in a font of `size` points."""
    return math.ceil(1.25 * size * DPI / 72)


def one_line(names: Sequence[str]) -> list[str]:
    """Return the names with line breaks, tabs and runs of blanks replaced by single blanks."""
    return [" ".join(str(name).split()) for name in names]


def shortened(name: str, room: float, size: float) -> str:
    """Return a name, cut with an ellipsis if it is wider than `room` pixels in a font of `size` points."""
    if text_width(name, size) <= room:
        return name
    shorter = [name[:length].rstrip() + "…" for length in range(1, len(name))]
    fitting = bisect.bisect_right(shorter, room, key=lambda text: text_width(text, size))
    return shorter[max(fitting - 1, 0)]


def wrapped(text: str, room: float, size: float, weight: str = "normal") -> list[str]:
    """Return a text in lines of at most `room` pixels, broken after blanks and commas, inside a word if need be; a
    no-break space is no blank."""
    lines = [""]
    for part in re.findall(r"[^ ,]+,? *|, *| +", text):
        if text_width((lines[-1] + part).rstrip(), size, weight) <= room:
            lines[-1] += part
            continue
        if lines[-1]:
            lines.append("")
        for letter in part:
            if text_width((lines[-1] + letter).rstrip(), size, weight) > room:
                lines.append("")
            lines[-1] += letter
    return [line.rstrip() for line in lines]
