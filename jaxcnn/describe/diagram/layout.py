"""Positions and sizes of the blocks of a diagram."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from jaxcnn.describe.diagram.blocks import Block, shape_text, window_text
from jaxcnn.describe.diagram.canvas import WIDTH, width

NAME, SMALL = 12.0, 11.0
"""Font sizes of names and of all other text below the title. In a README column a unit is 0.83 pixels."""
MARGIN = 16
OBLIQUE = 0.36
"""Factor of a receding length, to the right and up: half of the length, at 45 degrees."""
STRIP = 4.0
"""Width of a mark at the end of a block."""

_POWER = 0.5
# The largest map, the deepest block and the longest bar, in units at scale 1.
_SIDE, _DEPTH, _BAR = 150.0, 44.0, 130.0
_SCALES = tuple((size, size * deep) for size in (1.15, 1.05, 0.95, 0.85) for deep in (1.8, 1.4, 1.2, 1.0, 0.8))
_GAP, _RUN_GAP, _TOWER_GAP, _WORD_GAP = 26.0, 11.0, 14.0, 9.0
_BAR_DEPTH = 8.0


@dataclass(frozen=True)
class Scale:
    """Units per square root of pixels, maps and dense units; the square root keeps small maps visible."""

    side: float
    depth: float
    bar: float

    def length(self, pixels: int) -> float:
        return self.side * pixels**_POWER


@dataclass(frozen=True)
class Box:
    """A cuboid in cabinet projection: (x, y) is the top left corner of its front face, `depth` (its maps) runs to the
    right, `height` down and `oblique`, the projection of the maps' width, to the right and up."""

    x: float
    y: float
    depth: float
    height: float
    oblique: float


@dataclass(frozen=True)
class Placed:
    """A block with its position.

    Attributes:
        towers: from top to bottom; their depth includes the marks.
        middle: x of the middle of its words.
        ghost: whether it is drawn as an outline, because the row above ends with it.
    """

    block: Block
    towers: tuple[Box, ...]
    middle: float
    ghost: bool = False

    @property
    def right(self) -> float:
        return self.towers[0].x + self.towers[0].depth + self.towers[0].oblique


@dataclass(frozen=True)
class Line:
    """A row of blocks between `top` and `bottom`, above its words."""

    placed: tuple[Placed, ...]
    top: float
    bottom: float


@dataclass(frozen=True)
class _Size:
    """The size of a block that has no position yet."""

    block: Block
    depth: float
    height: float
    oblique: float
    reach: float
    words: float
    shape_words: float
    ghost: bool = False

    @property
    def tall(self) -> float:
        return self.block.parts * (self.height + self.oblique) + (self.block.parts - 1) * _TOWER_GAP


def arrange(blocks: Sequence[Block], top: float, below: float) -> tuple[Scale, tuple[Line, ...]]:
    """Arrange blocks in as few rows as possible, as large as these rows allow.

    Args:
        blocks: in order.
        top: y of the first row.
        below: height of the words under a row and of the path to the next.
    """
    scales = [_scale(blocks, size, deep) for size, deep in _SCALES]
    sized = [[_size(block, scale) for block in blocks] for scale in scales]
    fewest = len(_fill(sized[-1], WIDTH))
    scale, sizes = next(pair for pair in zip(scales, sized, strict=True) if len(_fill(pair[1], WIDTH)) == fewest)
    lines = []
    for row in _even(sizes, fewest):
        height = max(size.tall for size in row)
        lines.append(Line(_justify(row, top, height), top, top + height))
        top += height + below
    return scale, tuple(lines)


def in_run(block: Block, following: Block) -> bool:
    """Whether two blocks are convolutions of one stage: maps of the same shape, and stride 1 between them."""
    alike = block.kind == following.kind == "conv" and block.shape == following.shape
    return alike and following.stride == block.parts == following.parts == 1


def runs(row: Sequence[Placed]) -> list[list[Placed]]:
    """Split a row, without its ghost, into stages."""
    cut: list[list[Placed]] = []
    for placed in row:
        if placed.ghost:
            continue
        if cut and in_run(cut[-1][-1].block, placed.block):
            cut[-1].append(placed)
        else:
            cut.append([placed])
    return cut


def _scale(blocks: Sequence[Block], size: float, deep: float) -> Scale:
    maps = [block for block in blocks if len(block.shape) == 3]
    # Two towers together may be a little taller than one block; more towers may not.
    tallest = max((max(block.shape[:2]) ** _POWER * max(1, block.parts / 1.6) for block in maps), default=1.0)
    return Scale(
        side=size * _SIDE / tallest,
        depth=deep * _DEPTH / max((block.shape[2] for block in maps), default=1) ** _POWER,
        bar=size * _BAR / max(block.shape[-1] for block in blocks) ** _POWER,
    )


def _size(block: Block, scale: Scale) -> _Size:
    words = max(width(block.name, NAME, bold=True), width(window_text(block), SMALL))
    shape_words = width(shape_text(block), SMALL)
    marks = STRIP * len(block.marks)
    if len(block.shape) == 1:
        return _Size(block, _BAR_DEPTH + marks, scale.bar * block.shape[0] ** _POWER, 5.0, 0.0, words, shape_words)
    height, across, maps = block.shape
    depth, oblique = scale.depth * maps**_POWER / block.parts + marks, OBLIQUE * scale.length(across)
    reach = min(OBLIQUE * scale.length(block.window), oblique)
    return _Size(block, depth, scale.length(height), oblique, reach, words, shape_words)


def _even(sizes: Sequence[_Size], count: int) -> list[list[_Size]]:
    """Split the blocks into `count` rows, as evenly as possible."""
    rooms = (*range(WIDTH // count, WIDTH, 20), WIDTH)
    return next(rows for room in rooms if len(rows := _fill(sizes, room)) == count)


def _fill(sizes: Sequence[_Size], room: float) -> list[list[_Size]]:
    """Fill rows no wider than `room`, and break each after its last pooling if it has one."""
    rows: list[list[_Size]] = [[]]
    for size in sizes:
        row = rows[-1]
        if not all(s.ghost for s in row) and _extent([*row, size]) > room:
            pools = [i for i, s in enumerate(row) if s.block.kind == "pool" and not s.ghost]
            cut = pools[-1] + 1 if pools else len(row)
            rows[-1], rest = row[:cut], row[cut:]
            last = rows[-1][-1]
            ghost = _Size(last.block, last.depth, last.height, last.oblique, 0.0, 0.0, 0.0, ghost=True)
            rows.append([ghost, *rest])
        rows[-1].append(size)
    return rows


def _steps(row: Sequence[_Size]) -> list[float]:
    """Return the minimum distances between the left edges of neighbours."""
    steps = []
    for i, (size, after) in enumerate(itertools.pairwise(row)):
        run = in_run(size.block, after.block) and not size.ghost
        body = size.depth + (after.reach + _RUN_GAP if run else size.oblique + _GAP)
        before = 0.0 if size.ghost else _middle(row, i) + _words(row, i) / 2 + _WORD_GAP
        steps.append(max(body, before + _words(row, i + 1) / 2 - _middle(row, i + 1)))
    return steps


def _among(row: Sequence[_Size], i: int) -> bool:
    """Whether a block is one of several in a stage."""
    return any(in_run(a.block, b.block) and not a.ghost for a, b in itertools.pairwise(row[max(i - 1, 0) : i + 2]))


def _middle(row: Sequence[_Size], i: int) -> float:
    """Return the middle of a block's words, from its left edge."""
    return row[i].depth / 2 if _among(row, i) else (row[i].depth + row[i].oblique) / 2


def _words(row: Sequence[_Size], i: int) -> float:
    """Return the width of a block's words; a stage shares those of its shape."""
    return max(row[i].words, row[i].shape_words / (2 if _among(row, i) else 1))


def _ends(row: Sequence[_Size]) -> tuple[float, float]:
    """Return the space needed left of the first block's left edge and right of the last block's left edge."""
    first, last = _middle(row, 0), _middle(row, len(row) - 1)
    left = max(0.0, _words(row, 0) / 2 - first)
    return left, max(row[-1].depth + row[-1].oblique, last + _words(row, len(row) - 1) / 2)


def _extent(row: Sequence[_Size]) -> float:
    left, right = _ends(row)
    return left + sum(_steps(row)) + right + 2 * MARGIN


def _justify(row: Sequence[_Size], top: float, height: float) -> tuple[Placed, ...]:
    """Spread a row over the whole width, with wider gaps between stages than within them."""
    steps = _steps(row)
    shares = [0.12 if in_run(a.block, b.block) and not a.ghost else 1.0 for a, b in itertools.pairwise(row)]
    spare = (WIDTH - _extent(row)) / max(sum(shares), 1.0)
    x, placed = MARGIN + _ends(row)[0], []
    for i, size in enumerate(row):
        y = top + (height - size.tall) / 2 + size.oblique
        pitch = size.height + size.oblique + _TOWER_GAP
        towers = tuple(Box(x, y + t * pitch, size.depth, size.height, size.oblique) for t in range(size.block.parts))
        placed.append(Placed(size.block, towers, x + _middle(row, i), size.ghost))
        if i < len(steps):
            x += steps[i] + spare * shares[i]
    return tuple(placed)
