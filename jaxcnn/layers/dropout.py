"""Dropout."""

from dataclasses import dataclass

import jax
from flax import linen as nn

from jaxcnn.layers.record import Layer
from jaxcnn.runtime.fields import Fraction


@dataclass(frozen=True)
class Dropout(Layer):
    """Zero a share `rate` of the units while training and scale the rest by 1 / (1 - rate) (AlexNet section 4.2
    scales at test time instead, which is the same in expectation)."""

    rate: Fraction = 0.5

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dropout(self.rate, deterministic=not train, name=self.name)(x)
