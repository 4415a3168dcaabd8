"""Layer records, of which networks consist.

A record is a plain frozen value. For the shape of one example it returns its output shape and cost (`info`). Called
inside a linen module, it creates exactly one module under its own name. Tables, diagrams, dense evaluation, foreign
weights and the peers of the benchmark obtain everything else from the record; every method has a default, so a new kind
of layer is one class.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn

from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError

Shape = tuple[int, ...]
"""The shape of one example: (height, width, channels), or (features,) after `Flatten`."""

Role = Literal["conv", "pool", "dense", "basis", "norm", "activation", "dropout", "flatten", "other"]


@dataclass(frozen=True)
class LayerInfo:
    """The output shape and cost of a layer for one example.

    Attributes:
        output_shape: shape of the output.
        parameters: number of trainable parameters.
        connections: inputs of all output units, including biases, as counted by LeCun et al. (1998, section II.B).
        multiply_adds: products with weights; norms, activations and pooling without weights have none.
        kernel: side of the window on the input, in input pixels.
        stride: input pixels between neighbouring windows.
    """

    output_shape: Shape
    parameters: int = 0
    connections: int = 0
    multiply_adds: int = 0
    kernel: int = 1
    stride: int = 1


@dataclass(frozen=True)
class Window:
    """A square window.

    Attributes:
        size: side of the window.
        stride: step of the window.
        padding: zeros on each side of the maps; None if the layer has no padding.
        groups: number of groups of channels; None if the layer has no groups.
    """

    size: int
    stride: int
    padding: int | None = None
    groups: int | None = None


class TooSmall(InputError):
    """The images are too small for the network."""


class Function(nn.Module):
    """A parameter-free layer as a module, so that interceptors and captured intermediates identify it by name."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)


@dataclass(frozen=True)
class Layer:
    """One layer of a network. A subclass needs `__call__`, and `info` if it changes the shape or has parameters.

    Attributes:
        name: name of the layer and of its parameters. A record without a name is a template, which a network names.
        role: kind of layer for tables, diagrams and stages.
        acts_on: the inputs that one output value depends on. unit: only the same input value; position: the channels at
            the same position; map: more than these. After the flattening, dense evaluation keeps a layer
            only if it acts on units, or if it acts on positions and the maps have one pixel; dense layers are replaced.
        affine: whether dense evaluation may move an average over positions from before this layer to after it; False is
            always safe.
    """

    role: ClassVar[Role] = "other"
    acts_on: ClassVar[Literal["unit", "position", "map"]] = "map"
    affine: ClassVar[bool] = False

    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        fields.check(self)

    def info(self, input_shape: Shape) -> LayerInfo:
        """Return the output shape and cost for an example of this shape; InputError if the layer cannot take it."""
        return LayerInfo(input_shape)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Apply the layer to a batch [n, *input_shape] inside a linen module."""
        raise NotImplementedError

    def branches(self) -> tuple[tuple["Layer", ...], ...]:
        """Return the layers inside this one, by branch; each branch begins at this layer's input."""
        return ()

    def window(self) -> Window | None:
        """Return the window, for tables; None if there is none, or none of fixed size."""
        return None

    def label(self) -> str:
        """Return the name of the layer in the legend of a diagram."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self).__name__).lower()

    def brief(self) -> str:
        """Return the name of the layer in a table of several networks, as in the papers (`conv3-64`)."""
        return type(self).__name__

    def convolutional(
        self, input_shape: Shape, maps: Shape | None, following: tuple["Layer", ...]
    ) -> tuple["Layer", ...]:
        """Return the layers that replace this one in a network whose dense layers are slid over larger images.

        Parameters keep their values and are reshaped to those of the replacement.

        Args:
            input_shape: input shape of this layer in the original network.
            maps: shape (height, width, channels) of the maps behind a flat input; None before the flattening.
            following: layers after this one.

        Raises:
            InputError: the layer cannot be replaced.
        """
        if maps is None or self.acts_on == "unit" or (self.acts_on == "position" and maps[0] == 1):
            return (self,)
        raise InputError(f"{self.name} ({type(self).__name__}) cannot be slid over maps")

    def torch_arrays(self) -> Mapping[str, str] | None:
        """Return the names of the layer's arrays in PyTorch and here: `{"weight": "params/kernel"}`.

        Arrays with 4 or 2 axes are transposed between the two. None: PyTorch's networks have no such layer.
        """
        return None

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Apply the layer as in plain flax.linen, for comparisons of speed; the default is the layer itself."""
        return self(x, train=train)

    def torch_module(self, input_shape: Shape) -> Any:
        """Return the layer as a `torch.nn.Module`, for comparisons of speed.

        Raises:
            InputError: PyTorch has no such layer.
        """
        raise InputError(f"peer torch has no layer like {self.name} ({type(self).__name__}); leave this peer out.")


def named(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Return the names of the layers.

    Raises:
        InputError: a layer is no `Layer` or has no name, or two layers have the same name.
    """
    for number, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise InputError(
                f"layer {number + 1} is {type(layer).__module__}.{type(layer).__name__}; it must be a record of "
                "jaxcnn.layers or of a subclass of Layer."
            )
        if not layer.name:
            raise InputError(f"layer {number + 1} ({type(layer).__name__}) has no name; give it name=...")
    names = tuple(layer.name for layer in layers)
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two layers are named {min(twice)!r}; names must differ.")
    return names


def maps(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise InputError(f"{layer.name} needs feature maps (height, width, channels), got shape {shape}.")
    return shape[0], shape[1], shape[2]


def slide(layer: Layer, shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Return the output height and width of a window that moves over zero-padded maps."""
    height, width, _ = maps(layer, shape)
    if min(height, width) + 2 * padding < kernel:
        raise TooSmall(f"{layer.name}: a {kernel}x{kernel} window does not fit on {height}x{width} maps.")
    return (height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1
