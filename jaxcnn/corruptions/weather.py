"""Fog, snow and spatter over one image float32 [height, width, channels] in 0..1.

Frost is left out: it overlays photographs of ice, which do not come with this package.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.corruptions.constants import at, published
from jaxcnn.corruptions.filters import gaussian_filter, mixed, motion_filter, zoom_grid, zoom_matrix

_MUD = (63 / 255, 42 / 255, 20 / 255)
_WATER = (175 / 255, 238 / 255, 238 / 255)
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601), as in OpenCV and Pillow."""


def fog(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Add a cloud pattern (diamond-square algorithm), and reduce the contrast so that the brightest value remains.

    The pattern is the corner of a square whose side is a power of two: for one channel at least 256, as in MNIST-C, for
    three channels at least 32, as in CIFAR-10-C.

    Strength, and the factor by which finer details are weaker: MNIST-C (1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5),
    (3.0, 1.4) (its files: severity 5); CIFAR-10-C (0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75).
    """
    table = published(
        image,
        ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    )
    strength, decay = at(table, severity)
    height, width, channels = image.shape
    levels = max(8 if channels == 1 else 5, (max(height, width) - 1).bit_length())
    brightest = image.max()
    foggy = image + strength * _plasma(key, levels, decay)[:height, :width, None]
    return foggy * brightest / (brightest + strength)


def snow(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Whiten the image, and add flakes that fall within 45 degrees of the vertical, and the same flakes turned round.

    Flakes are Gaussian noise, enlarged, set to 0 below a threshold and blurred by motion. Mean, standard deviation,
    enlargement, threshold, radius and standard deviation of the blur, and the share of the image that is not whitened:
    MNIST-C (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55);
    CIFAR-10-C (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8).
    """
    table = published(
        image,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    )
    mean, deviation, _, threshold, radius, sigma, share = at(table, severity)
    height, width, channels = image.shape
    flakes, direction = jax.random.split(key)
    layer = mean + deviation * jax.random.normal(flakes, (height, width, 1))
    rows, columns = (
        zoom_matrix(size, at([zoom_grid(size, each[2]) for each in table], severity)) for size in (height, width)
    )
    layer = mixed(layer, rows, columns)
    layer = jnp.where(layer < threshold, 0, jnp.clip(layer, 0, 1))
    angle = -jnp.pi / 2 + jnp.pi / 4 * jax.random.uniform(direction, minval=-1.0)
    layer = motion_filter(layer, radius, sigma, angle, largest=max(each[4] for each in table))
    grey = image if channels == 1 else jnp.sum(image * _colour(GREY), axis=-1, keepdims=True)
    white = share * image + (1 - share) * jnp.maximum(image, 1.5 * grey + 0.5)
    return white + layer + layer[::-1, ::-1]


def spatter(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Cover parts of the image with drops of mud, or, at severities 1 to 3 of colour images, add drops of water.

    Drops are where smoothed Gaussian noise exceeds a threshold. Mud is brown, or dark grey with one channel. Water is
    pale turquoise; CIFAR-10-C also shades it by an edge and a distance transform of OpenCV, which is left out.

    Mean and standard deviation of the noise, standard deviation of its smoothing in pixels, threshold, and for mud the
    smoothing of the drops in pixels, for water its strength: MNIST-C (0.65, 0.3, 4, 0.69, 0.6),
    (0.65, 0.3, 3, 0.68, 0.6), (0.65, 0.3, 2, 0.68, 0.5), (0.65, 0.3, 1, 0.65, 1.5), (0.67, 0.4, 1, 0.65, 1.5) (its
    files: severity 4); CIFAR-10-C (0.62, 0.1, 0.7, 0.7, 0.5), (0.65, 0.1, 0.8, 0.7, 0.5), (0.65, 0.3, 1, 0.69, 0.5),
    (0.65, 0.1, 0.7, 0.69, 0.6), (0.65, 0.1, 0.5, 0.68, 0.6).
    """
    table = published(
        image,
        (
            (0.65, 0.3, 4, 0.69, 0.6),
            (0.65, 0.3, 3, 0.68, 0.6),
            (0.65, 0.3, 2, 0.68, 0.5),
            (0.65, 0.3, 1, 0.65, 1.5),
            (0.67, 0.4, 1, 0.65, 1.5),
        ),
        (
            (0.62, 0.1, 0.7, 0.7, 0.5),
            (0.65, 0.1, 0.8, 0.7, 0.5),
            (0.65, 0.3, 1, 0.69, 0.5),
            (0.65, 0.1, 0.7, 0.69, 0.6),
            (0.65, 0.1, 0.5, 0.68, 0.6),
        ),
    )
    mean, deviation, sigma, threshold, last = at(table, severity)
    _, _, smoothing, _, softening = np.max(table, axis=0)
    height, width, channels = image.shape
    layer = mean + deviation * jax.random.normal(key, (height, width, 1))
    layer = gaussian_filter(layer, sigma, largest=smoothing)
    wet = layer > threshold
    drops = gaussian_filter(wet.astype(jnp.float32), last, largest=softening)
    drops = jnp.where(drops < 0.8, 0, drops)
    muddy = image * (1 - drops) + drops * (_MUD[0] if channels == 1 else _colour(_MUD))
    if channels == 1:
        return muddy
    water = jnp.where(wet, layer, 0)
    water = last * water / jnp.maximum(water.max(), threshold)
    return jnp.where(severity <= 3, image + water * _colour(_WATER), muddy)


def _plasma(key: jax.Array, levels: int, decay: jax.Array) -> jax.Array:
    """Return the heights of a random landscape in 0..1, [2 ** levels, 2 ** levels], by the diamond-square algorithm.

    The landscape is periodic. At each level the grid becomes twice as fine: the centre of a square, then the middle of
    an edge, is the mean of its four neighbours plus uniform noise, whose amplitude is 100² at the coarsest level and
    `decay`² times smaller at each finer one.
    """
    grid, amplitude = jnp.zeros((1, 1)), 100.0**2
    drawn = jax.random.uniform(key, (4**levels - 1,), minval=-1.0)
    for level in range(levels):
        noise = amplitude * drawn[4**level - 1 : 4 ** (level + 1) - 1].reshape(3, *grid.shape)
        across, below = jnp.roll(grid, -1, 1), jnp.roll(grid, -1, 0)
        centres = (grid + across + below + jnp.roll(below, -1, 1)) / 4 + noise[0]
        right = (centres + jnp.roll(centres, 1, 0) + grid + across) / 4 + noise[1]
        under = (centres + jnp.roll(centres, 1, 1) + grid + below) / 4 + noise[2]
        pairs = jnp.stack([jnp.stack([grid, right], -1), jnp.stack([under, centres], -1)], 1)
        grid = pairs.reshape(2 * len(grid), -1)
        amplitude /= decay**2
    low, high = grid.min(), grid.max()
    return (grid - low) / (high - low)


def _colour(values: tuple[float, ...]) -> np.ndarray:
    return np.float32(values)[None, None]
