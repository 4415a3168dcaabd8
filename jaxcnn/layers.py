"""Layer records: what a network is made of, and what each layer says of itself.

A record is a plain frozen value. Given the shape of one example it tells its output shape and cost (`facts`); called
inside a linen module it creates exactly one module under its own name.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn

from jaxcnn import fields, norms, ops
from jaxcnn.errors import InputError
from jaxcnn.fields import Fraction, NonNegativeInt, PositiveInt

Shape = tuple[int, ...]
"""Of one example: (height, width, channels), or (features,) after `Flatten`."""

ActivationName = Literal["tanh", "relu", "sigmoid", "softsign"]
NormName = Literal["none", "batch", "layer", "group", "instance", "local_response"]
InitName = Literal["lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform"]


@dataclass(frozen=True)
class Facts:
    """What a layer does to one example.

    Attributes:
        shape: of the output.
        parameters: trainable numbers.
        connections: as LeCun et al. (1998, section II.B) count them: inputs of every output unit, its bias included.
        multiply_adds: of the products with weights; norms, activations and pooling count none.
        kernel: side of the window on the input, in input pixels.
        stride: input pixels between neighbouring windows.
    """

    shape: Shape
    parameters: int = 0
    connections: int = 0
    multiply_adds: int = 0
    kernel: int = 1
    stride: int = 1


class _TooSmall(InputError):
    """Larger images would do."""


class _Function(nn.Module):
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


def _initializer(init: InitName | float) -> jax.nn.initializers.Initializer:
    return nn.initializers.normal(init) if isinstance(init, float) else getattr(nn.initializers, init)()


def _maps(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise InputError(f"{layer.name} needs feature maps (height, width, channels), got shape {shape}.")
    return shape[0], shape[1], shape[2]


def _slide(layer: Layer, shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Output height and width of a window moved over zero-padded maps."""
    height, width, _ = _maps(layer, shape)
    if min(height, width) + 2 * padding < kernel:
        raise _TooSmall(f"{layer.name}: a {kernel}x{kernel} window does not fit on {height}x{width} maps.")
    return (height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution over height and width with `features` output maps.

    Attributes:
        kernel: side of the square window.
        stride: step of the window.
        padding: zeros on each side, a number because SAME differs between frameworks at stride 2.
        groups: the input and output channels are split into this many independent parts (AlexNet section 3.2).
        kernel_init: a name from `flax.linen.initializers`, or the standard deviation of a zero-mean normal.
        bias_init: initial bias.
    """

    features: PositiveInt
    kernel: PositiveInt = 3
    stride: PositiveInt = 1
    padding: NonNegativeInt = 0
    groups: PositiveInt = 1
    kernel_init: InitName | float = "lecun_normal"
    bias_init: float = 0.0

    def facts(self, shape: Shape) -> Facts:
        height, width = _slide(self, shape, self.kernel, self.stride, self.padding)
        if shape[2] % self.groups or self.features % self.groups:
            raise InputError(
                f"{self.name}: groups is {self.groups}; it must divide {shape[2]} inputs and {self.features} features."
            )
        fan_in = self.kernel**2 * shape[2] // self.groups
        units = height * width * self.features
        return Facts(
            shape=(height, width, self.features),
            parameters=(fan_in + 1) * self.features,
            connections=(fan_in + 1) * units,
            multiply_adds=fan_in * units,
            kernel=self.kernel,
            stride=self.stride,
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=self.padding,
            feature_group_count=self.groups,
            conv_general_dilated=self._convolve,
            dtype=x.dtype,
            kernel_init=_initializer(self.kernel_init),
            bias_init=nn.initializers.constant(self.bias_init),
            name=self.name,
        )(x)

    def _convolve(self, x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
        """In the place of `lax.conv_general_dilated`, whose other arguments this record knows."""
        return ops.conv(x, kernel, stride=self.stride, padding=self.padding, groups=self.groups)


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer with `features` outputs; initial values as in `Conv`."""

    features: PositiveInt
    kernel_init: InitName | float = "lecun_normal"
    bias_init: float = 0.0

    def facts(self, shape: Shape) -> Facts:
        if len(shape) != 1:
            raise InputError(f"{self.name} needs a flat input, got shape {shape}.")
        products = shape[0] * self.features
        return Facts((self.features,), products + self.features, products + self.features, products)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dense(
            self.features,
            dtype=x.dtype,
            kernel_init=_initializer(self.kernel_init),
            bias_init=nn.initializers.constant(self.bias_init),
            name=self.name,
        )(x)


@dataclass(frozen=True)
class _Pool(Layer):
    """A window of side `size` moved by `stride` (None: by its own size)."""

    size: PositiveInt = 2
    stride: PositiveInt | None = None

    def facts(self, shape: Shape) -> Facts:
        stride = self.stride or self.size
        height, width = _slide(self, shape, self.size, stride, 0)
        units = height * width * shape[2]
        return Facts((height, width, shape[2]), connections=self.size**2 * units, kernel=self.size, stride=stride)

    def _apply(self, x: jax.Array, pool: Callable[..., jax.Array]) -> jax.Array:
        window, strides = (self.size,) * 2, (self.stride or self.size,) * 2
        return _Function(lambda x: pool(x, window, strides), name=self.name)(x)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Largest value in a window; overlapping where stride < size (AlexNet section 3.4)."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self._apply(x, nn.max_pool)


@dataclass(frozen=True)
class AveragePool(_Pool):
    """Mean of a window."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self._apply(x, nn.avg_pool)


@dataclass(frozen=True)
class Activation(Layer):
    """An elementwise nonlinearity."""

    function: ActivationName

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return _Function(getattr(nn, self.function) if self.function != "softsign" else nn.soft_sign, name=self.name)(x)


@dataclass(frozen=True)
class Flatten(Layer):
    """Feature maps to one vector, in the order height, width, channel."""

    def facts(self, shape: Shape) -> Facts:
        height, width, channels = _maps(self, shape)
        return Facts((height * width * channels,), kernel=max(height, width))

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return _Function(lambda x: x.reshape(x.shape[0], -1), name=self.name)(x)


@dataclass(frozen=True)
class Dropout(Layer):
    """Zero a share `rate` of the units while training and scale the rest by 1 / (1 - rate) (AlexNet section 4.2
    scales at test time instead, which is the same in expectation)."""

    rate: Fraction = 0.5

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dropout(self.rate, deterministic=not train, name=self.name)(x)


@dataclass(frozen=True)
class _Norm(Layer):
    """A normalization with a scale and a bias for each channel."""

    module: ClassVar[type[nn.Module]]

    def facts(self, shape: Shape) -> Facts:
        return Facts(shape, parameters=2 * shape[-1])

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.module(**_options(self), name=self.name)(x, train=train)


def _options(layer: Layer) -> dict:
    return {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer) if f.name != "name"}


@dataclass(frozen=True)
class BatchNorm(_Norm):
    """`norms.BatchNorm` (Ioffe & Szegedy 2015)."""

    module = norms.BatchNorm


@dataclass(frozen=True)
class LayerNorm(_Norm):
    """`norms.LayerNorm` (Ba et al. 2016)."""

    module = norms.LayerNorm

    def facts(self, shape: Shape) -> Facts:
        return _grouped(self, shape, 1)


@dataclass(frozen=True)
class GroupNorm(_Norm):
    """`norms.GroupNorm` (Wu & He 2018)."""

    module = norms.GroupNorm
    num_groups: PositiveInt = 32

    def facts(self, shape: Shape) -> Facts:
        return _grouped(self, shape, self.num_groups)


@dataclass(frozen=True)
class InstanceNorm(_Norm):
    """`norms.InstanceNorm` (Ulyanov et al. 2016)."""

    module = norms.InstanceNorm

    def facts(self, shape: Shape) -> Facts:
        return _grouped(self, _maps(self, shape), shape[-1])


def _grouped(layer: Layer, shape: Shape, groups: int) -> Facts:
    """Of a norm with statistics over the positions and channels of a group."""
    if shape[-1] % groups:
        raise InputError(f"{layer.name}: num_groups is {groups}; it must divide the {shape[-1]} channels.")
    if math.prod(shape) == groups:
        error = _TooSmall if len(shape) == 3 else InputError
        raise error(f"{layer.name}: shape {shape} leaves 1 value for each statistic; it needs 2.")
    return Facts(shape, parameters=2 * shape[-1])


@dataclass(frozen=True)
class LocalResponseNorm(_Norm):
    """`norms.LocalResponseNorm` (AlexNet section 3.3); it has no parameters."""

    module = norms.LocalResponseNorm
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    alpha_mode: Literal["sum", "mean"] = "sum"

    def facts(self, shape: Shape) -> Facts:
        return Facts(shape)


def normalization(norm: NormName, channels: int, *, name: str) -> tuple[Layer, ...]:
    """The layer that a network's `norm` field asks for, none or one.

    Groups number 32 (Wu & He 2018, table 3) where that divides the channels, otherwise 2.
    """
    if norm == "none":
        return ()
    if norm == "group":
        return (GroupNorm(num_groups=2 if channels % 32 else 32, name=name),)
    kinds = {"batch": BatchNorm, "layer": LayerNorm, "instance": InstanceNorm, "local_response": LocalResponseNorm}
    return (kinds[norm](name=name),)


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
        except _TooSmall:
            continue
    raise InputError("these layers need images of more than 1023 pixels a side; use fewer, or a smaller stride.")


def apply(layers: tuple[Layer, ...], x: jax.Array, *, train: bool) -> jax.Array:
    """Apply the layers in order to a batch [n, height, width, channels]; call it inside a linen module.

    Raises:
        InputError: the images are too small, naming the least size, or a layer cannot take what it is given.
    """
    try:
        trace(layers, x.shape[1:])
    except _TooSmall as error:
        height, width, channels = x.shape[1:]
        least = least_size(layers, channels)
        raise InputError(f"images are {height}x{width}; this network needs at least {least}x{least}.") from error
    for layer in layers:
        x = layer(x, train=train)
    return x
