"""Polygons, lines and words in named styles, written as SVG or PNG."""

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from jaxcnn.diagram.palette import Paint

WIDTH = 1000
"""Of every picture, in units; a unit is a pixel of the SVG, two of the PNG, and a point of the letters' size."""

_FONT = "DejaVu Sans"

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Stroke:
    """A polygon, or a line where it is open."""

    style: str
    points: tuple[Point, ...]
    closed: bool


@dataclass(frozen=True)
class Words:
    """One line of text, `y` its baseline."""

    style: str
    text: str
    x: float
    y: float
    size: float
    bold: bool
    anchor: Anchor


@dataclass
class Canvas:
    """What is drawn, later things over earlier ones."""

    items: list[Stroke | Words] = field(default_factory=list)

    def polygon(self, style: str, *points: Point) -> None:
        self.items.append(Stroke(style, points, True))

    def line(self, style: str, *points: Point) -> None:
        self.items.append(Stroke(style, points, False))

    def box(self, style: str, x: float, y: float, width: float, height: float) -> None:
        """A rectangle from its top left corner."""
        self.polygon(style, (x, y), (x + width, y), (x + width, y + height), (x, y + height))

    def words(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        *,
        style: str = "ink",
        bold: bool = False,
        anchor: Anchor = "middle",
    ) -> None:
        self.items.append(Words(style, text, x, y, size, bold, anchor))


@functools.lru_cache(maxsize=4096)
def width(text: str, size: float, bold: bool = False) -> float:
    """Of one line, in units, from unhinted outlines, so that it is the same at every resolution."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")
    return TextToPath().get_text_width_height_descent(text, font, False)[0]


def svg(
    canvas: Canvas,
    height: float,
    title: str,
    paints: Mapping[str, Paint],
    at_night: Mapping[str, Paint] | None = None,
) -> bytes:
    """The drawing with its words as text, in `at_night` where given and the viewer prefers a dark scheme."""
    styles = sorted({item.style for item in canvas.items})
    sheet = "".join(_rule(style, paints[style]) for style in styles)
    if at_night:
        rules = "".join(_rule(style, at_night[style]) for style in styles if at_night[style] != paints[style])
        sheet += f"@media (prefers-color-scheme:dark){{\n{rules}}}\n"
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {_number(height)}" width="{WIDTH}" ',
            f'height="{_number(height)}" font-family="\'{_FONT}\', Verdana, sans-serif" role="img">\n',
            f"<title>{escape(title)}</title>\n<style>\n{sheet}</style>\n",
            *(_words(item) if isinstance(item, Words) else _stroke(item) for item in canvas.items),
            "</svg>\n",
        )
    ).encode()


def _rule(style: str, paint: Paint) -> str:
    parts = [f"fill:{paint.fill or 'none'}"]
    if paint.stroke:
        parts += [f"stroke:{paint.stroke}", f"stroke-width:{paint.width:g}", "stroke-linejoin:round"]
    if paint.dash:
        parts.append("stroke-dasharray:" + ",".join(f"{d:g}" for d in paint.dash))
    if paint.opacity < 1:
        parts.append(f"opacity:{paint.opacity:g}")
    return f".{style}{{{';'.join(parts)}}}\n"


def _stroke(item: Stroke) -> str:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in item.points)
    return f'<{"polygon" if item.closed else "polyline"} class="{item.style}" points="{points}"/>\n'


def _words(item: Words) -> str:
    bold = ' font-weight="bold"' if item.bold else ""
    place = f'x="{_number(item.x)}" y="{_number(item.y)}" font-size="{item.size:g}" text-anchor="{item.anchor}"'
    return f"<text class={quoteattr(item.style)} {place}{bold}>{escape(item.text)}</text>\n"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def png(canvas: Canvas, height: float, paints: Mapping[str, Paint]) -> bytes:
    """The drawing 2000 pixels wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Polygon
    from PIL import Image

    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=144, layout="none")
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, WIDTH), ylim=(height, 0), autoscale_on=False)
    page.set_axis_off()
    for order, item in enumerate(canvas.items):
        paint = paints[item.style]
        if isinstance(item, Words):
            weight, side = "bold" if item.bold else "normal", {"start": "left", "middle": "center", "end": "right"}
            text = page.text(item.x, item.y, item.text, fontsize=item.size, family=_FONT, weight=weight, zorder=order)
            text.set(color=paint.fill, ha=side[item.anchor], va="baseline", parse_math=False, usetex=False)
            continue
        patch = Polygon(item.points, closed=item.closed, fill=bool(paint.fill), zorder=order, joinstyle="round")
        patch.set(facecolor=paint.fill or "none", edgecolor=paint.stroke or "none", alpha=paint.opacity)
        # Dashes are counted in line widths here, in units there.
        dash = (0, [d / paint.width for d in paint.dash]) if paint.dash else "solid"
        patch.set(linewidth=paint.width if paint.stroke else 0, linestyle=dash, capstyle="butt", antialiased=True)
        page.add_patch(patch)
    canvas_, file = FigureCanvasAgg(figure), io.BytesIO()
    canvas_.draw()
    picture = Image.fromarray(np.asarray(canvas_.buffer_rgba())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return file.getvalue()
