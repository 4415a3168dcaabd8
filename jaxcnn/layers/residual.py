"""Residual connections."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.layers.record import Layer, LayerInfo, Shape, named
from jaxcnn.layers.rewriting import convolutional
from jaxcnn.layers.trace import COSTS, follow, in_order
from jaxcnn.runtime.errors import InputError


@dataclass(frozen=True)
class Residual(Layer):
    """The sum of a branch of layers and a shortcut (He et al. 2016, arXiv:1512.03385, section 3.2).

    Parameters are nested: `res1/conv1/kernel`. Residuals may contain residuals. An activation after the sum is a
    separate layer.

    Attributes:
        layers: layers of the branch, F(x) of equation 1.
        shortcut: layers of the shortcut, W x of equation 2, which is needed if the branch changes the shape; empty: the
            identity. The names of all layers in both must be unique.
    """

    layers: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise InputError(f"{self.name}: layers is empty; give the layers of the branch.")
        named((*self.layers, *self.shortcut))

    def branches(self) -> tuple[tuple[Layer, ...], ...]:
        return self.layers, self.shortcut

    def info(self, input_shape: Shape) -> LayerInfo:
        branch, shortcut = ends = [follow(layers, input_shape) for layers in self.branches()]
        if branch.output_shape != shortcut.output_shape:
            raise InputError(
                f"{self.name}: the output shape of the branch is {branch.output_shape}, that of the shortcut "
                f"{shortcut.output_shape}; they must be equal. Change the layers of the shortcut."
            )
        return LayerInfo(
            branch.output_shape,
            **{cost: sum(end.total(cost) for end in ends) for cost in COSTS},
            kernel=max(end.receptive_field for end in ends),
            stride=branch.stride,
        )

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        self.info(x.shape[1:])  # Different shapes might be broadcast.
        return _Sum(self, name=self.name)(x, train=train)

    def label(self) -> str:
        return "residual sum"

    def brief(self) -> str:
        return "sum"

    def convolutional(self, input_shape: Shape, maps: Shape | None, following: tuple[Layer, ...]) -> tuple[Layer, ...]:
        if maps is not None and maps[0] > 1:
            return super().convolutional(input_shape, maps, following)
        # Average pooling inside a branch cannot be moved behind the sum.
        layers, shortcut = (convolutional(part, input_shape, maps, (self,)) for part in self.branches())
        return (dataclasses.replace(self, layers=layers, shortcut=shortcut),)

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        return _Sum(self, linen=True, name=self.name)(x, train=train)

    def torch_module(self, input_shape: Shape) -> Any:
        # PyTorch is not a dependency.
        from jaxcnn.layers.torch_modules import Sum, sequential

        return Sum(*(sequential(layers, input_shape) for layers in self.branches()))


class _Sum(nn.Module):
    """The module of `Residual`."""

    layer: Residual
    linen: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not self.linen:
            return in_order(self.layer.layers, x, train=train) + in_order(self.layer.shortcut, x, train=train)
        branch, shortcut = x, x
        for layer in self.layer.layers:
            branch = layer.linen(branch, train=train)
        for layer in self.layer.shortcut:
            shortcut = layer.linen(shortcut, train=train)
        return branch + shortcut
