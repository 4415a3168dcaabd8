"""Polygons, lines and words in named styles, written as SVG or PNG."""

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from jaxcnn.describe.diagram.palette import Paint

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

WIDTH = 1000
"""Width of every picture in units; a unit is one pixel of the SVG, two pixels of the PNG and one point of font size."""

_FONT = "DejaVu Sans"

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Stroke:
    """A polygon, or a line if it is not closed."""

    style: str
    points: tuple[Point, ...]
    closed: bool


@dataclass(frozen=True)
class Words:
    """One line of text; `y` is its baseline."""

    style: str
    text: str
    x: float
    y: float
    size: float
    bold: bool
    anchor: Anchor


@dataclass
class Canvas:
    """The drawn items; later ones cover earlier ones."""

    items: list[Stroke | Words] = field(default_factory=list)

    def polygon(self, style: str, *points: Point) -> None:
        self.items.append(Stroke(style, points, True))

    def line(self, style: str, *points: Point) -> None:
        self.items.append(Stroke(style, points, False))

    def box(self, style: str, x: float, y: float, width: float, height: float) -> None:
        """Draw a rectangle from its top left corner."""
        self.polygon(style, (x, y), (x + width, y), (x + width, y + height), (x, y + height))

    def moved(self, right: float, down: float) -> list[Stroke | Words]:
        """Return the items, shifted."""
        return [
            replace(item, x=item.x + right, y=item.y + down)
            if isinstance(item, Words)
            else replace(item, points=tuple((x + right, y + down) for x, y in item.points))
            for item in self.items
        ]

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
    """Return the width of a line in units, from unhinted outlines, so that it is the same at every resolution."""
    from matplotlib.textpath import TextToPath

    return TextToPath().get_text_width_height_descent(text, _font(size, bold), False)[0]


def svg(
    canvas: Canvas,
    height: int,
    title: str,
    paints: Mapping[str, Paint],
    at_night: Mapping[str, Paint] | None = None,
) -> bytes:
    """Return the drawing with its words as text; `at_night` applies where the viewer prefers a dark scheme."""
    styles = sorted({item.style for item in canvas.items})
    sheet = "".join(_rule(style, paints[style]) for style in styles)
    if at_night:
        rules = "".join(_rule(style, at_night[style]) for style in styles if at_night[style] != paints[style])
        sheet += f"@media (prefers-color-scheme:dark){{\n{rules}}}\n"
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" ',
            f'height="{height}" font-family="\'{_FONT}\', Verdana, sans-serif" role="img">\n',
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


def png(canvas: Canvas, height: int, paints: Mapping[str, Paint]) -> bytes:
    """Return the drawing, 2000 pixels wide."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D
    from PIL import Image

    renderer = RendererAgg(2 * WIDTH, 2 * height, 144)
    page = Affine2D().scale(2, -2).translate(0, 2 * height)
    for item in canvas.items:
        paint, pen = paints[item.style], renderer.new_gc()
        pen.set_alpha(paint.opacity)
        pen.set_joinstyle("round")
        pen.set_linewidth(paint.width if paint.stroke else 0)
        pen.set_foreground(paint.stroke or paint.fill)
        if paint.dash:
            pen.set_dashes(0, paint.dash)
        if isinstance(item, Words):
            path, place = _outline(item)
        else:
            path, place = Path(item.points, closed=False), Affine2D()
            path = Path([*item.points, item.points[0]], closed=True) if item.closed else path
        renderer.draw_path(pen, path, place + page, _rgb(paint.fill))
    picture, file = Image.fromarray(np.asarray(renderer.buffer_rgba())).convert("RGB"), io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _rgb(colour: str | None) -> tuple[float, ...] | None:
    from matplotlib.colors import to_rgb

    return to_rgb(colour) if colour else None


def _outline(item: Words) -> tuple["Path", "Affine2D"]:
    """Return the letters as a path, and the transformation that places it."""
    from matplotlib.path import Path
    from matplotlib.textpath import TextToPath
    from matplotlib.transforms import Affine2D

    letters, shift = TextToPath(), {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor]
    scale = item.size / letters.FONT_SCALE
    left = item.x - shift * width(item.text, item.size, item.bold)
    place = Affine2D().scale(scale, -scale).translate(left, item.y)
    return Path(*letters.get_text_path(_font(item.size, item.bold), item.text, ismath=False)), place


def _font(size: float, bold: bool) -> "FontProperties":
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")
