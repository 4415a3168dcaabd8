"""Layer records: what a network is made of, and what each layer says of itself.

A record is a plain frozen value. Given the shape of one example it tells its output shape and cost (`facts`); called
inside a linen module it creates exactly one module under its own name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
from flax import linen as nn

from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError

Shape = tuple[int, ...]


"""Of one example: (height, width, channels), or (features,) after `Flatten`."""


@dataclass(frozen=True)
class Facts:
    """What a layer does to one example.

    Attributes:
        shape: of the output.
        parameters: trainable numbers.
        connections: as LeCun et al. (1998, section II.B) count them: inputs of every output unit, its bias included.
        multiply_adds: of the products with weights; norms, activations and pooling without weights count none.
        kernel: side of the window on the input, in input pixels.
        stride: input pixels between neighbouring windows.
    """

    shape: Shape
    parameters: int = 0
    connections: int = 0
    multiply_adds: int = 0
    kernel: int = 1
    stride: int = 1


class TooSmall(InputError):
    """Larger images would do."""


class Function(nn.Module):
    """A parameter-free layer as a module, so that what intercepts or captures modules sees it by name."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)


@dataclass(frozen=True)
class Layer:
    """One named layer of a network."""

    name: str = field(kw_only=True)

    def __post_init__(self) -> None:
        fields.check(self)

    def facts(self, shape: Shape) -> Facts:
        """Output shape and cost for an example of this shape; InputError where it does not fit."""
        return Facts(shape)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Apply to a batch [n, *shape] inside a linen module."""
        raise NotImplementedError


def maps(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise InputError(f"{layer.name} needs feature maps (height, width, channels), got shape {shape}.")
    return shape[0], shape[1], shape[2]


def slide(layer: Layer, shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Output height and width of a window moved over zero-padded maps."""
    height, width, _ = maps(layer, shape)
    if min(height, width) + 2 * padding < kernel:
        raise TooSmall(f"{layer.name}: a {kernel}x{kernel} window does not fit on {height}x{width} maps.")
    return (height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1
