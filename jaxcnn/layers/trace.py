"""Tracing the shape of an example through layers, and applying layers."""

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
        path: name of the layer, after the names of the layers that contain it: `conv1`, `res1/conv1`.
        input_shape: shape of one example at the input of the layer.
        info: output shape and cost. The costs of layers inside it are counted there, not here.
        receptive_field: side in input pixels of the square that one output unit depends on; the statistics of norms do
            not count.
    """

    layer: Layer
    path: str
    input_shape: Shape
    info: LayerInfo
    receptive_field: int


def trace(layers: tuple[Layer, ...], shape: Shape) -> tuple[TracedLayer, ...]:
    """Trace one example of `shape` through the layers, including layers inside others, in the order of computation.

    Raises:
        InputError: a layer cannot take its input, has no name, or has the same name as another.
    """
    return follow(layers, shape).rows


class Trace(NamedTuple):
    """Traced layers, and the output of the last one: its shape, and the receptive field and the spacing of its units in
    input pixels."""

    rows: tuple[TracedLayer, ...]
    output_shape: Shape
    receptive_field: int
    stride: int

    def total(self, cost: Literal["parameters", "connections", "multiply_adds"]) -> int:
        """Return the sum of a cost over all layers."""
        return sum(getattr(row.info, cost) for row in self.rows)


def follow(
    layers: tuple[Layer, ...], shape: Shape, *, inside: str = "", receptive_field: int = 1, stride: int = 1
) -> Trace:
    """Return `trace` and the output, for layers `inside` another, whose input units have this receptive field and
    spacing."""
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
    """Return the side in pixels of the smallest square image that the layers can take.

    Raises:
        InputError: the layers can take no image, or none with up to 1023 pixels per side.
    """
    for size in range(1, 1024):
        try:
            trace(layers, (size, size, channels))
            return size
        except TooSmall:
            continue
    raise InputError("these layers need images of more than 1023 pixels per side; use fewer layers or smaller strides.")


def trace_image(layers: tuple[Layer, ...], shape: Shape) -> tuple[TracedLayer, ...]:
    """Trace a whole network for an image (height, width, channels).

    Raises:
        InputError: the image is too small (the message names the least size), or a layer cannot take its input.
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
        InputError: the images are too small (the message names the least size), or a layer cannot take its input.
    """
    trace_image(layers, x.shape[1:])
    return in_order(layers, x, train=train)


def in_order(layers: tuple[Layer, ...], x: jax.Array, *, train: bool) -> jax.Array:
    """Apply the layers as `apply`, but to an input that has been checked."""
    for layer in layers:
        x = layer(x, train=train)
    return x
