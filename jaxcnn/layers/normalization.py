"""Normalization layers."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn import norms
from jaxcnn.layers.record import Layer, LayerInfo, Shape, TooSmall, maps
from jaxcnn.norms import AlphaMode
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Fraction, NonNegative, Positive, PositiveInt

NormName = Literal["none", "batch", "layer", "group", "instance", "local_response", "local_response_caffe"]


@dataclass(frozen=True)
class Norm(Layer):
    """The base class of all normalizations; a subclass needs the same as a subclass of `Layer`.

    The `norm` field of a network takes a record without a name, `VGG("D", norm=BatchNorm(momentum=0.99))`, and the
    network names it at each place.

    Attributes:
        usual_place: whether the norm is before or after the activation, unless a network specifies its place.
        adds_bias: whether it adds a trained bias to every channel, so that the layer before it needs none.
    """

    role = "norm"
    usual_place: ClassVar[Literal["pre_activation", "post_activation"]] = "pre_activation"
    adds_bias: ClassVar[bool] = False

    @property
    def shorthand(self) -> NormName | None:
        """The name of this template with these options, if it has one."""
        return next((name for name, norm in NORMS.items() if norm == self), None)


@dataclass(frozen=True)
class _ScaleAndBias(Norm):
    """A norm with one scale and one bias per channel, computed by the linen module `module` with the same options."""

    module: ClassVar[type[nn.Module]]
    adds_bias = True

    epsilon: Positive = dataclasses.field(default=norms.BatchNorm.epsilon, kw_only=True)
    """Added to the variance (1e-5 as in PyTorch and Flax; the papers give no value)."""

    def info(self, input_shape: Shape) -> LayerInfo:
        return LayerInfo(input_shape, parameters=2 * input_shape[-1])

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "name"}
        return self.module(**options, name=self.name)(x, train=train)


@dataclass(frozen=True)
class BatchNorm(_ScaleAndBias):
    """Layer for the module `norms.BatchNorm` (Ioffe & Szegedy 2015)."""

    module = norms.BatchNorm
    acts_on = "position"

    momentum: Fraction = norms.BatchNorm.momentum
    """Weight of the old value in the running statistics: 1 - PyTorch's momentum."""
    unbiased: bool = norms.BatchNorm.unbiased
    """Whether the running variance is the unbiased estimate, as in PyTorch, or the biased one, as in Flax."""
    fast_variance: bool = norms.BatchNorm.fast_variance
    """Compute the variance in one pass over the input: faster, but wrong if the mean is large against the deviation."""

    def brief(self) -> str:
        return "BN"

    def torch_arrays(self) -> Mapping[str, str]:
        running = {"running_mean": "batch_stats/mean", "running_var": "batch_stats/var"}
        return {"weight": "params/scale", "bias": "params/bias"} | running

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        options: dict[str, Any] = {"momentum": self.momentum, "epsilon": self.epsilon, "dtype": x.dtype}
        return nn.BatchNorm(use_running_average=not train, **options, name=self.name)(x)

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        kind = torch_nn.BatchNorm2d if len(input_shape) == 3 else torch_nn.BatchNorm1d
        return kind(input_shape[-1], eps=self.epsilon, momentum=1 - self.momentum)


@dataclass(frozen=True)
class LayerNorm(_ScaleAndBias):
    """Layer for the module `norms.LayerNorm` (Ba et al. 2016)."""

    module = norms.LayerNorm

    def info(self, input_shape: Shape) -> LayerInfo:
        return _grouped(self, input_shape, 1)


@dataclass(frozen=True)
class GroupNorm(_ScaleAndBias):
    """Layer for the module `norms.GroupNorm` (Wu & He 2018)."""

    module = norms.GroupNorm

    num_groups: PositiveInt | None = None
    """Number of groups of channels; None: 32 (Wu & He 2018, table 3) if it divides the channels, otherwise 2."""

    def info(self, input_shape: Shape) -> LayerInfo:
        return _grouped(self, input_shape, self._groups(input_shape[-1]))

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        groups = self._groups(x.shape[-1])
        return self.module(num_groups=groups, epsilon=self.epsilon, name=self.name)(x, train=train)

    def _groups(self, channels: int) -> int:
        usual = self.module.num_groups
        return self.num_groups or (2 if channels % usual else usual)


@dataclass(frozen=True)
class InstanceNorm(_ScaleAndBias):
    """Layer for the module `norms.InstanceNorm` (Ulyanov et al. 2016)."""

    module = norms.InstanceNorm

    def info(self, input_shape: Shape) -> LayerInfo:
        return _grouped(self, maps(self, input_shape), input_shape[-1])


def _grouped(layer: Layer, shape: Shape, groups: int) -> LayerInfo:
    """Return shape and parameters of a norm whose statistics are taken over the positions and channels of a group."""
    if shape[-1] % groups:
        raise InputError(f"{layer.name}: num_groups is {groups}; it must divide the {shape[-1]} channels.")
    if math.prod(shape) == groups:
        error = TooSmall if len(shape) == 3 else InputError
        raise error(f"{layer.name}: shape {shape} leaves 1 value per statistic; it needs at least 2.")
    return LayerInfo(shape, parameters=2 * shape[-1])


@dataclass(frozen=True)
class LocalResponseNorm(Norm):
    """Local response normalization (Krizhevsky et al. 2012, section 3.3), by `norms.LocalResponseNorm`; it has no
    parameters."""

    usual_place = "post_activation"
    acts_on = "position"

    size: PositiveInt = norms.LocalResponseNorm.size
    """Channels in the window, n."""
    alpha: NonNegative = norms.LocalResponseNorm.alpha
    """Factor on the windowed sum of squares; 1e-4 presumes pixels in 0..255."""
    beta: NonNegative = norms.LocalResponseNorm.beta
    """Exponent."""
    k: Positive = norms.LocalResponseNorm.k
    """Additive constant."""
    alpha_mode: AlphaMode = norms.LocalResponseNorm.alpha_mode
    """sum: alpha on the sum, as in the paper; mean: alpha / size on the sum, as in Caffe and PyTorch."""

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = (self.size, self.alpha, self.beta, self.k, self.alpha_mode)
        return norms.LocalResponseNorm(*options, name=self.name)(x, train=train)

    def brief(self) -> str:
        return "LRN"

    def linen(self, x: jax.Array, *, train: bool) -> jax.Array:
        window, below = (1, 1, 1, self.size), self.size // 2
        padding = ((0, 0), (0, 0), (0, 0), (below, self.size - 1 - below))
        squares = lax.reduce_window(x * x, np.zeros((), x.dtype), lax.add, window, (1, 1, 1, 1), padding)
        alpha = self.alpha if self.alpha_mode == "sum" else self.alpha / self.size
        return x * (self.k + alpha * squares) ** -self.beta

    def torch_module(self, input_shape: Shape) -> Any:
        from torch import nn as torch_nn

        alpha = self.alpha * (self.size if self.alpha_mode == "sum" else 1)
        return torch_nn.LocalResponseNorm(self.size, alpha, self.beta, self.k)


NORMS: Mapping[NormName, Norm | None] = {
    "none": None,
    "batch": BatchNorm(),
    "layer": LayerNorm(),
    "group": GroupNorm(),
    "instance": InstanceNorm(),
    "local_response": LocalResponseNorm(),
    "local_response_caffe": LocalResponseNorm(**norms.LRN_PRESETS["caffe"]),
}
"""Templates by name. Local response normalization has the paper's constants; those of Caffe are also PyTorch's."""


def template(norm: Any) -> Any:
    """Return the record without a name for a network's `norm` field; "none" and values that are not norms unchanged."""
    if isinstance(norm, Norm):
        return dataclasses.replace(norm, name=None)
    return (NORMS.get(norm) if isinstance(norm, str) else None) or norm
