"""Convolution, with all or some of the connections between channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.layers.initializers import InitName, initializer
from jaxcnn.layers.record import Layer, LayerInfo, Shape, Window, slide
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import NonNegativeInt, PositiveInt


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution over height and width with `features` output maps.

    Attributes:
        kernel: side of the square window.
        stride: step of the window.
        padding: zeros on each side; it is a number because SAME differs between frameworks at stride 2.
        groups: number of independent groups of input and output channels (AlexNet section 3.2).
        kernel_init: a name from `flax.linen.initializers`; lecun_1998, uniform within 2.4 / fan-in of 0 (LeCun et al.
            1998, appendix A); or the standard deviation of a zero-mean normal.
        bias_init: initial bias; None: no bias, as usual before a norm that adds one.
        connections: input channels of each feature (LeNet-5, section II.B, table I), or None: all channels of its
            group. With connections the kernel has only trained weights, [kernel, kernel, pairs], with one plane per
            pair of a feature and a channel in the order of the table, and initial values depend on each feature's own
            fan-in.
    """

    role = "conv"

    features: PositiveInt
    kernel: PositiveInt = 3
    stride: PositiveInt = 1
    padding: NonNegativeInt = 0
    groups: PositiveInt = 1
    kernel_init: InitName | float = "lecun_normal"
    bias_init: float | None = 0.0
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
                f"it must have {self.features}, one per feature."
            )
        if wrong := [row for row in self.connections if not row or len(set(row)) < len(row)]:
            raise InputError(
                f"{self.name}: connections has a row {wrong[0]}; each row needs at least one channel, and no channel "
                "twice."
            )

    def info(self, input_shape: Shape) -> LayerInfo:
        height, width = slide(self, input_shape, self.kernel, self.stride, self.padding)
        if input_shape[2] % self.groups or self.features % self.groups:
            raise InputError(
                f"{self.name}: groups is {self.groups}; it must divide the {input_shape[2]} input channels and the "
                f"{self.features} features."
            )
        pairs = self.features * input_shape[2] // self.groups
        if self.connections is not None:
            inputs, _ = self._pairs()
            pairs = len(inputs)
            if max(inputs) >= input_shape[2]:
                raise InputError(
                    f"{self.name}: connections has channel {max(inputs)}; the input has only channels 0 to "
                    f"{input_shape[2] - 1}."
                )
        weights, positions = self.kernel**2 * pairs, height * width
        parameters = weights + (self.features if has_bias(self) else 0)
        return LayerInfo(
            output_shape=(height, width, self.features),
            parameters=parameters,
            connections=parameters * positions,
            multiply_adds=weights * positions,
            kernel=self.kernel,
            stride=self.stride,
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.connections is not None:
            self.info(x.shape[1:])  # JAX silently drops writes outside an array.
            return _PartialConv(self, name=self.name)(x)
        return nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=self.padding,
            feature_group_count=self.groups,
            conv_general_dilated=self._convolve,
            dtype=x.dtype,
            kernel_init=initializer(self.kernel_init),
            use_bias=has_bias(self),
            bias_init=nn.initializers.constant(self.bias_init or 0.0),
            name=self.name,
        )(x)

    def window(self) -> Window:
        return Window(self.kernel, self.stride, self.padding, self.groups)

    def label(self) -> str:
        return "convolution"

    def brief(self) -> str:
        step = f"/{self.stride}" if self.stride > 1 else ""
        groups = f", groups {self.groups}" if self.groups > 1 else ""
        return f"conv{self.kernel}-{self.features}{step}{groups}{', partial' if self.connections else ''}"

    def torch_arrays(self) -> Mapping[str, str] | None:
        return None if self.connections else kernel_and_bias(self)

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.connections is not None:
            raise InputError(f"peer flax has no layer like {self.name} (connections); leave this peer out.")
        window = (self.kernel, self.kernel)
        options: dict[str, Any] = {"feature_group_count": self.groups, "use_bias": has_bias(self), "dtype": x.dtype}
        return nn.Conv(self.features, window, self.stride, self.padding, **options, name=self.name)(x)

    def torch_module(self, input_shape: Shape) -> Any:
        if self.connections is not None:
            return super().torch_module(input_shape)
        from torch import nn as torch_nn

        options = {"stride": self.stride, "padding": self.padding, "groups": self.groups, "bias": has_bias(self)}
        return torch_nn.Conv2d(input_shape[-1], self.features, self.kernel, **options)

    def _convolve(self, x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
        """Replace `lax.conv_general_dilated`, whose other arguments are fields of this record."""
        return ops.conv(x, kernel, stride=self.stride, padding=self.padding, groups=self.groups)

    def _pairs(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the input channels and the features of the pairs in `connections`."""
        inputs, features = zip(*((c, f) for f, row in enumerate(self.connections) for c in row), strict=True)
        return inputs, features

    def _draw_pairs(self, key: jax.Array, shape: Shape) -> jax.Array:
        """Draw one full kernel per distinct fan-in; each feature takes its planes from the kernel with its fan-in."""
        init, (_, features) = initializer(self.kernel_init), self._pairs()
        counts = sorted({len(row) for row in self.connections})
        keys = jax.random.split(key, len(counts))
        drawn = [init(k, (*shape[:2], n, self.features), jnp.float32) for k, n in zip(keys, counts, strict=True)]
        planes = [sum(n for n in counts if n < len(row)) + i for row in self.connections for i in range(len(row))]
        return jnp.concatenate(drawn, axis=2)[:, :, np.array(planes), np.array(features)]


def has_bias(layer: Any) -> bool:
    return layer.bias_init is not None


def kernel_and_bias(layer: Any) -> dict[str, str]:
    """Return the names of the arrays of a layer with weights in PyTorch and here."""
    return {"weight": "params/kernel"} | ({"bias": "params/bias"} if has_bias(layer) else {})


class _PartialConv(nn.Module):
    """A convolution with `connections`: its kernel is scattered into a full kernel, which is 0 elsewhere."""

    layer: Conv

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer, (inputs, features) = self.layer, self.layer._pairs()
        window = (layer.kernel, layer.kernel)
        kernel = self.param("kernel", layer._draw_pairs, (*window, len(inputs))).astype(x.dtype)
        full = jnp.zeros((*window, x.shape[-1], layer.features), x.dtype)
        full = full.at[:, :, np.array(inputs), np.array(features)].set(kernel, unique_indices=True)
        y = layer._convolve(x, full)
        if not has_bias(layer):
            return y
        bias = self.param("bias", nn.initializers.constant(layer.bias_init), (layer.features,)).astype(x.dtype)
        return y + bias.reshape(1, 1, 1, -1)
