"""Fully connected layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.layers.convolution import Conv, has_bias, kernel_and_bias
from jaxcnn.layers.initializers import InitName, initializer
from jaxcnn.layers.record import Function, Layer, LayerInfo, Shape
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import PositiveInt


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer with `features` outputs; initial values as in `Conv`, bias_init None: no bias."""

    role = "dense"
    affine = True

    features: PositiveInt
    kernel_init: InitName | float = "lecun_normal"
    bias_init: float | None = 0.0

    def info(self, input_shape: Shape) -> LayerInfo:
        if len(input_shape) != 1:
            raise InputError(f"{self.name} needs a flat input, got shape {input_shape}.")
        products = input_shape[0] * self.features
        parameters = products + (self.features if has_bias(self) else 0)
        return LayerInfo((self.features,), parameters, connections=parameters, multiply_adds=products)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dense(
            self.features,
            dtype=x.dtype,
            kernel_init=initializer(self.kernel_init),
            use_bias=has_bias(self),
            bias_init=nn.initializers.constant(self.bias_init or 0.0),
            name=self.name,
        )(x)

    def label(self) -> str:
        return "dense"

    def brief(self) -> str:
        return f"FC-{self.features}"

    def convolutional(self, input_shape: Shape, maps: Shape | None, following: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Return a convolution whose window is as large as the maps."""
        initial = {"kernel_init": self.kernel_init, "bias_init": self.bias_init}
        return (Conv(self.features, kernel=maps[0], **initial, name=self.name),)

    def torch_arrays(self) -> Mapping[str, str]:
        return kernel_and_bias(self)

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dense(self.features, use_bias=has_bias(self), dtype=x.dtype, name=self.name)(x)

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        return torch_nn.Linear(*input_shape, self.features, bias=has_bias(self))


@dataclass(frozen=True)
class RadialBasis(Layer):
    """Negative squared Euclidean distance to one fixed code per class, in float32: the output of LeNet-5 (LeCun et al.
    1998, section II.B, equation 7) with its sign changed, so that the nearest class has the largest value.

    Attributes:
        codes: one code per class, each as long as the input.
    """

    role = "basis"

    codes: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({len(code) for code in self.codes}) != 1:
            lengths = ", ".join(str(len(code)) for code in self.codes)
            raise InputError(f"{self.name}: codes have lengths ({lengths}); give one or more codes of equal length.")

    def info(self, input_shape: Shape) -> LayerInfo:
        if input_shape != (len(self.codes[0]),):
            raise InputError(f"{self.name} needs {len(self.codes[0])} features, got shape {input_shape}.")
        products = len(self.codes) * len(self.codes[0])
        return LayerInfo((len(self.codes),), connections=products, multiply_adds=products)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        self.info(x.shape[1:])  # An input of length 1 would be broadcast.

        def distances(x: jax.Array) -> jax.Array:
            differences = x.astype(jnp.float32)[:, None] - np.array(self.codes, np.float32)[None]
            return -jnp.sum(jnp.square(differences), axis=-1)

        return Function(distances, name=self.name)(x)
