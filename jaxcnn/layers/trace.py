"""Following an example through layers, and applying them."""

from dataclasses import dataclass

import jax

from jaxcnn.layers.record import Facts, Layer, Shape, TooSmall
from jaxcnn.runtime.errors import InputError


@dataclass(frozen=True)
class Row:
    """One layer of a traced network: the record, the shape it is given, what it makes of it, and `receptive_field`, the
    side in input pixels of the square that one output unit sees (statistics of norms left aside)."""

    layer: Layer
    given: Shape
    facts: Facts
    receptive_field: int


def trace(layers: tuple[Layer, ...], shape: Shape) -> tuple[Row, ...]:
    """Follow one example of `shape` through the layers.

    Raises:
        InputError: a layer cannot take what it is given, or two layers share a name.
    """
    names = [layer.name for layer in layers]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two layers are named {min(twice)!r}; names must differ.")
    rows: list[Row] = []
    field_side, step = 1, 1
    for layer in layers:
        facts = layer.facts(shape)
        field_side, step = field_side + (facts.kernel - 1) * step, step * facts.stride
        rows.append(Row(layer, shape, facts, field_side))
        shape = facts.shape
    return tuple(rows)


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


def trace_image(layers: tuple[Layer, ...], shape: Shape) -> tuple[Row, ...]:
    """`trace` of a whole network, for an image (height, width, channels).

    Raises:
        InputError: the image is too small, naming the least size, or a layer cannot take what it is given.
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
        InputError: the images are too small, naming the least size, or a layer cannot take what it is given.
    """
    trace_image(layers, x.shape[1:])
    for layer in layers:
        x = layer(x, train=train)
    return x
