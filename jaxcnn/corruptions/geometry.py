"""Changes of the places of pixels of one image float32 [height, width, channels] in 0..1.

Sampling is bilinear. Shear, scale, rotation and translation keep the centre of the image in place, and pixels from
beyond its border are 0. Their constants are MNIST-C's for every image.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from jaxcnn.corruptions.constants import at
from jaxcnn.corruptions.filters import gaussian_filter


def shear(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Slant the image to one of both sides by an angle; lines of pixels keep their length, as in skimage before 0.19.

    Radians: MNIST-C 0.2, 0.4, 0.6, 0.8, 1 (its files: severity 2).
    """
    angle = at((0.2, 0.4, 0.6, 0.8, 1), severity) * _sign(key)
    return _transformed(image, [[jnp.cos(angle), 0], [-jnp.sin(angle), 1]])


def scale(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Reduce the image.

    Factor: MNIST-C 0.9, 0.8, 0.7, 0.6, 0.5 (its files: severity 3).
    """
    factor = at((0.9, 0.8, 0.7, 0.6, 0.5), severity)
    return _transformed(image, [[1 / factor, 0], [0, 1 / factor]])


def rotate(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Rotate the image to one of both sides.

    Radians: MNIST-C 0.2, 0.4, 0.6, 0.8, 1 (its files: severity 2).
    """
    angle = at((0.2, 0.4, 0.6, 0.8, 1), severity) * _sign(key)
    return _transformed(image, [[jnp.cos(angle), jnp.sin(angle)], [-jnp.sin(angle), jnp.cos(angle)]])


def translate(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Shift the image by the same whole number of pixels up or down and left or right.

    Pixels: MNIST-C 1, 2, 3, 4, 5 (its files: severity 3).
    """
    down, right = at((1, 2, 3, 4, 5), severity) * _sign(key, (2,))
    return _transformed(image, [[1, 0], [0, 1]], (down, right))


def elastic_transform(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Move three points of the image at random (an affine map), then every pixel by a smoothed random distance.

    Beyond the border the image is 0 with one channel, and mirrored with three. With severity the distances become
    rougher, while the affine map, which is uniform within its constant, becomes weaker.

    Factor of the smoothed uniform distances, standard deviation of their smoothing and largest move of the three
    points, as fractions of the shorter side: CIFAR-10-C (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06),
    (0.1, 0.04, 0.05), (0.1, 0.03, 0.03), for every image; MNIST-C's own are not ordered (its second is the strongest).
    """
    table = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    height, width, channels = image.shape
    side = min(height, width)
    strength, smoothing, reach = side * at(table, severity)
    corners, moves = jax.random.split(key)
    beyond = ("constant", "constant") if channels == 1 else ("mirror", "reflect")
    third, centre = side // 3, np.float32([height // 2, width // 2])
    points = centre + np.float32([[third, third], [-third, third], [-third, -third]])
    moved = points + reach * jax.random.uniform(corners, (3, 2), minval=-1.0)
    # The affine map that sends the moved points to where they came from: where pixels of the result are read.
    ones = np.ones((3, 1), np.float32)
    back = jnp.linalg.inv(jnp.concatenate([moved, ones], 1)) @ points
    places = jnp.stack([*_grid(height, width), jnp.ones((height, width))], -1) @ back
    image = _sampled(image, places[..., 0], places[..., 1], beyond[0])
    distances = jax.random.uniform(moves, (height, width, 2), minval=-1.0)
    largest = side * max(each[1] for each in table)
    smooth = gaussian_filter(distances, smoothing, largest=largest, truncate=3, mode="symmetric")
    rows, columns = _grid(height, width)
    right, down = jnp.moveaxis(strength * smooth, -1, 0)
    return _sampled(image, rows + down, columns + right, beyond[1])


def _sign(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    return jax.random.rademacher(key, shape, jnp.float32)


def _grid(height: int, width: int) -> np.ndarray:
    return np.mgrid[:height, :width].astype(np.float32)


def _transformed(image: jax.Array, matrix: list[list[jax.Array]], shift: tuple = (0, 0)) -> jax.Array:
    """Return the image whose pixel at the offset p from the centre is read at `matrix` p + `shift`, (row, column)."""
    height, width, _ = image.shape
    centre = (height - 1) / 2, (width - 1) / 2
    row, column = (axis - middle for axis, middle in zip(_grid(height, width), centre, strict=True))
    places = [
        down * row + right * column + middle + each
        for (down, right), middle, each in zip(matrix, centre, shift, strict=True)
    ]
    return _sampled(image, *places, "constant")


def _sampled(image: jax.Array, rows: jax.Array, columns: jax.Array, beyond: str) -> jax.Array:
    """Return the values of an image at places [height, width], bilinear; `beyond` is as in SciPy."""
    planes = [map_coordinates(image[..., i], [rows, columns], 1, beyond) for i in range(image.shape[-1])]
    return jnp.stack(planes, -1)
