"""Linear filters that several corruptions share, for one image float32 [height, width, channels]."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np


def gaussian_filter(
    image: jax.Array,
    sigma: jax.Array,
    *,
    largest: float,
    truncate: float = 4.0,
    mode: Literal["edge", "symmetric"] = "edge",
) -> jax.Array:
    """Return an image smoothed by a Gaussian, as `scipy.ndimage.gaussian_filter` does.

    Args:
        image: the image.
        sigma: standard deviation in pixels, which may be traced; 0 leaves the image unchanged.
        largest: the largest value of `sigma`; it bounds the size of the filter.
        truncate: number of standard deviations at which the filter ends.
        mode: pixels beyond the border: edge (SciPy's nearest) or symmetric (SciPy's reflect).
    """
    radius = int(truncate * largest + 0.5)
    offsets = np.arange(-radius, radius + 1)
    inside = np.abs(offsets) <= jnp.floor(truncate * sigma + 0.5)
    taps = jnp.where(inside, jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-6)) ** 2), 0)
    taps /= taps.sum()

    height, width, _ = image.shape
    return mixed(image, filter_matrix(taps, height, mode), filter_matrix(taps, width, mode))


def motion_filter(
    image: jax.Array, radius: jax.Array, sigma: jax.Array, angle: jax.Array, *, largest: int
) -> jax.Array:
    """Return an image blurred in one direction by half a Gaussian, as ImageMagick's motion blur does.

    The pixel i steps away, rounded to whole pixels, has weight exp(-i² / 2 sigma²); border pixels are repeated.

    Args:
        image: the image.
        radius: the filter has 2 radius + 1 pixels.
        sigma: standard deviation in pixels.
        angle: direction in radians, from the right downwards.
        largest: the largest value of `radius`.
    """
    height, width, channels = image.shape
    steps = jnp.arange(2 * largest + 1, dtype=jnp.float32)
    weights = jnp.where(steps <= 2 * radius, jnp.exp(-0.5 * (steps / sigma) ** 2), 0)
    weights /= weights.sum()
    down, right = (jnp.ceil(steps * f(angle) - 0.5).astype(jnp.int32) for f in (jnp.sin, jnp.cos))
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    pixels = image.reshape(-1, channels)

    def add(i: int, total: jax.Array) -> jax.Array:
        place = jnp.clip(rows + down[i], 0, height - 1) * width + jnp.clip(columns + right[i], 0, width - 1)
        return total + weights[i] * pixels.at[place].get(mode="promise_in_bounds")

    return jax.lax.fori_loop(0, len(steps), add, jnp.zeros_like(image))


def zoom_grid(size: int, factor: float) -> tuple[float, float]:
    """Return where the central `size` samples of an enlarged line of pixels lie: the position of the first, and the
    distance between two, in pixels of the line. The line is cropped, then enlarged as by `scipy.ndimage.zoom`."""
    kept = math.ceil(size / factor)
    enlarged = round(kept * factor)
    step = (kept - 1) / (enlarged - 1) if enlarged > 1 else 0.0
    return (size - kept) // 2 + (enlarged - size) // 2 * step, step


def zoom_matrix(size: int, grid: jax.Array) -> jax.Array:
    """Return [..., size, size], row i with the bilinear weights of the sample i of `zoom_grid`; `grid` is [..., 2]."""
    pixels = np.arange(size, dtype=np.float32)
    first, step = grid[..., :1, None], grid[..., 1:, None]
    positions = first + step * jnp.expand_dims(pixels[:, None], range(grid.ndim - 1))
    return jax.nn.relu(1 - jnp.abs(positions - jnp.expand_dims(pixels[None], range(grid.ndim - 1))))


def filter_matrix(taps: jax.Array, size: int, mode: Literal["edge", "symmetric", "reflect"]) -> jax.Array:
    """Return [..., size, size], row i with the weights of all pixels of a line in the filtered pixel i.

    Args:
        taps: filter [..., 2 radius + 1].
        size: number of pixels of the line.
        mode: pixels beyond its ends, as in `numpy.pad`.
    """
    radius = taps.shape[-1] // 2
    place = np.arange(size + 2 * radius)[None] - np.arange(size)[:, None]
    band = jnp.where((place >= 0) & (place <= 2 * radius), taps[..., np.clip(place, 0, 2 * radius)], 0)
    return band @ np.eye(size, dtype=np.float32)[np.pad(np.arange(size), radius, mode)]


def mixed(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Return the image whose pixels are weighted sums over rows and columns of those of an image.

    Args:
        image: [height, width, channels].
        rows: [height, height] or [n, height, height], row i with the weights of all rows in row i.
        columns: the same for the width. If there are n of both, the n results are added.
    """
    if rows.ndim == 2:
        rows, columns = rows[None], columns[None]
    return jnp.einsum("nxj,nyjc->yxc", columns, jnp.einsum("nyi,ijc->nyjc", rows, image))
