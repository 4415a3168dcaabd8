"""The distribution of the values of an array: sums over its values, which can be added, and what follows from them.

Sums of several arrays are added to describe all their values: the calls of a shared layer, the steps of a scan, the
devices of a mesh or several batches.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Sums(NamedTuple):
    """Sums over the values of stacked arrays, float32; those of several arrays are added.

    Attributes:
        moments: [k, 7], in one array because XLA compiles each array of a program. Number of values; number of arrays;
            sum of the values; sum of their squares; for each array its number of values times the square of their mean;
            sum over a sample of the squares of the differences from the mean of the array; the same of the differences
            times 2 ** 64, because the squares of gradients of 1e-20 are below the smallest float32, infinite if the
            differences are not small.
        bins: [k, 4096], values of the sample by the first 12 bits of their float32: sign, exponent and 3 bits of the
            mantissa. So there is a bin for every number, and its upper edge is at most 1.125 times the lower one.
    """

    moments: jax.Array
    bins: jax.Array

    @property
    def n(self) -> jax.Array:
        """Number of values [k]."""
        return self.moments[..., 0]

    @property
    def sampled(self) -> jax.Array:
        """Number of values of the sample [k]."""
        return jnp.sum(self.bins, axis=-1)


MAX_SAMPLE = 65_536
"""Largest number of values of an array in its histogram. Their 2nd percentile is between the 1.9th and the 2.1th of all
values; the quantiles of all values would take longer than a training step."""

EDGES = np.concatenate([-(2.0 ** np.arange(28, -101, -1)), 2.0 ** np.arange(-100, 29)])
"""Edges [258] of the bins of a reading's histogram: one for each sign and each factor of 2 from 2**-100 to 2**28 (8e-31
to 3e8), and one around 0. The outermost bins have all larger values, too."""

SMALL = 2.0**64
"""Factor on values whose squares may be below the smallest float32."""

_SCALES = np.array([1, SMALL], np.float32)[None]
_SMALLEST = 1e-24

# The bins of one sign, and the edges of all bins.
_SHIFT, _MAGNITUDES = 20, 2048
_MAGNITUDE_EDGES = (np.arange(_MAGNITUDES + 1, dtype=np.uint32) << _SHIFT).view(np.float32)
_MAGNITUDE_EDGES[np.nanargmax(_MAGNITUDE_EDGES) :] = np.inf  # Behind infinity come numbers that are not numbers.
_BIN_EDGES = np.concatenate([-_MAGNITUDE_EDGES[:0:-1], _MAGNITUDE_EDGES])


def measure(arrays: Sequence[jax.Array], scale: float = 1.0) -> Sums:
    """Return the sums of each of several arrays, stacked.

    Args:
        arrays: arrays whose first axis is the batch.
        scale: factor on all values.
    """
    moments, bits = [], []
    for i, x in enumerate(arrays):
        # On a CPU, XLA reads x once for each of these two sums, and writes no array of its size.
        mean = scale * jnp.sum(x, dtype=jnp.float32) / x.size
        squares = scale * scale * jnp.sum(jnp.square(x.astype(jnp.float32)))
        values = scale * sample(x)
        centred = jnp.sum(jnp.square((values - mean)[:, None] * _SCALES), axis=0)
        moments.append(jnp.stack([x.size, 1, x.size * mean, squares, x.size * mean * mean, *centred]))
        bits.append(2 * _MAGNITUDES * i + (lax.bitcast_convert_type(values, jnp.uint32) >> _SHIFT))
    # One scatter for all arrays, because XLA takes long to compile each of them.
    bins = jnp.zeros(2 * _MAGNITUDES * len(arrays), jnp.float32)
    bins = bins.at[jnp.concatenate(bits)].add(1, mode="promise_in_bounds")
    return Sums(jnp.stack(moments), bins.reshape(len(arrays), -1))


def sample(x: jax.Array) -> jax.Array:
    """Return at most `MAX_SAMPLE` values of all images, units and positions, float32; all values if there are no more.

    They are selected within each image, so that each device selects from its part of a batch that is sharded.
    """
    x = jnp.asarray(x, jnp.float32).reshape(len(x) if jnp.ndim(x) else 1, -1)
    images, values = x.shape
    if x.size <= MAX_SAMPLE:
        return x.ravel()
    per_image = min(values, max(256, MAX_SAMPLE // images))
    stride = -(-values // per_image)
    # A stride with a common factor would leave out channels or columns.
    while math.gcd(stride, values) > 1:
        stride += 1
    x = x[:, ::stride] if stride > 1 else x
    return x[:: -(-images * x.shape[1] // MAX_SAMPLE)].ravel()


def describe(sums: Sums) -> dict[str, jax.Array]:
    """Return what stacked sums [k] say of the values.

    Returns:
        `mean` and `std`; `low` and `high`, the 2nd and the 98th percentile, linear within bins whose edges differ by
        12.5 % or less; all [k]; `histogram` [k, 257], the number of values of the sample in each bin of `EDGES`.
    """
    n, arrays, total, squares, mean_squares, centred, small = jnp.moveaxis(sums.moments, -1, 0)
    mean = total / n
    variance = squares / n - mean * mean
    # With one array there is nothing between arrays, where the difference would have rounding errors.
    between = jnp.where(arrays > 1, jnp.maximum(mean_squares / n - mean * mean, 0), 0)
    exact = jnp.hypot(root_of_squares(centred, small) / jnp.sqrt(sums.sampled), jnp.sqrt(between))
    # The sums over all values lose digits if the values are small, or large against their differences.
    lossy = (variance < 1e-4 * mean * mean) | (variance < _SMALLEST)
    bins = jnp.concatenate([sums.bins[:, : _MAGNITUDES - 1 : -1], sums.bins[:, :_MAGNITUDES]], axis=1)
    low, high = _quantiles(bins, (0.02, 0.98))
    return {
        "mean": mean,
        "std": jnp.where(lossy | (sums.sampled == n), exact, jnp.sqrt(variance)),
        "low": low,
        "high": high,
        "histogram": _by_octave(bins),
    }


def norms(arrays: Sequence[jax.Array]) -> jax.Array:
    """Return the Euclidean norm of each array, [k] float32, also if squares are below the smallest float32."""
    squares = ([jnp.sum(jnp.square(c * x.astype(jnp.float32))) for x in arrays] for c in (1, SMALL))
    return root_of_squares(*(jnp.stack(each) for each in squares))


def root_of_squares(squares: jax.Array, small: jax.Array) -> jax.Array:
    """Return the root of a sum of squares from that sum and from the sum of the squares of `SMALL` times the values."""
    return jnp.where(jnp.isfinite(small), jnp.sqrt(small) / SMALL, jnp.sqrt(squares))


def _quantiles(bins: jax.Array, fractions: Sequence[float]) -> list[jax.Array]:
    """Return quantiles [k] of counts [k, bins], in the order of the values, linear within a bin."""
    until = jnp.cumsum(bins, axis=1)
    found = []
    for fraction in fractions:
        target = fraction * until[:, -1:]
        i = jnp.sum(until < target, axis=1)
        count, end = (jnp.take_along_axis(each, i[:, None], axis=1)[:, 0] for each in (bins, until))
        low, high = jnp.asarray(_BIN_EDGES)[i], jnp.asarray(_BIN_EDGES)[i + 1]
        found.append(high - (high - low) * (end - target[:, 0]) / count)
    return found


def _by_octave(bins: jax.Array) -> jax.Array:
    """Return the counts [k, 257] in the bins of `EDGES` from counts [k, 4096], in the order of the values."""
    octaves = jnp.sum(bins.reshape(len(bins), 512, -1), axis=2)
    kept = len(EDGES) // 2 - 1
    # Octaves are in the order of the exponents of a float32, which are stored with 127 added.
    least = 256 + 127 - 100
    negative, positive = (512 - least - kept, 512 - least), (least, least + kept)
    counts = jnp.concatenate(
        [
            octaves[:, slice(*negative)],
            jnp.sum(octaves[:, negative[1] : positive[0]], axis=1, keepdims=True),
            octaves[:, slice(*positive)],
        ],
        axis=1,
    )
    counts = counts.at[:, 0].add(jnp.sum(octaves[:, : negative[0]], axis=1))
    return counts.at[:, -1].add(jnp.sum(octaves[:, positive[1] :], axis=1))
