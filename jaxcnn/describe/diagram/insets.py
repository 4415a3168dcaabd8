"""Insets of a diagram: a layer's table of connections, or its codes as bitmaps."""

import math

from jaxcnn.describe.diagram.blocks import Block
from jaxcnn.describe.diagram.canvas import WIDTH, Canvas, width
from jaxcnn.describe.diagram.layout import MARGIN, SMALL
from jaxcnn.layers import Conv, Layer, RadialBasis

_HEAD, _LEFT = 36.0, 22.0
# The largest cell of a table, in which the numbers fit, and the maximum height of a table.
_CELL, _TALLEST = 18.0, 240.0
_BITMAP = (12, 7)
"""Rows and columns of the codes of LeNet-5's output (LeCun et al. 1998, section II.B)."""
_DOT, _GAP, _MOST_CODES = 5.0, 10.0, 20


def inset(layer: Layer | None, before: Block) -> tuple[Canvas, float, float] | None:
    """Return the inset of a layer that reads `before`, with its width and height; None if the layer has none."""
    if getattr(layer, "connections", None) is not None:
        return _connections(layer, before)
    codes = getattr(layer, "codes", ())
    if codes and len(codes[0]) == math.prod(_BITMAP) and len(codes) <= _MOST_CODES:
        return _codes(layer)
    return None


def _connections(layer: Conv, before: Block) -> tuple[Canvas, float, float]:
    canvas, inputs = Canvas(), before.shape[2]
    cell = min(_CELL, (WIDTH - 2 * MARGIN - _LEFT) / layer.features, _TALLEST / inputs)
    pairs = f"{sum(map(len, layer.connections))} of {inputs * layer.features} pairs"
    title = f"maps of {before.name} (rows) read by maps of {layer.name} (columns), {pairs}"
    canvas.words(title, 0, 12, SMALL, anchor="start")
    if cell == _CELL:
        for f in range(layer.features):
            canvas.words(str(f), _LEFT + (f + 0.5) * cell, _HEAD - 4, SMALL, style="muted")
        for c in range(inputs):
            canvas.words(str(c), _LEFT - 5, _HEAD + (c + 0.72) * cell, SMALL, style="muted", anchor="end")
    right, bottom = _LEFT + layer.features * cell, _HEAD + inputs * cell
    for f in range(layer.features + 1):
        canvas.line("grid", (_LEFT + f * cell, _HEAD), (_LEFT + f * cell, bottom))
    for c in range(inputs + 1):
        canvas.line("grid", (_LEFT, _HEAD + c * cell), (right, _HEAD + c * cell))
    for f, row in enumerate(layer.connections):
        for c in row:
            canvas.box("dot", _LEFT + (f + 1 / 6) * cell, _HEAD + (c + 1 / 6) * cell, cell * 2 / 3, cell * 2 / 3)
    return canvas, max(right, width(title, SMALL)), bottom + 8


def _codes(layer: RadialBasis) -> tuple[Canvas, float, float]:
    canvas, (tall, wide) = Canvas(), _BITMAP
    title = f"{layer.name}: minus the squared distance to each of these codes"
    canvas.words(title, 0, 12, SMALL, anchor="start")
    top, pitch = _HEAD - 6, wide * _DOT + _GAP
    for k, code in enumerate(layer.codes):
        canvas.box("frame", k * pitch, top - 1, wide * _DOT + 2, tall * _DOT + 2)
        for i, value in enumerate(code):
            if value > 0:
                canvas.box("dot", k * pitch + 1 + i % wide * _DOT, top + i // wide * _DOT, _DOT, _DOT)
    return canvas, max(len(layer.codes) * pitch, width(title, SMALL)), top + tall * _DOT + 8
