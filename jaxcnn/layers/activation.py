"""Elementwise nonlinearities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.layers.record import Function, Layer, Shape

ActivationName = Literal["tanh", "relu", "sigmoid", "softsign", "scaled_tanh"]


@dataclass(frozen=True)
class Activation(Layer):
    """An elementwise nonlinearity; scaled_tanh is 1.7159 tanh(2x / 3), which is 1 at x = 1, where its curvature is
    largest (LeCun et al. 1998, appendix A)."""

    role = "activation"
    acts_on = "unit"

    function: ActivationName

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Function(FUNCTIONS[self.function], name=self.name)(x)

    def label(self) -> str:
        return {"relu": "ReLU", "scaled_tanh": "scaled tanh"}.get(self.function, self.function)

    def brief(self) -> str:
        return self.function

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        # In place, as in torchvision's networks.
        kinds = {"tanh": {}, "relu": {"inplace": True}, "sigmoid": {}, "softsign": {}}
        if self.function not in kinds:
            return super().torch_module(input_shape)
        names = {"relu": "ReLU"}
        return getattr(torch_nn, names.get(self.function, self.function.capitalize()))(**kinds[self.function])


def _scaled_tanh(x: jax.Array) -> jax.Array:
    return 1.7159 * jnp.tanh(2 / 3 * x)


FUNCTIONS: dict[ActivationName, Callable[[jax.Array], jax.Array]] = {
    "tanh": nn.tanh,
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "softsign": nn.soft_sign,
    "scaled_tanh": _scaled_tanh,
}
"""The functions by name."""
