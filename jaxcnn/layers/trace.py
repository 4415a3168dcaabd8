"""Following an example through layers, and applying them."""

import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax

from jaxcnn.layers.record import Layer, LayerInfo, Shape, TooSmall, named
from jaxcnn.runtime.errors import InputError


@dataclass(frozen=True)
class TracedLayer:
    """One layer of a traced network.

    Attributes:
        layer: the record.
        path: its name, behind the names of the layers that it lies in: `conv1`, `res1/conv1`.
        input_shape: of one example.
        info: what the layer makes of it. The costs of layers inside it are counted there, not here.
        receptive_field: side in input pixels of the square that one output unit sees; the statistics of norms do not
            count.
    """

    layer: Layer
    path: str
    input_shape: Shape
    info: LayerInfo
    receptive_field: int


def trace(layers: tuple[Layer, ...], shape: Shape) -> tuple[TracedLayer, ...]:
    """Follow one example of `shape` through the layers, layers inside others included, in the order of computation.

    Raises:
        InputError: a layer cannot take its input, has no name, or shares its name with another.
    """
    return follow(layers, shape).rows


class Trace(NamedTuple):
    """Traced layers, and the output of the last: its shape, and the receptive field and the distance of its units in
    input pixels."""

    rows: tuple[TracedLayer, ...]
    output_shape: Shape
    receptive_field: int
    stride: int

    def total(self, cost: Literal["parameters", "connections", "multiply_adds"]) -> int:
        """Sum of a cost over all layers."""
        return sum(getattr(row.info, cost) for row in self.rows)


def follow(
    layers: tuple[Layer, ...], shape: Shape, *, inside: str = "", receptive_field: int = 1, stride: int = 1
) -> Trace:
    """`trace` with what comes out, for layers `inside` another whose input units see so many pixels, so far apart."""
    named(layers)
    rows: list[TracedLayer] = []
    for layer in layers:
        info, path = layer.info(shape), inside + layer.name
        branches = [
            follow(branch, shape, inside=f"{path}/", receptive_field=receptive_field, stride=stride)
            for branch in layer.branches()
        ]
        own = {cost: getattr(info, cost) - sum(b.total(cost) for b in branches) for cost in COSTS}
        receptive_field += (info.kernel - 1) * stride
        stride *= info.stride
        rows += [row for branch in branches for row in branch.rows]
        rows.append(TracedLayer(layer, path, shape, dataclasses.replace(info, **own), receptive_field))
        shape = info.output_shape
    return Trace(tuple(rows), shape, receptive_field, stride)


COSTS = ("parameters", "connections", "multiply_adds")


def least_size(layers: tuple[Layer, ...], channels: int) -> int:
    """Side in pixels of the smallest square image that the layers can take.

    Raises:
        InputError: no image will do, whatever its size, or none of up to 1023 pixels a side.
    """
    for size in range(1, 1024):
        try:
            trace(layers, (size, size, channels))
            return size
        except TooSmall:
            continue
    raise InputError("these layers need images of more than 1023 pixels a side; use fewer, or a smaller stride.")


def trace_image(layers: tuple[Layer, ...], shape: Shape) -> tuple[TracedLayer, ...]:
    """`trace` of a whole network, for an image (height, width, channels).

    Raises:
        InputError: the image is too small, naming the least size, or a layer cannot take its input.
    """
    try:
        return trace(layers, shape)
    except TooSmall as error:
        height, width, channels = shape
        least = least_size(layers, channels)
        raise InputError(f"images are {height}x{width}; this network needs at least {least}x{least}.") from error


def apply(layers: tuple[Layer, ...], x: jax.Array, *, train: bool) -> jax.Array:
    """Apply the layers in order to a batch [n, height, width, channels]; call it inside a linen module.

    Raises:
        InputError: the images are too small, naming the least size, or a layer cannot take its input.
    """
    trace_image(layers, x.shape[1:])
    return in_order(layers, x, train=train)


def in_order(layers: tuple[Layer, ...], x: jax.Array, *, train: bool) -> jax.Array:
    """`apply` for layers whose input has been checked."""
    for layer in layers:
        x = layer(x, train=train)
    return x
