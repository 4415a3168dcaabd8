"""Normalization functions: batch, local response, layer, group and instance.

Inputs are NHWC or [N, C]: the channels come last. Whatever the input's floating dtype, statistics are float32 and the
output has the input's dtype. Every module is called as `norm(x, train=...)`, so a network can replace one by another.

    mean, var = batch_statistics(x)
    y = batch_norm(x, mean, var, scale, bias)
    y, updates = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Fraction, NonNegative, Positive, PositiveInt

AlphaMode = Literal["sum", "mean"]


EPSILON = 1e-5
"""Added to variances, as in PyTorch and Flax (the papers give no value)."""

MOMENTUM = 0.9
"""Weight of the old running statistics. 0.9 forgets the initial values in about 20 updates; 0.99 needs 200, too many
for a short run."""

LRN_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, "alpha_mode": "sum"},
    "caffe": {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0, "alpha_mode": "mean"},
    "torch": {"alpha": 1e-4, "beta": 0.75, "k": 1.0, "alpha_mode": "mean"},
}
"""Constants of `local_response_norm` by origin: the paper, Caffe's AlexNet, PyTorch's defaults (without size)."""


class Statistics(NamedTuple):
    """Mean and variance of every channel, float32 [C] each."""

    mean: jax.Array
    var: jax.Array


def batch_statistics(x: jax.Array, *, fast_variance: bool = False) -> Statistics:
    """Return the mean and biased variance of every channel over the batch and all positions.

    Under `jax.jit`, an input sharded along its batch gives the statistics of the whole batch, not of each device's
    shard: the program has the same meaning as on one device, and XLA adds the communication.

    Args:
        x: [N, H, W, C] or [N, C], floating point.
        fast_variance: E[x^2] - E[x]^2 in one pass over x instead of E[(x - E[x])^2] in two. Off by default: in float32
            the difference cancels, and at mean 300 and deviation 0.01 no digit of the variance is correct.

    Returns:
        Statistics, float32 [C] each; the variance divides by m = N*H*W, the number of values per channel.

    Raises:
        InputError: x is not floating point or has fewer than 2 axes.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithm 1; section 3.2 for convolutions.
    """
    x32, axes = _float32(x), tuple(range(x.ndim - 1))
    mean = jnp.mean(x32, axes)
    if fast_variance:
        # Rounding can take the difference below zero.
        return Statistics(mean, jnp.maximum(jnp.mean(jnp.square(x32), axes) - jnp.square(mean), 0))
    return Statistics(mean, jnp.mean(jnp.square(x32 - _channels_last(mean, x)), axes))


def batch_norm(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float = EPSILON
) -> jax.Array:
    """Return scale * (x - mean) / sqrt(var + epsilon) + bias for each channel.

    Gradients also flow into mean and var; with `batch_statistics(x)` they are those of the paper's section 3.

    Args:
        x: [N, H, W, C] or [N, C], floating point.
        mean, var, scale, bias: [C].
        epsilon: added to the variance; 1e-5 as in PyTorch and Flax (the paper gives no value).

    Returns:
        Shape and dtype of x; computed in float32.

    Raises:
        InputError: x is not floating point or has fewer than 2 axes; epsilon is not above 0.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithm 1.
    """
    mean, var = _channels_last(mean, x), _channels_last(var, x)
    return _normalize(_float32(x), mean, var, scale, bias, epsilon).astype(x.dtype)


def unbiased_variance(var: jax.Array, count: int) -> jax.Array:
    """Return var * m / (m - 1), the unbiased estimate from a biased variance over m = count values.

    Args:
        var: biased variance, any shape.
        count: number of values behind each variance, N*H*W for a batch.

    Raises:
        InputError: count is below 2, so no such estimate exists.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), section 3.1 and algorithm 2, step 10.
    """
    if count < 2:
        raise InputError(
            f"count is {count}; an unbiased variance needs at least 2 values per channel. Use a larger batch or "
            "unbiased=False."
        )
    return var * (count / (count - 1))


def update_running(running: Statistics, batch: Statistics, *, momentum: float = MOMENTUM) -> Statistics:
    """Return momentum * running + (1 - momentum) * batch for both mean and variance.

    Args:
        running: statistics so far, [C] each.
        batch: statistics of the new batch, [C] each, with a biased or an unbiased variance.
        momentum: weight of the OLD value, as in Flax: 1 - PyTorch's momentum. 0.9 forgets the initial values in about
            20 updates; 0.99, which is common elsewhere, needs 200 and is still inaccurate at the end of a short run.

    Raises:
        InputError: momentum is not in [0, 1).

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), section 3.1, on moving averages.
    """
    _require("momentum", momentum, Fraction)
    return Statistics(*(momentum * old + (1 - momentum) * new for old, new in zip(running, batch, strict=True)))


def population_statistics(
    kind: Literal["algorithm2", "pooled"], means: jax.Array, variances: jax.Array, counts: Sequence[int] | np.ndarray
) -> Statistics:
    """Return the statistics of a population from those of batches drawn from it.

    algorithm2: E[mean] and E[var * m / (m - 1)] over batches with equal weights. The factor makes every batch's
    variance unbiased; it accounts for the spread of the means between batches if, and only if, the batches are drawn at
    random. pooled: the mean and biased variance of all values together, E[mean] and E[var] + Var[mean] (equal to
    E[mean^2 + var] - E[mean]^2 but without its cancellation), with batches weighted by their counts.

    Args:
        kind: algorithm2 or pooled.
        means: [batches, C].
        variances: [batches, C], biased, as from `batch_statistics`.
        counts: [batches], number of values behind each statistic, N*H*W for a batch of images.

    Returns:
        Statistics, float32 [C] each.

    Raises:
        InputError: there are no batches, kind is unknown, or a count is below 2 for algorithm2 or 1 for pooled.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithm 2 and section 3.2; pooled as in "precise batch
    normalization", Wu and Johnson 2021 (arXiv:2105.07576).
    """
    _require("kind", kind, Literal["algorithm2", "pooled"])
    means, variances = jnp.asarray(means, jnp.float32), jnp.asarray(variances, jnp.float32)
    counts, least = np.asarray(counts, np.float64), 2 if kind == "algorithm2" else 1
    if not len(counts) or counts.min() < least:
        raise InputError(
            f"counts is {counts.tolist()}; {kind} needs at least one batch, and {least} or more values per channel in "
            "each batch."
        )

    def mean(values: jax.Array, weights: np.ndarray) -> jax.Array:
        return jnp.tensordot(jnp.asarray(weights / len(counts), jnp.float32), values, 1, precision="highest")

    if kind == "algorithm2":
        return Statistics(mean(means, np.ones_like(counts)), mean(variances, counts / (counts - 1)))
    weights = counts / counts.mean()
    centre = mean(means, weights)
    return Statistics(centre, mean(variances + jnp.square(means - centre[None]), weights))


def blend_statistics(source: Statistics, target: Statistics, prior: float | jax.Array, count: int) -> Statistics:
    """Return N / (N + n) * source + n / (N + n) * target for both mean and variance.

    Args:
        source: statistics of the training data, [C] each.
        target: statistics of the test data, [C] each.
        prior: N, the number of images that the source counts for; 0 gives the target statistics. An array, traced or
            not, is not checked.
        count: n, the number of images behind the target statistics.

    Raises:
        InputError: prior is below 0 or not finite, or count is below 1.

    Source: Schneider et al. 2020 (arXiv:2006.16971).
    """
    if not isinstance(prior, jax.Array):
        _require("prior", prior, NonNegative)
    _require("count", count, PositiveInt)
    share = prior / (prior + count)
    return Statistics(*(share * old + (1 - share) * new for old, new in zip(source, target, strict=True)))


def local_response_norm(
    x: jax.Array,
    size: int = LRN_PRESETS["paper"]["size"],
    alpha: float = LRN_PRESETS["paper"]["alpha"],
    beta: float = LRN_PRESETS["paper"]["beta"],
    k: float = LRN_PRESETS["paper"]["k"],
    alpha_mode: AlphaMode = LRN_PRESETS["paper"]["alpha_mode"],
) -> jax.Array:
    """Return x / (k + alpha * S)^beta, where S sums the squares of the `size` channels around each channel.

    Channels beyond the first and last count as zero. The defaults are the paper's constants; `LRN_PRESETS` contains
    others: `local_response_norm(x, **LRN_PRESETS["caffe"])`. The paper's constants correspond to size 5, alpha 5e-4 and
    k 2 in PyTorch. If alpha * S is small compared with k, the output is just k^-beta * x (0.5946 x by default), so the
    paper's constants do not normalize inputs of unit scale: AlexNet's input was pixels from 0 to 255.

    Args:
        x: [..., C], floating point.
        size: channels in the window, including the centre. An even window extends one channel further down than up, as
            in PyTorch: channels c - size//2 to c + (size-1)//2.
        alpha: weight of the squares.
        beta: exponent.
        k: constant in the denominator; above 0, because otherwise a zero input would be divided by zero.
        alpha_mode: `sum`: alpha * S (the paper, TensorFlow); `mean`: alpha / size * S (Caffe, PyTorch).

    Returns:
        Shape and dtype of x; computed in float32.

    Raises:
        InputError: a constant is out of its bounds, alpha_mode is unknown, or x is not floating point.

    Source: Krizhevsky et al. 2012, section 3.3.
    """
    _require("size", size, PositiveInt)
    _require("alpha", alpha, NonNegative)
    _require("beta", beta, NonNegative)
    _require("k", k, Positive)
    _require("alpha_mode", alpha_mode, AlphaMode)
    x32 = _float32(x, least_axes=1)
    window = (1,) * (x.ndim - 1) + (size,)
    padding = ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),)
    squares = lax.reduce_window(jnp.square(x32), np.float32(0), lax.add, window, (1,) * x.ndim, padding)
    d = k + (alpha if alpha_mode == "sum" else alpha / size) * squares
    # On a CPU, square roots compute the power 3/4 several times faster than pow.
    power = jnp.sqrt(d * jnp.sqrt(d)) if beta == 0.75 else d**beta
    return (x32 / power).astype(x.dtype)


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float = EPSILON) -> jax.Array:
    """Normalize every example over its channels and positions together, then scale and shift each channel.

    The statistics are taken over all units of a layer, as in the paper: (H, W, C) for NHWC, C for [N, C]. There is one
    scale and one bias per channel, as in PyTorch's GroupNorm(1, C), not one per position, so that the image size
    remains free.

    Args:
        x: [N, H, W, C] or [N, C], floating point.
        scale, bias: [C].
        epsilon: added to the variance; 1e-5 as in PyTorch.

    Returns:
        Shape and dtype of x; computed in float32.

    Raises:
        InputError: as in `group_norm`.

    Source: Ba et al. 2016 (arXiv:1607.06450), section 3.
    """
    return group_norm(x, scale, bias, num_groups=1, epsilon=epsilon)


def group_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, num_groups: int = 32, epsilon: float = EPSILON
) -> jax.Array:
    """Normalize every example over positions and groups of neighbouring channels, then scale and shift each channel.

    Args:
        x: [N, H, W, C] or [N, C], floating point.
        scale, bias: [C].
        num_groups: groups of C / num_groups channels each; 32 is the paper's default.
        epsilon: added to the variance; 1e-5 as in PyTorch.

    Returns:
        Shape and dtype of x; computed in float32.

    Raises:
        InputError: num_groups does not divide C; a group has a single value, which always normalizes to 0; epsilon is
            not above 0; x is not floating point or has fewer than 2 axes.

    Source: Wu and He 2018 (arXiv:1803.08494), section 3.
    """
    _require("num_groups", num_groups, PositiveInt)
    x32, channels = _float32(x), x.shape[-1]
    if channels % num_groups:
        divisors = [d for d in range(1, channels + 1) if channels % d == 0]
        near = sorted(sorted(divisors, key=lambda d: abs(d - num_groups))[:4])
        raise InputError(
            f"num_groups is {num_groups}; it must divide the {channels} channels. Use for example "
            f"{', '.join(map(str, near))}."
        )
    positions, width = math.prod(x.shape[1:-1]), channels // num_groups
    if positions * width == 1:
        raise InputError(
            f"x of shape {x.shape} in {num_groups} groups has 1 value per group; normalization needs at least 2. Use "
            "fewer groups or another norm here."
        )

    def group_mean(values: jax.Array) -> jax.Array:
        """Return [N, 1, ..., 1, C], where each channel has the mean of its group. Positions first, which is faster."""
        channel_means = jnp.mean(values, tuple(range(1, x.ndim - 1)), keepdims=True)
        means = jnp.mean(channel_means.reshape(*channel_means.shape[:-1], num_groups, width), -1)
        return jnp.repeat(means, width, axis=-1)

    mean = group_mean(x32)
    var = group_mean(jnp.square(x32 - mean))
    return _normalize(x32, mean, var, scale, bias, epsilon).astype(x.dtype)


def instance_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float = EPSILON) -> jax.Array:
    """Normalize every channel of every example over its positions, then scale and shift it.

    Args:
        x: [N, H, W, C] with more than one position, floating point.
        scale, bias: [C].
        epsilon: added to the variance; 1e-5 as in PyTorch.

    Returns:
        Shape and dtype of x; computed in float32.

    Raises:
        InputError: x has no positions to take statistics over ([N, C], or a single position); epsilon is not above 0;
            x is not floating point.

    Source: Ulyanov et al. 2016 (arXiv:1607.08022).
    """
    if math.prod(x.shape[1:-1]) == 1:
        raise InputError(
            f"x has shape {x.shape}; instance_norm needs more than one position per image. Use another norm here."
        )
    return group_norm(x, scale, bias, num_groups=x.shape[-1], epsilon=epsilon)


def _normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
    """Normalize x with mean and var of the same rank, and scale and bias [C]."""
    _require("epsilon", epsilon, Positive)
    return (x - mean) * (lax.rsqrt(var + epsilon) * _channels_last(scale, x)) + _channels_last(bias, x)


def _channels_last(values: jax.Array, x: jax.Array) -> jax.Array:
    """Return [C] as float32 [1, ..., C] with the rank of x."""
    return jnp.asarray(values, jnp.float32).reshape((1,) * (x.ndim - 1) + (-1,))


def _float32(x: jax.Array, least_axes: int = 2) -> jax.Array:
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim < least_axes:
        raise InputError(
            f"x is {x.dtype} of shape {x.shape}; a norm needs floating-point input with at least {least_axes} axes, "
            "channels last. Convert or reshape it first."
        )
    return x.astype(jnp.float32)


def _require(name: str, value: Any, hint: Any) -> None:
    try:
        fields.accept(value, hint)
    except ValueError:
        allowed = f"{fields.describe(hint)}.{fields.hint_for(value, hint)}"
        raise InputError(f"{name} is {value!r}; it must be {allowed}") from None
