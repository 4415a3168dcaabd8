"""What a diagram shows of a traced network: its maps, one block each."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jaxcnn.layers import (
    Activation,
    AdaptiveAveragePool,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    InstanceNorm,
    Layer,
    LayerNorm,
    LocalResponseNorm,
    MaxPool,
    RadialBasis,
    Row,
    Shape,
    TrainableSubsampling,
)

Kind = Literal["input", "conv", "pool", "dense", "basis", "other"]

_KINDS: dict[type, tuple[Kind, str]] = {
    Conv: ("conv", "convolution"),
    MaxPool: ("pool", "max pooling"),
    AveragePool: ("pool", "average pooling"),
    TrainableSubsampling: ("pool", "trainable subsampling"),
    AdaptiveAveragePool: ("pool", "adaptive average pooling"),
    Dense: ("dense", "dense"),
    RadialBasis: ("basis", "radial basis"),
}
_NORMS = {
    BatchNorm: "batch norm",
    LayerNorm: "layer norm",
    GroupNorm: "group norm",
    InstanceNorm: "instance norm",
    LocalResponseNorm: "local response norm",
}
_ACTIVATIONS = {"relu": "ReLU", "scaled_tanh": "scaled tanh"}
_MOST_TOWERS = 4
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Mark:
    """A layer that changes values but not their arrangement, shown on the block it works on."""

    kind: Literal["activation", "norm", "dropout", "unknown"]
    text: str


@dataclass(frozen=True)
class Block:
    """The output of one layer.

    Attributes:
        layer: that made it; None for the input.
        text: what its kind is called in the legend.
        window, stride: of the layer, on what it reads.
        parts: towers it is drawn as, because the layer, or the one that reads it, works in so many groups.
        marks: what happens to it before the next block.
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

    @property
    def groups(self) -> int:
        """Parts of the block before that the layer keeps apart."""
        return getattr(self.layer, "groups", 1)


def blocks(rows: Sequence[Row], shape: Shape) -> tuple[Block, ...]:
    """The input of this shape and one block for each layer that makes maps or units; other layers become marks."""
    made = [Block("input", "input", "input", shape)]
    for row in rows:
        layer, facts = row.layer, row.facts
        if isinstance(layer, Flatten):
            continue
        if type(layer) in _KINDS:
            kind, text = _KINDS[type(layer)]
        elif facts.shape == row.given and not facts.multiply_adds:
            made[-1] = replace(made[-1], marks=(*made[-1].marks, _mark(layer)))
            continue
        else:
            kind, text = "other", type(layer).__name__
        made.append(Block(layer.name, kind, text, facts.shape, layer, facts.kernel, facts.stride))
    return _in_towers(made)


def _mark(layer: Layer) -> Mark:
    if isinstance(layer, Activation):
        return Mark("activation", _ACTIVATIONS.get(layer.function, layer.function))
    if isinstance(layer, Dropout):
        return Mark("dropout", f"dropout {layer.rate:g}")
    if type(layer) in _NORMS:
        return Mark("norm", _NORMS[type(layer)])
    return Mark("unknown", type(layer).__name__)


def _in_towers(made: Sequence[Block]) -> tuple[Block, ...]:
    """A block and what pools it are split alike, into the groups that made it or that read it."""
    starts = [i for i, block in enumerate(made) if block.kind != "pool"]
    towers: list[Block] = []
    for start, end in itertools.pairwise([*starts, len(made)]):
        read = made[end].groups if end < len(made) else 1
        parts = max(made[start].groups, read) if made[start].layer else 1
        parts = parts if parts <= _MOST_TOWERS else 1
        towers += [replace(block, parts=parts) for block in made[start:end]]
    return tuple(towers)


def window_text(block: Block) -> str:
    """`11x11 /4` or `5x5, 2 groups`: the window and, where it is not 1, the stride and the number of groups."""
    if isinstance(block.layer, AdaptiveAveragePool):
        return "adaptive"
    if block.kind not in ("conv", "pool"):
        return ""
    text = f"{block.window}{_TIMES}{block.window}" + (f" /{block.stride}" if block.stride > 1 else "")
    return text + (f", {block.groups} groups" if block.groups > 1 else "")


def shape_text(block: Block) -> str:
    """`55x55x96`."""
    return _TIMES.join(map(str, block.shape))
