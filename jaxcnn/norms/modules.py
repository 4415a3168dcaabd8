"""Linen modules around the normalization functions; each is called as `norm(x, train=...)`."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.norms.functions import (
    EPSILON,
    LRN_PRESETS,
    MOMENTUM,
    AlphaMode,
    Statistics,
    batch_norm,
    batch_statistics,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    unbiased_variance,
    update_running,
)
from jaxcnn.runtime.fields import Fraction, NonNegative, Positive, PositiveInt


class BatchNorm(nn.Module):
    """Batch normalization over batch and space, with running statistics for evaluation.

    Parameters `scale` (ones) and `bias` (zeros), float32 [C]; running `mean` (zeros) and `var` (ones), float32 [C], in
    collection `batch_stats`. Under jit the statistics of a batch sharded over devices are those of the whole batch.
    A convolution before it needs no bias of its own (arXiv:1502.03167, section 3.2).
    """

    momentum: Fraction = MOMENTUM
    """Weight of the OLD running value: 1 - PyTorch's momentum. 0.99 is too slow for short runs."""
    epsilon: Positive = EPSILON
    """Added to the variance."""
    unbiased: bool = True
    """Update the running variance with m/(m-1) times the batch's, as in algorithm 2 and PyTorch; Flax does not."""
    fast_variance: bool = False
    """Compute the variance in one pass over the input: faster, but wrong if the mean is large against the deviation."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, update_stats: bool | None = None) -> jax.Array:
        """Normalize x. The statistics for normalization and the update of the running statistics are independent.

        Args:
            x: [N, H, W, C] or [N, C], floating point.
            train: normalize with the statistics of x (True) or with the running statistics before the update (False).
                It has no default: a network that does not pass it would silently train on frozen statistics.
            update_stats: update the running statistics with those of x. None: if train is True, as in Flax. Flax raises
                ModifyScopeVariableError if they would be updated and the caller did not make `batch_stats` mutable;
                False leaves them unchanged. They are never updated during initialization.

        Returns:
            Shape and dtype of x.

        Raises:
            InputError: as in `batch_norm`, `update_running` and, with `unbiased`, `unbiased_variance`.
        """
        scale, bias = _scale_and_bias(self, x)
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:], jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:], jnp.float32)
        if update_stats is None:
            update_stats = train
        update = update_stats and not self.is_initializing()
        running = Statistics(mean.value, var.value)
        batch = batch_statistics(x, fast_variance=self.fast_variance) if train or update else running
        if update:
            kept = unbiased_variance(batch.var, x.size // x.shape[-1]) if self.unbiased else batch.var
            mean.value, var.value = update_running(running, batch._replace(var=kept), momentum=self.momentum)
        return batch_norm(x, *(batch if train else running), scale, bias, epsilon=self.epsilon)


class LocalResponseNorm(nn.Module):
    """Local response normalization across channels, see `local_response_norm`; no parameters."""

    size: PositiveInt = LRN_PRESETS["paper"]["size"]
    """Channels in the window."""
    alpha: NonNegative = LRN_PRESETS["paper"]["alpha"]
    """Weight of the squares."""
    beta: NonNegative = LRN_PRESETS["paper"]["beta"]
    """Exponent."""
    k: Positive = LRN_PRESETS["paper"]["k"]
    """Constant in the denominator."""
    alpha_mode: AlphaMode = LRN_PRESETS["paper"]["alpha_mode"]
    """sum: alpha times the sum of squares (the paper); mean: alpha / size times the sum (Caffe, PyTorch)."""

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """x: [..., C]; the same in training and evaluation."""
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k, self.alpha_mode)


class LayerNorm(nn.Module):
    """Layer normalization over (H, W, C) of each example, see `layer_norm`; `scale` and `bias`, float32 [C]."""

    epsilon: Positive = EPSILON
    """Added to the variance."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """x: [N, H, W, C] or [N, C]; the same in training and evaluation."""
        return layer_norm(x, *_scale_and_bias(self, x), epsilon=self.epsilon)


class GroupNorm(nn.Module):
    """Group normalization of each example, see `group_norm`; `scale` and `bias`, float32 [C]."""

    num_groups: PositiveInt = 32
    """Number of groups; it must divide the number of channels."""
    epsilon: Positive = EPSILON
    """Added to the variance."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """x: [N, H, W, C] or [N, C]; the same in training and evaluation."""
        return group_norm(x, *_scale_and_bias(self, x), num_groups=self.num_groups, epsilon=self.epsilon)


class InstanceNorm(nn.Module):
    """Instance normalization of each channel of each example, see `instance_norm`; `scale` and `bias`, float32 [C]."""

    epsilon: Positive = EPSILON
    """Added to the variance."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """x: [N, H, W, C]; the same in training and evaluation."""
        return instance_norm(x, *_scale_and_bias(self, x), epsilon=self.epsilon)


def _scale_and_bias(module: nn.Module, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    shape = x.shape[-1:]
    return (
        module.param("scale", nn.initializers.ones, shape, jnp.float32),
        module.param("bias", nn.initializers.zeros, shape, jnp.float32),
    )
