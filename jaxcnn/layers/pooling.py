"""Pooling and subsampling."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn import ops
from jaxcnn.layers.initializers import lecun_1998
from jaxcnn.layers.record import Facts, Function, Layer, Shape, TooSmall, maps, slide
from jaxcnn.runtime.fields import PositiveInt


@dataclass(frozen=True)
class _Pool(Layer):
    """A window of side `size` moved by `stride` (None: by its own size)."""

    size: PositiveInt = 2
    stride: PositiveInt | None = None

    def facts(self, shape: Shape) -> Facts:
        stride = self.stride or self.size
        height, width = slide(self, shape, self.size, stride, 0)
        units = height * width * shape[2]
        return Facts((height, width, shape[2]), connections=self.size**2 * units, kernel=self.size, stride=stride)

    def _apply(self, x: jax.Array, pool: Callable[..., jax.Array]) -> jax.Array:
        window, strides = (self.size,) * 2, (self.stride or self.size,) * 2
        return Function(lambda x: pool(x, window, strides), name=self.name)(x)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Largest value in a window; overlapping where stride < size (AlexNet section 3.4)."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Function(lambda x: ops.max_pool(x, self.size, self.stride or self.size), name=self.name)(x)


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
        draw = functools.partial(lecun_1998, fan_in=size**2)
        coefficient = self.param("coefficient", draw, channels).astype(x.dtype).reshape(1, 1, 1, -1)
        bias = self.param("bias", nn.initializers.zeros, channels).astype(x.dtype).reshape(1, 1, 1, -1)
        return nn.pool(x, 0.0, lax.add, (size, size), (stride, stride), "VALID") * coefficient + bias


@dataclass(frozen=True)
class AdaptiveAveragePool(Layer):
    """Means over windows that divide maps of any size into `size` x `size`, overlapping by a pixel where they must, as
    PyTorch's; maps of that size are left alone, smaller ones are an error."""

    size: PositiveInt

    def facts(self, shape: Shape) -> Facts:
        height, width, channels = maps(self, shape)
        if min(height, width) < self.size:
            raise TooSmall(f"{self.name}: {height}x{width} maps are smaller than {self.size}x{self.size}.")
        longest = max(height, width)
        return Facts(
            (self.size, self.size, channels), kernel=-(-longest // self.size), stride=max(1, longest // self.size)
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def pool(x: jax.Array) -> jax.Array:
            rows, columns = (jnp.asarray(_means(length, self.size), x.dtype) for length in x.shape[1:3])
            return jnp.einsum("nhwc,ih,jw->nijc", x, rows, columns)

        return Function(pool if x.shape[1:3] != (self.size, self.size) else lambda x: x, name=self.name)(x)


def _means(length: int, parts: int) -> np.ndarray:
    """[parts, length]: the weights that average a line of pixels over each part."""
    edges = np.arange(parts)[:, None] * length // parts, -(-np.arange(1, parts + 1)[:, None] * length // parts)
    inside = (edges[0] <= np.arange(length)) & (np.arange(length) < edges[1])
    return inside / inside.sum(axis=1, keepdims=True)
