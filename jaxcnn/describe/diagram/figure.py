"""A diagram as polygons, lines and words."""

import itertools
import math
from collections.abc import Sequence

from jaxcnn.describe.diagram.blocks import Block, Mark, blocks, shape_text, window_text
from jaxcnn.describe.diagram.canvas import WIDTH, Canvas, Point, width
from jaxcnn.describe.diagram.insets import inset
from jaxcnn.describe.diagram.layout import MARGIN, NAME, OBLIQUE, SMALL, STRIP, Box, Line, Placed, Scale, arrange, runs
from jaxcnn.describe.diagram.shortcuts import headroom, shortcuts
from jaxcnn.layers import Shape, TracedLayer

_TITLE = 17.0
_LINE = 14.0
# Up to this number, lines separate maps or units.
_COUNTED = 20
_READING = (
    "A window on a block (orange: convolution, dashed: pooling) points at the unit computed from it; its size and "
    "/stride are below the layer's name.",
    "Heights and widths of maps and windows follow the square root of their pixels, depths that of the number of maps, "
    "bars that of units.",
)
_SUMS = "A line above the blocks is the shortcut of a residual connection; at the + its input is added"
_SPOT = 12.0
"""Maximum height of one unit, where there are several."""


def figure(rows: Sequence[TracedLayer], shape: Shape, title: str) -> tuple[Canvas, int]:
    """Return the drawing of a traced network and its height."""
    canvas = Canvas()
    shown = blocks(rows, shape)
    words = 16 + 2 * _LINE + 6
    below = words + 40
    room = headroom(shown)
    scale, lines = arrange(shown, top=52 + room, below=below + room)
    fitting = _TITLE * min(1.0, (WIDTH - 2 * MARGIN) / max(1.0, width(title, _TITLE, bold=True)))
    canvas.words(title, MARGIN, 30, fitting, bold=True, anchor="start")
    for line, following in itertools.pairwise(lines):
        _connect_rows(canvas, line, following, line.bottom + words + 16)
    for line in lines:
        for placed in line.placed:
            _block(canvas, placed)
        for source, target in itertools.pairwise(line.placed):
            _link(canvas, source, target, scale)
        _label(canvas, line)
    shortcuts(canvas, shown, lines)
    y = _insets(canvas, shown, lines[-1].bottom + words + 18)
    y = _legend(canvas, shown, y + 10)
    height = math.ceil(_caption(canvas, rows, shown, y + 6) + 8)
    page = Canvas()
    page.box("page", 0, 0, WIDTH, height)
    return Canvas(page.items + canvas.items), height


def _block(canvas: Canvas, placed: Placed) -> None:
    block = placed.block
    for box in placed.towers:
        front, top, side = _faces(box, 0, box.depth)
        if placed.ghost:
            for face in (front, top, side):
                canvas.polygon("ghost", *face)
            continue
        canvas.polygon(f"{block.kind}-front", *front)
        canvas.polygon(f"{block.kind}-top", *top)
        canvas.polygon(f"{block.kind}-side", *side)
        _slices(canvas, block, box)
        start = box.depth - STRIP * len(block.marks)
        for i, mark in enumerate(block.marks):
            _mark(canvas, block, box, start + i * STRIP, mark, last=i + 1 == len(block.marks))


def _faces(box: Box, start: float, end: float) -> tuple[tuple[Point, ...], ...]:
    """Return the front, top and right face of the part of a cuboid between two depths."""
    left, right, low, o = box.x + start, box.x + end, box.y + box.height, box.oblique
    front = ((left, box.y), (right, box.y), (right, low), (left, low))
    top = ((left, box.y), (left + o, box.y - o), (right + o, box.y - o), (right, box.y))
    side = ((right, box.y), (right + o, box.y - o), (right + o, low - o), (right, low))
    return front, top, side


def _slices(canvas: Canvas, block: Block, box: Box) -> None:
    """Draw lines between maps, or units of a bar, where there are few."""
    count = block.shape[-1] // block.parts
    if count > _COUNTED:
        return
    depth = box.depth - STRIP * len(block.marks)
    for i in range(1, count):
        if len(block.shape) == 3:
            x = box.x + depth * i / count
            points = ((x, box.y + box.height), (x, box.y), (x + box.oblique, box.y - box.oblique))
        else:
            x, y = box.x + box.depth, box.y + box.height * i / count
            points = ((box.x, y), (x, y), (x + box.oblique, y - box.oblique))
        canvas.line(f"{block.kind}-slice", *points)


def _mark(canvas: Canvas, block: Block, box: Box, start: float, mark: Mark, *, last: bool) -> None:
    style = f"{block.kind}-activation" if mark.kind == "activation" else mark.kind
    front, top, side = _faces(box, start, start + STRIP)
    canvas.polygon(f"{style}-front", *front)
    canvas.polygon(f"{style}-top", *top)
    if last:
        canvas.polygon(f"{style}-side", *side)
    if mark.kind == "norm":
        steps = max(2, round(box.height / 5))
        for i in range(1, steps):
            y = box.y + box.height * i / steps
            canvas.line("norm-hatch", (box.x + start, y), (box.x + start + STRIP, y))


def _link(canvas: Canvas, source: Placed, target: Placed, scale: Scale) -> None:
    if target.block.kind in ("conv", "pool"):
        _windows(canvas, source, target, scale)
        return
    _fan(canvas, source, target.towers[0])


def _windows(canvas: Canvas, source: Placed, target: Placed, scale: Scale) -> None:
    """Draw the window of each tower on its input, and the unit computed from it."""
    kind, reach = target.block.kind, scale.length(target.block.window)
    place = 0.3 if kind == "conv" else 0.62
    spots, windows = [], []
    for box in target.towers:
        tall = box.height if target.block.shape[0] == 1 else min(scale.length(1), _SPOT)
        spots.append((box.x, box.y + place * (box.height - tall), min(4.0, box.depth), tall))
    for box in source.towers:
        tall, across = min(reach, box.height), min(OBLIQUE * reach, box.oblique)
        x, y = box.x + box.depth, box.y + place * (box.height - tall)
        inset = min(1.5, box.oblique - across)
        windows.append(_sheared(x + inset, y - inset, across, tall))
    for t, s in _read(source.block, target.block):
        x, y, _, tall = spots[t]
        apex = (x, y + tall / 2)
        canvas.polygon(f"{kind}-beam", *_hull([*windows[s], apex]))
        for corner in windows[s]:
            canvas.line(f"{kind}-ray", corner, apex)
    for corners in windows:
        canvas.polygon(f"{kind}-window", *corners)
    for spot in spots:
        canvas.box(f"{kind}-spot", *spot)


def _sheared(x: float, y: float, across: float, tall: float) -> tuple[Point, ...]:
    """Return a part of a right face from its near top corner, its receding width and its height."""
    return (x, y), (x + across, y - across), (x + across, y + tall - across), (x, y + tall)


def _read(source: Block, target: Block) -> list[tuple[int, int]]:
    """Return pairs of a target tower and a source tower that it reads."""
    groups = target.parts if target.kind == "pool" else target.groups
    pairs = []
    for t, s in itertools.product(range(target.parts), range(source.parts)):
        for g in range(groups):
            made = g * target.parts < (t + 1) * groups and t * groups < (g + 1) * target.parts
            seen = g * source.parts < (s + 1) * groups and s * groups < (g + 1) * source.parts
            if made and seen and (t, s) not in pairs:
                pairs.append((t, s))
    return pairs


def _hull(points: Sequence[Point]) -> list[Point]:
    """Return the corners of the convex hull."""
    points = sorted(set(points))
    halves = []
    for ordered in (points, points[::-1]):
        half: list[Point] = []
        for p in ordered:
            while len(half) > 1 and _turn(half[-2], half[-1], p) <= 0:
                half.pop()
            half.append(p)
        halves += half[:-1]
    return halves


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _fan(canvas: Canvas, source: Placed, target: Box) -> None:
    """Draw a dense connection, in which every unit reads the whole input."""
    first, last = source.towers[0], source.towers[-1]
    near = (source.right, first.y - first.oblique), (source.right, last.y + last.height - last.oblique)
    far = (target.x, target.y), (target.x, target.y + target.height)
    canvas.polygon("fan", near[0], far[0], far[1], near[1])
    for a, b in itertools.product(near, far):
        canvas.line("fan-ray", a, b)


def _connect_rows(canvas: Canvas, line: Line, following: Line, y: float) -> None:
    """Draw the path from the end of a row to the start of the next."""
    last, first = line.placed[-1], following.placed[0]
    box = last.towers[0]
    start = (last.right, box.y - box.oblique + box.height / 2)
    box = first.towers[0]
    end = (box.x, box.y + box.height / 2)
    right, left = WIDTH - 6, 6
    canvas.line("path", start, (right, start[1]), (right, y), (left, y), (left, end[1]), end)
    canvas.polygon("tip", end, (end[0] - 6, end[1] - 3.5), (end[0] - 6, end[1] + 3.5))


def _label(canvas: Canvas, line: Line) -> None:
    """Write the name and the window under each block, and the shape once per stage."""
    y = line.bottom + 16
    for run in runs(line.placed):
        for placed in run:
            block = placed.block
            canvas.words(block.name, placed.middle, y, NAME, bold=True)
            if text := window_text(block):
                canvas.words(text, placed.middle, y + _LINE, SMALL, style="muted")
        low = y + _LINE + 6
        if len(run) > 1:
            first, last = (width(placed.block.name, NAME, bold=True) / 2 for placed in (run[0], run[-1]))
            left, right = run[0].middle - first, run[-1].middle + last
            canvas.line("rule", (left, low - 3), (left, low), (right, low), (right, low - 3))
        canvas.words(shape_text(run[0].block), (run[0].middle + run[-1].middle) / 2, low + _LINE, SMALL)


def _insets(canvas: Canvas, shown: Sequence[Block], y: float) -> float:
    """Draw the insets of layers side by side as far as they fit, and return the y below them."""
    x, bottom = float(MARGIN), y
    for before, block in itertools.pairwise(shown):
        if not (piece := inset(block.layer, before)):
            continue
        drawn, across, down = piece
        if x > MARGIN and x + across > WIDTH - MARGIN:
            x, y = float(MARGIN), bottom + 10
        canvas.items += drawn.moved(x, y)
        x, bottom = x + across + 36, max(bottom, y + down)
    return bottom


def _legend(canvas: Canvas, shown: Sequence[Block], y: float) -> float:
    entries = {block.text: (block.kind, ()) for block in shown}
    for block in reversed(shown):
        entries |= {mark.text: (block.kind, (mark,)) for mark in block.marks}
    x, y = float(MARGIN), y + 14
    for text, (kind, marks) in entries.items():
        need = 22 + width(text, SMALL) + 22
        if x + need > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 20
        sample = Block(text, kind, text, (1, 1, _COUNTED + 1), marks=marks)
        _block(canvas, Placed(sample, (Box(x, y - 7, 12, 9, 4),), x))
        canvas.words(text, x + 22, y, SMALL, anchor="start")
        x += need
    return y + 6


def _caption(canvas: Canvas, rows: Sequence[TracedLayer], shown: Sequence[Block], y: float) -> float:
    parameters = sum(row.info.parameters for row in rows)
    products = sum(row.info.multiply_adds for row in rows)
    totals = f"{parameters:,} parameters, {products:,} multiply-adds per image"
    canvas.words(totals, MARGIN, y + 16, 12.0, bold=True, anchor="start")
    places = {_place_of_sum(block, count) for block in shown for *_, count in block.closes}
    reading = (*_READING, *((f"{_SUMS}{places.pop() if len(places) == 1 else ''}.",) if places else ()))
    for i, text in enumerate(reading):
        canvas.words(text, MARGIN, y + 34 + i * _LINE, SMALL, style="muted", anchor="start")
    return y + 34 + len(reading) * _LINE - 10


def _place_of_sum(block: Block, count: int) -> str:
    """Return `, after batch norm and before ReLU`: the marks of a block around a sum that follows `count` of them."""
    around = {"after": block.marks[:count], "before": block.marks[count:]}
    words = [f"{side} {' and '.join(mark.text for mark in marks)}" for side, marks in around.items() if marks]
    return f", {' and '.join(words)}" if words else ""
