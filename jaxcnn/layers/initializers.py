"""Initial values of kernels."""

import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.layers.record import Shape
from jaxcnn.runtime.fields import Synonyms

_TORCH = {"glorot": "xavier", "he": "kaiming"}
InitName = Annotated[
    Literal[
        "lecun_normal",
        "lecun_uniform",
        "glorot_normal",
        "glorot_uniform",
        "he_normal",
        "he_uniform",
        "orthogonal",
        "lecun_1998",
    ],
    Synonyms(tuple((f"{_TORCH[who]}_{kind}", f"{who}_{kind}") for who in _TORCH for kind in ("normal", "uniform"))),
]
"""Initial values of a kernel by their names in `flax.linen.initializers`: zero mean and variance 1 / fan-in (lecun),
2 / (fan-in + fan-out) (glorot; Glorot & Bengio 2010, equation 12) or 2 / fan-in (he; He et al. 2015, equation 10);
orthogonal rows or columns of length 1 (Saxe et al. 2014); lecun_1998, see below."""


def initializer(init: InitName | float) -> jax.nn.initializers.Initializer:
    """Return the initializer of that name, or for a number the normal distribution with that standard deviation."""
    if init == "lecun_1998":
        return lecun_1998
    return nn.initializers.normal(init) if isinstance(init, float) else getattr(nn.initializers, init)()


def lecun_1998(key: jax.Array, shape: Shape, dtype: Any = jnp.float32, *, fan_in: int | None = None) -> jax.Array:
    """Draw from U(-2.4 / F, 2.4 / F) with fan-in F (LeCun et al. 1998, appendix A), by default that of the shape."""
    limit = 2.4 / (fan_in or math.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -limit, limit)
