"""Artefacts of image processing: large pixels on the device; JPEG compression and edges on the host.

The functions of the host take images float32 [n, height, width, channels] in 0..1 and severities [n] as NumPy arrays.
"""

import io
import math

import jax
import numpy as np

from jaxcnn.corruptions.constants import at, published
from jaxcnn.corruptions.filters import mixed
from jaxcnn.corruptions.weather import GREY

# Canny's smoothing in pixels and the thresholds of the gradient, the defaults of skimage.
_SMOOTHING, _LOW, _HIGH = 1.0, 0.1, 0.2


def pixelate(image: jax.Array, severity: jax.Array, key: jax.Array) -> jax.Array:
    """Reduce the image and enlarge it again, both with Pillow's box filter.

    Factor of the side: MNIST-C 0.6, 0.5, 0.4, 0.3, 0.25; CIFAR-10-C 0.95, 0.9, 0.85, 0.75, 0.65.
    """
    factors = published(image, (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65))

    def matrix(size: int) -> jax.Array:
        sides = [max(1, int(size * factor)) for factor in factors]
        return at([_box(side, size) @ _box(size, side) for side in sides], severity)

    return mixed(image, *(matrix(size) for size in image.shape[:2]))


def jpeg_compression(images: np.ndarray, severities: np.ndarray) -> np.ndarray:
    """Compress with Pillow's JPEG, from values truncated to 8 bits, and read again.

    Quality: MNIST-C 25, 18, 15, 10, 7; CIFAR-10-C 80, 65, 58, 50, 40.
    """
    from PIL import Image

    qualities = published(images, (25, 18, 15, 10, 7), (80, 65, 58, 50, 40))
    grey = images.shape[-1] == 1
    results = []
    for image, severity in zip((255 * images).astype(np.uint8), severities, strict=True):
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if grey else image).save(file, "JPEG", quality=qualities[severity - 1])
        results.append(np.asarray(Image.open(file)).reshape(image.shape))
    return np.float32(results).reshape(images.shape) / 255


def canny_edges(images: np.ndarray, severities: np.ndarray) -> np.ndarray:
    """Fade from the image to its edges, found by Canny's algorithm in the brightness, white on black.

    Share of the edges: 0.2, 0.4, 0.6, 0.8, 1, for every image; severity 5 is MNIST-C's only one, the others are not
    published.
    """
    shares = np.float32((0.2, 0.4, 0.6, 0.8, 1))[severities - 1][:, None, None, None]
    grey = images[..., 0] if images.shape[-1] == 1 else images @ np.float32(GREY)
    return (1 - shares) * images + shares * canny(grey)[..., None]


def canny(images: np.ndarray) -> np.ndarray:
    """Return where the edges of images [n, height, width] in 0..1 are, bool of the same shape.

    An edge is one pixel wide: the gradient (Sobel) of the smoothed image is at its largest across the edge, at least
    0.1 everywhere, and at least 0.2 somewhere along the edge (Canny 1986). The border has none. It equals
    `skimage.feature.canny`.
    """
    from scipy import ndimage

    def smooth(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, (0, _SMOOTHING, _SMOOTHING), mode="constant")

    # The mean of the pixels that exist, because those beyond the border count as 0.
    smoothed = smooth(images.astype(np.float64)) / smooth(np.ones((1, *images.shape[1:])))

    def slope(axis: int) -> np.ndarray:
        """Return Sobel's gradient along an axis; `ndimage.sobel` would also smooth over the images."""
        return ndimage.correlate1d(ndimage.correlate1d(smoothed, (-1, 0, 1), axis), (1, 2, 1), 3 - axis)

    down, right = slope(1), slope(2)
    size = np.hypot(down, right)
    steep = np.abs(down) >= np.abs(right)
    y, x = np.where(down < 0, -1, 1), np.where(right < 0, -1, 1)
    longer, shorter = np.maximum(np.abs(down), np.abs(right)), np.minimum(np.abs(down), np.abs(right))
    part = shorter / np.where(longer > 0, longer, 1)
    image, row, column = np.indices(images.shape)
    padded = np.pad(size, ((0, 0), (1, 1), (1, 1)))

    def beside(way: int) -> np.ndarray:
        """Return the gradient one pixel further across the edge, between the next and the diagonal pixel."""
        diagonal = padded[image, row + 1 + way * y, column + 1 + way * x]
        straight = padded[image, row + 1 + way * y * steep, column + 1 + way * x * ~steep]
        return part * diagonal + (1 - part) * straight

    thin = (size >= _LOW) & (size >= beside(1)) & (size >= beside(-1))
    thin[:, [0, -1]] = thin[:, :, [0, -1]] = False
    neighbours = np.zeros((3, 3, 3))
    neighbours[1] = 1
    edges, count = ndimage.label(thin, neighbours)
    strong = np.zeros(count + 1, bool)
    strong[edges[thin & (size >= _HIGH)]] = True
    return strong[edges] & thin


def _box(size: int, result: int) -> np.ndarray:
    """Return the matrix [result, size] that resizes a line of pixels with Pillow's box filter: the mean of the whole
    pixels whose centres lie within the new one, or the nearest pixel."""
    ratio = size / result
    matrix = np.zeros((result, size))
    for i in range(result):
        centre, support = (i + 0.5) * ratio, 0.5 * max(ratio, 1.0)
        first, last = max(math.floor(centre - support + 0.5), 0), min(math.floor(centre + support + 0.5), size)
        place = (np.arange(first, last) - centre + 0.5) / max(ratio, 1.0)
        matrix[i, first:last] = (place > -0.5) & (place <= 0.5)
    return matrix / matrix.sum(1, keepdims=True)
