"""The shortcuts of residual connections: lines above the blocks, from where a block is read to where it is added."""

from collections.abc import Iterator, Sequence

from jaxcnn.describe.diagram.blocks import Block
from jaxcnn.describe.diagram.canvas import WIDTH, Canvas, Point
from jaxcnn.describe.diagram.layout import MARGIN, SMALL, Line, Placed

_LEVEL = 22.0
"""Distance between the lines of nested residuals, with room for words on each."""
_FIRST = 20.0
_ARM = 3.0
"""Half of the plus sign's width."""
_STUB = 4.0
"""How far right of its middle a line leaves a block, and how far left of it a line arrives."""


def headroom(blocks: Sequence[Block]) -> float:
    """Return the height that shortcuts need above every row of blocks."""
    levels = _levels(blocks)
    return _FIRST + _LEVEL * (max(levels.values()) + 1) if levels else 0.0


def shortcuts(canvas: Canvas, blocks: Sequence[Block], lines: Sequence[Line]) -> None:
    """Draw the shortcuts above rows that have this height above them."""
    levels = _levels(blocks)
    for source in blocks:
        for path in source.opens:
            ends = ((block, words) for block in blocks for closed, words, _ in block.closes if closed == path)
            target, words = next(ends)
            _shortcut(canvas, lines, source, target, levels[path], _name(path) + (f": {words}" if words else ""))


def _levels(blocks: Sequence[Block]) -> dict[str, int]:
    """Return the level of each residual's line, above the lines of the residuals inside it."""
    paths = [path for block in blocks for path in block.opens]
    inside = {path: [other for other in paths if other.startswith(f"{path}/")] for path in paths}
    return {path: max((other.count("/") - path.count("/") for other in inside[path]), default=0) for path in paths}


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _shortcut(canvas: Canvas, lines: Sequence[Line], source: Block, target: Block, level: int, words: str) -> None:
    parts = list(_parts(lines, source, target))
    for i, (line, start, end) in enumerate(parts):
        y = line.top - _FIRST - _LEVEL * level
        left = _foot(start, _STUB) if start else (MARGIN, y)
        right = _foot(end, -_STUB) if end else (WIDTH - MARGIN, y)
        canvas.line("shortcut", left, (left[0], y), (right[0], y), right)
        if i == 0:
            canvas.words(words, (left[0] + right[0]) / 2, y - 4, SMALL, style="muted")
        if end:
            x, y = right[0], (right[1] + y) / 2
            canvas.box("shortcut-sum", x - 2 * _ARM, y - 2 * _ARM, 4 * _ARM, 4 * _ARM)
            canvas.line("shortcut", (x - _ARM, y), (x + _ARM, y))
            canvas.line("shortcut", (x, y - _ARM), (x, y + _ARM))


def _parts(lines: Sequence[Line], source: Block, target: Block) -> Iterator[tuple[Line, Placed | None, Placed | None]]:
    """Yield the rows that a shortcut crosses, with the blocks where it begins and ends in each."""
    begun = False
    for line in lines:
        start = next((placed for placed in line.placed if placed.block is source), None)
        end = next((placed for placed in line.placed if placed.block is target and not placed.ghost), None)
        # The next row begins with the source as a ghost, so the shortcut starts there.
        if start and line.placed[-1] is start and not start.ghost and not end:
            continue
        if start or begun:
            begun = True
            yield line, start, end
        if end:
            return


def _foot(placed: Placed, aside: float) -> Point:
    """Return the middle of a block's top edge, shifted by `aside`."""
    box = placed.towers[0]
    return box.x + box.oblique + box.depth / 2 + aside, box.y - box.oblique
