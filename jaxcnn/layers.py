"""Layer records: what a network is made of, and what each layer says of itself.

A record is a plain frozen value. Given the shape of one example it tells its output shape and cost (`facts`); called
inside a linen module it creates exactly one module under its own name.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn import fields, norms, ops
from jaxcnn.errors import InputError
from jaxcnn.fields import Fraction, NonNegativeInt, PositiveInt

Shape = tuple[int, ...]
"""Of one example: (height, width, channels), or (features,) after `Flatten`."""

ActivationName = Literal["tanh", "relu", "sigmoid", "softsign", "scaled_tanh"]
NormName = Literal["none", "batch", "layer", "group", "instance", "local_response"]
InitName = Literal[
    "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_1998"
]


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
    if init == "lecun_1998":
        return _lecun_1998
    return nn.initializers.normal(init) if isinstance(init, float) else getattr(nn.initializers, init)()


def _lecun_1998(key: jax.Array, shape: Shape, dtype: Any = jnp.float32, *, fan_in: int | None = None) -> jax.Array:
    """U(-2.4 / F, 2.4 / F), F the inputs of a unit (LeCun et al. 1998, appendix A); None: those of a kernel's shape."""
    limit = 2.4 / (fan_in or math.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -limit, limit)


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
        kernel_init: a name from `flax.linen.initializers`; lecun_1998, uniform within 2.4 / fan-in of 0 (LeCun et al.
            1998, appendix A); or the standard deviation of a zero-mean normal.
        bias_init: initial bias.
        connections: for every feature the input channels that it sees (LeNet-5, section II.B, table I); None: all of
            its group. The kernel then has only what is trained, [kernel, kernel, pairs], a plane for each pair of a
            feature and a channel in the order of the table, and initial values follow each feature's own fan-in.
    """

    features: PositiveInt
    kernel: PositiveInt = 3
    stride: PositiveInt = 1
    padding: NonNegativeInt = 0
    groups: PositiveInt = 1
    kernel_init: InitName | float = "lecun_normal"
    bias_init: float = 0.0
    connections: tuple[tuple[NonNegativeInt, ...], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.connections is None:
            return
        if self.groups != 1:
            raise InputError(f"{self.name}: groups is {self.groups}; with connections it must be 1.")
        if len(self.connections) != self.features:
            raise InputError(
                f"{self.name}: connections has {len(self.connections)} rows; "
                f"it must have {self.features}, a row for each feature."
            )
        if wrong := [row for row in self.connections if not row or len(set(row)) < len(row)]:
            raise InputError(
                f"{self.name}: connections has a row {wrong[0]}; each needs at least one channel, each channel once."
            )

    def facts(self, shape: Shape) -> Facts:
        height, width = _slide(self, shape, self.kernel, self.stride, self.padding)
        if shape[2] % self.groups or self.features % self.groups:
            raise InputError(
                f"{self.name}: groups is {self.groups}; it must divide {shape[2]} inputs and {self.features} features."
            )
        pairs = self.features * shape[2] // self.groups
        if self.connections is not None:
            inputs, _ = self._pairs()
            pairs = len(inputs)
            if max(inputs) >= shape[2]:
                raise InputError(
                    f"{self.name}: connections has channel {max(inputs)}; the input has only channels 0 to "
                    f"{shape[2] - 1}."
                )
        weights, positions = self.kernel**2 * pairs, height * width
        return Facts(
            shape=(height, width, self.features),
            parameters=weights + self.features,
            connections=(weights + self.features) * positions,
            multiply_adds=weights * positions,
            kernel=self.kernel,
            stride=self.stride,
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.connections is not None:
            self.facts(x.shape[1:])  # JAX drops what is written outside an array without a word.
            return _PartialConv(self, name=self.name)(x)
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

    def _pairs(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Input channels and features of the pairs in `connections`."""
        inputs, features = zip(*((c, f) for f, row in enumerate(self.connections) for c in row), strict=True)
        return inputs, features

    def _draw_pairs(self, key: jax.Array, shape: Shape) -> jax.Array:
        """A full kernel is drawn for each fan-in there is, and every feature takes its planes from that of its own."""
        init, (_, features) = _initializer(self.kernel_init), self._pairs()
        counts = sorted({len(row) for row in self.connections})
        keys = jax.random.split(key, len(counts))
        drawn = [init(k, (*shape[:2], n, self.features), jnp.float32) for k, n in zip(keys, counts, strict=True)]
        planes = [sum(n for n in counts if n < len(row)) + i for row in self.connections for i in range(len(row))]
        return jnp.concatenate(drawn, axis=2)[:, :, np.array(planes), np.array(features)]


class _PartialConv(nn.Module):
    """A convolution with `connections`: its kernel is spread over the full one, which is 0 elsewhere."""

    layer: Conv

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer, (inputs, features) = self.layer, self.layer._pairs()
        window = (layer.kernel, layer.kernel)
        kernel = self.param("kernel", layer._draw_pairs, (*window, len(inputs))).astype(x.dtype)
        bias = self.param("bias", nn.initializers.constant(layer.bias_init), (layer.features,)).astype(x.dtype)
        full = jnp.zeros((*window, x.shape[-1], layer.features), x.dtype)
        full = full.at[:, :, np.array(inputs), np.array(features)].set(kernel, unique_indices=True)
        return layer._convolve(x, full) + bias.reshape(1, 1, 1, -1)


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
class RadialBasis(Layer):
    """Minus the squared Euclidean distance to a fixed code for each class, in float32: the output of LeNet-5 (LeCun et
    al. 1998, section II.B, equation 7) with its sign changed, so that the nearest class has the largest value.

    Attributes:
        codes: one for each class, all as long as the input.
    """

    codes: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({len(code) for code in self.codes}) != 1:
            lengths = ", ".join(str(len(code)) for code in self.codes)
            raise InputError(f"{self.name}: codes have lengths ({lengths}); give at least one, all equally long.")

    def facts(self, shape: Shape) -> Facts:
        if shape != (len(self.codes[0]),):
            raise InputError(f"{self.name} needs {len(self.codes[0])} features, got shape {shape}.")
        products = len(self.codes) * len(self.codes[0])
        return Facts((len(self.codes),), connections=products, multiply_adds=products)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        self.facts(x.shape[1:])  # A length of 1 would be broadcast.

        def distances(x: jax.Array) -> jax.Array:
            differences = x.astype(jnp.float32)[:, None] - np.array(self.codes, np.float32)[None]
            return -jnp.sum(jnp.square(differences), axis=-1)

        return _Function(distances, name=self.name)(x)


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
        return _Function(lambda x: ops.max_pool(x, self.size, self.stride or self.size), name=self.name)(x)


@dataclass(frozen=True)
class AveragePool(_Pool):
    """Mean of a window."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self._apply(x, nn.avg_pool)


@dataclass(frozen=True)
class TrainableSubsampling(_Pool):
    """Sum of a window times a coefficient plus a bias, both trained, one of each a channel (LeCun et al. 1998, section
    II.B); the squashing that follows there is an `Activation`. Coefficients begin as appendix A has it, uniform within
    2.4 / size**2 of 0, biases at 0."""

    def facts(self, shape: Shape) -> Facts:
        pooled = super().facts(shape)
        units = math.prod(pooled.shape)
        return dataclasses.replace(
            pooled, parameters=2 * shape[2], connections=pooled.connections + units, multiply_adds=units
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return _Subsampling(self, name=self.name)(x)


class _Subsampling(nn.Module):
    """The module of `TrainableSubsampling`."""

    layer: TrainableSubsampling

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, stride, channels = self.layer.size, self.layer.stride or self.layer.size, x.shape[-1:]
        draw = functools.partial(_lecun_1998, fan_in=size**2)
        coefficient = self.param("coefficient", draw, channels).astype(x.dtype).reshape(1, 1, 1, -1)
        bias = self.param("bias", nn.initializers.zeros, channels).astype(x.dtype).reshape(1, 1, 1, -1)
        return nn.pool(x, 0.0, lax.add, (size, size), (stride, stride), "VALID") * coefficient + bias


@dataclass(frozen=True)
class AdaptiveAveragePool(Layer):
    """Means over windows that divide maps of any size into `size` x `size`, overlapping by a pixel where they must, as
    PyTorch's; maps of that size are left alone, smaller ones are an error."""

    size: PositiveInt

    def facts(self, shape: Shape) -> Facts:
        height, width, channels = _maps(self, shape)
        if min(height, width) < self.size:
            raise _TooSmall(f"{self.name}: {height}x{width} maps are smaller than {self.size}x{self.size}.")
        longest = max(height, width)
        return Facts(
            (self.size, self.size, channels), kernel=-(-longest // self.size), stride=max(1, longest // self.size)
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def pool(x: jax.Array) -> jax.Array:
            rows, columns = (jnp.asarray(_means(length, self.size), x.dtype) for length in x.shape[1:3])
            return jnp.einsum("nhwc,ih,jw->nijc", x, rows, columns)

        return _Function(pool if x.shape[1:3] != (self.size, self.size) else lambda x: x, name=self.name)(x)


def _means(length: int, parts: int) -> np.ndarray:
    """[parts, length]: the weights that average a line of pixels over each part."""
    edges = np.arange(parts)[:, None] * length // parts, -(-np.arange(1, parts + 1)[:, None] * length // parts)
    inside = (edges[0] <= np.arange(length)) & (np.arange(length) < edges[1])
    return inside / inside.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Activation(Layer):
    """An elementwise nonlinearity; scaled_tanh is 1.7159 tanh(2x / 3), which is 1 at 1 and most curved there (LeCun et
    al. 1998, appendix A)."""

    function: ActivationName

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        own = {"softsign": nn.soft_sign, "scaled_tanh": _scaled_tanh}
        return _Function(own.get(self.function) or getattr(nn, self.function), name=self.name)(x)


def _scaled_tanh(x: jax.Array) -> jax.Array:
    return 1.7159 * jnp.tanh(2 / 3 * x)


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


def trace_image(layers: tuple[Layer, ...], shape: Shape) -> tuple[Row, ...]:
    """`trace` of a whole network, for an image (height, width, channels).

    Raises:
        InputError: the image is too small, naming the least size, or a layer cannot take what it is given.
    """
    try:
        return trace(layers, shape)
    except _TooSmall as error:
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
