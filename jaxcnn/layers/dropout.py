"""Dropout."""

from dataclasses import dataclass
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.layers.record import Layer, Shape
from jaxcnn.runtime.fields import Fraction


@dataclass(frozen=True)
class Dropout(Layer):
    """Zero a fraction `rate` of the units in training and scale the rest by 1 / (1 - rate) (AlexNet section 4.2
    scales at test time instead, which is the same in expectation)."""

    role = "dropout"
    acts_on = "unit"
    affine = True

    rate: Fraction = 0.5

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dropout(self.rate, deterministic=not train, name=self.name)(x)

    def label(self) -> str:
        return f"dropout {self.rate:g}"

    def brief(self) -> str:
        return self.label()

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        return torch_nn.Dropout(self.rate)
