"""The corruptions in plain NumPy and SciPy, one image at a time, as the published code has them.

Each follows the code of MNIST-C or CIFAR-10-C with SciPy and Pillow in place of scikit-image, OpenCV and ImageMagick,
with the differences that the docstrings of `jaxcnn.corruptions` name. It takes one image float64
[height, width, channels] in 0..1, a severity from 1 to 5 and `Draws`, or an object with the same methods.
"""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

Array = np.ndarray


class Draws(np.random.Generator):
    """A generator with the draws of glass blur, which the published code makes one by one, and of a direction."""

    def coin(self, turn: int, row: int, column: int) -> bool:
        """Return whether the pixel at this place is exchanged in this pass."""
        return self.random() < 0.5

    def move(self, turn: int, row: int, column: int, reach: int) -> Array:
        """Return how many rows and columns away the other pixel is, from -reach to reach - 1."""
        return self.integers(-reach, reach, 2)

    def sign(self) -> int:
        """Return 1 or -1."""
        return 2 * int(self.integers(2)) - 1


def corrupt(name: str, image: Array, severity: int, rng: Any) -> Array:
    """Return the corrupted image, clipped to 0..1."""
    return np.clip(PLAIN[name](image, severity, rng), 0, 1)


def gaussian_noise(x: Array, severity: int, rng: Any) -> Array:
    c = ([0.08, 0.12, 0.18, 0.26, 0.38] if grey(x) else [0.04, 0.06, 0.08, 0.09, 0.10])[severity - 1]
    return x + c * rng.standard_normal(x.shape)


def shot_noise(x: Array, severity: int, rng: Any) -> Array:
    c = ([60, 25, 12, 5, 3] if grey(x) else [500, 250, 100, 75, 50])[severity - 1]
    return rng.poisson(x * c) / c


def impulse_noise(x: Array, severity: int, rng: Any) -> Array:
    c = ([0.03, 0.06, 0.09, 0.17, 0.27] if grey(x) else [0.01, 0.02, 0.03, 0.05, 0.07])[severity - 1]
    x, drawn = x.copy(), rng.random(x.shape)
    x[drawn < c] = 0
    x[drawn < c / 2] = 1
    return x


def speckle_noise(x: Array, severity: int, rng: Any) -> Array:
    c = ([0.15, 0.2, 0.35, 0.45, 0.6] if grey(x) else [0.06, 0.1, 0.12, 0.16, 0.2])[severity - 1]
    return x + x * c * rng.standard_normal(x.shape)


def gaussian_blur(x: Array, severity: int, rng: Any) -> Array:
    c = ([1, 2, 3, 4, 6] if grey(x) else [0.4, 0.6, 0.7, 0.8, 1])[severity - 1]
    return gaussian(x, c)


def defocus_blur(x: Array, severity: int, rng: Any) -> Array:
    mnist = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)]
    radius, alias = (mnist if grey(x) else [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)])[severity - 1]
    line, taps = (np.arange(-8, 9), 1) if radius <= 8 else (np.arange(-radius, radius + 1), 2)
    columns, rows = np.meshgrid(line, line)
    kernel = (columns**2 + rows**2 <= radius**2).astype(float)
    kernel /= kernel.sum()
    soft = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * alias**2))
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, soft / soft.sum(), axis, mode="mirror")
    return np.stack([ndimage.correlate(x[..., i], kernel, mode="mirror") for i in range(x.shape[-1])], -1)


def glass_blur(x: Array, severity: int, rng: Any) -> Array:
    mnist = [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)]
    cifar = [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)]
    sigma, reach, passes = (mnist if grey(x) else cifar)[severity - 1]
    height, width, _ = x.shape
    x = gaussian(x, sigma)
    for turn in range(passes):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                if not grey(x) or rng.coin(turn, row, column):
                    down, right = rng.move(turn, row, column, reach)
                    there = row + down, column + right
                    x[row, column], x[there] = x[there].copy(), x[row, column].copy()
    return gaussian(x, sigma)


def motion_blur(x: Array, severity: int, rng: Any) -> Array:
    mnist, cifar = [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)], [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)]
    return motion(x, *(mnist if grey(x) else cifar)[severity - 1], rng.uniform(-np.pi / 4, np.pi / 4))


def zoom_blur(x: Array, severity: int, rng: Any) -> Array:
    mnist = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)]
    cifar = [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)]
    factors = np.arange(1, *(mnist if grey(x) else cifar)[severity - 1])
    return (x + sum(clipped_zoom(x, factor) for factor in factors)) / (len(factors) + 1)


def fog(x: Array, severity: int, rng: Any) -> Array:
    mnist = [(1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)]
    cifar = [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)]
    strength, decay = (mnist if grey(x) else cifar)[severity - 1]
    height, width, _ = x.shape
    cloud = plasma_fractal(256 if grey(x) else 32, decay, rng)[:height, :width, None]
    return (x + strength * cloud) * x.max() / (x.max() + strength)


def snow(x: Array, severity: int, rng: Any) -> Array:
    mnist = [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ]
    cifar = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ]
    c = (mnist if grey(x) else cifar)[severity - 1]
    layer = clipped_zoom(c[0] + c[1] * rng.standard_normal((*x.shape[:2], 1)), c[2])
    layer[layer < c[3]] = 0
    layer = motion(np.clip(layer, 0, 1), c[4], c[5], rng.uniform(-3 * np.pi / 4, -np.pi / 4))
    bright = x if grey(x) else x @ np.array([[0.299], [0.587], [0.114]])
    x = c[6] * x + (1 - c[6]) * np.maximum(x, bright * 1.5 + 0.5)
    return x + layer + np.rot90(layer, 2)


def spatter(x: Array, severity: int, rng: Any) -> Array:
    mnist = [
        (0.65, 0.3, 4, 0.69, 0.6),
        (0.65, 0.3, 3, 0.68, 0.6),
        (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5),
        (0.67, 0.4, 1, 0.65, 1.5),
    ]
    cifar = [
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    ]
    c = (mnist if grey(x) else cifar)[severity - 1]
    layer = gaussian(c[0] + c[1] * rng.standard_normal((*x.shape[:2], 1)), c[2])
    if not grey(x) and severity <= 3:
        layer[layer <= c[3]] = 0
        return x + c[4] * layer / max(layer.max(), c[3]) * np.array([175, 238, 238]) / 255
    drops = gaussian((layer > c[3]).astype(float), c[4])
    drops[drops < 0.8] = 0
    return x * (1 - drops) + drops * np.array([63] if grey(x) else [63, 42, 20]) / 255


def brightness(x: Array, severity: int, rng: Any) -> Array:
    c = ([0.1, 0.2, 0.3, 0.4, 0.5] if grey(x) else [0.05, 0.1, 0.15, 0.2, 0.3])[severity - 1]
    return x + c if grey(x) else in_hsv(x, 2, lambda value: value + c)


def contrast(x: Array, severity: int, rng: Any) -> Array:
    c = ([0.4, 0.3, 0.2, 0.1, 0.05] if grey(x) else [0.75, 0.5, 0.4, 0.3, 0.15])[severity - 1]
    mean = x.mean((0, 1))
    return (x - mean) * c + mean


def saturate(x: Array, severity: int, rng: Any) -> Array:
    mnist, cifar = (
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
        [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
    )
    a, b = (mnist if grey(x) else cifar)[severity - 1]
    return x * a + b if grey(x) else in_hsv(x, 1, lambda saturation: saturation * a + b)


def inverse(x: Array, severity: int, rng: Any) -> Array:
    c = [0.2, 0.4, 0.6, 0.8, 1][severity - 1]
    return (1 - x) * c + (1 - c) / 2


def quantize(x: Array, severity: int, rng: Any) -> Array:
    levels = 2 ** [5, 4, 3, 2, 1][severity - 1] - 1
    return np.round(x * levels) / levels


def elastic_transform(x: Array, severity: int, rng: Any) -> Array:
    height, width, channels = x.shape
    side = min(height, width)
    table = [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)]
    alpha, sigma, reach = (side * each for each in table[severity - 1])
    centre, third = np.array([height // 2, width // 2]), side // 3
    points = centre + third * np.array([[1, 1], [-1, 1], [-1, -1]])
    moved = points + reach * rng.uniform(-1, 1, (3, 2))
    # Solved for the map from moved points to points: [matrix | offset] @ [moved, 1] = points.
    matrix = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points).T
    first, second = ("grid-constant", "grid-constant") if channels == 1 else ("mirror", "reflect")
    x = np.stack(
        [
            ndimage.affine_transform(x[..., i], matrix[:, :2], matrix[:, 2], order=1, mode=first)
            for i in range(channels)
        ],
        -1,
    )
    distances = rng.uniform(-1, 1, (height, width, 2))
    right, down = (
        alpha * ndimage.gaussian_filter(distances[..., i], sigma, mode="reflect", truncate=3) for i in range(2)
    )
    rows, columns = np.mgrid[:height, :width]
    places = [rows + down, columns + right]
    return np.stack([ndimage.map_coordinates(x[..., i], places, order=1, mode=second) for i in range(channels)], -1)


def shear(x: Array, severity: int, rng: Any) -> Array:
    c = [0.2, 0.4, 0.6, 0.8, 1.0][severity - 1] * rng.sign()
    return affine(x, [[1, -np.sin(c)], [0, np.cos(c)]])


def rotate(x: Array, severity: int, rng: Any) -> Array:
    c = [0.2, 0.4, 0.6, 0.8, 1.0][severity - 1] * rng.sign()
    return affine(x, [[np.cos(c), -np.sin(c)], [np.sin(c), np.cos(c)]])


def scale(x: Array, severity: int, rng: Any) -> Array:
    c = 1 / [0.9, 0.8, 0.7, 0.6, 0.5][severity - 1]
    return affine(x, [[c, 0], [0, c]])


def translate(x: Array, severity: int, rng: Any) -> Array:
    down, right = rng.sign(), rng.sign()
    return affine(x, np.eye(2), severity * np.array([right, down]))


def stripe(x: Array, severity: int, rng: Any) -> Array:
    x, width = x.copy(), round([3, 5, 7, 9, 11][severity - 1] * x.shape[1] / 28)
    x[:, :width] = 1 - x[:, :width]
    x[:, -width:] = 1 - x[:, -width:]
    return x


def dotted_line(x: Array, severity: int, rng: Any) -> Array:
    height, width, _ = x.shape
    x = x.copy()
    for ends in rng.integers(0, height - 1, (5, 2))[:severity]:
        line = line_from_points(0, ends[0], width - 1, ends[1], height, width)
        for column in range(0, width, 4):
            line[:, column : column + 2] = 0
        x += line[..., None]
    return x


def zigzag(x: Array, severity: int, rng: Any) -> Array:
    height, width, _ = x.shape
    x, a, b = x.copy(), 2.0, 2.0
    starts, rises = rng.integers(0, height - 1, 5), rng.integers(-5, 5, 5)
    for start, rise in zip(starts[:severity], rises[:severity], strict=True):
        c0, c1 = 2, width - 3
        theta = np.arctan(rise / (c1 - c0))
        d = (c1 - c0) / np.cos(theta)
        points = [(0, 0)]
        for i in range(int((d - a) // (2 * a)) + 1):
            points.append(((2 * i + 1) * a, (-1) ** i * b))
        points.append((d, 0))
        turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
        columns, rows = turn @ np.array(points).T
        for i in range(1, len(points)):
            ends = columns[i - 1] + c0, rows[i - 1] + start, columns[i] + c0, rows[i] + start
            x = np.clip(x + line_from_points(*ends, height, width)[..., None], 0, 1)
    return x


def pixelate(x: Array, severity: int, rng: Any) -> Array:
    c = ([0.6, 0.5, 0.4, 0.3, 0.25] if grey(x) else [0.95, 0.9, 0.85, 0.75, 0.65])[severity - 1]
    height, width, channels = x.shape
    planes = []
    for i in range(channels):
        image = Image.fromarray(x[..., i].astype(np.float32))
        image = image.resize((max(1, int(width * c)), max(1, int(height * c))), Image.Resampling.BOX)
        planes.append(np.asarray(image.resize((width, height), Image.Resampling.BOX)))
    return np.stack(planes, -1)


def jpeg_compression(x: Array, severity: int, rng: Any) -> Array:
    c = ([25, 18, 15, 10, 7] if grey(x) else [80, 65, 58, 50, 40])[severity - 1]
    file = io.BytesIO()
    image = (255 * x).astype(np.uint8)
    Image.fromarray(image[..., 0] if grey(x) else image).save(file, "JPEG", quality=c)
    return np.asarray(Image.open(file)).reshape(x.shape) / 255


def canny_edges(x: Array, severity: int, rng: Any) -> Array:
    share = [0.2, 0.4, 0.6, 0.8, 1][severity - 1]
    bright = x[..., 0] if grey(x) else x @ np.array([0.299, 0.587, 0.114])
    return (1 - share) * x + share * canny(bright)[..., None]


def grey(x: Array) -> bool:
    return x.shape[-1] == 1


def gaussian(x: Array, sigma: float) -> Array:
    return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest")


def motion(x: Array, radius: int, sigma: float, angle: float) -> Array:
    height, width, _ = x.shape
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    reach = 2 * radius + 1
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), "edge")
    out = np.zeros_like(x)
    for i, weight in enumerate(weights):
        down = reach + math.ceil(i * math.sin(angle) - 0.5)
        right = reach + math.ceil(i * math.cos(angle) - 0.5)
        out += weight * padded[down : down + height, right : right + width]
    return out


def clipped_zoom(x: Array, factor: float) -> Array:
    height, width, _ = x.shape
    high, wide = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - high) // 2, (width - wide) // 2
    x = ndimage.zoom(x[top : top + high, left : left + wide], (factor, factor, 1), order=1)
    top, left = (x.shape[0] - height) // 2, (x.shape[1] - width) // 2
    return x[top : top + height, left : left + width]


def plasma_fractal(side: int, decay: float, rng: Any) -> Array:
    heights, step, wibble = np.zeros((side, side)), side, 100.0

    def wibbled(total: Array) -> Array:
        return total / 4 + wibble * rng.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        heights[half::step, half::step] = wibbled(total + np.roll(total, -1, 1))
        centres = heights[half::step, half::step]
        sides = centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1)
        heights[::step, half::step] = wibbled(sides)
        sides = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0)
        heights[half::step, ::step] = wibbled(sides)
        step //= 2
        wibble /= decay
    heights -= heights.min()
    return heights / heights.max()


def in_hsv(x: Array, channel: int, change: Callable[[Array], Array]) -> Array:
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    hsv = rgb_to_hsv(x)
    hsv[..., channel] = np.clip(change(hsv[..., channel]), 0, 1)
    return hsv_to_rgb(hsv)


def affine(x: Array, matrix: Any, shift: Any = (0, 0)) -> Array:
    """Read the pixel (column, row) at matrix @ (column, row) + shift, with the centre in place."""
    swap = np.array([[0, 1], [1, 0]])
    turned = swap @ np.array(matrix) @ swap
    centre = (np.array(x.shape[:2]) - 1) / 2
    offset = centre - turned @ centre + swap @ np.array(shift)
    planes = [
        ndimage.affine_transform(x[..., i], turned, offset, order=1, mode="grid-constant") for i in range(x.shape[-1])
    ]
    return np.stack(planes, -1)


def line_from_points(c0: float, r0: float, c1: float, r1: float, height: int, width: int) -> Array:
    if c1 == c0:
        return np.zeros((height, width))
    columns, rows = np.meshgrid(np.arange(width), np.arange(height), sparse=True)
    slope = (r1 - r0) / (c1 - c0)
    distance = np.clip(np.abs(rows - (slope * (columns - c0) + r0)), 0, 2.3 - 1e-10)
    line = np.clip(np.log(1 - distance / 2.3) + 1, 0, 1)
    line[:, : int(np.floor(c0))] = 0
    line[:, int(np.ceil(c1)) :] = 0
    return line


def canny(x: Array) -> Array:
    existing = ndimage.gaussian_filter(np.ones(x.shape), 1, mode="constant")
    x = ndimage.gaussian_filter(x, 1, mode="constant") / existing
    down, right = ndimage.sobel(x, 0), ndimage.sobel(x, 1)
    size = np.hypot(down, right)
    thin = np.zeros(x.shape, bool)
    for row in range(1, x.shape[0] - 1):
        for column in range(1, x.shape[1] - 1):
            dy, dx, here = down[row, column], right[row, column], size[row, column]
            if here < 0.1:
                continue
            y, z = (-1 if dy < 0 else 1), (-1 if dx < 0 else 1)
            steep = abs(dy) >= abs(dx)
            part = min(abs(dy), abs(dx)) / max(abs(dy), abs(dx))
            peaks = []
            for way in (1, -1):
                straight = size[row + way * y, column] if steep else size[row, column + way * z]
                peaks.append(here >= part * size[row + way * y, column + way * z] + (1 - part) * straight)
            thin[row, column] = all(peaks)
    labels, count = ndimage.label(thin, np.ones((3, 3)))
    strong = [False, *(size[labels == i].max() >= 0.2 for i in range(1, count + 1))]
    return np.array(strong)[labels]


PLAIN = {
    f.__name__: f
    for f in (
        gaussian_noise, shot_noise, impulse_noise, speckle_noise, gaussian_blur, defocus_blur, glass_blur, motion_blur,
        zoom_blur, fog, snow, spatter, brightness, contrast, saturate, inverse, quantize, elastic_transform, shear,
        scale, rotate, translate, stripe, dotted_line, zigzag, pixelate, jpeg_compression, canny_edges,
    )
}  # fmt: skip
"""The plain forms by name."""
