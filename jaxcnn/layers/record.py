"""Layer records: what a network is made of, and what each layer says of itself.

A record is a plain frozen value. For the shape of one example it gives its output shape and cost (`info`). Called
inside a linen module it creates exactly one module under its own name. Tables, diagrams, dense evaluation, foreign
weights and the peers of the benchmark ask the record for everything else; every answer has a default, so a new kind of
layer is one class.
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
    """What a layer does to one example.

    Attributes:
        output_shape: shape of the output.
        parameters: trainable numbers.
        connections: as LeCun et al. (1998, section II.B) count them: inputs of every output unit, its bias included.
        multiply_adds: of the products with weights; norms, activations and pooling without weights count none.
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
        size: its side.
        stride: its step.
        padding: zeros on each side of the maps; None where the layer has no such choice.
        groups: parts that the channels are split into; None where the layer has no such choice.
    """

    size: int
    stride: int
    padding: int | None = None
    groups: int | None = None


class TooSmall(InputError):
    """The images are too small for the network."""


class Function(nn.Module):
    """A parameter-free layer as a module, so that interceptors and captured intermediates see it by name."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)


@dataclass(frozen=True)
class Layer:
    """One layer of a network. A subclass needs `__call__`, and `info` if it changes the shape or has parameters.

    Attributes:
        name: of the layer and of its parameters. A record without a name is a template, to which a network gives names.
        role: what tables, diagrams and stages treat the layer as.
        acts_on: what one output number depends on. unit: on the same number of the input alone; position: on the
            channels at the same position; map: on more than that. Dense evaluation keeps layers behind the flattening
            only if they act on units, or on positions where maps have one pixel.
        affine: whether the layer is an affine map at test time, so that averages over positions can be taken after it.
    """

    role: ClassVar[Role] = "other"
    acts_on: ClassVar[Literal["unit", "position", "map"]] = "map"
    affine: ClassVar[bool] = False

    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        fields.check(self)

    def info(self, input_shape: Shape) -> LayerInfo:
        """Output shape and cost for an example of this shape; InputError if the layer cannot take it."""
        return LayerInfo(input_shape)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Apply to a batch [n, *input_shape] inside a linen module."""
        raise NotImplementedError

    def branches(self) -> tuple[tuple["Layer", ...], ...]:
        """Layers inside this one, by branch; each branch begins at this layer's input."""
        return ()

    def window(self) -> Window | None:
        """The window, for tables; None where there is none, or none of fixed size."""
        return None

    def label(self) -> str:
        """The layer in a diagram's legend."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self).__name__).lower()

    def brief(self) -> str:
        """The layer in a table of several networks, as the papers write it (`conv3-64`)."""
        return type(self).__name__

    def convolutional(
        self, input_shape: Shape, maps: Shape | None, following: tuple["Layer", ...]
    ) -> tuple["Layer", ...]:
        """What replaces this layer in a network whose dense layers are slid over larger images.

        Parameters keep their numbers and are reshaped to those of the replacement.

        Args:
            input_shape: of this layer in the original network.
            maps: the maps that the flat input stands for, (height, width, channels); None before the flattening.
            following: the layers that come later.

        Raises:
            InputError: the layer has no such form.
        """
        if maps is None or self.acts_on == "unit" or (self.acts_on == "position" and maps[0] == 1):
            return (self,)
        raise InputError(f"{self.name} ({type(self).__name__}) cannot be slid over maps")

    def torch_arrays(self) -> Mapping[str, str] | None:
        """PyTorch's names of the layer's arrays, and ours: `{"weight": "params/kernel"}`.

        Arrays of 4 and 2 axes are transposed between the two. None: PyTorch's networks have no such layer.
        """
        return None

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        """The layer as plain flax.linen has it, for comparisons of speed; by default the layer itself."""
        return self(x, train=train)

    def torch_module(self, input_shape: Shape) -> Any:
        """The layer as a `torch.nn.Module`, for comparisons of speed.

        Raises:
            InputError: PyTorch has no such layer.
        """
        raise InputError(f"peer torch has no layer like {self.name} ({type(self).__name__}); leave this peer out.")


def named(layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """Names of the layers.

    Raises:
        InputError: a layer has no name, or two share one.
    """
    names = tuple(layer.name for layer in layers)
    for number, layer in enumerate(layers):
        if not layer.name:
            raise InputError(f"layer {number + 1} ({type(layer).__name__}) has no name; give it name=...")
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two layers are named {min(twice)!r}; names must differ.")
    return names


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
