"""Pooling and subsampling."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn import ops
from jaxcnn.layers.initializers import lecun_1998
from jaxcnn.layers.record import Function, Layer, LayerInfo, Shape, TooSmall, Window, maps, slide
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import PositiveInt


@dataclass(frozen=True)
class _Pool(Layer):
    """A window of side `size` that moves by `stride` (None: by its own size)."""

    role = "pool"
    kind: ClassVar[str]

    size: PositiveInt = 2
    stride: PositiveInt | None = None

    def info(self, input_shape: Shape) -> LayerInfo:
        stride, channels = self.stride or self.size, input_shape[-1]
        height, width = slide(self, input_shape, self.size, stride, 0)
        connections = self.size**2 * height * width * channels
        return LayerInfo((height, width, channels), connections=connections, kernel=self.size, stride=stride)

    def window(self) -> Window:
        return Window(self.size, self.stride or self.size)

    def brief(self) -> str:
        stride = self.stride or self.size
        usual = (self.size, stride) == (2, 2)
        return self.kind if usual else f"{self.kind}{self.size}" + (f"/{stride}" if stride > 1 else "")

    def _slid(self, pool: Callable[..., jax.Array], x: jax.Array) -> jax.Array:
        return pool(x, (self.size,) * 2, (self.stride or self.size,) * 2)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Largest value in a window; windows overlap if stride < size (AlexNet section 3.4)."""

    kind = "maxpool"

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Function(lambda x: ops.max_pool(x, self.size, self.stride or self.size), name=self.name)(x)

    def label(self) -> str:
        return "max pooling"

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self._slid(nn.max_pool, x)

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        return torch_nn.MaxPool2d(self.size, self.stride)


@dataclass(frozen=True)
class AveragePool(_Pool):
    """Mean of a window."""

    kind = "avgpool"

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Function(functools.partial(self._slid, nn.avg_pool), name=self.name)(x)

    def label(self) -> str:
        return "average pooling"

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        return torch_nn.AvgPool2d(self.size, self.stride)


@dataclass(frozen=True)
class TrainableSubsampling(_Pool):
    """Sum of a window times a coefficient plus a bias, both trained, with one of each per channel (LeCun et al. 1998,
    section II.B); the squashing function that follows in the paper is an `Activation`. Coefficients are initialized as
    in appendix A, uniformly within 2.4 / size**2 of 0, and biases with 0."""

    kind = "subsampling"

    def info(self, input_shape: Shape) -> LayerInfo:
        pooled = super().info(input_shape)
        units = math.prod(pooled.output_shape)
        return dataclasses.replace(
            pooled, parameters=2 * input_shape[2], connections=pooled.connections + units, multiply_adds=units
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return _Subsampling(self, name=self.name)(x)


class _Subsampling(nn.Module):
    """The module of `TrainableSubsampling`."""

    layer: TrainableSubsampling

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, stride, channels = self.layer.size, self.layer.stride or self.layer.size, x.shape[-1:]
        draw = functools.partial(lecun_1998, fan_in=size**2)
        coefficient = self.param("coefficient", draw, channels).astype(x.dtype).reshape(1, 1, 1, -1)
        bias = self.param("bias", nn.initializers.zeros, channels).astype(x.dtype).reshape(1, 1, 1, -1)
        return nn.pool(x, 0.0, lax.add, (size, size), (stride, stride), "VALID") * coefficient + bias


@dataclass(frozen=True)
class AdaptiveAveragePool(Layer):
    """Means over windows that divide maps of any size into `size` x `size`, overlapping by a pixel if necessary, as in
    PyTorch; maps of that size are left unchanged, smaller maps are an error."""

    role = "pool"

    size: PositiveInt

    def info(self, input_shape: Shape) -> LayerInfo:
        height, width, channels = maps(self, input_shape)
        if min(height, width) < self.size:
            raise TooSmall(f"{self.name}: {height}x{width} maps are smaller than {self.size}x{self.size}.")
        longest = max(height, width)
        return LayerInfo(
            (self.size, self.size, channels), kernel=-(-longest // self.size), stride=max(1, longest // self.size)
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def pool(x: jax.Array) -> jax.Array:
            rows, columns = (jnp.asarray(_means(length, self.size), x.dtype) for length in x.shape[1:3])
            return jnp.einsum("nhwc,ih,jw->nijc", x, rows, columns)

        return Function(pool if x.shape[1:3] != (self.size, self.size) else lambda x: x, name=self.name)(x)

    def label(self) -> str:
        return "adaptive average pooling"

    def convolutional(self, input_shape: Shape, maps: Shape | None, following: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Return no layer if this one changes nothing, or if all later ones are affine: the mean is then taken last."""
        height, width, _ = input_shape
        if (height, width) != (self.size, self.size) and not (self.size == 1 and all(x.affine for x in following)):
            raise InputError(
                f"{self.name} shrinks {height}x{width} maps to {self.size}x{self.size}, and cannot be omitted"
            )
        return ()

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        if any(side % self.size for side in x.shape[1:3]):
            raise InputError(f"peer flax has no layer like {self.name} ({type(self).__name__}); leave this peer out.")
        window = tuple(side // self.size for side in x.shape[1:3])
        return nn.avg_pool(x, window, window)

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        return torch_nn.AdaptiveAvgPool2d(self.size)


def _means(length: int, parts: int) -> np.ndarray:
    """Return the weights [parts, length] that average a line of pixels over each part."""
    edges = np.arange(parts)[:, None] * length // parts, -(-np.arange(1, parts + 1)[:, None] * length // parts)
    inside = (edges[0] <= np.arange(length)) & (np.arange(length) < edges[1])
    return inside / inside.sum(axis=1, keepdims=True)
