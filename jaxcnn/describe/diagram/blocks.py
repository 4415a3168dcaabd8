"""The blocks of a diagram: the maps and units of a traced network."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from jaxcnn.layers import Layer, Shape, TracedLayer

Kind = Literal["input", "conv", "pool", "dense", "basis", "other"]

_MOST_TOWERS = 4
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Mark:
    """A layer that changes values but not their shape, shown on the block it applies to."""

    kind: Literal["activation", "norm", "dropout", "unknown"]
    text: str


@dataclass(frozen=True)
class Block:
    """The output of one layer.

    Attributes:
        layer: layer that computes it; None for the input.
        text: name of its kind in the legend.
        window, stride: size and stride of the layer's window on its input.
        parts: number of towers it is drawn as, which is the number of groups of the layer or of the one that reads it.
        marks: layers applied to it before the next block.
        opens: names of the residual connections that begin at this block.
        closes: names of the residual connections that are added to this block, with the layers on the shortcut and the
            number of marks before the sum.
    """

    name: str
    kind: Kind
    text: str
    shape: Shape
    layer: Layer | None = None
    window: int = 1
    stride: int = 1
    parts: int = 1
    marks: tuple[Mark, ...] = ()
    opens: tuple[str, ...] = ()
    closes: tuple[tuple[str, str, int], ...] = ()

    @property
    def groups(self) -> int:
        """Return the number of groups into which the layer splits its input."""
        window = self.layer and self.layer.window()
        return (window and window.groups) or 1


def blocks(rows: Sequence[TracedLayer], shape: Shape) -> tuple[Block, ...]:
    """Return a block for the input and one for each layer that computes maps or units; other layers become marks."""
    made = [Block("input", "input", "input", shape)]
    sources: dict[str, int] = {}
    on_shortcut = {
        f"{row.path}/{layer.name}" for row in rows for branch in row.layer.branches()[1:] for layer in branch
    }
    for row in rows:
        layer, info = row.layer, row.info
        for path in _inside(row.path):
            sources.setdefault(path, len(made) - 1)
        if layer.role == "flatten" or any(path in on_shortcut for path in (*_inside(row.path), row.path)):
            continue
        if layer.branches():
            start, words = sources[row.path], ", ".join(x.brief() for branch in layer.branches()[1:] for x in branch)
            made[start] = replace(made[start], opens=(*made[start].opens, row.path))
            made[-1] = replace(made[-1], closes=(*made[-1].closes, (row.path, words, len(made[-1].marks))))
        elif (
            layer.role in ("conv", "pool", "dense", "basis")
            or info.output_shape != row.input_shape
            or info.multiply_adds
        ):
            kind = "other" if layer.role not in get_args(Kind) else layer.role
            made.append(Block(layer.name, kind, layer.label(), info.output_shape, layer, info.kernel, info.stride))
        else:
            kind = layer.role if layer.role in ("activation", "norm", "dropout") else "unknown"
            made[-1] = replace(made[-1], marks=(*made[-1].marks, Mark(kind, layer.label())))
    return _in_towers(made)


def _inside(path: str) -> list[str]:
    """Return the paths of the enclosing layers: `a` and `a/b` for `a/b/c`."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _in_towers(made: Sequence[Block]) -> tuple[Block, ...]:
    """Split each block and the pooling that reads it into the groups that compute the block or read it."""
    starts = [i for i, block in enumerate(made) if block.kind != "pool"]
    towers: list[Block] = []
    for start, end in itertools.pairwise([*starts, len(made)]):
        read = made[end].groups if end < len(made) else 1
        parts = max(made[start].groups, read) if made[start].layer else 1
        parts = parts if parts <= _MOST_TOWERS else 1
        towers += [replace(block, parts=parts) for block in made[start:end]]
    return tuple(towers)


def window_text(block: Block) -> str:
    """Return `11x11 /4` or `5x5, 2 groups`: the window, and the stride and number of groups where they are not 1."""
    if block.kind not in ("conv", "pool"):
        return ""
    if block.layer is None or block.layer.window() is None:
        return "adaptive"
    text = f"{block.window}{_TIMES}{block.window}" + (f" /{block.stride}" if block.stride > 1 else "")
    return text + (f", {block.groups} groups" if block.groups > 1 else "")


def shape_text(block: Block) -> str:
    """Return a shape as in `55x55x96`."""
    return _TIMES.join(map(str, block.shape))
