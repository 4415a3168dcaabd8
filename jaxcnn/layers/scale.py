"""Multiplication by a constant."""

from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.layers.record import Function, Layer, Shape
from jaxcnn.runtime.fields import Positive


@dataclass(frozen=True)
class Scale(Layer):
    """The input times a fixed factor. At the end of the branch of a `Residual`, a factor below 1 keeps the sums of a
    deep network from growing (Szegedy et al. 2017, arXiv:1602.07261, section 3.3: 0.1 to 0.3)."""

    acts_on = "unit"
    affine = True

    factor: Positive

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Function(lambda x: x * self.factor, name=self.name)(x)

    def label(self) -> str:
        return f"times {self.factor:g}"

    def torch_module(self, input_shape: Shape) -> Any:
        # PyTorch is not a dependency.
        from jaxcnn.layers.torch_modules import Scale

        return Scale(self.factor)
