"""Blur of one image float32 [height, width, channels] in 0..1."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.corruptions.constants import at, published
from jaxcnn.corruptions.filters import (
    filter_matrix,
    gaussian_filter,
    mixed,
    motion_filter,
    zoom_grid,
    zoom_matrix,
)


def gaussian_blur(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Smooth by a Gaussian in both directions. MNIST-C's code smooths vertically only, by a slip.

    Standard deviation in pixels: MNIST-C 1, 2, 3, 4, 6; CIFAR-10-C 0.4, 0.6, 0.7, 0.8, 1.
    """
    sigmas = published(image, (1, 2, 3, 4, 6), (0.4, 0.6, 0.7, 0.8, 1))
    return gaussian_filter(image, at(sigmas, severity), largest=max(sigmas))


def defocus_blur(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Spread every pixel over a disk, as a lens out of focus does; the image is mirrored at its borders.

    Radius of the disk and standard deviation of the Gaussian that softens its rim, in pixels: MNIST-C (3, 0.1),
    (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5); CIFAR-10-C (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1).
    """
    table = published(
        image,
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    )
    disks = [_disk(*each) for each in table]
    reach = max(len(disk) for disk in disks) // 2
    columns, values, rows = np.linalg.svd([np.pad(disk, reach - len(disk) // 2) for disk in disks])
    # A disk is the sum of a few products of two filters, of columns and of rows, which is faster than a convolution.
    rank = (values > 1e-9).sum(1).max()
    down, right = np.swapaxes(columns * values[:, None], 1, 2)[:, :rank], rows[:, :rank]
    height, width, _ = image.shape
    return mixed(
        image,
        filter_matrix(at(down, severity), height, "reflect"),
        filter_matrix(at(right, severity), width, "reflect"),
    )


def glass_blur(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Smooth, exchange pixels with near ones, one after the other from the bottom right, and smooth again.

    With one channel, a pixel is exchanged with probability one half. CIFAR-10-C's code copies pixels instead of
    exchanging them, and MNIST-C's smooths vertically only, both by a slip.

    Standard deviation in pixels, largest distance in pixels, number of passes: MNIST-C (0.7, 1, 2), (0.9, 2, 1),
    (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2) (its files: severity 1); CIFAR-10-C (0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1),
    (0.25, 1, 2), (0.4, 1, 2).
    """
    table = published(
        image,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    )
    sigma, reach, passes = at(table, severity)
    height, width, channels = image.shape
    largest, _, most = np.max(table, axis=0)
    # The order of the exchanges: by pass, from the last row to the second, from the last column to the second.
    axes = np.arange(most), np.arange(height - 1, 0, -1), np.arange(width - 1, 0, -1)
    turn, y, x = (axis.ravel().astype(np.int32) for axis in np.meshgrid(*axes, indexing="ij"))
    *moves, coins = jax.random.uniform(key, (3, len(turn)))
    down, right = (jnp.floor(2 * reach * each) - reach for each in moves)
    active = (turn < passes) & (y > reach) & (y <= height - reach) & (x > reach) & (x <= width - reach)
    if channels == 1:
        active &= coins < 0.5
    here = jnp.asarray(y * width + x)
    there = here + jnp.where(active, down * width + right, 0).astype(jnp.int32)

    def exchange(i: int, order: jax.Array) -> jax.Array:
        first, second = order[here[i]], order[there[i]]
        order = jax.lax.dynamic_update_index_in_dim(order, second, here[i], 0)
        return order.at[there[i]].set(first, mode="promise_in_bounds")

    order = jax.lax.fori_loop(0, len(turn), exchange, jnp.arange(height * width))
    smooth = gaussian_filter(image, sigma, largest=largest)
    return gaussian_filter(smooth.reshape(-1, channels)[order].reshape(image.shape), sigma, largest=largest)


def motion_blur(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Blur along a direction between -45 and 45 degrees from the horizontal, as a moving camera does.

    Radius and standard deviation in pixels: MNIST-C (10, 3), (15, 5), (15, 8), (15, 12), (20, 15) (its files: severity
    1); CIFAR-10-C (6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5).
    """
    table = published(
        image,
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    )
    radius, sigma = at(table, severity)
    angle = jnp.pi / 4 * jax.random.uniform(key, minval=-1.0)
    return motion_filter(image, radius, sigma, angle, largest=max(each for each, _ in table))


def zoom_blur(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Average the image with enlargements of it, as a lens that zooms during the exposure does.

    The factors run from 1 to below an end in steps. End and step: MNIST-C (1.11, 0.01), (1.16, 0.01), (1.21, 0.02),
    (1.26, 0.02), (1.31, 0.03); CIFAR-10-C (1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01).
    """
    table = published(
        image,
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    )
    factors = [np.arange(1, *each) for each in table]
    most = max(map(len, factors))
    # Severities with fewer factors are filled up with enlargements of weight 0.
    weights = [[*np.full(len(each), 1 / (len(each) + 1)), *np.zeros(most - len(each))] for each in factors]
    filled = [[*each, *np.ones(most - len(each))] for each in factors]

    def matrices(size: int) -> jax.Array:
        return zoom_matrix(size, at([[zoom_grid(size, factor) for factor in each] for each in filled], severity))

    weight = at(weights, severity)
    rows, columns = (matrices(size) for size in image.shape[:2])
    # The image itself has the weight that the enlargements leave.
    return image * (1 - weight.sum()) + mixed(image, rows * weight[:, None, None], columns)


def _disk(radius: float, sigma: float) -> np.ndarray:
    """Return the filter of a disk whose rim a Gaussian of 3 or 5 pixels softens, as OpenCV computes it."""
    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line[None] ** 2 <= radius**2).astype(np.float64)
    soft = np.exp(-0.5 * (np.arange(-taps, taps + 1) / sigma) ** 2)
    padded = np.pad(disk / disk.sum(), taps, "reflect")
    rows = np.apply_along_axis(np.convolve, 0, padded, soft / soft.sum(), "valid")
    whole = np.apply_along_axis(np.convolve, 1, rows, soft / soft.sum(), "valid")
    used = min(int(radius) + taps, reach)
    return whole[reach - used : reach + used + 1, reach - used : reach + used + 1]
