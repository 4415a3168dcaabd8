"""Shortcuts without parameters between maps of different shapes."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.layers.record import Function, Layer, LayerInfo, Shape, Window, maps
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import PositiveInt


@dataclass(frozen=True)
class PaddedIdentity(Layer):
    """The input itself, at every `stride`-th position, with maps of zeros appended until there are `features` maps: the
    shortcut of a `Residual` whose branch changes the shape, without parameters (He et al. 2016, arXiv:1512.03385,
    section 3.3, option A)."""

    features: PositiveInt
    stride: PositiveInt = 2

    def info(self, input_shape: Shape) -> LayerInfo:
        height, width, channels = maps(self, input_shape)
        if channels > self.features:
            raise InputError(f"{self.name}: features is {self.features}; it must be at least the {channels} inputs.")
        sides = ((length - 1) // self.stride + 1 for length in (height, width))
        return LayerInfo((*sides, self.features), stride=self.stride)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        extra = self.features - x.shape[-1]

        def pad(x: jax.Array) -> jax.Array:
            return jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, extra)))

        return Function(pad, name=self.name)(x)

    def window(self) -> Window:
        return Window(1, self.stride)

    def label(self) -> str:
        return "zero-padded identity"

    def brief(self) -> str:
        return f"identity-{self.features}" + (f"/{self.stride}" if self.stride > 1 else "")

    def torch_module(self, input_shape: Shape) -> Any:
        # PyTorch is not a dependency.
        from jaxcnn.layers.torch_modules import PaddedIdentity

        return PaddedIdentity(self.features, self.stride)
