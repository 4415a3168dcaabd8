"""Normalization layers."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
from flax import linen as nn

from jaxcnn import norms
from jaxcnn.layers.record import Facts, Layer, Shape, TooSmall, maps
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import PositiveInt

NormName = Literal["none", "batch", "layer", "group", "instance", "local_response"]


@dataclass(frozen=True)
class Norm(Layer):
    """A normalization with a scale and a bias for each channel."""

    module: ClassVar[type[nn.Module]]

    def facts(self, shape: Shape) -> Facts:
        return Facts(shape, parameters=2 * shape[-1])

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.module(**_options(self), name=self.name)(x, train=train)


def _options(layer: Layer) -> dict:
    return {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer) if f.name != "name"}


@dataclass(frozen=True)
class BatchNorm(Norm):
    """`norms.BatchNorm` (Ioffe & Szegedy 2015)."""

    module = norms.BatchNorm


@dataclass(frozen=True)
class LayerNorm(Norm):
    """`norms.LayerNorm` (Ba et al. 2016)."""

    module = norms.LayerNorm

    def facts(self, shape: Shape) -> Facts:
        return _grouped(self, shape, 1)


@dataclass(frozen=True)
class GroupNorm(Norm):
    """`norms.GroupNorm` (Wu & He 2018)."""

    module = norms.GroupNorm
    num_groups: PositiveInt = 32

    def facts(self, shape: Shape) -> Facts:
        return _grouped(self, shape, self.num_groups)


@dataclass(frozen=True)
class InstanceNorm(Norm):
    """`norms.InstanceNorm` (Ulyanov et al. 2016)."""

    module = norms.InstanceNorm

    def facts(self, shape: Shape) -> Facts:
        return _grouped(self, maps(self, shape), shape[-1])


def _grouped(layer: Layer, shape: Shape, groups: int) -> Facts:
    """Of a norm with statistics over the positions and channels of a group."""
    if shape[-1] % groups:
        raise InputError(f"{layer.name}: num_groups is {groups}; it must divide the {shape[-1]} channels.")
    if math.prod(shape) == groups:
        error = TooSmall if len(shape) == 3 else InputError
        raise error(f"{layer.name}: shape {shape} leaves 1 value for each statistic; it needs 2.")
    return Facts(shape, parameters=2 * shape[-1])


@dataclass(frozen=True)
class LocalResponseNorm(Norm):
    """`norms.LocalResponseNorm` (AlexNet section 3.3); it has no parameters."""

    module = norms.LocalResponseNorm
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    alpha_mode: Literal["sum", "mean"] = "sum"

    def facts(self, shape: Shape) -> Facts:
        return Facts(shape)


def normalization(norm: NormName, channels: int, *, name: str) -> tuple[Layer, ...]:
    """The layer that a network's `norm` field asks for, none or one.

    Groups number 32 (Wu & He 2018, table 3) where that divides the channels, otherwise 2.
    """
    if norm == "none":
        return ()
    if norm == "group":
        return (GroupNorm(num_groups=2 if channels % 32 else 32, name=name),)
    kinds = {"batch": BatchNorm, "layer": LayerNorm, "instance": InstanceNorm, "local_response": LocalResponseNorm}
    return (kinds[norm](name=name),)
