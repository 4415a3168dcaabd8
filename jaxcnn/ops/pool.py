"""Max-pooling, with the semantics of `flax.linen.max_pool`."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.ops.choice import use_lax


def max_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Largest value in every window that lies wholly on the maps [n, height, width, channels].

    GPU and TPU run XLA's windowed reduction, and so does a CPU where arrays are distributed, see `choice.use_lax`. Its
    gradient is slow on a CPU, so otherwise the maximum is taken elementwise over strided slices, rows before columns.
    Values are equal; of equal values in a window, here all share the gradient, there the first has it.

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
