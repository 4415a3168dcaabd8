"""Feature maps to one vector."""

from dataclasses import dataclass

import jax

from jaxcnn.layers.record import Facts, Function, Layer, Shape, maps


@dataclass(frozen=True)
class Flatten(Layer):
    """Feature maps to one vector, in the order height, width, channel."""

    def facts(self, shape: Shape) -> Facts:
        height, width, channels = maps(self, shape)
        return Facts((height * width * channels,), kernel=max(height, width))

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return Function(lambda x: x.reshape(x.shape[0], -1), name=self.name)(x)
