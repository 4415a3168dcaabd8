"""Max-pooling, with the semantics of `flax.linen.max_pool`."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.ops.choice import use_lax


def max_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Return the largest value in every window that lies entirely on the maps [n, height, width, channels].

    GPU and TPU run XLA's windowed reduction, and so does a CPU if the arrays are distributed, see `choice.use_lax`. Its
    gradient is slow on a CPU, so otherwise the maximum is taken elementwise over strided slices, rows before columns.
    Both give the same values. If values in a window are equal, they share the gradient here, whereas XLA's reduction
    passes it to the first.

    Args:
        x: feature maps.
        size: side of the window.
        stride: step of the window along both axes.
    """
    if use_lax(x):
        return nn.max_pool(x, (size, size), (stride, stride))
    for axis in (1, 2):
        last = x.shape[axis] - size
        slices = (jax.lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(size))
        x = functools.reduce(jnp.maximum, slices)
    return x
