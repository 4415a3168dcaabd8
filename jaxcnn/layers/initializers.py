"""Initial values of kernels."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.layers.record import Shape

InitName = Literal[
    "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_1998"
]


def initializer(init: InitName | float) -> jax.nn.initializers.Initializer:
    if init == "lecun_1998":
        return lecun_1998
    return nn.initializers.normal(init) if isinstance(init, float) else getattr(nn.initializers, init)()


def lecun_1998(key: jax.Array, shape: Shape, dtype: Any = jnp.float32, *, fan_in: int | None = None) -> jax.Array:
    """Draw from U(-2.4 / F, 2.4 / F) with fan-in F (LeCun et al. 1998, appendix A), by default that of the shape."""
    limit = 2.4 / (fan_in or math.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -limit, limit)
