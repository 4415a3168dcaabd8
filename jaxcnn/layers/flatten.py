"""Flattening of feature maps."""

from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.layers.record import Function, Layer, LayerInfo, Shape, maps


@dataclass(frozen=True)
class Flatten(Layer):
    """Flatten feature maps to one vector, in the order height, width, channel."""

    role = "flatten"
    affine = True

    def info(self, input_shape: Shape) -> LayerInfo:
        height, width, channels = maps(self, input_shape)
        return LayerInfo((height * width * channels,), kernel=max(height, width))

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Function(lambda x: x.reshape(x.shape[0], -1), name=self.name)(x)

    def convolutional(self, input_shape: Shape, maps: Shape | None, following: tuple[Layer, ...]) -> tuple[Layer, ...]:
        return ()

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        return torch_nn.Flatten()
