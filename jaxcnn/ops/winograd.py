"""Convolutions and their gradients with fewer multiplications: minimal filtering on tiles of 6 pixels, or 6 x 6.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (arXiv:1509.09308), section 4. Outputs and
input gradients use filtering along rows only (equation 5, A'[(G g) * (B' d)] with d a tile of the input and g the
kernel): 6 products, where a window of 3 pixels at 4 positions has 12. Each product is an XLA convolution with a window
one pixel wide. Results differ from direct sums by about 3e-6 of the largest value. Filtering in both dimensions has
even fewer products, but the transformed images exceed the caches: 256 -> 256 at 56x56, batch 8, takes 120 ms, and 82
along rows.

Kernel gradients are the transpose with respect to g of the form in two dimensions (equation 8, A'[(G g G') * (B' d
B)]A): 36 products, where a window of 3 x 3 at 16 positions has 144. They differ by about 1e-5, because B' has entries
up to 5 and A' up to 8.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops.formulations import STRIP, Operation, Window, xla

# The points besides infinity. Larger tiles need more, at the cost of precision.
_POINTS = np.array([0.0, 1.0, -1.0, 2.0, -2.0])
_TILE = len(_POINTS) + 1
_LINE = 16  # Numbers per cache line.
_ROW_GROUPS = ([0], [1, 2], [3, 4], [5])
"""Groups of rows of B' and of A with the same zeros, with one product per group. A single product for all rows takes
less time to compile and longer to run: 64 -> 64 at 32x32, batch 64: 36 ms, and 28 with groups."""


def pays(operation: Operation, window: Window, n: int, channels: int, features: int, dtype: Any) -> bool:
    """Return whether minimal filtering is the fastest formulation on a CPU, for layers that are worth the compile time.

    Times are ms on two AVX-512 cores in float32, XLA's own formulation -> minimal filtering. Outputs with batch 64: 128
    -> 128 at 16x16: 26 -> 15; 256 -> 256 at 8x8: 24 -> 14; 512 -> 512 at 4x4: 23 -> 15; with batch 8: 256 -> 256 at
    56x56: 148 -> 82; 512 -> 512 at 28x28: 145 -> 78. Input gradients are similar. But 16 -> 64 at 32x32: 7.9 -> 9.3;
    windows of 2 x 2: 12 -> 15; 512 -> 512 at 14x14, one image: 5.7 -> 7.9. With minimal filtering of 64 -> 64 at 32x32
    and at 224x224, training steps of VGG took as long as without.

    Kernel gradients: 64 -> 64 at 32x32: 49 -> 30; 256 -> 256 at 8x8: 29 -> 18; with batch 8: 128 -> 128 at 112x112: 200
    -> 113; 256 -> 256 at 56x56: 165 -> 83; 512 -> 512 at 28x28: 177 -> 139. But with tiles that extend far beyond the
    edge, 192 -> 192 at 14x14, batch 64: 46 -> 49; windows of 5 x 5, 64 -> 96 at 28x28, batch 64: 80 -> 83.
    """
    rows, columns = window.size
    if rows != columns or not 3 <= rows <= 5 or (window.stride, window.groups) != (1, 1):
        return False
    if jnp.promote_types(dtype, jnp.float32) != jnp.float32:  # It is float64 or complex.
        return False
    step, (height, width) = _TILE + 1 - rows, window.output
    down, across = -(-height // step), -(-width // step)
    if operation == "kernel_gradient":
        share = _TILE**2 * down * across / (rows**2 * height * width)  # The share of the products of direct sums.
        return share < 0.3 and n * down * across >= 256 and min(channels, features) >= 32
    whole = min(*window.image, *window.output) >= step
    many = min(channels, features) >= 48 and max(channels, features) > 64
    return whole and many and n * height * across >= 128


@functools.cache
def transforms(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return B' [6, 6], G [6, size] and A' [7 - size, 6] for a window of `size` pixels (2 to 5) in one dimension.

    They multiply two polynomials by their values at the points (Toom-Cook), transposed.
    """
    others = [np.delete(_POINTS, i) for i in range(len(_POINTS))]
    scale = np.array([np.prod(point - other) for point, other in zip(_POINTS, others, strict=True)])
    infinity = np.eye(_TILE)[-1:]
    to_input = np.stack([np.append(np.poly(other)[::-1], 0) for other in others] + [np.poly(_POINTS)[::-1]])
    to_kernel = np.concatenate([np.vander(_POINTS, size, increasing=True) / scale[:, None], infinity[:, -size:]])
    to_output = np.concatenate([np.vander(_POINTS, _TILE + 1 - size, increasing=True), infinity[:, size - 1 :]]).T
    return to_input.astype(np.float32), to_kernel.astype(np.float32), to_output.astype(np.float32)


def output(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Return the output [n, height, width, features] of a window that moves by one, with sums in float32.

    Args:
        x: images.
        kernel: one window per feature.
        window: geometry of the window.
    """
    (rows, size), padding, (height, width) = window.size, window.padding, window.output
    step = _TILE + 1 - size  # Output pixels per tile.
    tiles = -(-width // step)
    right = tiles * step + size - 1 - padding - window.image[1]
    edges = ((0, 0, 0), (padding, padding, 0), (padding, right, 0), (0, 0, 0))
    padded = lax.pad(x.astype(jnp.float32), jnp.float32(0), edges)
    pixels = [padded[:, :, j : j + step * (tiles - 1) + 1 : step] for j in range(_TILE)]
    columns = jnp.split(kernel.astype(jnp.float32), size, axis=1)
    line = Window((padded.shape[1], tiles), (rows, 1))
    to_input, to_kernel, to_output = transforms(size)
    products = [xla(_sum(a, pixels), _sum(b, columns), line) for a, b in zip(to_input, to_kernel, strict=True)]
    y = jnp.stack([_sum(row, products) for row in to_output], axis=3)
    return y.reshape(x.shape[0], height, tiles * step, -1)[:, :, :width].astype(x.dtype)


def input_gradient(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Return the gradient [n, height, width, channels] with respect to the images of a square window that moves by one.

    Args:
        y: gradient with respect to the output.
        kernel: one window per feature.
        window: geometry of the window.
    """
    features = kernel.shape[3]
    # A matrix whose row length in bytes is a power of two is transposed at a third of the speed, hence the padding.
    # Transposition fused with sums runs at a tenth of the speed, hence the loop, across which XLA does not fuse.
    padded = jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, _LINE)))
    kernel = lax.map(lambda row: row[::-1, :, :features].swapaxes(1, 2), padded)
    turned = Window(window.output, window.size, padding=window.size[0] - 1 - window.padding)
    # Rows are reversed in the images, which costs nothing.
    return output(y[:, ::-1], kernel, turned)[:, ::-1]


def kernel_gradient(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    """Return the gradient [rows, columns, channels, features] with respect to a square kernel that moves by one, with
    sums in float32.

    Args:
        x: images.
        y: gradient with respect to the output.
        window: geometry of the window.
    """
    size, channels, features = window.size[0], x.shape[3], y.shape[3]
    step = _TILE + 1 - size  # Output pixels per tile along each axis.
    to_input, to_kernel, to_output = transforms(size)
    strips = _Strips.of(x, size**2 * channels * features, window)
    x, y = strips.padded(x, window.padding, size - 1), strips.padded(y, 0, 0)

    def products(x: jax.Array, y: jax.Array) -> list[jax.Array]:
        """Return for each row group the products summed over all tiles, [6 * rows, channels, features]."""
        x, y = x.astype(jnp.float32), y.astype(jnp.float32).reshape(strips.images, -1, step, strips.width, features)
        sums = []
        for rows in _ROW_GROUPS:
            x_rows = _stacked(to_input[rows], [x[:, i : i + strips.height - step + 1 : step] for i in range(_TILE)])
            y_rows = _stacked(to_output.T[rows], [y[:, :, i] for i in range(step)])
            y_rows = y_rows.reshape(*y_rows.shape[:3], -1, step, features)
            x_columns = [x_rows[:, :, :, j : j + strips.width - step + 1 : step] for j in range(_TILE)]
            x_tiles = _stacked(to_input, x_columns).reshape(_TILE * len(rows), -1, channels)
            y_columns = [y_rows[:, :, :, :, j] for j in range(step)]
            y_tiles = _stacked(to_output.T, y_columns).reshape(_TILE * len(rows), -1, features)
            sums.append(jnp.einsum("tnc,tnf->tcf", x_tiles, y_tiles))
        return sums

    def cut(index: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        return strips.cut(x, index, size - 1), strips.cut(y, index, 0)

    def body(index: jax.Array, state: tuple) -> tuple:
        # XLA does not vectorize a loop with an index read from memory, such as that of a dynamic slice. A strip is
        # therefore cut one iteration before its use, so that the loop state holds a plain array.
        sums, x, y = state
        return [a + b for a, b in zip(sums, products(x, y), strict=True)], *cut(index + 1)

    zeros = [jnp.zeros((_TILE * len(rows), channels, features), jnp.float32) for rows in _ROW_GROUPS]
    sums, _, _ = lax.fori_loop(0, strips.count, body, (zeros, *cut(0)))
    columns = [_stacked(to_kernel.T, list(total.reshape(_TILE, -1, channels, features))) for total in sums]
    return _stacked(to_kernel.T, [part[:, i] for part in columns for i in range(part.shape[1])]).astype(x.dtype)


@dataclass(frozen=True)
class _Strips:
    """The partition of a batch into strips that stay in the second-level cache of a core.

    Attributes:
        images: number of images that a strip covers; if it is more than one, they are whole images.
        height: output rows per strip, a multiple of the rows of a tile.
        width: output columns, up to the end of the last tile.
        per_image: strips per image.
        count: number of all strips.
    """

    images: int
    height: int
    width: int
    per_image: int
    count: int

    @classmethod
    def of(cls, x: jax.Array, kernel_size: int, window: Window) -> "_Strips":
        """Return the strips of the input x; large kernels have large ones, because each adds to the whole gradient."""
        step = _TILE + 1 - window.size[0]
        rows, columns = (-(-side // step) for side in window.output)
        fit = max(1, max(STRIP, kernel_size * 4) // (step**2 * columns * x.shape[3] * 4))  # Rows of tiles.
        per_image = -(-rows // fit)
        images = max(i for i in range(1, max(1, fit // rows) + 1) if x.shape[0] % i == 0)
        height = -(-rows // per_image) * step
        return cls(images, height, columns * step, per_image, x.shape[0] // images * per_image)

    def padded(self, array: jax.Array, before: int, margin: int) -> jax.Array:
        """Pad an array with zeros before it, and pad or crop it after the last tiles and the margin."""
        sides = (self.per_image * self.height + margin, self.width + margin)
        edges = [(before, side - before - length, 0) for side, length in zip(sides, array.shape[1:3], strict=True)]
        return lax.pad(array, jnp.zeros((), array.dtype), ((0, 0, 0), *edges, (0, 0, 0)))

    def cut(self, array: jax.Array, index: jax.Array | int, margin: int) -> jax.Array:
        """Return a strip and the margin that its last windows extend into; for a larger index, the last strip."""
        index = jnp.minimum(index, self.count - 1)
        start = (index // self.per_image * self.images, index % self.per_image * self.height, 0, 0)
        size = (self.images, self.height + margin, self.width + margin, array.shape[3])
        return lax.dynamic_slice(array, start, size)


def _stacked(matrix: np.ndarray, parts: list[jax.Array]) -> jax.Array:
    """Multiply a matrix by a vector of arrays, without its zero columns, and return one array.

    This is one loop, whereas a stack would be compiled part by part.
    """
    shape = (len(matrix), *parts[0].shape)

    def times(coefficients: np.ndarray, part: jax.Array) -> jax.Array:
        return lax.mul(lax.broadcast_in_dim(coefficients, shape, (0,)), lax.broadcast(part, shape[:1]))

    return functools.reduce(lax.add, [times(c, part) for c, part in zip(matrix.T, parts, strict=True) if c.any()])


def _sum(coefficients: np.ndarray, arrays: list[jax.Array]) -> jax.Array:
    """Return the sum of arrays times coefficients, without the terms whose coefficient is 0."""
    terms = [lax.mul(lax.broadcast(c, a.shape), a) for c, a in zip(coefficients, arrays, strict=True) if c]
    return functools.reduce(lax.add, terms)  # Array operators would take longer to trace.
